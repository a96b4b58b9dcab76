"""The only writer of root key moves: have every key version wrapped by another root key, one after the other.

Online: each version is moved by one comparing update, after what the new root key wrapped was opened again by
it. Every process reads both root keys meanwhile. What dies in the middle leaves some versions moved and
others not; the next call goes on. A row of the move stays, sealed: it says to each process which root key
counts, until the setting names the new one.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from secrets_app import keyring, regions, root_keys, seals
from secrets_app.actions import Kind, arn
from secrets_app.audit import trail
from secrets_app.crypto import envelope
from secrets_app.errors import DomainError
from secrets_app.models import Account, AuditEvent, KeyVersion, Principal, RootKeyMove
from secrets_app.people import users
from secrets_app.root_keys import RootKey, addresses

log = logging.getLogger(__name__)

State = RootKeyMove.State
ESCROWED, DRILL = "kms:RootKeyEscrowed", "kms:RootKeyDrill"
STARTED, ENDED = "kms:RootKeyMoveStarted", "kms:RootKeyMoveEnded"
LONGEST_ADDRESS = 500


class OtherMove(DomainError):
    """The root key is being moved to another address. Let that move end first."""

    code = "root_key_move_under_way"


class SameKey(DomainError):
    """This is the root key that is in use."""

    code = "root_key_is_the_same"


class Unfit(DomainError):
    """The new root key does not open what it wraps; nothing was changed."""

    code = "root_key_unfit"


def under_way() -> RootKeyMove | None:
    """The move that has not ended, if there is one. Raises `seals.KeyMissing`."""
    move = RootKeyMove.objects.filter(state=State.RUNNING).first()
    return move if move is not None and seals.holds(move) else None


def start(target: str, *, actor: Principal) -> RootKeyMove:
    """Begin a move to the root key at this address, or return the one to it that has begun.

    For administrators of Keyturn's machine, so no right is checked. The new root key is made if its provider
    makes keys, and has to open what it wraps. Raises `addresses.BadAddress`, `OtherMove`, `SameKey`, `Unfit`,
    `keyring.Sealed` or `root_keys.Unavailable`.
    """
    if len(target) > LONGEST_ADDRESS:
        raise addresses.BadAddress(f"The address of a root key has at most {LONGEST_ADDRESS} characters.")
    new = root_keys.at(target)
    if (begun := under_way()) is not None:
        if begun.target != target:
            raise OtherMove(OtherMove.__doc__)
        return begun
    if keyring.is_sealed():
        raise keyring.Sealed("Keyturn is sealed: the root key in use must be there to be moved.")
    source = keyring.root_key_address()
    new.make()
    if new.key_id() == root_keys.at(source).key_id():
        raise SameKey(SameKey.__doc__)
    _try_out(new)
    try:
        with transaction.atomic():
            # A version that is made now is committed first, and found; one that is made later sees the row.
            Account.objects.select_for_update(of=("self",)).get(pk=regions.account().pk)
            move = RootKeyMove.objects.create(
                source=source, target=target, total=_versions().count(), requested_by=actor
            )
            _record(STARTED, move)
    except IntegrityError:
        raise OtherMove(OtherMove.__doc__) from None
    keyring.forget()  # so that this process looks at both
    return move


def carry(move: RootKeyMove) -> Iterator[int]:
    """Move one version after the other, and say each time how many are done. The move ends with the last one.

    Raises `keyring.Sealed` where one of both root keys is away: call it again later.
    """
    new = root_keys.at(move.target)
    for version in list(_versions()):
        if keyring.move_version(version, new):
            RootKeyMove.objects.filter(pk=move.pk).update(done=F("done") + 1)
        move.refresh_from_db(fields=["done"])
        yield move.done
    with transaction.atomic():
        Account.objects.select_for_update(of=("self",)).get(pk=regions.account().pk)
        if left := [version for version in _versions() if not keyring.is_under(version, new)]:
            raise keyring.Sealed(f"{len(left)} key versions were made meanwhile. Run the move again.")
        running = RootKeyMove.objects.filter(pk=move.pk, state=State.RUNNING)
        if running.update(state=State.DONE, ended_at=Now(), done=F("total")):
            move.refresh_from_db()
            _record(ENDED, move)
    keyring.forget()


def counted() -> dict[str, int]:
    """How many key versions each root key opens that may have wrapped one. Raises `root_keys.Unavailable`."""
    move = RootKeyMove.objects.first()
    names = {keyring.root_key_address(), *((move.source, move.target) if under_way() and move else ())}
    held = {name: root_keys.at(name) for name in sorted(names)}
    return {
        name: sum(keyring.is_under(version, root_key) for version in _versions())
        for name, root_key in held.items()
    }


def record_shares(action: str, *, is_right: bool = True) -> None:
    """Record that the root key was shown in shares, or that shares were tried."""
    outcome = AuditEvent.Outcome.SUCCEEDED if is_right else AuditEvent.Outcome.FAILED
    resource = arn(Kind.KEY, "", account=regions.account().number)
    trail.record(action, resource, actor=users.system(), outcome=outcome)


def _versions() -> QuerySet[KeyVersion]:
    kept = KeyVersion.objects.exclude(state=KeyVersion.State.DESTROYED)
    return kept.select_related("key").order_by("pk")


def _try_out(new: RootKey) -> None:
    sample = envelope.new_key() + envelope.new_key()
    wrapped = new.wrap(sample)
    new.forget()
    try:
        is_whole = new.unwrap(wrapped) == sample
    except envelope.Tampered:
        is_whole = False
    if not is_whole:
        raise Unfit(Unfit.__doc__)


def _record(action: str, move: RootKeyMove) -> None:
    details = {"from": _shown(move.source), "to": _shown(move.target), "versions": move.total}
    resource = arn(Kind.KEY, "", account=regions.account().number)
    trail.record(action, resource, actor=move.requested_by, details=details)


def _shown(address: str) -> str:
    """Without the options, which name files of this machine."""
    return address.partition("?")[0]
