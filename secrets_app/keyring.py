"""The only writer of sealed values, and the one place where keys are used: root key, key versions, data keys.

The root key is never in the database. It wraps key versions; a key version wraps a fresh data key
for every value; the data key seals the value. Only the root key stays in memory; a key version is
read with its state each time, so that disabling one reaches every process.

Where the root key is missing or is not the one that wrapped the key versions, the keyring is
*sealed*: nothing opens, nothing is sealed, and no key is ever made over existing ones.
"""

from __future__ import annotations

import hmac
import logging
import os
import time
import uuid
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.db import connection, transaction

from secrets_app import audit_keys, envelope, keyfiles, regions, seals
from secrets_app.models import Account, Key, KeyVersion, SealedValue

log = logging.getLogger(__name__)

DEFAULT_ALIAS = "keyturn/default"
DEFAULT_DESCRIPTION = "Seals whatever no other key was chosen for, management credentials included."
FILE_MAGIC = "keyturn-root-key-1:"
RECHECK_SECONDS = 5.0
OPENS = frozenset({KeyVersion.State.PRIMARY, KeyVersion.State.ENABLED})


class Sealed(Exception):
    """The root key is missing or is not the one that this database was sealed under."""


class KeyUnusable(Exception):
    """The key that this needs is destroyed or is about to be: nothing opens or is sealed under it."""


class KeyDisabled(KeyUnusable):
    """The key that this needs is disabled: until it is enabled again, nothing opens under it."""


class RootKey(Protocol):
    """Where the root key comes from."""

    def read(self) -> bytes:
        """Return its 32 bytes. Raises `Sealed` where there is none."""
        ...


class FileRootKey:
    """The root key in a file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> bytes:
        try:
            text = keyfiles.read_private(self.path)
        except keyfiles.Unreadable as error:
            raise Sealed(f"The root key cannot be used. {error}") from None
        try:
            key = bytes.fromhex(text.removeprefix(FILE_MAGIC))
        except ValueError:
            raise Sealed(f"{self.path} is not a root key file.") from None
        if not text.startswith(FILE_MAGIC) or len(key) != envelope.KEY_BYTES:
            raise Sealed(f"{self.path} is not a root key file.")
        return key

    def create(self) -> None:
        """Write a new root key; never over an existing file (FileExistsError)."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(FILE_MAGIC + envelope.new_key().hex() + "\n")
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class _Memory:
    """What this process remembers: the root key once it has been proven, and when to ask again."""

    root: bytes | None = None
    checked_until: float = 0.0
    is_told: bool = False  # the log says that it is sealed


def ensure_root_key() -> bool:
    """Make the root key, the audit's keys and the first key, once, for an empty database.

    True if a root key file was made.

    Raises `Sealed` where key versions exist and the file is missing or is another one's.
    """
    provider = FileRootKey(settings.ROOT_KEY_FILE)
    made = False
    if not provider.path.exists() and not KeyVersion.objects.exists():
        provider.create()
        made = True
    forget()
    try:
        seals.ensure(is_empty=not Account.objects.exists())
        seals.prove(Account.objects.first())
        audit_keys.ensure()
    except (audit_keys.KeyMissing, seals.KeyMissing) as error:
        raise Sealed(str(error)) from None
    with transaction.atomic():
        key, _ = Key.objects.get_or_create(
            account=regions.account(), alias=DEFAULT_ALIAS, defaults={"description": DEFAULT_DESCRIPTION}
        )
        if not key.versions.exists():
            _first_version(key, provider.read())
    _root_key()
    return made


def is_sealed() -> bool:
    """True while no value can be opened. Cheap: the key files are read again every five seconds.

    An open keyring does so too: a file that is gone or was exchanged is missing at the next start, and must
    be put back before that. Each change is one line of the log.
    """
    if time.monotonic() < _Memory.checked_until:
        return _Memory.root is None
    try:
        if _Memory.root is not None and not _is_as_remembered(_Memory.root):
            forget()  # proven anew below: the file that is there now may be the right one
        _root_key()
    except Sealed as error:
        forget()
        if not _Memory.is_told:
            log.critical("Sealed: %s", error)
    else:
        if _Memory.is_told:
            log.warning("Open again: the key files are back.")
    _Memory.is_told = _Memory.root is None
    _Memory.checked_until = time.monotonic() + RECHECK_SECONDS
    return _Memory.is_told


def _is_as_remembered(root: bytes) -> bool:
    """Whether the files still hold the keys that this process works with. Raises `Sealed`."""
    found = FileRootKey(settings.ROOT_KEY_FILE).read()
    is_root = hmac.compare_digest(found, root)
    return is_root and audit_keys.is_as_remembered() and seals.is_as_remembered()


def forget() -> None:
    """Drop the keys from memory; the next use reads and proves them again."""
    _Memory.root, _Memory.checked_until = None, 0.0
    audit_keys.forget()
    seals.forget()


def default_key() -> Key:
    """Return the key that new values are sealed under unless another is chosen."""
    return Key.objects.get(alias=DEFAULT_ALIAS)


def seal(
    plaintext: bytes, *, owner_id: uuid.UUID, subject_id: uuid.UUID, field: str, key: Key | None = None
) -> SealedValue:
    """Seal `plaintext` for the row `subject_id` (a version, a credential) of `owner_id`, and store it.

    Raises `Sealed` or `KeyUnusable`.
    """
    key = key or default_key()
    version, data_key = primary(key), envelope.new_key()
    bound = _bound(key.account_id, owner_id, subject_id, field)
    return SealedValue.objects.create(
        account_id=key.account_id,
        owner_id=owner_id,
        subject_id=subject_id,
        field=field,
        key_version=version,
        wrapped_key=_wrap(version, data_key, bound),
        ciphertext=envelope.seal(data_key, plaintext, bound),
    )


def open_(sealed: SealedValue, *, owner_id: uuid.UUID, subject_id: uuid.UUID, field: str) -> bytes:
    """Return the plaintext of `sealed`, which the caller expects to belong to these ids.

    The names come from the caller, not from the row: a row that was moved does not open. Raises
    `envelope.Tampered`, `Sealed` or `KeyUnusable`.
    """
    version = usable(sealed)
    bound = _bound(sealed.account_id, owner_id, subject_id, field)
    data_key = _unwrap_data_key(version, sealed, bound)
    return envelope.open_(data_key, bytes(sealed.ciphertext), bound)


def usable(sealed: SealedValue) -> KeyVersion:
    """Return the key version that opens `sealed`, as its row says at this moment.

    Raises `KeyDisabled` or `KeyUnusable`, so that work which would need the value can stop before it begins.
    """
    # Not `sealed.key_version`: a worker may hold that object for minutes, and the switch must reach it.
    version = KeyVersion.objects.select_related("key").get(pk=sealed.key_version_id)
    if version.state not in OPENS:
        raise _refusal(version.state)
    return _whole(version)


def primary(key: Key) -> KeyVersion:
    """Return the version that `key` seals new values with. Raises `KeyDisabled` or `KeyUnusable`."""
    version = KeyVersion.objects.select_related("key").filter(key=key, state=KeyVersion.State.PRIMARY).first()
    if version is None:
        raise _refusal(Key.objects.get(pk=key.pk).state)
    return _whole(version)


def _whole(version: KeyVersion) -> KeyVersion:
    """Return it if it is as Keyturn wrote it: what was disabled is not enabled in the database."""
    try:
        is_whole = seals.holds(version)
    except seals.KeyMissing as error:
        raise Sealed(str(error)) from None
    if not is_whole:
        raise KeyUnusable("A version of the encryption key was changed outside Keyturn: nothing opens.")
    return version


def _refusal(state: str) -> KeyUnusable:
    """Say it without the key's name: many may see a secret, and fewer its key."""
    if state == KeyVersion.State.DISABLED:
        return KeyDisabled(
            "The encryption key is disabled, so nothing that it sealed can be read or rotated. "
            "Whoever may enable keys can enable it again on its page."
        )
    about = "scheduled for destruction" if state == KeyVersion.State.SCHEDULED else "destroyed"
    return KeyUnusable(f"The encryption key is {about}. Nothing opens under it, and nothing is sealed.")


def rewrap(sealed: SealedValue, to: KeyVersion) -> bool:
    """Wrap the data key of `sealed` under `to`; False where somebody else has changed the row meanwhile.

    The payload stays as it is. What does not open is left as it was. Raises `envelope.Tampered`, `Sealed`
    or `KeyUnusable`.
    """
    bound = _bound(sealed.account_id, sealed.owner_id, sealed.subject_id, sealed.field)
    data_key = _unwrap_data_key(usable(sealed), sealed, bound)
    # The payload is the proof that this is its data key: a wrong one would be wrapped as well as the right.
    envelope.open_(data_key, bytes(sealed.ciphertext), bound)
    rows = SealedValue.objects.filter(pk=sealed.pk, key_version=sealed.key_version_id)
    return bool(rows.update(key_version=to, wrapped_key=_wrap(to, data_key, bound)))


def destroy(sealed: SealedValue) -> None:
    """Delete a value and the data key that opens it. Whatever points at it lets go first."""
    sealed.delete()


def scrub() -> None:
    """Take destroyed values out of SQLite's journal too, where their old pages stand until overwritten.

    Never call it inside a transaction. Where somebody reads on for longer than a second it gives up; the
    next call does it.
    """
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            usual = cursor.execute("PRAGMA busy_timeout").fetchone()[0]
            cursor.execute("PRAGMA busy_timeout=1000")  # writers wait for so long
            try:
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                cursor.execute(f"PRAGMA busy_timeout={int(usual)}")


def _bound(account_id: uuid.UUID, owner_id: uuid.UUID, subject_id: uuid.UUID, field: str) -> bytes:
    return envelope.name("value", account_id, owner_id, subject_id, field)


def _wrap(version: KeyVersion, data_key: bytes, bound: bytes) -> bytes:
    name = bound + envelope.name(version.pk)
    return envelope.seal(_material(version), data_key, name, key_name=version.pk.bytes)


def _unwrap_data_key(version: KeyVersion, sealed: SealedValue, bound: bytes) -> bytes:
    return envelope.open_(_material(version), bytes(sealed.wrapped_key), bound + envelope.name(version.pk))


def _first_version(key: Key, root: bytes) -> None:
    made = uuid.uuid4()
    wrapped = _wrapped_by(root, key, made)
    KeyVersion.objects.create(id=made, key=key, state=KeyVersion.State.PRIMARY, wrapped=wrapped)


def new_material(key: Key, version_id: uuid.UUID) -> bytes:
    """Return fresh key material for this version of `key`, wrapped by the root key. Raises `Sealed`."""
    return _wrapped_by(_root_key(), key, version_id)


def _wrapped_by(root: bytes, key: Key, version_id: uuid.UUID) -> bytes:
    bound = envelope.name("key version", key.account_id, key.pk, version_id)
    return envelope.seal(root, envelope.new_key(), bound, key_name=envelope.key_id(root))


def _material(version: KeyVersion) -> bytes:
    return _unwrap(version, _root_key())


def _unwrap(version: KeyVersion, root: bytes) -> bytes:
    if version.wrapped is None:
        raise _refusal(version.state)
    bound = envelope.name("key version", version.key.account_id, version.key_id, version.pk)
    return envelope.open_(root, bytes(version.wrapped), bound)


def _root_key() -> bytes:
    """Return the root key, proven against a key version of this database the first time."""
    if _Memory.root is None:
        root = FileRootKey(settings.ROOT_KEY_FILE).read()
        version = KeyVersion.objects.exclude(state=KeyVersion.State.DESTROYED).select_related("key").first()
        if version is None:
            raise Sealed("This database has no key yet: run the set-up first.")
        try:
            _unwrap(version, root)
        except envelope.Tampered:
            raise Sealed(
                f"{settings.ROOT_KEY_FILE} is not the root key that this database was sealed under."
            ) from None
        try:
            audit_keys.prove()
            seals.prove(Account.objects.first())
        except (audit_keys.KeyMissing, seals.KeyMissing) as error:
            raise Sealed(str(error)) from None  # nothing is done that cannot be recorded, or trusted
        _Memory.root = root
    return _Memory.root
