"""The effect of a restored older database on hosts: they may have values that are not stored here.

No value is sent to a host until a user has acknowledged the restore. The state of each account is from an
earlier time, so no account counts as in sync before its host was asked again. Checks are allowed, and safe.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from rotation import accounts, runs
from rotation.managed import credential_state
from rotation.models import ManagedAccount, Run
from secrets_app.audit import checkpoints, trail
from secrets_app.errors import DomainError
from secrets_app.integrity import restores
from secrets_app.models import DatabaseRestore, Label, Secret


class Unacknowledged(DomainError):
    """An older database was restored, and not acknowledged yet: no value is sent to an instance."""

    code = "restore_unacknowledged"


def look() -> bool:
    """Compare the trail with the exported checkpoints; True while a restore waits to be acknowledged.

    Cheap enough for every run: the end of a small file, and a row by its key.
    """
    if restores.is_calm():
        return False
    if restores.under_way() is not None:
        return True
    if not restores.may_be_contradicted():
        return False
    with transaction.atomic(), trail.at_the_end():
        restore = restores.notice()
        if restore is not None:
            credential_state.doubt_all()
    return restore is not None


def refuse() -> None:
    """Return if hosts may be told values now. Raises `Unacknowledged`."""
    if look():
        raise Unacknowledged(Unacknowledged.__doc__)


def agreed() -> checkpoints.Exported | None:
    """Return the exported checkpoint that goes furthest, for `versions.mark_offered_if`; None if unknown."""
    return restores.furthest()


def is_doubtful(account: ManagedAccount) -> bool:
    """Whether no host has accepted the account's current value since an older database was restored."""
    restore = restores.newest()
    if restore is None:
        return False
    return account.verified_at is None or account.verified_at < restore.created_at


def may_be_old(secret: Secret) -> bool:
    """Whether a newer value than the current one may have been lost with the database that was replaced.

    Of a generic secret no host can be asked: only a value that was stored since is beyond doubt.
    """
    account = accounts.of(secret)
    if account is not None:
        return is_doubtful(account)
    restore, current = restores.newest(), secret.labelled(Label.Role.CURRENT)
    return restore is not None and current is not None and current.created_at < restore.created_at


# ---------------------------------------------------------------- verify all


def _to_ask() -> QuerySet[ManagedAccount]:
    """The accounts that have a value to ask about, and a host to ask."""
    return credential_state.verifiable()


def _asked(restore: DatabaseRestore) -> Exists:
    """Whether a run has asked the host of an account since a user chose Verify all.

    A run of that very moment may have come first: the host is asked again.
    """
    since = Run.objects.without_missed().filter(
        secret=OuterRef("secret"), created_at__gt=restore.verify_asked_at
    )
    return Exists(since.filter(state=Run.State.ENDED))


def _active() -> Exists:
    return Exists(Run.objects.active().filter(secret=OuterRef("secret")))


def verify_some(restore: DatabaseRestore, limit: int) -> list[Run]:
    """Start the verification of as many accounts as `limit` that were not asked yet; return the runs."""
    waiting = _to_ask().exclude(_asked(restore)).exclude(_active()).select_related("secret")
    started = []
    for account in waiting.order_by("pk")[:limit]:
        try:
            assert restore.verify_asked_by is not None
            started.append(runs.verify(account.secret, actor=restore.verify_asked_by))
        except runs.NotRotatable:
            continue  # it is being deleted
    return started


def progress(restore: DatabaseRestore) -> tuple[int, int]:
    """Return how many accounts were asked since Verify all, and how many there are to ask."""
    to_ask = _to_ask()
    done = to_ask.filter(_asked(restore)).count() if restore.verify_asked_at else 0
    return done, to_ask.count()


def settle(restore: DatabaseRestore) -> bool:
    """Note that every account was asked, once that is so."""
    done, total = progress(restore)
    if done >= total:
        restores.note_verified(restore)
    return done >= total
