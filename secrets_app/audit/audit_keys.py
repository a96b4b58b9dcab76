"""The keys of the audit trail: one that chains events and marks values, one that signs checkpoints.

Neither is ever in the database, and none is made while there is something that another one made: a trail
whose key is gone is *sealed*, since a later event could not be told from a forged one.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

from secrets_app.crypto import envelope
from secrets_app.crypto.key_files import KeyFile, Unreadable
from secrets_app.errors import DomainError
from secrets_app.models import AuditCheckpoint, AuditEvent, AuditHead

AUDIT_MAGIC = "keyturn-audit-key-1:"
CHECKPOINT_MAGIC = "keyturn-checkpoint-key-1:"


class KeyMissing(DomainError):
    """A key of the audit trail is missing, or is not the one that the trail was made with."""

    code = "audit_key_missing"


class _Memory:
    """What this process remembers: the audit key once it was read, and of which file."""

    key: bytes | None = None
    path: str = ""


def ensure() -> list[str]:
    """Make the keys that are not there, for a trail that has nothing yet; return the files that were made.

    Raises `KeyMissing` where events exist and their key is gone or is another one.
    """
    written = []
    for file, rows in ((_audit_file(), AuditEvent), (_checkpoint_file(), AuditCheckpoint)):
        if not file.exists() and not rows.objects.exists():
            file.create()
            written.append(str(file.path))
    forget()
    prove()
    return written


def prove() -> None:
    """Return if new events can follow the ones that are there. Raises `KeyMissing`."""
    head = AuditHead.objects.first()
    if head is not None:
        require(head)
    else:
        _key()


def require(head: AuditHead) -> None:
    """Return if this head was made with our key. Raises `KeyMissing`."""
    if head.key_name != name():
        raise KeyMissing(f"{settings.AUDIT_KEY_FILE} is not the key that this audit trail was made with.")


def is_as_remembered() -> bool:
    """Whether the file still holds the key that this process works with, if it works with one."""
    if _Memory.key is None:
        return True
    try:
        return _Memory.path == str(_audit_file().path) and hmac.compare_digest(
            _audit_file().read(), _Memory.key
        )
    except Unreadable:
        return False


def forget() -> None:
    """Drop the key from memory."""
    _Memory.key, _Memory.path = None, ""


def name() -> str:
    """What tells the audit key from another one and says nothing of either."""
    return envelope.key_id(_key()).hex()


def chaining() -> bytes:
    """The key that ties events together. Raises `KeyMissing`."""
    return _derived(b"keyturn audit chain 1")


def mark(value: bytes) -> str:
    """The mark of a value in an event; without the key, values cannot be tried against it."""
    return hmac.digest(_derived(b"keyturn value mark 1"), value, hashlib.sha256).hex()


def signing() -> Ed25519PrivateKey:
    """The key that signs checkpoints. Raises `KeyMissing`."""
    try:
        return Ed25519PrivateKey.from_private_bytes(_checkpoint_file().read())
    except Unreadable as error:
        raise KeyMissing(str(error)) from None


def public_key() -> str:
    """The public half, in hexadecimal, for checking the exported checkpoints elsewhere."""
    return signing().public_key().public_bytes_raw().hex()


def _audit_file() -> KeyFile:
    return KeyFile(settings.AUDIT_KEY_FILE, AUDIT_MAGIC)


def _checkpoint_file() -> KeyFile:
    return KeyFile(settings.CHECKPOINT_KEY_FILE, CHECKPOINT_MAGIC)


def _key() -> bytes:
    file = _audit_file()
    if _Memory.key is None or _Memory.path != str(file.path):
        try:
            _Memory.key, _Memory.path = file.read(), str(file.path)
        except Unreadable as error:
            raise KeyMissing(str(error)) from None
    return _Memory.key


def _derived(label: bytes) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=label).derive(_key())
