"""Plan the deletion of a managed secret, purge it, restore it: the secret and its account change together."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models.functions import Now

from rotation import accounts, cancelling, runs, schedules
from rotation.managed import creation, credential_state
from rotation.models import Instance, ManagedAccount, Run, Schedule
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Label, Principal, Secret
from secrets_app.people import users
from secrets_app.policy import decisions, grants
from secrets_app.secrets import lifecycle, resource_policies, versions

Credential = ManagedAccount.Credential


class IsLogin(DomainError):
    """An instance logs in with this secret; the message says what to do first."""

    code = "secret_is_login"


@dataclass(frozen=True)
class Restored:
    """What a restored secret does next."""

    next_at: datetime | None  # its next rotation by schedule
    was_due: bool  # a date passed while deletion was planned; it was left out
    run: Run | None  # asks the host whether the value is still good; None where there is no value, or no host


def plan_deletion(secret: Secret, *, actor: Principal, days: int = 30, reason: str = "") -> None:
    """Have the secret purged `days` from now; until then it can only be viewed and restored.

    Nothing on the instance changes. Runs that have sent nothing are cancelled. Raises `cancelling.TooLate`,
    `lifecycle.BadWindow`, `lifecycle.NotEnabled` or `decisions.NotAllowed`; nothing changes then.
    """
    decisions.require(actor, decisions.Action.DELETE_SECRET, secret)
    with transaction.atomic(), trail.at_the_end():
        _stop_work(secret, actor)
        lifecycle.plan_deletion(secret, days=days, reason=reason, actor=actor)
        details = {"days": days}
        trail.record(decisions.Action.DELETE_SECRET, secret, actor=actor, reason=reason, details=details)


def purge(secret: Secret, *, actor: Principal, reason: str = "") -> None:
    """Delete the secret immediately: its values and their data keys are destroyed, its history stays.

    Raises as `plan_deletion`.
    """
    decisions.require(actor, decisions.Action.DELETE_SECRET, secret)
    with transaction.atomic(), trail.at_the_end():
        _stop_work(secret, actor)
        lifecycle.mark_purged(secret, actor=actor, reason=reason)
        destroyed = _let_go(secret)
        details = {"immediately": True, "versions": destroyed}
        trail.record(decisions.Action.DELETE_SECRET, secret, actor=actor, reason=reason, details=details)


def purge_if_due(secret: Secret) -> None:
    """Purge a secret that can be restored no more. Raises `cancelling.TooLate`, `lifecycle.NotEnabled`."""
    with transaction.atomic(), trail.at_the_end():
        _stop_work(secret, users.system())
        lifecycle.mark_purged(secret, actor=users.system(), only_if_due=True)
        destroyed = _let_go(secret)
        trail.record("kms:PurgeSecret", secret, actor=users.system(), details={"versions": destroyed})


def restore(secret: Secret, *, actor: Principal) -> Restored:
    """Undo a planned deletion: schedule, labels and tags are as they were, and the host, if any, is asked.

    Never rotates: a date that passed meanwhile moves to the next one. Raises `creation.AccountTaken`,
    `lifecycle.NotPending`, `lifecycle.NotEnabled` (purged) or `decisions.NotAllowed`.
    """
    decisions.require(actor, decisions.Action.RESTORE_SECRET, secret)
    with transaction.atomic():
        held = lifecycle.held(secret.pk)
        account = accounts.of(held)
        if account is not None:
            _refuse_rivals(account, actor)
        lifecycle.restore(secret)
        before = Schedule.objects.filter(secret=secret).values_list("next_at", flat=True).first()
        planned_at = held.deletion_planned_at
        next_at = schedules.catch_up(secret, planned_at=planned_at) if planned_at else None
        run = _ask_host(account, actor) if account is not None else None
        trail.record(decisions.Action.RESTORE_SECRET, secret, actor=actor)
    return Restored(next_at, bool(next_at and next_at != before), run)


def _refuse_rivals(account: ManagedAccount, actor: Principal) -> None:
    rivals = creation.managers_of(account.instance, account.username, account.kind).exclude(pk=account.pk)
    other = rivals.filter(secret__deletion_planned_at__isnull=True).first()
    if other:
        raise creation.AccountTaken(creation.why_taken(other, account.instance, "now", actor))


def _ask_host(account: ManagedAccount, actor: Principal) -> Run | None:
    """Have a restored value verified; None where there is no value."""
    secret = account.secret
    if secret.labelled(Label.Role.CURRENT) is None:
        return None
    if account.credential == Credential.IN_SYNC:
        sentence = "Restored just now; the value is being verified on the instance."
        credential_state.note(account, Credential.NOT_VERIFIED, sentence)
    return runs.verify(secret, actor=actor, trigger=Run.Trigger.RESTORE)


def _stop_work(secret: Secret, actor: Principal) -> None:
    lifecycle.require_single(lifecycle.held(secret.pk))
    instance = Instance.objects.select_related("region", "account").filter(own_login=secret).first()
    if instance is not None:
        is_known = decisions.allows(actor, decisions.Action.DESCRIBE_INSTANCE, instance)
        raise IsLogin(
            f"{instance.name if is_known else 'An instance'} logs in with this secret. Attach a management "
            "credential to it first, then delete."
        )
    cancelling.stop_all(secret, actor=actor, sentence=f"{actor.name} had the secret deleted.")


def _let_go(secret: Secret) -> int:
    """Destroy the secret's values and free its account for another secret. Return the number of values."""
    schedules.close(secret)
    grants.end_all(secret)
    resource_policies.end(secret)
    ManagedAccount.objects.filter(secret=secret).update(released_at=Now())
    return versions.destroy_all(secret)
