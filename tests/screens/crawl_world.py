"""The site that is crawled: that of the pictures, with a run of every reason, and everybody who crawls it.

Rows stand in the database as their writers leave them; no host is talked to.
"""

from __future__ import annotations

from collections.abc import Hashable
from datetime import timedelta
from typing import Any

from django.utils import timezone

from rotation import binding, missed, reasons
from rotation.bulk import bulk_actions
from rotation.managed import credential_state
from rotation.models import ManagedAccount, Run, Schedule
from secrets_app.actions import Action
from secrets_app.models import AuditEvent, DatabaseRestore, Policy, Secret, SecretPrincipalGrant, User
from secrets_app.policy import grants, policies
from tests import factories, gallery

#: Who crawls, and what is given to them.
ROLES = ("ann", "ops", "hal", "aud", "one", "nil")
WHERE = "ask/root"
Credential = ManagedAccount.Credential
#: What a credential may be found to be, beside what the pictures have.
FOUND = (
    (Credential.BLOCKED, binding.CODE), (Credential.IN_SYNC, credential_state.NO_LOGIN),
    (Credential.OUT_OF_SYNC, credential_state.RESTORED), (Credential.BLOCKED, "locked"),
)  # fmt: skip


def seed() -> None:
    """Fill the database."""
    gallery.seed()
    factories.once(_seed, "crawl")


def _seed() -> None:
    actor = factories.administrator()
    _people()
    secret = Secret.objects.get(name=f"acs/ecs/{WHERE}")
    _every_reason(secret)
    _every_state(secret)
    for number, found in enumerate(FOUND):
        _troubled(number, *found)
    shown = Secret.objects.get(name="acs/ecs/web/deploy")
    bulk_actions.start("verify", [shown.pk], actor=actor, token="under way")
    for who in ("ops", "hal"):
        user = User.objects.get(username=who)
        action = "rotate" if who == "ops" else "restore"
        made = bulk_actions.start(action, [shown.pk], actor=user.principal, token="mine")
        bulk_actions.carry(made.pk, wake=lambda run: None)
    DatabaseRestore.objects.create(exported_to=10**6, exported_at=timezone.now(), found_to=7)


def _people() -> None:
    actor = factories.administrator()
    operator = factories.user("ops")
    policies.attach(Policy.objects.get(name=policies.ROTATION_OPERATOR), operator, actor=actor)
    factories.user("hal", "helpdesk")
    one = factories.user("one")
    grants.grant(
        Secret.objects.get(name="acs/ecs/web/nginx"),
        one,
        [Action.DESCRIBE_SECRET, Action.GET_SECRET_VALUE],
        actor=actor,
    )
    factories.user("nil")


def _every_reason(secret: Secret) -> None:
    """A run that ended for each reason, of the secret and of its instance alone."""
    begun = {
        "instance": secret.managed.instance,
        "requested_by": factories.administrator(),
        "state": "ended",
        "started_at": timezone.now(),
        "ended_at": timezone.now(),
    }
    for code in reasons.ALL:
        outcome = "missed" if code.startswith("missed_") else "blocked"
        said = {"outcome": outcome, "code": code, "sentence": f"Of the reason {code}."}
        Run.objects.create(kind="rotate", secret=secret, **said, **begun)
    for truth in Run.Truth.values:
        Run.objects.create(
            kind="rotate", secret=secret, outcome="failed", truth=truth, code="unknown", **begun
        )
    for kind in Run.Kind.values:
        for outcome in ("succeeded", "cancelled", "failed"):
            of = None if kind in {"check", "scan"} else secret
            code = "unreachable" if outcome == "failed" else ""
            Run.objects.create(kind=kind, secret=of, outcome=outcome, code=code, **begun)


def _every_state(secret: Secret) -> None:
    """Runs under way, and a schedule that was stopped and one that is paused."""
    begun = {"instance": secret.managed.instance, "requested_by": factories.administrator()}
    for number, (state, attempts) in enumerate((("waiting", 0), ("waiting", 1), ("running", 0))):
        instance = factories.instance(name=f"state-{number}")
        made = factories.secret(instance=instance, name=f"state/{number}", initial="an-initial-value-1")
        factories.settle(made)
        begun = {"instance": instance, "requested_by": factories.administrator()}
        code = "unreachable" if state == "waiting" else ""
        Run.objects.create(
            kind="rotate", secret=made, state=state, code=code, attempts=attempts,
            due_at=timezone.now() + timedelta(hours=1), **begun,
        )  # fmt: skip
        now = timezone.now()
        given = {"stopped_at": now, "failures": 3} if number else {"paused_at": now}
        Schedule.objects.filter(secret=made).update(is_on=True, **given)
        missed.note(made, [now - timedelta(days=1)], "missed_down")


def _troubled(number: int, credential: str, code: str) -> None:
    made = factories.secret(
        instance=factories.instance(name=f"found-{number}"), name=f"found/{number}", initial="an-initial-1"
    )
    factories.settle(made)
    ManagedAccount.objects.filter(secret=made).update(
        credential=credential, credential_code=code, credential_sentence=f"Found: {code}."
    )


def sent(who: str) -> tuple[str, ...]:
    """The link that a reader of one secret was given, who sees no list."""
    return (f"/main/secrets/{Secret.objects.get(name='acs/ecs/web/nginx').pk}/",) if who == "one" else ()


def kind(name: str, given: dict[str, Any], tab: str) -> Hashable:
    """What of the thing that an address names makes its page, or this tab of it, another one."""
    key = given.get("pk")
    if name in {"run_retry", "run_cancel"}:
        run = Run.objects.get(pk=key)
        return (run.kind, run.secret_id is None, run.username)
    if name in {"run", "run_steps", "run_override"}:
        told = Run.objects.values_list("kind", "state", "outcome", "truth", "attempts", "username", "code")
        *state, code = told.get(pk=key)
        return (*state, reasons.advice(code), reasons.override(code) is not None, reasons.waits(code))
    if name == "audit_event":
        return AuditEvent.objects.values_list("action", "outcome").get(pk=given["sequence"])
    if name == "secret_schedule":
        return _of_secret(key)
    if name == "secret" or (name.startswith("secret_") and Secret.objects.filter(pk=key).exists()):
        return _of_secret(key, has_plan=name == "secret", tab=tab)
    return tuple(value for field, value in given.items() if field != "region")


def _of_secret(key: object, *, has_plan: bool = True, tab: str = "") -> Hashable:
    secret = Secret.objects.select_related("managed", "schedule").get(pk=key)
    account, plan = getattr(secret, "managed", None), getattr(secret, "schedule", None)
    if tab:
        return (secret.status, secret.kind, account is None)
    return (
        secret.status,
        secret.kind,
        secret.key.state,
        account and (account.credential, account.credential_code),
        has_plan and plan and (plan.is_on, bool(plan.stopped_at), bool(plan.paused_at), plan.is_overdue),
        secret.runs.active().exists(),
        SecretPrincipalGrant.objects.filter(content_object=key).exists(),
    )
