"""The only writer of rewraps: move the data keys of a key's values to its newest version, or to another key.

A row at a time and online: each is moved by one comparing update in a transaction of its own. A reader
meanwhile finds the old wrap or the new one, and both can be decrypted. A worker that dies leaves some rows
moved and others not; the next one goes on with those. Payloads are never touched.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from secrets_app import keyring
from secrets_app.audit import trail
from secrets_app.crypto import envelope
from secrets_app.errors import DomainError
from secrets_app.keys import key_states
from secrets_app.models import Key, Principal, Rewrap, SealedValue
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action
from secrets_app.secrets import lifecycle

log = logging.getLogger(__name__)

BATCH = 100
HELD_FOR = timedelta(seconds=60)  # a worker that says nothing for so long is gone


class UnderWay(DomainError):
    """A rewrap of this key is running already; its progress stands on the key's page."""

    code = "rewrap_under_way"


def start(source: Key, target: Key, *, actor: Principal) -> Rewrap:
    """Have every value under `source` wrapped under the primary version of `target`.

    With another key as the target, the secrets of `source` use that one from this moment on. Raises
    `UnderWay`, `keyring.KeyDisabled`, `keyring.KeyUnusable` or `decisions.NotAllowed`.
    """
    for key in {source, target}:
        decisions.require(actor, Action.UPDATE_KEY, key)
        keyring.primary(key)
    try:
        with transaction.atomic():
            if source != target:
                lifecycle.change_key(source, target)
            work = Rewrap.objects.create(
                source=source, target=target, requested_by=actor, total=_left(source, target).count()
            )
            trail.record(
                "kms:RewrapStarted",
                source,
                actor=actor,
                details={"to": target.alias, "values": work.total, "rewrap": str(work.pk)},
            )
    except IntegrityError:
        raise UnderWay(UnderWay.__doc__) from None
    return work


def due() -> QuerySet[Rewrap]:
    """Those that no worker carries out just now."""
    return Rewrap.objects.filter(state=Rewrap.State.RUNNING).filter(_is_free())


def carry(rewrap_id: UUID) -> bool:
    """Move one batch; True where there is more to do now and this worker should come back for it."""
    held = Rewrap.objects.filter(_is_free(), pk=rewrap_id, state=Rewrap.State.RUNNING)
    if not held.update(carried_until=timezone.now() + HELD_FOR):
        return False
    work = Rewrap.objects.select_related("source", "target", "requested_by").get(pk=rewrap_id)
    try:
        return _carry(work)
    except keyring.KeyUnusable as error:
        # Only waits: it goes on when the key is enabled again.
        Rewrap.objects.filter(pk=work.pk).update(sentence=str(error))
        return False
    finally:
        Rewrap.objects.filter(pk=rewrap_id).update(carried_until=None)


def _carry(work: Rewrap) -> bool:
    for sealed in _batch(work):
        try:
            _move(work, sealed)
        except envelope.Tampered:
            log.error("Sealed value %s does not open; it is left as it was.", sealed.pk)
            work.damaged = [*work.damaged, str(sealed.pk)]
            Rewrap.objects.filter(pk=work.pk).update(damaged=work.damaged)
    if _remaining(work).exists():
        return True
    _finish(work)
    return False


def _batch(work: Rewrap) -> Iterator[SealedValue]:
    rows = _remaining(work).order_by("pk")
    return islice(rows[:BATCH].iterator(chunk_size=BATCH), BATCH)


def _move(work: Rewrap, sealed: SealedValue) -> None:
    with transaction.atomic():
        to = keyring.primary(work.target)
        if keyring.rewrap(sealed, to):
            Rewrap.objects.filter(pk=work.pk).update(done=F("done") + 1, sentence="")


def _finish(work: Rewrap) -> None:
    with transaction.atomic():
        ended = Rewrap.objects.filter(pk=work.pk, state=Rewrap.State.RUNNING).update(
            state=Rewrap.State.DONE, ended_at=Now(), sentence=""
        )
        if ended:
            work.refresh_from_db(fields=["done"])
            trail.record(
                "kms:RewrapEnded",
                work.source,
                actor=work.requested_by,
                outcome="failed" if work.damaged else "succeeded",
                details={"rewrap": str(work.pk), "done": work.done, "damaged": len(work.damaged)},
            )


def _remaining(work: Rewrap) -> QuerySet[SealedValue]:
    return _left(work.source, work.target).exclude(pk__in=work.damaged)


def _left(source: Key, target: Key) -> QuerySet[SealedValue]:
    return key_states.values_under(source).exclude(key_version=keyring.primary(target))


def _is_free() -> Q:
    return Q(carried_until=None) | Q(carried_until__lt=timezone.now())
