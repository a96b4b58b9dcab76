"""Retry the work of a run that did not succeed."""

from __future__ import annotations

from rotation import instance_checks, runs
from rotation.managed import dependants
from rotation.models import Run
from secrets_app.actions import Action
from secrets_app.models import Principal
from secrets_app.policy import decisions


def retry(run: Run, *, actor: Principal) -> Run:
    """Request the work of `run`, which has ended, again; checks that it overrode are not overridden.

    If a value may have reached the host, or waits to be sent, the new run sends that value. Raises
    `runs.InProgress` if `run` is active, and otherwise as the request of its kind does.
    """
    run.refresh_from_db()
    if run.is_active:
        raise runs.InProgress("This run has not ended yet.")
    again = Run.Trigger.RETRY
    if run.secret is None:
        if run.username:
            return instance_checks.check_account(run.instance, run.username, run.account_kind, actor=actor)
        return (instance_checks.scan if run.kind == Run.Kind.SCAN else instance_checks.check)(
            run.instance, actor=actor
        )
    decisions.require(actor, Action.ROTATE_SECRET, run.secret)
    match run.kind:
        case Run.Kind.ROTATE:
            return runs.start(run.secret, actor=actor, trigger=again, is_leak=run.is_leak)
        case Run.Kind.RECONCILE:
            return runs.reconcile(run.secret, actor=actor, trigger=again)
        case Run.Kind.DEPENDANTS:
            return dependants.retry(run.secret, actor=actor, trigger=again)
        case Run.Kind.DRIFT:
            return runs.drift(run.secret, actor=actor, trigger=again)
        case _:
            return runs.verify(run.secret, actor=actor, trigger=again)
