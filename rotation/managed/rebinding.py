"""Rebind: a user confirms that an account's values may be sent to another machine than before.

This equals reading the values: the user decides who receives them. So it requires a right on the secret, a
reason, and exactly the machine that the user was shown. It sends nothing; the next run does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models.functions import Now

from rotation import accounts, binding, reasons, runs
from rotation.inventory import management
from rotation.models import Instance, ManagedAccount, Run
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Principal, Secret
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle


class Changed(DomainError):
    """The instance has changed since this was opened. Compare it again."""

    code = "binding_changed"


@dataclass(frozen=True)
class Proposal:
    """What a user confirms: the machine that an account is bound to, and the one it would be bound to."""

    account: ManagedAccount
    old: binding.Machine | None
    new: binding.Machine
    reason: str  # why the values may not go there; empty where they may


def proposal(secret: Secret) -> Proposal:
    """Return what rebinding this secret's account would change. Raises `accounts.Unmanaged`."""
    kept = accounts.needed(secret)
    account = ManagedAccount.objects.select_related("instance", "secret").get(pk=kept.pk)
    new = binding.now_at(account.instance)
    reason = binding.why_not(account, new) if new.keys or account.bound_at else ""
    return Proposal(account, binding.bound_to(account), new, reason)


def needed_on(instance: Instance) -> list[Secret]:
    """Return the secrets of accounts there that are bound to another machine, by name."""
    rows = Secret.objects.filter(
        managed__instance=instance,
        managed__credential=ManagedAccount.Credential.BLOCKED,
        managed__credential_code=binding.CODE,
        purged_at__isnull=True,
        deletion_planned_at__isnull=True,
    )
    return list(rows.select_related("managed__instance", "region", "account").order_by("name"))


def rebind(secrets: Iterable[Secret], *, actor: Principal, reason: str, stamp: str) -> None:
    """Bind the accounts of these secrets to what their instance stands for now: all of them, or none.

    `stamp` is the `Machine.stamp` that the actor was shown. Raises `runs.NoReason`, `Changed` where the
    instance is another one by now, `management.NotAttached` where no host key of it is approved,
    `runs.InProgress` while a worker talks to the host, `lifecycle.NotEnabled`, `accounts.Unmanaged` or
    `decisions.NotAllowed`.
    """
    if not reason.strip():
        raise runs.NoReason(runs.NoReason.__doc__)
    with transaction.atomic(), trail.at_the_end():
        for secret in sorted(secrets, key=lambda row: str(row.pk)):  # locked in one order
            _rebind(secret, actor, reason.strip()[:500], stamp)


def _rebind(secret: Secret, actor: Principal, reason: str, stamp: str) -> None:
    decisions.require(actor, Action.REBIND_ACCOUNT, secret)
    lifecycle.require_enabled(lifecycle.held(secret.pk))
    known = proposal(secret)
    if not known.new.keys:
        raise management.NotAttached(
            reasons.sentence("no_host_key", known.account.instance.shown.one), "no_host_key"
        )
    if known.new.stamp != stamp:
        raise Changed(Changed.__doc__)
    if secret.runs.filter(state=Run.State.RUNNING, leased_until__gt=Now()).exists():
        raise runs.InProgress("A worker is connected to the instance. Try again in a minute.")
    binding.move(known.account, known.new)
    details = {"instance": known.account.instance.instance_id, "username": known.account.username}
    details |= {f"old_{name}": text for name, text in _described(known.old).items()}
    details |= {f"new_{name}": text for name, text in _described(known.new).items()}
    trail.record(Action.REBIND_ACCOUNT, secret, actor=actor, reason=reason, details=details)


def _described(machine: binding.Machine | None) -> dict[str, str]:
    if machine is None:
        return {}
    return {
        "address": machine.where,
        "keys": " ".join(sorted(machine.keys)),
        "machine_id": machine.machine_id,
    }
