"""Detect that a credential was changed outside Keyturn, and say which value the host has instead.

No value is sent as long as the account looks as it did when it was last in sync. If it looks different, the
host's own check is asked, which counts as no login. Does not know who requested the check.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import NoReturn

from django.db import transaction

from rotation import leases, reasons, runs
from rotation.connectors import base
from rotation.engine import changes, history, logons
from rotation.engine.work import PREFLIGHT, Credential, Stop, Work
from rotation.managed import credential_state, restored
from rotation.models import Run, Step
from secrets_app.audit import trail
from secrets_app.models import Label, SecretVersion
from secrets_app.people import users
from secrets_app.secrets import versions

#: Why an account cannot be used with any value: a change outside Keyturn on the host.
_PROBLEM = "The account was changed on the instance: {}"


def drift(work: Work) -> None:
    """Compare the account's traces with those of when it was in sync; ask the host where they differ."""
    current = work.labelled(Label.Role.CURRENT)
    if current is None:
        work.end(Run.Outcome.BLOCKED, "no_value", reasons.sentence("no_value"), Credential.NO_VALUE)
    traces = _trace(work)
    if traces.problem and reasons.stops(traces.problem):
        work.block(traces.problem, _PROBLEM.format(reasons.sentence(traces.problem)))
    had = work.account.traces
    if traces.mark and _same(had, traces) and not current.is_doubted:
        _end_in_sync(work, current, traces, "Nothing has changed since the last look.", None)
    else:
        _ask(work, current, traces)


def _trace(work: Work) -> base.Traces:
    with work.step(Step.Name.PREFLIGHT) as notes:
        traces = work.connector.trace(
            work.manager,
            work.account.username,
            kind=work.method.KIND,
            console_id=work.console_id,
            timeout=PREFLIGHT,
        )
        had = work.account.traces
        if not had:
            notes.sentence = "There is nothing to compare with yet."
        elif _same(had, traces):
            notes.sentence = "The account's credential looks as it did when it was last in sync."
        else:
            notes.sentence = "The account's credential does not look as it did when it was last in sync."
    return traces


def _same(had: dict[str, object], traces: base.Traces) -> bool:
    return had == _kept(traces)


def _kept(traces: base.Traces) -> dict[str, object]:
    fields = asdict(traces)
    del fields["problem"]
    return fields


def _ask(work: Work, current: SecretVersion, traces: base.Traces) -> None:
    with work.step(Step.Name.PROBE) as notes:
        proof = work.ask(current)
        code, why = logons.refusal(proof)
        is_there = code != "refused_value"
        notes.sentence = {
            base.Verdict.ACCEPTED: "The instance accepts the current value.",
            base.Verdict.REJECTED: why,
            base.Verdict.UNCLEAR: f"Could not check: {proof.reason}",
        }[proof.verdict]
        if proof.verdict != base.Verdict.ACCEPTED:
            notes.state = Step.State.FAILED
        if proof.verdict == base.Verdict.REJECTED and not is_there:
            accepted = history.find(work)
            notes.sentence += f" {history.told(accepted)}"
    if proof.verdict == base.Verdict.ACCEPTED:
        is_new = not work.account.traces or work.account.traces.get("mark") == traces.mark
        sentence = "The instance accepts the current value."
        if not is_new:
            sentence += " It was set again outside Keyturn, or a related setting has changed."
        _end_in_sync(work, current, traces, sentence, proof)
    elif proof.verdict == base.Verdict.REJECTED and is_there:
        work.end(Run.Outcome.FAILED, code, why, Credential.OUT_OF_SYNC)
    elif proof.verdict == base.Verdict.REJECTED:
        _end_out_of_sync(work, traces, accepted)
    elif reasons.stops(proof.code):
        work.block(proof.code, _PROBLEM.format(proof.reason))
    else:
        sentence = reasons.sentence("unclear", proof.reason)
        work.end(Run.Outcome.FAILED, "unclear", sentence, Credential.NOT_VERIFIED)


def _end_in_sync(
    work: Work, current: SecretVersion, traces: base.Traces, sentence: str, proof: base.Proof | None
) -> None:
    with transaction.atomic():
        if proof is not None:
            versions.mark_verified(current)
            credential_state.note_verified(work.account, proof.level)
        credential_state.note_traces(work.account, _kept(traces))
        leases.end(work.lease, Run.Outcome.SUCCEEDED, sentence=sentence)


def _end_out_of_sync(work: Work, traces: base.Traces, accepted: history.Found) -> NoReturn:
    pending = work.labelled(Label.Role.PENDING)
    if accepted.version is not None and pending is not None and accepted.version.pk == pending.pk:
        changes.take_up(work, pending, base.Proof(base.Verdict.ACCEPTED, base.Level.HASH))
        work.end(
            Run.Outcome.FAILED,
            "unfinished",
            reasons.sentence("unfinished"),
            Credential.OUT_OF_SYNC,
            truth=Run.Truth.NEW,
        )
    if history.is_newer(work, traces.generation) or restored.is_doubtful(work.account):
        _end_older(work, traces, accepted)
    code = "snapshot" if history.went_back(work, traces.generation) else "changed_outside"
    sentence = (
        f"{reasons.sentence(code)} {history.told(accepted)} "
        "Reconcile to set the current value again, or rotate."
    )
    with transaction.atomic(), trail.at_the_end():
        work.close(Run.Outcome.FAILED, code, sentence, Credential.OUT_OF_SYNC, truth=accepted.truth)
        if work.account.reconciles:
            _reconcile(work)
    raise Stop


def _end_older(work: Work, traces: base.Traces, accepted: history.Found) -> NoReturn:
    """End the run for a host that is newer than the restored database; the host itself was not changed."""
    if history.is_newer(work, traces.generation):
        what = reasons.sentence(credential_state.DATABASE_OLDER)
    else:
        what = (
            "The database is older than the instance: it was restored, and the instance has not accepted the "
            "current value since."
        )
    work.end(
        Run.Outcome.FAILED,
        credential_state.DATABASE_OLDER,
        f"{what} {history.told(accepted)} Reconcile to set the current value again, or rotate.",
        Credential.OUT_OF_SYNC,
        truth=accepted.truth,
    )


def _reconcile(work: Work) -> None:
    """Ask for the current value to be set again; the sweep wakes a worker for it."""
    try:
        runs.reconcile(work.secret, actor=users.system(), trigger=Run.Trigger.DRIFT)
    except runs.NotRotatable:
        return  # a value that the host may have heard must be settled first, or the secret is going
