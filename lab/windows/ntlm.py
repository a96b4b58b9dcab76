"""NTLM as a simulated host accepts it: pyspnego's acceptor, against the password that the account has now.

The acceptor reads what it compares with from a file that an environment variable names. So each step that
needs it runs under a lock, with a file in memory that holds the hash of that one account.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from collections.abc import Callable
from typing import Any, Final

import spnego
from spnego import exceptions
from spnego.channel_bindings import GssChannelBindings

_NOBODY: Final = b"nobody:0:" + b"0" * 32 + b":" + b"0" * 32 + b":[U]:LCT-0\n"
_store = threading.Lock()
#: Numbers of AV_PAIRs (MS-NLMP 2.2.2.1): the NetBIOS and the DNS name of the computer, and its clock.
_NAMES, _DNS_NAME, _TIME = (1, 3), 3, 7
_MASK: Final = 0xFFFF_FFFF


class Refused(Exception):
    """The logon failed."""


class Acceptor:
    """One NTLM logon on one connection."""

    def __init__(self, certificate: bytes | None) -> None:
        bindings = None
        if certificate is not None:
            # RFC 5929: the hash of the certificate, by which a relayed logon is refused.
            digest = hashlib.sha256(certificate).digest()
            bindings = GssChannelBindings(application_data=b"tls-server-end-point:" + digest)
        self._context: Any = _with(
            _NOBODY,
            lambda: spnego.server(
                protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm, channel_bindings=bindings
            ),
        )

    def challenge(self, token: bytes, name: str, ahead_seconds: float = 0.0) -> bytes:
        """Answer the first message, as a host of this name and clock; pyspnego itself says this machine's."""
        self._context.step(token)
        made = self._context._temp_challenge
        answer = _renamed(made.pack(), name, ahead_seconds)
        self._context._temp_challenge = type(made).unpack(answer)
        return answer

    def verify(self, token: bytes, hashed: bytes | None) -> None:
        """Judge the last message against the password with this hash. Raises `Refused`."""
        if hashed is None:
            raise Refused
        domain, username = names(token)
        shown = f"{domain}\\{username}" if domain else username
        line = f"{shown}:0:{'0' * 32}:{hashed.hex().upper()}:[U]:LCT-0\n".encode()
        try:
            _with(line, lambda: self._context.step(token))
        except exceptions.SpnegoError as error:
            raise Refused from error

    def unseal(self, sealed: bytes) -> bytes:
        """Decrypt a message of the client's: the length of its signature, the signature, the rest."""
        length = struct.unpack("<i", sealed[:4])[0]
        opened: bytes = self._context.unwrap(sealed[4 : 4 + length] + sealed[4 + length :]).data
        return opened

    def seal(self, message: bytes) -> bytes:
        """Encrypt a message for the client."""
        sealed: bytes = self._context.wrap(message).data
        return struct.pack("<i", 16) + sealed


def names(token: bytes) -> tuple[str, str]:
    """Domain and user of an AUTHENTICATE message (MS-NLMP 2.2.1.3)."""

    def text(at: int) -> str:
        length, _, offset = struct.unpack("<HHI", token[at : at + 8])
        return token[offset : offset + length].decode("utf-16-le")

    return text(28), text(36)


def _renamed(challenge: bytes, name: str, ahead_seconds: float) -> bytes:
    """A CHALLENGE message (MS-NLMP 2.2.1.2) with other names of the host, and another time."""
    length, _, offset = struct.unpack("<HHI", challenge[40:48])
    pairs, info = challenge[offset : offset + length], b""
    while pairs:
        number, size = struct.unpack("<HH", pairs[:4])
        value, pairs = pairs[4 : 4 + size], pairs[4 + size :]
        if number in _NAMES:
            value = (name.lower() if number == _DNS_NAME else name).encode("utf-16-le")
        if number == _TIME:
            moved = int.from_bytes(value, "little") + int(ahead_seconds * 10_000_000)
            value = moved.to_bytes(8, "little")
        info += struct.pack("<HH", number, len(value)) + value
    target, head = name.encode("utf-16-le"), 56
    return (
        challenge[:12]
        + struct.pack("<HHI", len(target), len(target), head)
        + challenge[20:40]
        + struct.pack("<HHI", len(info), len(info), head + len(target))
        + (challenge[48:56] if min(offset, *struct.unpack("<I", challenge[16:20])) >= head else bytes(8))
        + target
        + info
    )


def nt_hash(password: str) -> bytes:
    """What Windows keeps of a password: MD4 of its UTF-16LE."""
    return _md4(password.encode("utf-16-le"))


def _with(line: bytes, step: Callable[[], Any]) -> Any:
    with _store:
        handle = os.memfd_create("ntlm")
        before = os.environ.get("NTLM_USER_FILE")
        try:
            os.write(handle, line)
            os.environ["NTLM_USER_FILE"] = f"/proc/self/fd/{handle}"
            return step()
        finally:
            if before is None:
                del os.environ["NTLM_USER_FILE"]
            else:
                os.environ["NTLM_USER_FILE"] = before
            os.close(handle)


def _md4(message: bytes) -> bytes:
    # RFC 1320. OpenSSL 3 keeps it in a module that is usually not loaded.
    padded = message + b"\x80" + b"\0" * ((55 - len(message)) % 64) + struct.pack("<Q", len(message) * 8)
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    for at in range(0, len(padded), 64):
        words = struct.unpack("<16I", padded[at : at + 64])
        a, b, c, d = state
        for number in range(48):
            turn, step = divmod(number, 16)
            if turn == 0:
                mixed, index, shift = (b & c) | (~b & d), step, (3, 7, 11, 19)[step % 4]
            elif turn == 1:
                mixed, index, shift = (
                    (b & c) | (b & d) | (c & d),
                    step // 4 + step % 4 * 4,
                    (3, 5, 9, 13)[step % 4],
                )
            else:
                index = (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15)[step]
                mixed, shift = b ^ c ^ d, (3, 9, 11, 15)[step % 4]
            total = (a + mixed + words[index] + (0, 0x5A827999, 0x6ED9EBA1)[turn]) & _MASK
            a, b, c, d = d, (total << shift | total >> 32 - shift) & _MASK, b, c
        state = [(old + new) & _MASK for old, new in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state)
