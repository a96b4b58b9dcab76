"""Seals of the rows that decide: made where Keyturn writes one, checked where one is read for a decision.

A seal is an HMAC by a key outside the database, over a row's table, its identity and every column that
decides. A row that was written to the database without the key grants nothing. A row whose seal does
not hold is never sealed again by a later change of it: only `accept` does that, for the person who runs the
server. What a seal cannot show: that a row, its seal and the set around it are those of an earlier day.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, ClassVar, TypeVar

from django.conf import settings
from django.db import models, transaction

from secrets_app.crypto import envelope
from secrets_app.crypto.key_files import KeyFile, Unreadable
from secrets_app.errors import DomainError

_Row = TypeVar("_Row", bound=models.Model)

MAGIC = "keyturn-seal-key-1:"
SENTENCE = (
    "This record was changed outside Keyturn, so it has no effect until an administrator has checked it."
)


class KeyMissing(DomainError):
    """The key that seals the rows that decide is missing, or is not the one that sealed them."""

    code = "seal_key_missing"


class _Memory:
    """What this process remembers: the key once it was read, and of which file."""

    key: bytes | None = None
    path: str = ""


def ensure(*, is_empty: bool) -> str:
    """Make the key for a database that has nothing yet; return the file if one was made."""
    file = _file()
    if not file.exists() and is_empty:
        file.create()
        forget()
        return str(file.path)
    return ""


def prove(row: SealedRow | None) -> None:
    """Return if the key that is there is the one that sealed `row`. Raises `KeyMissing`."""
    _key()
    if row is not None and not holds(row):
        raise KeyMissing(
            f"{settings.SEAL_KEY_FILE} is not the key that this database's rows were sealed with, or the "
            "account's row was changed outside Keyturn."
        )


def is_as_remembered() -> bool:
    """Whether the file still holds the key that this process works with, if it works with one."""
    if _Memory.key is None:
        return True
    try:
        is_same_file = _Memory.path == str(settings.SEAL_KEY_FILE)
        return is_same_file and hmac.compare_digest(_file().read(), _Memory.key)
    except Unreadable:
        return False


def forget() -> None:
    """Drop the key from memory."""
    _Memory.key, _Memory.path = None, ""
    _remembered.cache_clear()


def _file() -> KeyFile:
    return KeyFile(settings.SEAL_KEY_FILE, MAGIC)


def _key() -> bytes:
    if _Memory.key is None or _Memory.path != str(settings.SEAL_KEY_FILE):
        forget()
        file = _file()
        try:
            _Memory.key, _Memory.path = file.read(), str(file.path)
        except Unreadable as error:
            raise KeyMissing(str(error)) from None
    return _Memory.key


# ---------------------------------------------------------------- what a seal is made of


def mac(table: str, values: Iterable[object]) -> str:
    """The seal of these values under the name of their table or set. Raises `KeyMissing`."""
    key, contents = _key(), tuple(values)
    try:
        return _remembered(key, table, contents)
    except TypeError:  # a list or a dict among them
        return _mac(key, table, contents)


def _mac(key: bytes, table: str, values: tuple[object, ...]) -> str:
    texts = [_text(value) for value in values]
    return hmac.digest(key, envelope.name(table, *texts), hashlib.sha256).hex()


# A page of a list decides many times over the same few rows. Values that are equal have one text.
_remembered = functools.lru_cache(maxsize=4096)(_mac)


def agrees(seal: str, table: str, values: Iterable[object]) -> bool:
    """Whether `seal` is that of these values. Raises `KeyMissing`."""
    return hmac.compare_digest(seal.encode(), mac(table, values).encode())


def _text(value: object) -> str:
    """One text for each value, whichever database it comes from; None is not the empty text."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "+1" if value else "+0"
    if isinstance(value, datetime):
        return f"+{value.astimezone(UTC).isoformat()}"
    if isinstance(value, list | tuple | dict):
        return "+" + json.dumps(value, sort_keys=True)
    return f"+{value}"


# ---------------------------------------------------------------- rows


class SealedQuerySet(models.QuerySet[_Row]):
    """Rows whose seal follows each change that Keyturn makes to a column that decides."""

    def update(self, **fields: Any) -> int:
        table: type[SealedRow] = self.model  # type: ignore[assignment]
        if not table.decides(fields):
            return super().update(**fields)
        rows: models.QuerySet[Any] = table._base_manager.using(self.db)
        with transaction.atomic(using=self.db):
            held: list[Any] = list(self.select_for_update(of=("self",), no_key=True))
            changed = rows.filter(pk__in=[row.pk for row in held]).update(**fields)
            whole = [row.pk for row in held if agrees(row.seal, row.table(), row.deciding_values())]
            for row in rows.filter(pk__in=whole):
                rows.filter(pk=row.pk).update(seal=of(row))
        return changed

    def bulk_create(self, objs: Iterable[Any], *args: Any, **kwargs: Any) -> list[_Row]:
        rows: list[Any] = list(objs)
        for row in rows:
            row.seal = of(row)
        return super().bulk_create(rows, *args, **kwargs)


class SealedManager(models.Manager[_Row]):
    """Rows that are sealed as they are written; to be mixed into a manager of another kind too."""

    def get_queryset(self) -> models.QuerySet[_Row]:
        return SealedQuerySet(self.model, using=self._db, hints=self._hints)  # type: ignore[attr-defined]


class SealedRow(models.Model):
    """A row that decides: `SEALED` names its columns that do, its identity among them."""

    SEALED: ClassVar[tuple[str, ...]] = ()

    seal = models.CharField(max_length=64, default="", editable=False)

    objects = SealedManager()

    class Meta:
        abstract = True

    def save(self, **kwargs: Any) -> None:
        """Save the row with its seal, unless what is stored now was changed outside Keyturn."""
        names = kwargs.get("update_fields")
        if names is not None and not self.decides(names):
            super().save(**kwargs)
            return
        with transaction.atomic(using=kwargs.get("using")):
            stored = self._stored()
            if stored is None or agrees(stored.seal, self.table(), stored.deciding_values()):
                self.seal = of(self if names is None or stored is None else self._laid_over(stored, names))
                if names is not None:
                    kwargs["update_fields"] = {*names, "seal"}
            elif names is None:
                self.seal = stored.seal
            super().save(**kwargs)

    def _stored(self) -> SealedRow | None:
        if self._state.adding:
            return None
        rows: models.QuerySet[Any] = type(self)._base_manager.select_for_update(of=("self",), no_key=True)
        return rows.filter(pk=self.pk).first()

    def _laid_over(self, stored: SealedRow, names: Iterable[str]) -> SealedRow:
        """The row as it will stand: another process may have changed the columns that are not saved here."""
        for name in names:
            column = self._meta.get_field(name).attname  # type: ignore[union-attr]
            setattr(stored, column, getattr(self, column))
        return stored

    @classmethod
    def table(cls) -> str:
        return cls._meta.label_lower

    @classmethod
    def decides(cls, names: Iterable[str]) -> bool:
        """Whether one of these fields decides."""
        sealed = {column.partition(".")[0].removesuffix("_id") for column in cls.SEALED}
        return any(name.removesuffix("_id") in sealed for name in names)

    def deciding_values(self) -> tuple[Any, ...]:
        return _getter(self.SEALED)(self)  # type: ignore[no-any-return]


@functools.cache
def _getter(columns: tuple[str, ...]) -> Any:
    return attrgetter(*columns)


def of(row: SealedRow) -> str:
    """The seal that belongs to this row as it stands here. Raises `KeyMissing`."""
    return mac(row.table(), row.deciding_values())


def holds(row: SealedRow) -> bool:
    """Whether this row is as Keyturn wrote it. Raises `KeyMissing`."""
    if agrees(row.seal, row.table(), row.deciding_values()):
        return True
    # It may have changed, with its seal, since it was read here; what decides is what stands there.
    stored = type(row)._base_manager.filter(pk=row.pk).first()
    return (
        stored is not None
        and stored.deciding_values() == row.deciding_values()
        and agrees(stored.seal, row.table(), stored.deciding_values())
    )


def accept(row: SealedRow) -> None:
    """Seal this row as it is in the database: a user has checked it and answers for it."""
    with transaction.atomic():
        rows = type(row)._base_manager
        stored = rows.select_for_update(of=("self",), no_key=True).get(pk=row.pk)
        rows.filter(pk=row.pk).update(seal=of(stored))
