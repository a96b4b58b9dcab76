"""Retire an instance that was registered by mistake, or is gone: its row and its history stay for ever.

Nothing that Keyturn keeps may depend on it then: no secret manages an account there, and no run is under way.
Its name and address are free afterwards, and nothing connects to it again.
"""

from __future__ import annotations

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from rotation.inventory import holding, instances
from rotation.models import Instance, ManagedAccount, Run
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import Principal, Secret
from secrets_app.policy import decisions

MOST_NAMED = 5


class InUse(DomainError):
    """This is still needed; the message says by what."""

    code = "instance_in_use"


def secrets_on(instance: Instance) -> QuerySet[Secret]:
    """The secrets that keep an instance from being retired: those that are not purged."""
    accounts = ManagedAccount.objects.filter(instance=instance, released_at=None)
    return Secret.objects.filter(pk__in=accounts.values("secret"))


def runs_on(instance: Instance) -> QuerySet[Run]:
    """The runs that keep an instance from being retired: those that have not ended."""
    return Run.objects.active().filter(instance=instance)


def retire(instance: Instance, *, actor: Principal, reason: str = "") -> None:
    """Let an instance go; only its history is left.

    Its login is detached, so that nothing connects to it; nothing changes on the machine. Raises `InUse`
    with what depends on it, `holding.Retired` or `decisions.NotAllowed`; nothing changes then.
    """
    decisions.require(actor, Action.DEREGISTER_INSTANCE, instance)
    with transaction.atomic():
        held = holding.instance(instance)
        if needed := _needed_by(held, actor):
            raise InUse(f"{held.name} cannot be retired yet. {needed}")
        details = {"address": held.where, "credential": str(held.credential_id or "")}
        without_login = instances.without_login("It is retired.") | {"machine_id": held.machine_id}
        Instance.objects.filter(pk=held.pk).update(
            retired_at=Now(),
            retired_by=actor,
            retirement_reason=reason[:500],
            revision=F("revision") + 1,
            **without_login,
        )
        trail.record(Action.DEREGISTER_INSTANCE, instance, actor=actor, reason=reason, details=details)


def _needed_by(instance: Instance, actor: Principal) -> str:
    """Say what depends on an instance, by name where `actor` may know it; nothing where nothing does."""
    said = []
    secrets = secrets_on(instance)
    if count := secrets.count():
        listed = secrets.select_related("region", "account").order_by("name")
        known = [row.name for row in listed if decisions.allows(actor, Action.DESCRIBE_SECRET, row)]
        manage = "secret manages an account" if count == 1 else "secrets manage accounts"
        said.append(f"{count} {manage} on it{named(known, count)}. Delete them immediately first.")
    if count := runs_on(instance).count():
        are = "run is" if count == 1 else "runs are"
        said.append(f"{count} {are} under way on it. Wait until they end, or cancel them.")
    return " ".join(said)


def named(known: list[str], count: int) -> str:
    """The first few of `count` names, and how many else there are."""
    shown = known[:MOST_NAMED]
    if not shown:
        return ""
    left = f" and {count - len(shown)} more" if count > len(shown) else ""
    return f": {', '.join(shown)}{left}"
