"""The only writer of sealed values, and the one place where keys are used: root key, key versions, data keys.

The root key is never in the database, nor here: its provider (`root_keys`) wraps key versions; a key
version wraps a fresh data key for every value; the data key seals the value. A key version is read with its
state each time, so that disabling one reaches every process.

Where the root key is missing or is not the one that wrapped the key versions, the keyring is
*sealed*: nothing opens, nothing is sealed, and no key is ever made over existing ones.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import logging
import time
import uuid
from collections.abc import Collection

from django.conf import settings
from django.db import connection, transaction

from secrets_app import prepared, regions, root_keys, seals
from secrets_app.audit import audit_keys
from secrets_app.crypto import envelope
from secrets_app.errors import DomainError
from secrets_app.models import Account, Key, KeyVersion, RootKeyMove, SealedValue
from secrets_app.root_keys import RootKey

log = logging.getLogger(__name__)

DEFAULT_ALIAS = "keyturn/default"
DEFAULT_DESCRIPTION = "Seals whatever no other key was chosen for, management credentials included."
RECHECK_SECONDS = 5.0
OPENS = frozenset({KeyVersion.State.PRIMARY, KeyVersion.State.ENABLED})


_VERSION = prepared.Question(lambda pk: KeyVersion.objects.select_related("key").filter(pk=pk))
_VALUES = prepared.Several(
    lambda ids: SealedValue.objects.select_related("key_version__key").filter(pk__in=ids)
)
_ADD = prepared.Row(SealedValue)
_PRIMARY = prepared.Question(
    lambda key: KeyVersion.objects.select_related("key").filter(key=key, state=KeyVersion.State.PRIMARY)[:1]
)


class Sealed(DomainError):
    """The root key is missing or is not the one that this database was sealed under."""

    code = "sealed"


class KeyUnusable(DomainError):
    """The key that this needs is destroyed or is about to be: nothing opens or is sealed under it."""

    code = "key_unusable"


class KeyDisabled(KeyUnusable):
    """The key that this needs is disabled: until it is enabled again, nothing opens under it."""

    code = "key_disabled"


class _Memory:
    """What this process remembers: which root key has been proven, and when to ask again."""

    root_id: bytes | None = None
    addresses: tuple[
        str, ...
    ] = ()  # of the root keys that may have wrapped a key version; the last one wraps
    checked_until: float = 0.0
    is_told: bool = False  # the log says that it is sealed


def ensure_root_key() -> bool:
    """Make the root key, the audit's keys and the first key, once, for an empty database.

    True if a root key was made.

    Raises `Sealed` where key versions exist and the root key is missing or is another one's.
    """
    forget()
    is_new = not KeyVersion.objects.exists() and root_keys.provider().make()
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
            _first_version(key)
    _prove()
    return is_new


def is_sealed() -> bool:
    """True while no value can be opened. Cheap: the key files are read again every five seconds.

    An open keyring does so too: a file that is gone or was exchanged is missing at the next start, and must
    be restored before that. Each change is one line of the log.
    """
    if time.monotonic() < _Memory.checked_until:
        return _Memory.root_id is None
    try:
        if _Memory.root_id is not None and not _is_as_remembered(_Memory.root_id):
            forget()  # proven again below: the key that is there now may be the right one
        _prove()
    except Sealed as error:
        forget()
        if not _Memory.is_told:
            log.critical("Sealed: %s", error)
    else:
        if _Memory.is_told:
            log.warning("Open again: the key files are back.")
    _Memory.is_told = _Memory.root_id is None
    _Memory.checked_until = time.monotonic() + RECHECK_SECONDS
    return _Memory.is_told


def _is_as_remembered(root_id: bytes) -> bool:
    """Whether the keys in their places are still those that this process works with."""
    try:
        is_root = hmac.compare_digest(_root_id(), root_id)
    except Sealed:
        return False  # it may have been moved; what is proven next says so, or why it is sealed
    return is_root and audit_keys.is_as_remembered() and seals.is_as_remembered()


def forget() -> None:
    """Drop the keys from memory; the next use reads and proves them again."""
    _Memory.root_id, _Memory.checked_until = None, 0.0
    with contextlib.suppress(Sealed):  # without its library there is nothing to forget
        for root_key in _root_keys():
            root_key.forget()
    _Memory.addresses = ()
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
    sealed = SealedValue(
        account_id=key.account_id,
        owner_id=owner_id,
        subject_id=subject_id,
        field=field,
        key_version=version,
        wrapped_key=_wrap(version, data_key, bound),
        ciphertext=envelope.seal(data_key, plaintext, bound),
    )
    _ADD(sealed)
    return sealed


def open_(
    sealed: SealedValue,
    *,
    owner_id: uuid.UUID,
    subject_id: uuid.UUID,
    field: str,
    version: KeyVersion | None = None,
) -> bytes:
    """Return the plaintext of `sealed`, which the caller expects to belong to these ids.

    The names come from the caller, not from the row: a row that was moved does not open. `version` is what
    `usable` has just returned for it. Raises `envelope.Tampered`, `Sealed` or `KeyUnusable`.
    """
    version = version or usable(sealed)
    bound = _bound(sealed.account_id, owner_id, subject_id, field)
    data_key = _unwrap_data_key(version, sealed, bound)
    return envelope.open_(data_key, bytes(sealed.ciphertext), bound)


def usable(sealed: SealedValue) -> KeyVersion:
    """Return the key version that opens `sealed`, as its row says at this moment.

    Raises `KeyDisabled` or `KeyUnusable`, so that work which would need the value can stop before it begins.
    """
    # Not `sealed.key_version`: a worker may hold that object for minutes, and the switch must reach it.
    version = _VERSION.first(sealed.key_version_id)
    if version is None:
        raise KeyVersion.DoesNotExist
    return _opening(version)


def usable_as_read(sealed: SealedValue) -> KeyVersion:
    """As `usable`, of a value whose key version was read with it in the same statement, a moment ago."""
    return _opening(sealed.key_version)


def look_up(
    sealed_ids: Collection[uuid.UUID],
) -> dict[uuid.UUID, tuple[SealedValue, KeyVersion | DomainError]]:
    """Return these values with what `usable` says of each at this moment; a destroyed one is left out."""
    values: dict[uuid.UUID, tuple[SealedValue, KeyVersion | DomainError]] = {}
    for sealed in _VALUES(sealed_ids):
        try:
            values[sealed.pk] = sealed, _opening(sealed.key_version)
        except (KeyUnusable, Sealed) as error:
            values[sealed.pk] = sealed, error
    return values


def _opening(version: KeyVersion) -> KeyVersion:
    if version.state not in OPENS:
        raise _refusal(version.state)
    return _whole(version)


def primary(key: Key) -> KeyVersion:
    """Return the version that `key` seals new values with. Raises `KeyDisabled` or `KeyUnusable`."""
    version = _PRIMARY.first(key.pk)
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
            "A user with the permission to enable keys can enable it on its page."
        )
    about = "scheduled for destruction" if state == KeyVersion.State.SCHEDULED else "destroyed"
    return KeyUnusable(f"The encryption key is {about}. Nothing opens under it, and nothing is sealed.")


def rewrap(sealed: SealedValue, to: KeyVersion) -> bool:
    """Wrap the data key of `sealed` under `to`; False if another process has changed the row meanwhile.

    The payload stays as it is. What does not open is left as it was. Raises `envelope.Tampered`, `Sealed`
    or `KeyUnusable`.
    """
    bound = _bound(sealed.account_id, sealed.owner_id, sealed.subject_id, sealed.field)
    data_key = _unwrap_data_key(usable(sealed), sealed, bound)
    # The payload is the proof that this is its data key: a wrong one would be wrapped as well as the right.
    envelope.open_(data_key, bytes(sealed.ciphertext), bound)
    rows = SealedValue.objects.filter(pk=sealed.pk, key_version=sealed.key_version_id)
    return bool(rows.update(key_version=to, wrapped_key=_wrap(to, data_key, bound)))


def known_version(
    version_id: uuid.UUID, *, key_id: uuid.UUID, number: int, wrapped: bytes
) -> KeyVersion | None:
    """Return this key version, stored again if an older database lacks it; None without its key."""
    found = KeyVersion.objects.filter(pk=version_id).first()
    if found is not None or not Key.objects.filter(pk=key_id).exists():
        return found
    numbers = set(KeyVersion.objects.filter(key_id=key_id).values_list("number", flat=True))
    return KeyVersion.objects.create(
        id=version_id,
        key_id=key_id,
        number=number if number not in numbers else max(numbers) + 1,
        state=KeyVersion.State.ENABLED,
        wrapped=wrapped,
    )


def keep(
    account_id: uuid.UUID,
    version: KeyVersion,
    *,
    owner_id: uuid.UUID,
    subject_id: uuid.UUID,
    field: str,
    wrapped_key: bytes,
    ciphertext: bytes,
) -> SealedValue:
    """Store what was sealed before, as it is."""
    return SealedValue.objects.create(
        account_id=account_id,
        owner_id=owner_id,
        subject_id=subject_id,
        field=field,
        key_version=version,
        wrapped_key=wrapped_key,
        ciphertext=ciphertext,
    )


def mend(sealed: SealedValue, *, wrapped_key: bytes, ciphertext: bytes) -> None:
    """Replace a value that does not open by another copy of it."""
    SealedValue.objects.filter(pk=sealed.pk).update(wrapped_key=wrapped_key, ciphertext=ciphertext)


def destroy(sealed: SealedValue) -> None:
    """Delete a value and the data key that opens it. The caller first removes all references to it."""
    sealed.delete()


def scrub() -> None:
    """Take destroyed values out of SQLite's journal too, where their old pages stand until overwritten.

    Never call it inside a transaction. If a reader holds on for longer than a second, it gives up; the
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


def _first_version(key: Key) -> None:
    pk = uuid.uuid4()
    KeyVersion.objects.create(
        id=pk, key=key, state=KeyVersion.State.PRIMARY, wrapped=_fresh_material(key, pk)
    )


def new_material(key: Key, version_id: uuid.UUID) -> bytes:
    """Return fresh key material for this version of `key`, wrapped by the root key. Raises `Sealed`.

    Inside the transaction that stores it: a move to another root key that begins meanwhile finds it.
    """
    if connection.in_atomic_block:
        Account.objects.select_for_update(of=("self",)).get(pk=key.account_id)
    _look_for_move()
    _prove()
    proven = _Memory.root_id
    wrapped = _fresh_material(key, version_id)
    # Another thread may have dropped the proven key meanwhile, and the file may be another one since.
    if proven is None or not hmac.compare_digest(_root_id(), proven):
        raise Sealed("The root key was exchanged just now. Put the right one back; nothing was made.")
    return wrapped


def _fresh_material(key: Key, version_id: uuid.UUID) -> bytes:
    material = _mark(key.account_id, key.pk, version_id) + envelope.new_key()
    try:
        return _root_keys()[-1].wrap(material)
    except root_keys.Unavailable as error:
        raise Sealed(str(error)) from None


def _mark(account_id: uuid.UUID, key_id: uuid.UUID, version_id: uuid.UUID) -> bytes:
    """What is wrapped together with the material of this version, so that it opens in no other row.

    Not every root key can bind what it wraps to a name of ours: a hardware module often cannot.
    """
    return hashlib.sha256(envelope.name("key version", account_id, key_id, version_id)).digest()


def _material(version: KeyVersion) -> bytes:
    _prove()
    return _unwrap(version)


def _unwrap(version: KeyVersion) -> bytes:
    """Return the material of `version`. Raises `envelope.Tampered`, `KeyUnusable` or `Sealed`."""
    if version.wrapped is None:
        raise _refusal(version.state)
    try:
        unwrapped = _opened(bytes(version.wrapped))
    except root_keys.Unavailable as error:
        raise Sealed(str(error)) from None
    mark = _mark(version.key.account_id, version.key_id, version.pk)
    if not hmac.compare_digest(unwrapped[: len(mark)], mark):
        raise envelope.Tampered("This key version does not open: it was wrapped for another row.")
    return unwrapped[len(mark) :]


def _opened(wrapped: bytes) -> bytes:
    """Return what one of the root keys wrapped. Raises `envelope.Tampered` or `root_keys.Unavailable`."""
    for is_last in (False, True):
        away: root_keys.Unavailable | None = None
        for root_key in _root_keys():
            try:
                return root_key.unwrap(wrapped)
            except envelope.Tampered:
                continue
            except root_keys.Unavailable as error:
                away = error
        # It may have been moved to another root key since this process looked.
        if is_last or not _look_for_move():
            break
    raise away or envelope.Tampered("This does not open by the root key: another one, or changed bytes.")


def _root_keys() -> list[RootKey]:
    """The root keys that may have wrapped a key version; the last one wraps new ones."""
    try:
        return [root_keys.at(address) for address in _Memory.addresses or (settings.ROOT_KEY,)]
    except root_keys.Unavailable as error:
        raise Sealed(str(error)) from None


def _look_for_move() -> bool:
    """Read whether the root key is being moved; True where other root keys count than before."""
    chosen = _chosen()
    if chosen == (_Memory.addresses or (settings.ROOT_KEY,)):
        return False
    _Memory.addresses, _Memory.root_id = chosen, None  # proven again
    return True


def _chosen() -> tuple[str, ...]:
    move = RootKeyMove.objects.first()
    try:
        if move is None or not seals.holds(move):
            return (settings.ROOT_KEY,)
    except seals.KeyMissing as error:
        raise Sealed(str(error)) from None
    if move.state == RootKeyMove.State.RUNNING:
        return tuple(dict.fromkeys((settings.ROOT_KEY, move.source, move.target)))
    # Until the setting names the new one; what was moved needs the old one no more.
    return (move.target,) if move.source == settings.ROOT_KEY else (settings.ROOT_KEY,)


def root_key_address() -> str:
    """The address of the root key that wraps now: that of the setting, or the one that was moved to."""
    return _chosen()[-1]


def move_version(version: KeyVersion, target: RootKey) -> bool:
    """Wrap the material of `version` by `target`; False where it is already, or another process changed it.

    The old wrap is replaced only after the new one was opened again. Raises `envelope.Tampered`, `Sealed` or
    `KeyUnusable`.
    """
    old = bytes(version.wrapped or b"")
    try:
        if is_under(version, target):
            return False
        mark = _mark(version.key.account_id, version.key_id, version.pk)
        material = mark + _unwrap(version)
        new = target.wrap(material)
        target.forget()  # not what it remembers, but what it opens
        if not hmac.compare_digest(target.unwrap(new), material):
            raise envelope.Tampered(f"{target} does not return what it wrapped. Nothing was changed.")
    except root_keys.Unavailable as error:
        raise Sealed(str(error)) from None
    return bool(KeyVersion.objects.filter(pk=version.pk, wrapped=old).update(wrapped=new))


def is_under(version: KeyVersion, root_key: RootKey) -> bool:
    """Whether `root_key` opens the material of `version`. Raises `root_keys.Unavailable`."""
    try:
        root_key.unwrap(bytes(version.wrapped or b""))
    except envelope.Tampered:
        return False
    return True


def _root_id() -> bytes:
    try:
        ids = [root_key.key_id() for root_key in _root_keys()]
    except root_keys.Unavailable as error:
        raise Sealed(str(error)) from None
    return b"".join(ids)


def _prove() -> None:
    """Return if the root key is the one of this database: asked of a key version the first time.

    Raises `Sealed`.
    """
    if _Memory.root_id is not None:
        return
    _look_for_move()
    for root_key in _root_keys():
        root_key.forget()  # what failed the last proof may have been replaced
    # Before the proof: a key that is exchanged between the two has another id at the next look.
    root_id = _root_id()
    version = KeyVersion.objects.exclude(state=KeyVersion.State.DESTROYED).select_related("key").first()
    if version is None:
        raise Sealed("This database has no key yet: run the set-up first.")
    try:
        _unwrap(version)
    except envelope.Tampered:
        raise Sealed(f"{_root_keys()[-1]} is not the root key that this database was sealed under.") from None
    try:
        audit_keys.prove()
        seals.prove(Account.objects.first())
    except (audit_keys.KeyMissing, seals.KeyMissing) as error:
        raise Sealed(str(error)) from None  # nothing is done that cannot be recorded, or trusted
    _Memory.root_id = root_id
