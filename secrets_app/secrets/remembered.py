"""What decided about the last reads, kept by this process, and proven unchanged before the next one counts.

A program asks for the same value all day. Each time the same rows decide: its access key and principal with
all their rights, the regions, the secret with its labels. They are kept here as they were read, beside a
digest that the database made of their contents in the same snapshot. A read decides by what is kept, and in
the transaction that records it, while the head of the trail is locked, the database makes the digests again
for all reads of that transaction, in one statement. If one differs, that read has not happened: nothing is
recorded and nothing opened, and it is asked again from the beginning.

So what is kept decides nothing by itself, and a change counts for the very next read, by whichever way it was
made. No plaintext is kept. On PostgreSQL alone: SQLite has no round trips to save.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from uuid import UUID

from django.db import DatabaseError, connection, transaction

from secrets_app import prepared
from secrets_app.errors import DomainError
from secrets_app.models import AccessKey, Label, Region, Secret
from secrets_app.people import access_keys
from secrets_app.policy import holdings
from secrets_app.secrets import digests
from secrets_app.secrets.digests import LastRead, Proof

KEYS_AT_MOST: Final = 1000
SECRETS_AT_MOST: Final = 2000
#: Of the sealed values of one secret together. Larger ones are read from the database each time.
SEALED_BYTES_AT_MOST: Final = 16 * 1024
#: Of one principal, and of the installation: with more, the digests would cost more than they save.
GRANTS_AT_MOST: Final = 1000
REGIONS_AT_MOST: Final = 200
TRIED_AGAIN_AFTER: Final = 300.0  # seconds after which something that was too large is looked at again
_Part = TypeVar("_Part")


@dataclass(frozen=True)
class KeptKey:
    """An access key as `access_keys.row` reads it, and the rights of its principal."""

    row: AccessKey
    sheet: holdings.Sheet
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class KeptRegions:
    """Every region, with the account."""

    rows: tuple[Region, ...]
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class KeptSecret:
    """A secret that is not purged, with its labels, their versions and what is sealed for each."""

    row: Secret
    labels: tuple[Label, ...]
    regions: KeptRegions  # one of which is the secret's
    proofs: tuple[Proof, ...]


class _Shelf(Generic[_Part]):
    """The parts that were used last, by name."""

    def __init__(self, most: int) -> None:
        self._most, self._lock = most, threading.Lock()
        self._parts: OrderedDict[str, _Part] = OrderedDict()

    def get(self, name: str) -> _Part | None:
        with self._lock:
            part = self._parts.get(name)
            if part is not None:
                self._parts.move_to_end(name)
            return part

    def put(self, name: str, part: _Part) -> None:
        with self._lock:
            self._parts[name] = part
            self._parts.move_to_end(name)
            while len(self._parts) > self._most:
                self._parts.popitem(last=False)

    def drop(self, name: str, proof: Proof) -> None:
        """Drop the part of this name, unless it was learned again and has another proof."""
        with self._lock:
            if proof in getattr(self._parts.get(name), "proofs", ()):
                del self._parts[name]

    def clear(self) -> None:
        with self._lock:
            self._parts.clear()

    def __len__(self) -> int:
        return len(self._parts)


_keys: _Shelf[KeptKey] = _Shelf(KEYS_AT_MOST)
_secrets: _Shelf[KeptSecret] = _Shelf(SECRETS_AT_MOST)
_regions: _Shelf[KeptRegions] = _Shelf(1)
#: What was asked for once: the second time it is learned.
_met: _Shelf[bool] = _Shelf(KEYS_AT_MOST + SECRETS_AT_MOST)
#: What is too large to be kept, until when.
_large: _Shelf[float] = _Shelf(KEYS_AT_MOST + SECRETS_AT_MOST)


def key(key_id: str) -> KeptKey | None:
    return _keys.get(key_id)


def regions() -> KeptRegions | None:
    return _regions.get("")


def secret(region: Region, name: str) -> KeptSecret | None:
    """The secret of this name, as it was kept with the regions that are kept now."""
    found = _secrets.get(_name(region.pk, name))
    return found if found is not None and found.regions is regions() else None


def forget(proofs: Iterable[Proof] | None = None, *, of: KeptKey | None = None) -> None:
    """Drop what these prove of a read `of` this key, since it has changed; or everything.

    And nothing else: a key changes once a minute, when its use is noted, and the secrets stay as they are.
    """
    if proofs is None:
        for shelf in (_keys, _secrets, _regions, _met, _large):
            shelf.clear()
        return
    for proof in proofs:
        if proof.kind == "secret":
            _secrets.drop(proof.name, proof)
        elif proof.kind == "regions":
            _regions.drop(proof.name, proof)
        elif of is not None:
            _keys.drop(of.row.key_id, proof)


# ---------------------------------------------------------------- learned


def learn(key_id: str, secret: Secret) -> None:
    """Keep what decides about reads of `secret` by this access key, the second time that it is asked for.

    The read that it is called after is answered, whatever becomes of this.
    """
    if connection.vendor != "postgresql" or connection.in_atomic_block:
        return
    name = _name(secret.region_id, secret.name)
    if _first_time(key_id) | _first_time(name) or _is_large(key_id) or _is_large(name):
        return
    with contextlib.suppress(DatabaseError, DomainError):
        _learn(key_id, secret, name)


def _learn(key_id: str, secret: Secret, name: str) -> None:
    if key(key_id) is None or regions() is None:
        _in_one_snapshot(lambda: _learn_key(key_id))
    kept = regions()
    found = _secrets.get(name)
    if kept is not None and (found is None or found.regions is not kept):
        _in_one_snapshot(lambda: _learn_secret(kept, secret.region_id, secret.name))


def _first_time(name: str) -> bool:
    if _met.get(name):
        return False
    _met.put(name, True)
    return True


def _is_large(name: str) -> bool:
    until = _large.get(name)
    return until is not None and time.monotonic() < until


def _in_one_snapshot(read: Callable[[], None]) -> None:
    """Have every statement of `read` see the same contents, so that a digest is of what is read beside it."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        read()


def _learn_key(key_id: str) -> None:
    row = access_keys.row(key_id)
    if row is None:
        return
    by_kind = {proof.kind: proof for proof in digests.proofs([key_id], [row.principal_id], [])}
    sheet, places = holdings.read_sheet(row.principal), tuple(holdings.read_regions())
    if len(sheet.grants) > GRANTS_AT_MOST or len(places) > REGIONS_AT_MOST:
        _large.put(key_id, time.monotonic() + TRIED_AGAIN_AFTER)
        return
    _keys.put(key_id, KeptKey(row, sheet, (by_kind["key"], by_kind["rights"])))
    old = regions()
    if old is None or old.proofs != (by_kind["regions"],):
        _regions.put("", KeptRegions(places, (by_kind["regions"],)))


def _learn_secret(kept: KeptRegions, region_id: UUID, name: str) -> None:
    region = next((row for row in kept.rows if row.pk == region_id), None)
    row = _NAMED.first(region_id, name)
    found = [proof for proof in digests.proofs([], [], [(region_id, name)]) if proof.kind == "secret"]
    if region is None or row is None or not found:
        return
    row.region, row.account = region, region.account
    labels = tuple(_LABELS(row.pk))
    for label in labels:
        label.version.secret = row
    sealed = {label.version.sealed for label in labels if label.version.sealed is not None}
    if sum(len(value.ciphertext) for value in sealed) > SEALED_BYTES_AT_MOST:
        _large.put(_name(region_id, name), time.monotonic() + TRIED_AGAIN_AFTER)
        return
    _secrets.put(_name(region_id, name), KeptSecret(row, labels, kept, tuple(found)))


_NAMED = prepared.Question(
    lambda region, name: Secret.objects.filter(purged_at__isnull=True, region=region, name=name)
)
_LABELS = prepared.Question(
    lambda secret: Label.objects.select_related("version__sealed__key_version__key").filter(secret=secret)
)


def _name(region: UUID, name: str) -> str:
    return f"{region}/{name}"


# ---------------------------------------------------------------- proven


def proven(proofs: Collection[Proof]) -> dict[Proof, LastRead]:
    """Return those of these proofs that are true at this moment; with it, when a secret was read last."""
    if not proofs:
        return {}
    named: dict[str, set[str]] = {"key": set(), "rights": set(), "regions": set(), "secret": set()}
    for proof in proofs:
        named[proof.kind].add(proof.name)
    secrets = [(UUID(name.partition("/")[0]), name.partition("/")[2]) for name in named["secret"]]
    found = digests.proofs(named["key"], map(UUID, named["rights"]), secrets)
    return {proof: found[proof] for proof in proofs if proof in found}
