"""Ask a Windows host by what name it calls itself, before any account is named to it.

The name stands in NTLM's second message (MS-NLMP 2.2.1.2), the answer to one that holds nothing. Any host may
claim it: it keeps a wrong address from a login, and is no proof. What then proves the host over HTTP is that
it knows the account's password, by which each message is sealed.
"""

from __future__ import annotations

import base64
import re
import struct
from typing import Final

from rotation.connectors.base import HostKey

#: The word for it beside what is pinned, and how `Endpoint.host_keys` has it.
NAME: Final = "ntlm-name"
#: MS-NLMP 2.2.2.5: Unicode, request target, NTLM, always sign, extended security, target info, 128, 56.
_FLAGS: Final = 0xA088_8205
_NETBIOS_NAME: Final = 1
_IS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,14}")

#: What is sent: a NEGOTIATE message that names neither a user nor a domain.
GREETING: Final = base64.b64encode(b"NTLMSSP\0" + struct.pack("<II", 1, _FLAGS) + bytes(16)).decode()


def name_in(header: str) -> str:
    """Return the name in an answer's WWW-Authenticate; nothing where none is."""
    found = re.search(r"(?:NTLM|Negotiate) ([A-Za-z0-9+/=]{16,8192})", header)
    try:
        return _name(base64.b64decode(found[1])) if found else ""
    except (ValueError, struct.error, IndexError):
        return ""


def pin(name: str) -> HostKey:
    """Return what is pinned of a name."""
    return HostKey(NAME, base64.b64encode(name.encode()).decode(), name)


def _name(message: bytes) -> str:
    if message[:8] != b"NTLMSSP\0" or message[8:12] != b"\2\0\0\0":
        return ""
    length, _, offset = struct.unpack("<HHI", message[40:48])
    pairs = message[offset : offset + length]
    while len(pairs) >= 4:
        number, size = struct.unpack("<HH", pairs[:4])
        if number == _NETBIOS_NAME:
            name = pairs[4 : 4 + size].decode("utf-16-le")
            return name.upper() if _IS_NAME.fullmatch(name) else ""
        pairs = pairs[4 + size :]
    return ""
