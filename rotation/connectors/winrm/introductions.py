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
_NETBIOS_NAME, _TIME = 1, 7
#: A FILETIME counts tenths of microseconds from 1601 (MS-DTYP 2.3.3); this is 1970.
_EPOCH: Final = 116_444_736_000_000_000
_IS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,14}")

#: What is sent: a NEGOTIATE message that names neither a user nor a domain.
GREETING: Final = base64.b64encode(b"NTLMSSP\0" + struct.pack("<II", 1, _FLAGS) + bytes(16)).decode()


def name_in(header: str) -> str:
    """Return the name in an answer's WWW-Authenticate; nothing where none is."""
    try:
        name = _told(header).get(_NETBIOS_NAME, b"").decode("utf-16-le")
    except ValueError:
        return ""
    return name.upper() if _IS_NAME.fullmatch(name) else ""


def time_in(header: str) -> float | None:
    """Return the host's clock in an answer's WWW-Authenticate, in seconds since 1970; None where none is."""
    told = _told(header).get(_TIME, b"")
    return (int.from_bytes(told, "little") - _EPOCH) / 10_000_000 if len(told) == 8 else None


def is_challenge(header: str) -> bool:
    """Whether a host goes on with NTLM there: it has answered the first message with the second one."""
    return bool(_told(header))


def pin(name: str) -> HostKey:
    """Return what is pinned of a name."""
    return HostKey(NAME, base64.b64encode(name.encode()).decode(), name)


def _told(header: str) -> dict[int, bytes]:
    """Return what the second message says of the host, by its numbers (MS-NLMP 2.2.2.1)."""
    found = re.search(r"(?:NTLM|Negotiate) ([A-Za-z0-9+/=]{16,8192})", header)
    try:
        message = base64.b64decode(found[1]) if found else b""
        if message[:8] != b"NTLMSSP\0" or message[8:12] != b"\2\0\0\0":
            return {}
        length, _, offset = struct.unpack("<HHI", message[40:48])
    except (ValueError, struct.error):
        return {}
    pairs, told = message[offset : offset + length], dict[int, bytes]()
    while len(pairs) >= 4:
        number, size = struct.unpack("<HH", pairs[:4])
        told.setdefault(number, pairs[4 : 4 + size])
        pairs = pairs[4 + size :]
    return told
