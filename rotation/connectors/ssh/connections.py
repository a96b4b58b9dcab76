"""One SSH connection to one host: bounded in time and size, pinned before it authenticates, closed.

Built on paramiko's Transport and not on its SSHClient: the client may try several methods for one login,
look for keys of its own, and has no single deadline. Here a call makes exactly the attempts it names.

What a host says (banners, messages, errors) is never logged and never part of an exception.
"""

from __future__ import annotations

import binascii
import contextlib
import enum
import io
import logging
import socket
from collections.abc import Iterator, Sequence
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.ssh_exception import IncompatiblePeer

from rotation.connectors import dialling
from rotation.connectors.base import Endpoint, HostKeyChanged, Unreachable
from rotation.connectors.dialling import Deadline
from rotation.connectors.ssh import reasons
from secrets_app.crypto.plaintext import Plaintext

#: The host key algorithms that can be pinned, strongest first, by the key type that known_hosts shows.
#: No ssh-rsa: its SHA-1 signatures prove nothing, so hosts older than OpenSSH 7.2 cannot be reached.
KEY_TYPES: dict[str, tuple[str, ...]] = {
    "ssh-ed25519": ("ssh-ed25519",),
    "ecdsa-sha2-nistp521": ("ecdsa-sha2-nistp521",),
    "ecdsa-sha2-nistp384": ("ecdsa-sha2-nistp384",),
    "ecdsa-sha2-nistp256": ("ecdsa-sha2-nistp256",),
    "ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256"),
}
_GCM = ("aes256-gcm@openssh.com", "aes128-gcm@openssh.com")
_CIPHERS = (*_GCM, "aes256-ctr", "aes192-ctr", "aes128-ctr")
_MACS = (
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512",
    "hmac-sha2-256",
)
_MAX_RECEIVED_BYTES = 64 * 1024 * 1024
# Before the end of the handshake: paramiko keeps everything up to the first line break.
_MAX_GREETING_BYTES = 128 * 1024
_QUICKACK = getattr(socket, "TCP_QUICKACK", socket.TCP_NODELAY)  # only Linux has it
# What sshd says in place of its version to one connection too many (MaxStartups), and to an address that has
# failed too often (PerSourcePenalties, since 9.8); sshd.c, drop_connection().
_TURNED_AWAY = {b"Exceeded MaxStartups": "busy_sshd", b"Not allowed at this time": "penalty"}
# Old ciphers, hashes and groups that prove or hide nothing any more; by a part of their names.
_UNSAFE = ("-cbc", "3des", "arcfour", "blowfish", "cast128", "md5", "sha1", "ripemd160", "ssh-dss", "none")
# Safe ones that paramiko does not have. Names come from the host, so only known ones are shown.
_SAFE = frozenset(
    {
        "chacha20-poly1305@openssh.com",
        "sntrup761x25519-sha512",
        "sntrup761x25519-sha512@openssh.com",
        "mlkem768x25519-sha256",
        "umac-64@openssh.com",
        "umac-64-etm@openssh.com",
        "umac-128@openssh.com",
        "umac-128-etm@openssh.com",
        "diffie-hellman-group18-sha512",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)

# paramiko logs what the host sends: its version, banner and disconnect message, control characters included.
# A level on this name silences the transport and every channel below it.
_LOG = "rotation.connectors.ssh.connector.transport"
logging.getLogger(_LOG).setLevel(logging.CRITICAL + 1)
logging.getLogger(_LOG).propagate = False


class _Wire(socket.socket):
    """A socket that ends at a deadline or after a number of bytes, even if the other side keeps sending.

    paramiko's own timeouts each start again with every byte, so a host that sends one byte a second would
    hold a worker for hours. paramiko polls its socket ten times a second, so the end is seen at once.
    """

    def __init__(self, plain: socket.socket, deadline: Deadline) -> None:
        super().__init__(plain.family, plain.type, plain.proto, fileno=plain.detach())
        self._deadline = deadline
        self._received_bytes = 0
        self._most_bytes = _MAX_GREETING_BYTES
        self._greeting = b""
        # A command is a few small packets each way. By default each waits until the one before is confirmed
        # (RFC 896), and the confirmation waits 40 ms for an answer to travel with (RFC 1122, 4.2.3.2).
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def allow(self, deadline: Deadline) -> None:
        """Set a new deadline and allow the full number of bytes again."""
        self._deadline = deadline
        self._received_bytes = 0
        self._most_bytes = _MAX_RECEIVED_BYTES

    @property
    def turned_away(self) -> str:
        """Return the code for what the host sent instead of its version, or an empty string."""
        return next((code for said, code in _TURNED_AWAY.items() if said in self._greeting), "")

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return not self._deadline.left()

    def _ended(self) -> bool:
        return not self._deadline.left() or self._received_bytes > self._most_bytes

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        if self._ended():
            return b""
        # Linux resets this option on its own (tcp(7)), so it is set before each read.
        self.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        received = super().recv(bufsize, flags)
        self._received_bytes += len(received)
        if len(self._greeting) < 256:
            self._greeting += received[:256]
        return received

    def send(self, content: Any, flags: int = 0, /) -> int:
        if self._ended():
            raise ConnectionAbortedError
        return super().send(content, flags)


class _Transport(paramiko.Transport):
    """A transport that remembers which algorithms the host offers, to say why none of them could be used."""

    def __init__(self, wire: _Wire) -> None:
        super().__init__(wire)
        self._offered: dict[str, list[str]] = {}

    def _really_parse_kex_init(self, m: Any, ignore_first_byte: bool = False) -> dict[str, Any]:
        # Only here does paramiko hold the host's lists: it discards them when no algorithm fits.
        parsed: dict[str, Any] = super()._really_parse_kex_init(m, ignore_first_byte)  # type: ignore[misc]
        self._offered = parsed
        return parsed

    def unknown_to_us(self) -> str:
        """Say which of the host's safe algorithms we lack; nothing where it offers unsafe ones only."""
        options = self.get_security_options()
        lists = (
            ("key exchange", "kex_algo_list", options.kex),
            ("encryption", "server_encrypt_algo_list", options.ciphers),
            ("integrity", "server_mac_algo_list", options.digests),
        )
        for what, name, ours in lists:
            # Neither is a way to exchange keys (RFC 8308; strict key exchange).
            offers = [
                a for a in self._offered.get(name, []) if "strict" not in a and not a.startswith("ext-")
            ]
            safe = [a for a in offers if not any(part in a for part in _UNSAFE)]
            if not safe or set(ours) & set(offers):
                continue
            shown = ", ".join(a for a in safe if a in _SAFE) or "others"
            return reasons.sentence("no_common").format(what, shown)
        return ""


@contextlib.contextmanager
def _negotiated(
    endpoint: Endpoint, deadline: Deadline, key_types: Sequence[str]
) -> Iterator[paramiko.Transport]:
    """Return an encrypted connection whose host key is not verified yet. Raises `IncompatiblePeer`."""
    wire = _Wire(dialling.dial(endpoint, deadline, silent=reasons.sentence("no_ssh")), deadline)
    transport: _Transport | None = None
    try:
        transport = _Transport(wire)
        transport.set_log_channel(_LOG)
        transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = deadline.left()
        options = transport.get_security_options()
        options.ciphers, options.digests, options.key_types = _CIPHERS, _MACS, key_types
        try:
            transport.start_client(timeout=deadline.left())
            transport.get_remote_server_key()
        except IncompatiblePeer:
            if sentence := transport.unknown_to_us():
                raise Unreachable(sentence, code="no_common") from None
            raise
        except (paramiko.SSHException, OSError, EOFError):
            if code := wire.turned_away:
                raise Unreachable(reasons.sentence(code), code=code) from None
            # The sentence of a closed port: which of the two it is would map what else runs there.
            raise Unreachable(reasons.sentence("no_ssh")) from None
        wire.allow(deadline)
        yield transport
    finally:
        # An open client after a failed login holds one of the host's few start-up slots.
        with contextlib.suppress(OSError):
            wire.shutdown(socket.SHUT_RDWR)
        if transport is not None:
            transport.close()
            if transport.is_alive():
                transport.join(1)
        wire.close()


def allow(transport: paramiko.Transport, deadline: Deadline) -> None:
    """Give a connection that stays open another deadline, and the bytes of a new one."""
    wire: object = transport.sock
    assert isinstance(wire, _Wire)
    wire.allow(deadline)


def is_over(transport: paramiko.Transport) -> bool:
    """Whether a connection ended because its deadline had passed."""
    wire: object = transport.sock
    return isinstance(wire, _Wire) and wire.is_over


def _resists_truncation(transport: paramiko.Transport) -> bool:
    """Whether Terrapin (CVE-2023-48795) is impossible: strict key exchange, or a cipher it cannot attack."""
    strict, sends, receives = (
        getattr(transport, name, "") for name in ("agreed_on_strict_kex", "local_cipher", "remote_cipher")
    )
    return bool(strict) or (sends in _GCM and receives in _GCM)


@contextlib.contextmanager
def connected(endpoint: Endpoint, deadline: Deadline) -> Iterator[paramiko.Transport]:
    """A connection to the host whose key is pinned; nothing has been authenticated yet.

    The pinned types are asked for first, so that a host with several keys shows one that we know. The
    others follow: a host that has lost the pinned key then shows a key that is not pinned, which tells
    apart a changed host from one that does not answer.

    Raises `Unreachable`, and `HostKeyChanged` when no key is pinned or another one is shown.
    """
    pinned = {tuple(line.split()[:2]) for line in endpoint.host_keys}
    if not pinned:
        raise HostKeyChanged("No host key is approved for this instance yet.")
    known = [a for kind, names in KEY_TYPES.items() if (kind in {p[0] for p in pinned}) for a in names]
    others = [a for names in KEY_TYPES.values() for a in names if a not in known]
    try:
        with _negotiated(endpoint, deadline, [*known, *others]) as transport:
            shown = transport.get_remote_server_key()
            if (shown.get_name(), shown.get_base64()) not in pinned:
                raise HostKeyChanged
            if not _resists_truncation(transport):
                raise Unreachable(reasons.sentence("weak_ssh"), code="weak_ssh")
            yield transport
    except IncompatiblePeer:
        raise Unreachable(reasons.sentence("weak_ssh"), code="weak_ssh") from None


def shown_key(endpoint: Endpoint, key_type: str, deadline: Deadline) -> paramiko.PKey | None:
    """The host's key of one type, or None where it has none, before any login. Raises `Unreachable`."""
    try:
        with _negotiated(endpoint, deadline, KEY_TYPES[key_type]) as transport:
            return transport.get_remote_server_key()
    except IncompatiblePeer:
        return None


class Answer(enum.Enum):
    """What a host made of one authentication attempt."""

    ACCEPTED = enum.auto()
    WRONG = enum.auto()  # the host said that this credential is not right
    NOT_OFFERED = enum.auto()  # the host takes no credential of this kind for this account
    KEYBOARD_ONLY = enum.auto()  # ... but asks questions at the keyboard, as for a password or a code
    MORE_WANTED = enum.auto()  # right, and the host asks for a second factor
    BROKEN = enum.auto()  # the connection ended instead of an answer


def authenticate(transport: paramiko.Transport, username: str, credential: str | paramiko.PKey) -> Answer:
    """Make one attempt by one method: `password` for a text, `publickey` for a key."""
    try:
        if isinstance(credential, str):
            # No fallback: it would be a second attempt, by keyboard-interactive.
            more = transport.auth_password(username, credential, fallback=False)
        else:
            more = transport.auth_publickey(username, credential)
    except paramiko.BadAuthenticationType as error:
        asks = isinstance(credential, str) and "keyboard-interactive" in error.allowed_types
        return Answer.KEYBOARD_ONLY if asks else Answer.NOT_OFFERED
    except paramiko.AuthenticationException as error:
        # paramiko raises this class for a timeout and a closed connection too, and tells them apart only
        # in its text. Taking those for a wrong password would declare a good value dead.
        return Answer.WRONG if str(error) == "Authentication failed." else Answer.BROKEN
    except (paramiko.SSHException, OSError, EOFError):
        return Answer.BROKEN
    if more:
        return Answer.MORE_WANTED
    return Answer.ACCEPTED if transport.is_authenticated() else Answer.BROKEN


def private_key(text: Plaintext) -> paramiko.PKey | None:
    """The key, read from memory, or None where the text is no unencrypted Ed25519, ECDSA or RSA key."""
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        with contextlib.suppress(
            paramiko.SSHException, ValueError, TypeError, IndexError, UnsupportedAlgorithm, binascii.Error
        ):
            return kind.from_private_key(io.StringIO(text.reveal()))
    return None
