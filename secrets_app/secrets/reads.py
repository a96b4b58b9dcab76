"""Record that values are read: the reads of many threads in one transaction.

The order is the promise: nothing is opened before the event of its read is durable. Two conditions are
checked last, while the head of the trail is locked: that the key opens values, and that the reader has not
read too many. So a key that was disabled in the trail before a read opens nothing for it.

Opens nothing itself: `versions.reveal` does, with what it is told here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from secrets_app import keyring
from secrets_app.actions import Action
from secrets_app.audit import batches, trail
from secrets_app.errors import DomainError
from secrets_app.models import AuditEvent, KeyVersion, Principal, SealedValue, Secret, SecretVersion
from secrets_app.secrets import lifecycle, read_limits, remembered
from secrets_app.secrets.digests import LastRead, Proof


class Changed(DomainError):
    """What decided about this read has changed since it was decided. Nothing was recorded: decide again."""

    code = "read_decided_on_old_rows"

    def __init__(self, untrue: Collection[Proof]) -> None:
        super().__init__()
        self.untrue = untrue


class Repeated(DomainError):
    """What this read claims for itself was claimed before. Nothing was recorded."""

    code = "read_repeated"


class Claim(Protocol):
    """What one request has for itself, such as a nonce: of the reads that claim the same, one is answered."""

    def granted(self, claims: Sequence[Any]) -> Sequence[bool]:
        """Grant these, all of one kind, in the caller's transaction; which of them were free."""


class Gone(DomainError):
    """This value cannot be read any more: it was destroyed, or its secret is pending deletion."""

    code = "value_gone"


@dataclass(frozen=True)
class Recorded:
    """A read whose event is durable: the sealed value, and the version of the key that opens it."""

    sealed: SealedValue
    key_version: KeyVersion


@dataclass(frozen=True, eq=False)  # two that look alike are two
class _Read:
    """One read that is asked for, and the event that it makes."""

    secret_id: UUID
    sealed_id: UUID
    reader_id: UUID
    event: AuditEvent
    is_a_persons: bool  # a machine reads as often as its programs start
    version: SecretVersion
    proofs: tuple[Proof, ...]  # of what it was decided on, where that was kept: `version` too then
    claim: Claim | None


_Answer = Recorded | DomainError | None  # None: another transaction holds the secret


def record(
    version: SecretVersion,
    *,
    actor: Principal,
    reason: str,
    proofs: tuple[Proof, ...] = (),
    claim: Claim | None = None,
) -> Recorded:
    """Record that `actor` reads the value of `version`, whose right to it the caller has checked.

    `proofs` are of the rows that were decided on: unless they are all true while no other transaction can
    append to the trail, it raises `Changed`. With a `claim` that is not granted it raises `Repeated`.

    Returns once the event is durable. Raises `Gone`, `read_limits.TooOften`, `keyring.KeyUnusable` (recorded,
    as a failure) or `keyring.Sealed`, `trail.NotRecorded`, and RuntimeError inside a transaction.
    """
    if version.sealed_id is None:
        raise Gone
    with trail.collected() as events:
        trail.record(
            Action.GET_SECRET_VALUE,
            version.secret,
            actor=actor,
            version_id=version.version_id,
            reason=reason,
            value_mark=version.value_mark,
        )
    is_a_persons = actor.kind != Principal.Kind.MACHINE
    read = _Read(
        version.secret_id, version.sealed_id, actor.pk, events[0], is_a_persons, version, proofs, claim
    )
    answer = _passing.ask(read)
    if answer is None:
        answer = _waiting.ask(read)
    if isinstance(answer, Recorded):
        return answer
    raise answer or Gone()


class _Batch:
    """The reads of one transaction."""

    def __init__(self, reads: Sequence[_Read], *, waits: bool) -> None:
        self._reads, self._waits = reads, waits
        self._held = lifecycle.hold_readable(
            {read.secret_id for read in reads if not read.proofs}, waits=waits
        )
        self._answers: dict[_Read, _Answer] = {}
        self._last: dict[UUID, LastRead] = {}

    @property
    def answers(self) -> list[_Answer]:
        """What each is answered, in the order that they have."""
        return [self._answers[read] for read in self._reads]

    def events(self, now: datetime) -> list[AuditEvent]:
        """Decide about each, and return what is to be appended. The trail's head is locked since `now`."""
        reads = self._reads
        keys = keyring.look_up({read.sealed_id for read in reads if not read.proofs})
        true = remembered.proven({proof for read in reads for proof in read.proofs})
        first = {
            read: _as_kept(read, true, self._last)
            if read.proofs
            else _found(read, self._held, keys, waits=self._waits)
            for read in reads
        }
        may = [read for read, answer in first.items() if isinstance(answer, Recorded)]
        people = [read for read in may if read.is_a_persons]
        late = read_limits.too_many([read.reader_id for read in people], now)
        self._now = now
        self._answers.update(first)
        self._answers.update({read: error for read, error in zip(people, late, strict=True) if error})
        self._answers.update(_repeated([read for read in may if isinstance(self._answers[read], Recorded)]))
        events = [_event(read, self._answers[read]) for read in reads]
        return [event for event in events if event]

    def note(self) -> None:
        """Keep when each secret was read last, without waiting for one that another transaction holds."""
        done = {
            read.secret_id: read.reader_id
            for read in self._reads
            if isinstance(self._answers[read], Recorded)
        }
        held = self._held
        lifecycle.note_reads({pk: reader for pk, reader in done.items() if pk in held}, held, self._now)
        kept = {pk: reader for pk, reader in done.items() if pk not in held}
        lifecycle.note_kept_reads(kept, self._last, self._now)


def _record(take: Callable[[], Sequence[_Read]], *, waits: bool) -> list[_Answer]:
    """Append the events of the reads that `take` gives, and answer each.

    They are taken once the head of the trail is locked: those that come while this transaction waits for it
    have their events in it. One that `waits` for the secrets takes them before, since with the head locked
    nothing may wait for another transaction.
    """
    batch = [_Batch(take(), waits=True)] if waits else []

    def choose(now: datetime) -> list[AuditEvent]:
        if not batch:
            batch.append(_Batch(take(), waits=False))
        return batch[0].events(now)

    trail.append(choose)
    batch[0].note()
    return batch[0].answers


def _repeated(reads: Sequence[_Read]) -> dict[_Read, DomainError]:
    """Those of these reads whose claim is not granted; the others have theirs with this transaction."""
    claims = [(read, read.claim) for read in reads if read.claim is not None]
    if not claims:
        return {}
    granted = claims[0][1].granted([claim for _, claim in claims])
    return {read: Repeated() for (read, _), is_free in zip(claims, granted, strict=True) if not is_free}


def _as_kept(read: _Read, true: Mapping[Proof, LastRead], last: dict[UUID, LastRead]) -> _Answer:
    """As `_found`, of what was kept, if all of it is as it was; note when its secret was read last."""
    if untrue := [proof for proof in read.proofs if proof not in true]:
        return Changed(untrue)
    secret, sealed = read.version.secret, read.version.sealed
    if not secret.is_enabled or sealed is None:
        return Gone()
    last[secret.pk] = next(true[proof] for proof in read.proofs if proof.kind == "secret")
    try:
        return Recorded(sealed, keyring.usable_as_read(sealed))
    except (keyring.KeyUnusable, keyring.Sealed) as error:
        return error


def _found(
    read: _Read,
    held: dict[UUID, Secret],
    keys: dict[UUID, tuple[SealedValue, KeyVersion | DomainError]],
    *,
    waits: bool,
) -> _Answer:
    """What this read is answered unless its reader has read too many."""
    if read.secret_id not in held and not waits:
        return None
    if read.secret_id not in held or not held[read.secret_id].is_enabled or read.sealed_id not in keys:
        return Gone()
    sealed, opens = keys[read.sealed_id]
    # Each raises an error of its own: a thread writes its traceback into it.
    return Recorded(sealed, opens) if isinstance(opens, KeyVersion) else type(opens)(str(opens))


def _event(read: _Read, answer: _Answer) -> AuditEvent | None:
    # Where this transaction fails, the next one takes the event as it was.
    if isinstance(answer, Recorded):
        read.event.sequence = 0
        return read.event
    if isinstance(answer, keyring.KeyUnusable):
        return trail.failed(copy.copy(read.event), str(answer))
    return None


#: Only the readers of a secret wait for another transaction that holds it.
_passing: batches.Batches[_Read, _Answer] = batches.Batches(partial(_record, waits=False))
_waiting: batches.Batches[_Read, _Answer] = batches.Batches(partial(_record, waits=True))
