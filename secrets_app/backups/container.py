"""The file of a backup: a header in clear, then everything else in age's format.

    keyturn-backup-1 LF | header as JSON LF | age file of gzip of: header again LF, then the lines of `rows`

The content is encrypted to the recipients (age1...). With a passphrase it is encrypted to a key that was made
for this file, which stands in the header, sealed under the passphrase (scrypt, AES-256-GCM). age
authenticates each piece of 64 KiB and the end, so that a flipped bit and a missing end are both noticed. The
header stands inside again, since it is not encrypted outside. Source: age-encryption.org/v1, by the library
pyrage.
"""

from __future__ import annotations

import base64
import io
import json
import os
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyrage
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from secrets_app.crypto import envelope
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError

MAGIC: Final = b"keyturn-backup-1\n"
HEADER_AT_MOST: Final = 256 * 1024
SALT_BYTES: Final = 16
UNLOCKS: Final = envelope.name("backup", "unlock", "1")


class Damaged(DomainError):
    """This backup is damaged or is not one; the message says where."""

    code = "backup_damaged"


class DoesNotOpen(DomainError):
    """This key or passphrase does not open this backup, or the backup is damaged at its beginning."""

    code = "backup_does_not_open"


class BadRecipient(DomainError, ValueError):
    """A recipient of a backup is an age public key: age1 and 58 more letters and digits."""

    code = "backup_recipient_invalid"


@dataclass(frozen=True)
class Opener:
    """What opens a backup: an age secret key, or a passphrase."""

    identity: Plaintext | None = None
    passphrase: Plaintext | None = None


def recipients(texts: Iterable[str]) -> list[Any]:
    """Take age public keys apart. Raises `BadRecipient`."""
    try:
        return [pyrage.x25519.Recipient.from_str(text) for text in texts]
    except (pyrage.RecipientError, ValueError):
        raise BadRecipient(BadRecipient.__doc__) from None


def write(path: Path, header: dict[str, Any], lines: Iterable[bytes], to: Sequence[Any],
          passphrase: Plaintext | None) -> Plaintext:  # fmt: skip
    """Write a new file, durably; return the secret key that opens it in this process, to read it back.

    Raises FileExistsError, OSError, or what `lines` raises: then the file is gone again.
    """
    own = pyrage.x25519.Identity.generate()
    if passphrase is not None:
        header = header | {"unlock": _locked(own, passphrase)}
    told = json.dumps(header).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(MAGIC + told)
            source = _Source(_compressed(_chained(told, lines)))
            try:
                pyrage.encrypt_io(source, file, [own.to_public(), *to])
            except Exception:
                if source.error is not None:
                    raise source.error from None
                raise
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return Plaintext(str(own))


def header(path: Path) -> dict[str, Any]:
    """Return the header, which is not proven before the content was read. Raises `Damaged` or OSError."""
    with path.open("rb") as file:
        return _header(file)[0]


def lines(path: Path, opener: Opener) -> Iterator[bytes]:
    """Yield the lines that were written. A backup is whole only if no error comes until the end.

    Raises `DoesNotOpen`, `Damaged` or OSError.
    """
    with path.open("rb") as file:
        told, raw = _header(file)
        plain = _unzipped(_decrypted(file, _identity(told, opener)))
        rest = b""
        is_first = True
        for piece in plain:
            *whole, rest = (rest + piece).split(b"\n")
            for line in whole:
                if is_first:
                    if line + b"\n" != raw:
                        raise Damaged("The header of this backup was changed.")
                    is_first = False
                    continue
                yield line
        if rest or is_first:
            raise Damaged("This backup ends too early.")


def _locked(own: Any, passphrase: Plaintext) -> str:
    salt = os.urandom(SALT_BYTES)
    sealed = envelope.seal(_key_of(passphrase, salt), str(own).encode(), UNLOCKS)
    return base64.b64encode(salt + sealed).decode()


def _key_of(passphrase: Plaintext, salt: bytes) -> bytes:
    # age's own form sets the cost by the speed of this machine at this moment, and refuses to open what cost
    # more.
    return Scrypt(salt=salt, length=envelope.KEY_BYTES, n=2**17, r=8, p=1).derive(passphrase.encode())


def _identity(told: dict[str, Any], opener: Opener) -> Any:
    try:
        if opener.identity is not None:
            return pyrage.x25519.Identity.from_str(opener.identity.reveal())
        locked = base64.b64decode(str(told.get("unlock", "")), validate=True)
        if opener.passphrase is None or not locked:
            raise DoesNotOpen(DoesNotOpen.__doc__)
        key = _key_of(opener.passphrase, locked[:SALT_BYTES])
        opened = envelope.open_(key, locked[SALT_BYTES:], UNLOCKS)
        return pyrage.x25519.Identity.from_str(opened.decode())
    except (pyrage.IdentityError, envelope.Tampered, ValueError):
        raise DoesNotOpen(DoesNotOpen.__doc__) from None


def _header(file: Any) -> tuple[dict[str, Any], bytes]:
    if file.read(len(MAGIC)) != MAGIC:
        raise Damaged("This is not a backup of Keyturn.")
    raw = file.readline(HEADER_AT_MOST)
    try:
        told = json.loads(raw)
    except ValueError:
        told = None
    if not isinstance(told, dict) or not raw.endswith(b"\n"):
        raise Damaged("The header of this backup cannot be read.")
    return told, raw


def _chained(first: bytes, more: Iterable[bytes]) -> Iterator[bytes]:
    yield first
    for line in more:
        yield line + b"\n"


def _compressed(pieces: Iterable[bytes]) -> Iterator[bytes]:
    machine = zlib.compressobj(1, wbits=31)
    for piece in pieces:
        if small := machine.compress(piece):
            yield small
    yield machine.flush()


def _unzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    machine = zlib.decompressobj(wbits=31)
    try:
        for piece in pieces:
            yield machine.decompress(piece)
        yield machine.flush()
    except zlib.error:
        raise Damaged("This backup cannot be read to its end.") from None
    if not machine.eof:
        raise Damaged("This backup ends too early.")


def _decrypted(file: Any, identity: Any) -> Iterator[bytes]:
    """Decrypt in another thread, which writes into a pipe: the library calls, and is not called."""
    reading, writing = os.pipe()
    failed: list[BaseException] = []

    def decrypt() -> None:
        with os.fdopen(writing, "wb") as out:
            try:
                pyrage.decrypt_io(file, out, [identity])
            except BrokenPipeError:
                pass  # the reader has seen enough
            except BaseException as error:  # noqa: BLE001 - it is raised where it is read
                failed.append(error)

    thread = threading.Thread(target=decrypt, daemon=True)
    thread.start()
    started = False
    try:
        with io.FileIO(reading) as pipe:
            while piece := pipe.read(64 * 1024):
                started = True
                yield piece
    finally:
        thread.join()
    if failed:
        if started:
            raise Damaged("This backup is damaged: a part of it was changed or is missing.")
        raise DoesNotOpen(DoesNotOpen.__doc__)


class _Source:
    """A file to read from, made of pieces."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._held = pieces, b""
        self.error: Exception | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            while not self._held and (piece := next(self._pieces, None)) is not None:
                self._held = piece
        except Exception as error:
            self.error = error
            raise
        given, self._held = (self._held, b"") if size < 0 else (self._held[:size], self._held[size:])
        return given
