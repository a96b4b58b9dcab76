"""Which secrets wait for a person to say what became of a value that their instance was told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from rotation import accounts
from rotation.models import ManagedAccount, Run
from secrets_app import prepared
from secrets_app.models import Label, Secret, SecretVersion

Credential = ManagedAccount.Credential
IN_DOUBT: Final = (Credential.UNVERIFIED, Credential.UNREACHABLE, Credential.BLOCKED)


@dataclass(frozen=True)
class Open:
    """What of a rotation is unresolved."""

    run: Run | None  # continues automatically, and can no longer be cancelled
    pending: SecretVersion | None  # the instance may have heard it
    is_old: bool = False  # the last run with it has seen that the current value still works


def unresolved(secret: Secret) -> Open | None:
    """Return what a person may resolve; None where there is nothing in doubt."""
    account = accounts.of(secret)
    if not secret.is_enabled or account is None or account.credential not in IN_DOUBT:
        return None
    pending = secret.labelled(Label.Role.PENDING)
    offered = pending if pending and pending.offered_at and not pending.dead_at else None
    run = secret.runs.active().filter(attempts__gt=0).first()
    if run is None and offered is None:
        return None
    last = secret.runs.filter(version=offered).order_by("-created_at").first() if offered else None
    return Open(run, offered, run is None and last is not None and last.truth == Run.Truth.OLD)


def resolvable(secrets: Iterable[Secret]) -> set[UUID]:
    """Which of these rows `unresolved` would return something for, in two queries for all of them."""
    rows = [row.pk for row in secrets if (mine := accounts.of(row)) and mine.credential in IN_DOUBT]
    return {*_OFFERED(rows), *_WAITING(rows)}


_OFFERED: prepared.Several[UUID] = prepared.Several(
    lambda keys: Label.objects.filter(
        secret__in=keys,
        role=Label.Role.PENDING,
        version__offered_at__isnull=False,
        version__dead_at__isnull=True,
    ).values_list("secret_id", flat=True)
)
_WAITING: prepared.Several[UUID] = prepared.Several(
    lambda keys: (
        Run.objects.active()
        .filter(secret__in=keys, attempts__gt=0)
        .order_by()
        .values_list("secret_id", flat=True)
    )
)
