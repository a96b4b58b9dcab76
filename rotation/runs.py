"""Requests for work on a secret's host. The row is the job.

With `leases`, which is for the workers, `cancelling` and `missed`, the only writer of runs and steps.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from rotation import accounts, binding, missed, reasons
from rotation.connectors import base
from rotation.models import Instance, ManagedAccount, Run
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.integrity import restores
from secrets_app.models import Label, Principal, Secret, SecretVersion
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle, versions


class InProgress(DomainError):
    """Your secret is being rotated, please try again later."""

    code = "run_in_progress"


class NotRotatable(DomainError):
    """This secret cannot be rotated now; the message says why and what to do."""

    code = "not_rotatable"


class NoReason(DomainError, ValueError):
    """This needs a reason: say in a few words why it is right to do it."""

    code = "override_reason_missing"


class NotOverridable(DomainError, ValueError):
    """This check cannot be overridden; the message names it."""

    code = "check_not_overridable"


def start(
    secret: Secret,
    *,
    actor: Principal,
    trigger: str = Run.Trigger.MANUAL,
    value: Plaintext | None = None,
    is_leak: bool = False,
    token: str = "",
    from_version: SecretVersion | None = None,
    overrides: Collection[str] = (),
    reason: str = "",
    overrides_policy: bool = False,
    date: datetime | None = None,
) -> Run:
    """Ask for a rotation; joins the one that is under way. With `value`, that is the new
    password, or the new private key.

    With `from_version`, the value is an earlier version's, which is not shown to a user. `overrides` names
    checks of `base.OVERRIDABLE` that may not stop this one run; that needs a right of its own and a `reason`.
    So does `overrides_policy`, with which `value` may break the secret's password policy. `date` is the
    schedule's date that this rotation is for; one that is joined serves it.

    The same `token` twice is one run. A value is sealed here, in the caller's transaction; it is
    never kept elsewhere. Raises `InProgress` for a value or an override while a run is active,
    `NotRotatable`, `NoReason`, `NotOverridable`, `accounts.Unmanaged`, `decisions.NotAllowed`,
    `passwords.OffPolicy`, or what `versions.given` raises.
    """
    decisions.require(actor, Action.ROTATE_SECRET, secret)
    if trigger in {Run.Trigger.MANUAL, Run.Trigger.RETRY}:
        _refuse_restored()
    account = accounts.needed(secret)
    let_pass = _checked_overrides(secret, overrides, reason, actor)
    breach = ""
    if from_version is not None:
        decisions.require(actor, Action.PUT_SECRET_VALUE, secret)
        value = _earlier(secret, from_version)
        versions.given(secret, account.username, value)
    elif value is not None:
        decisions.require(actor, Action.PUT_SECRET_VALUE, secret)
        breach = _checked_policy(secret, account, value, actor, reason if overrides_policy else None)
    with transaction.atomic():
        # Two requests at once both come here; the second one sees the run of the first.
        _refuse_deleted(lifecycle.held(secret.pk))
        same = Run.objects.filter(secret=secret, request_token=token).first() if token else None
        if same:
            return same
        active = secret.runs.active().first()
        if active and active.kind == Run.Kind.ROTATE:
            if value is not None or let_pass:
                raise InProgress(InProgress.__doc__)
            if hurry(active, is_leak=is_leak):
                _record_asked(secret, active, actor, joins=True)
            if date is not None:
                missed.serve(active, date)
            return active
        _make_way(active)
        run = add(
            Run.Kind.ROTATE,
            account.instance,
            actor,
            secret=secret,
            trigger=trigger,
            is_leak=is_leak,
            request_token=token,
            overrides=let_pass,
            reason=reason.strip()[:500],
            date_at=date,
        )
        if value is not None:
            origin = SecretVersion.Origin.EARLIER if from_version else SecretVersion.Origin.CUSTOM
            _stage_chosen(run, account, value, actor, origin, run.reason if breach else "")
        details: dict[str, object] = {"run": str(run.pk), "trigger": trigger}
        if is_leak:
            details["is_leak"] = True
        if from_version is not None:
            details["from_version"] = from_version.version_id
        trail.record(Action.ROTATE_SECRET, secret, actor=actor, details=details, reason=run.reason)
        if let_pass:
            overridden = {"run": str(run.pk), "checks": let_pass}
            trail.record(Action.OVERRIDE_CHECK, secret, actor=actor, details=overridden, reason=run.reason)
        if breach:
            broken = {"run": str(run.pk), "because": breach}
            trail.record(Action.OVERRIDE_POLICY, secret, actor=actor, details=broken, reason=run.reason)
    return run


def without_any(secret_ids: Collection[UUID]) -> set[UUID]:
    """Hold those of many secrets that can be rotated, and for which nothing is under way; return them."""
    held = lifecycle.held_idle(secret_ids)
    return held.difference(Run.objects.active().filter(secret__in=held).values_list("secret_id", flat=True))


def start_all(
    secrets: Sequence[Secret], *, actor: Principal, trigger: str, dates: Mapping[UUID, datetime]
) -> list[Run]:
    """Ask for a rotation of many, which the caller has from `without_any` in the same transaction.

    `dates` are those of their schedules, by secret. Raises `decisions.NotAllowed` or
    `accounts.Unmanaged` for one of them; then none is started.
    """
    new_runs = []
    with transaction.atomic(), trail.at_the_end():
        for secret in secrets:
            decisions.require(actor, Action.ROTATE_SECRET, secret)
            instance = accounts.needed(secret).instance
            run = Run(
                kind=Run.Kind.ROTATE,
                instance=instance,
                requested_by=actor,
                secret=secret,
                trigger=trigger,
                date_at=dates.get(secret.pk),
            )
            details = {"run": str(run.pk), "trigger": trigger}
            trail.record(Action.ROTATE_SECRET, secret, actor=actor, details=details)
            new_runs.append(run)
        Run.objects.bulk_create(new_runs)
    return new_runs


def _checked_overrides(secret: Secret, codes: Collection[str], reason: str, actor: Principal) -> list[str]:
    """Return the checks that this actor lets pass, for this reason. Raises as `start` does."""
    if not codes:
        return []
    decisions.require(actor, Action.OVERRIDE_CHECK, secret)
    if hard := sorted(set(codes) - base.OVERRIDABLE):
        raise NotOverridable(f"The check {hard[0]} cannot be overridden: a credential might be lost.")
    if not reason.strip():
        raise NoReason(NoReason.__doc__)
    return sorted(set(codes))


def _checked_policy(
    secret: Secret, account: ManagedAccount, value: Plaintext, actor: Principal, reason: str | None
) -> str:
    """Return the rules of the password policy that this actor lets `value` break, for this reason.

    None as the reason lets nothing pass. Raises as `start` does.
    """
    breach = versions.policy_breach(secret, versions.given(secret, account.username, value))
    if not breach:
        return ""
    if reason is None:
        raise passwords.OffPolicy(breach)
    decisions.require(actor, Action.OVERRIDE_POLICY, secret)
    if not reason.strip():
        raise NoReason(NoReason.__doc__)
    return breach


def _earlier(secret: Secret, version: SecretVersion) -> Plaintext:
    """Open the password or private key that a secret had before. Raises `NotRotatable`."""
    if version.secret_id != secret.pk:
        raise NotRotatable("Only an earlier value of this secret can be rotated back to.")
    if secret.labels.filter(role=Label.Role.CURRENT, version=version).exists():
        raise NotRotatable("This version is the current one already.")
    try:
        return versions.value(version).credential
    except versions.NoValue:
        raise NotRotatable("The value of this version was destroyed. Choose another one.") from None


def _stage_chosen(
    run: Run, account: ManagedAccount, value: Plaintext, actor: Principal, origin: str, breach_reason: str
) -> None:
    assert run.secret is not None
    held = versions.given(run.secret, account.username, value)
    try:
        version = versions.stage(run.secret, held, origin=origin, actor=actor, breach_reason=breach_reason)
    except versions.PendingExists:
        raise NotRotatable(
            "The instance may have a value that is not verified yet. "
            "Rotate once without a custom value first."
        ) from None
    binding.bind(account)
    Run.objects.filter(pk=run.pk).update(version=version)
    run.version = version


def verify(
    secret: Secret, *, actor: Principal, trigger: str = Run.Trigger.MANUAL, is_recorded: bool = False
) -> Run:
    """Ask whether the host accepts the current value; joins any run that is under way.

    Recorded if a user asked for it: a retry, or `is_recorded`; else it is part of a change that is. Raises
    `NotRotatable` or `accounts.Unmanaged`.
    """
    account = accounts.needed(secret)
    with transaction.atomic():
        _refuse_deleted(lifecycle.held(secret.pk))
        active = secret.runs.active().first()
        if active:
            return active
        run = add(Run.Kind.VERIFY, account.instance, actor, secret=secret, trigger=trigger)
        if is_recorded or trigger == Run.Trigger.RETRY:
            _record_asked(secret, run, actor)
    return run


def reconcile(secret: Secret, *, actor: Principal, trigger: str = Run.Trigger.MANUAL) -> Run:
    """Ask for the current value to be set on the host again; joins a reconciliation that is under way.

    Raises `InProgress` while a rotation is, `NotRotatable` where there is no current value or a newer one
    must be settled first, `accounts.Unmanaged` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.ROTATE_SECRET, secret)
    account = accounts.needed(secret)
    _refuse_restored()
    with transaction.atomic():
        _refuse_deleted(lifecycle.held(secret.pk))
        _require_current(secret)
        active = secret.runs.active().first()
        if active and active.kind == Run.Kind.RECONCILE:
            if hurry(active):
                _record_asked(secret, active, actor, joins=True)
            return active
        if active and active.kind == Run.Kind.ROTATE:
            raise InProgress(InProgress.__doc__)
        _refuse_unsettled(secret)
        _make_way(active)
        run = add(Run.Kind.RECONCILE, account.instance, actor, secret=secret, trigger=trigger)
        details = {"run": str(run.pk), "trigger": trigger, "reconciles": True}
        trail.record(Action.ROTATE_SECRET, secret, actor=actor, details=details)
    return run


def update_dependants(secret: Secret, *, actor: Principal, trigger: str = Run.Trigger.RETRY) -> Run:
    """Ask for the current value to be given to the dependants that wait for it; joins such a run.

    Raises as `reconcile`.
    """
    decisions.require(actor, Action.ROTATE_SECRET, secret)
    account = accounts.needed(secret)
    _refuse_restored()
    with transaction.atomic():
        _refuse_deleted(lifecycle.held(secret.pk))
        _require_current(secret)
        active = secret.runs.active().first()
        if active and active.kind == Run.Kind.DEPENDANTS:
            if hurry(active):
                _record_asked(secret, active, actor, joins=True)
            return active
        if active and active.kind in {Run.Kind.ROTATE, Run.Kind.RECONCILE}:
            raise InProgress(InProgress.__doc__)
        _refuse_unsettled(secret)
        _make_way(active)
        run = add(Run.Kind.DEPENDANTS, account.instance, actor, secret=secret, trigger=trigger)
        _record_asked(secret, run, actor)
    return run


def drift(secret: Secret, *, actor: Principal, trigger: str = Run.Trigger.MANUAL) -> Run:
    """Ask whether the credential was changed outside Keyturn; joins any run that is under way.

    Raises `NotRotatable` where there is no current value, `accounts.Unmanaged` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.ROTATE_SECRET, secret)
    account = accounts.needed(secret)
    with transaction.atomic():
        _refuse_deleted(lifecycle.held(secret.pk))
        active = secret.runs.active().first()
        if active:
            return active
        _require_current(secret)
        run = add(Run.Kind.DRIFT, account.instance, actor, secret=secret, trigger=trigger)
        if actor.kind != Principal.Kind.SYSTEM:  # of the daily looks, what they found is enough
            _record_asked(secret, run, actor)
    return run


def note_campaign(run: Run, campaign: UUID) -> None:
    """Note the bulk action that started this run."""
    Run.objects.filter(pk=run.pk).update(campaign=campaign)


def _record_asked(secret: Secret, run: Run, actor: Principal, *, joins: bool = False) -> None:
    details: dict[str, object] = {"run": str(run.pk), "trigger": run.trigger, "kind": run.kind}
    if joins:
        details |= {"joins": True, "is_leak": run.is_leak}
    trail.record(Action.ROTATE_SECRET, secret, actor=actor, details=details)


def _require_current(secret: Secret) -> None:
    if secret.labelled(Label.Role.CURRENT) is None:
        raise NotRotatable(reasons.sentence("no_value"))


def _refuse_unsettled(secret: Secret) -> None:
    """Return if the host can have no newer value than the current one."""
    pending = secret.labelled(Label.Role.PENDING)
    if pending and pending.offered_at and not pending.dead_at:
        raise NotRotatable(
            "The instance may have a newer value that is not verified yet. Rotate to finish that first."
        )


def _refuse_restored() -> None:
    """Return if hosts may be told values. A new secret's first run, and a due one, wait instead."""
    if restores.under_way() is not None:
        raise NotRotatable(
            "An older database was restored. Nothing is rotated until an administrator has acknowledged the "
            "restore, under Audit."
        )


def _refuse_deleted(secret: Secret) -> None:
    if not secret.is_enabled:
        raise NotRotatable(lifecycle.why_not_enabled(secret))


def hurry(run: Run, *, is_leak: bool = False) -> bool:
    """Let a waiting run continue now, on request. A run that is requested after a leak goes first.

    A wait that keeps two failed logins apart is not shortened. Return whether anything changed.
    """
    waiting = Run.objects.filter(pk=run.pk, state=Run.State.WAITING).exclude(code__in=reasons.BUDGETS)
    changed = waiting.update(due_at=Now())
    if is_leak and not run.is_leak:
        changed += Run.objects.filter(pk=run.pk, state__in=Run.ACTIVE).update(is_leak=True)
        run.is_leak = True
    return bool(changed)


def add(kind: str, instance: Instance, actor: Principal, **fields: object) -> Run:
    run = Run(kind=kind, instance=instance, requested_by=actor, **fields)
    run.save(force_insert=True)
    run.refresh_from_db()
    return run


def _make_way(run: Run | None) -> None:
    """End a run that has changed nothing, so that one that changes something can start.

    Its worker finds itself overtaken. Raises `NotRotatable` where the host was told something.
    """
    if run is None:
        return
    ended = Run.objects.filter(pk=run.pk, state__in=Run.ACTIVE, attempts=0).update(
        state=Run.State.ENDED,
        outcome=Run.Outcome.CANCELLED,
        sentence="A rotation or a reconciliation was started.",
        ended_at=Now(),
        lease=F("lease") + 1,
        leased_until=None,
    )
    if not ended and Run.objects.filter(pk=run.pk, state__in=Run.ACTIVE).exists():
        raise NotRotatable("The current value is being set again. Rotate when that run has ended.")
