"""Requests to look at an instance: a connection test, a scan of its host keys, a check of one account."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from rotation import accounts, runs, wires
from rotation.inventory import holding, patience
from rotation.models import Instance, Run
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.models import Principal, Secret
from secrets_app.policy import decisions


def check(instance: Instance, *, actor: Principal) -> Run:
    """Ask for a connection test; joins the one that is under way.

    Raises `holding.Retired` or `patience.TooOften`.
    """
    decisions.require(actor, Action.CHECK_INSTANCE, instance)
    return _on_instance(Run.Kind.CHECK, instance, actor)


def scan(instance: Instance, *, actor: Principal) -> Run:
    """Ask for the host's keys; joins the scan that is under way.

    Raises `holding.Retired` or `patience.TooOften`.
    """
    decisions.require(actor, Action.CHECK_INSTANCE, instance)
    return _on_instance(Run.Kind.SCAN, instance, actor)


def check_account(instance: Instance, username: str, kind: str, *, actor: Principal) -> Run:
    """Ask whether one account could be managed, a `kind` of secret; joins the check that is under way.

    What is found stands in the run's steps. Raises `runs.NotRotatable` for a name that no account can have,
    `holding.Retired`, `patience.TooOften` or `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.CHECK_INSTANCE, instance)
    if not wires.is_username(instance.wire, username) or kind not in Secret.Kind.values:
        raise runs.NotRotatable(wires.username_rule(instance.wire))
    accounts.require(instance, username, actor=actor)
    return _on_instance(Run.Kind.CHECK, instance, actor, username=username, account_kind=kind)


def _on_instance(
    kind: str, instance: Instance, actor: Principal, *, username: str = "", account_kind: str = ""
) -> Run:
    about = {"username": username, "account_kind": account_kind}
    try:
        with transaction.atomic():
            holding.instance(instance)
            patience.require(actor)
            run = runs.add(kind, instance, actor, **about)
            _record_look(run, instance, actor)
            return run
    except IntegrityError:
        with transaction.atomic():
            active = Run.objects.active().get(instance=instance, kind=kind, secret=None, **about)
            if runs.hurry(active):
                _record_look(active, instance, actor, joins=True)
        return active


def _record_look(run: Run, instance: Instance, actor: Principal, **more: object) -> None:
    details: dict[str, object] = {"run": str(run.pk), "kind": run.kind, "address": instance.where, **more}
    if run.username:
        details["username"] = run.username
    trail.record(Action.CHECK_INSTANCE, instance, actor=actor, details=details)
