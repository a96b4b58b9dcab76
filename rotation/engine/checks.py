"""Carry the runs that only look: is a value still good, is an instance ready, what keys does it show."""

from __future__ import annotations

from django.db import transaction

from rotation import leases, reasons, wires
from rotation.connectors import base
from rotation.engine import changes, logons
from rotation.engine.work import PREFLIGHT, SCAN, Credential, Work
from rotation.inventory import identities, instances, management
from rotation.managed import creation, credential_state, dependants, restored
from rotation.models import Run, Step
from secrets_app.models import Label, SecretVersion
from secrets_app.secrets import versions

_AFTER_RESTORE = {
    base.Verdict.ACCEPTED: "Still valid: the instance accepts the value that was kept.",
    base.Verdict.REJECTED: "Stale: the instance refuses the value that was kept. Rotate to put it right.",
}


def verify(work: Work) -> None:
    """Ask whether the host accepts the current value, by a check that counts as no failed login."""
    current = work.labelled(Label.Role.CURRENT)
    if current is None:
        work.end(Run.Outcome.BLOCKED, "no_value", reasons.sentence("no_value"), Credential.NO_VALUE)
    with work.step(Step.Name.TEST) as notes:
        proof = work.ask(current)
        refused, why = logons.refusal(proof)
        notes.sentence = {
            base.Verdict.ACCEPTED: "The instance accepts the current value.",
            base.Verdict.REJECTED: why,
            base.Verdict.UNCLEAR: reasons.sentence("unclear", proof.reason),
        }[proof.verdict]
        is_older = proof.verdict == base.Verdict.REJECTED and restored.is_doubtful(work.account)
        if is_older:
            notes.sentence = (
                "The instance refuses the current value: the database was restored and is older than the "
                "instance. Reconcile to set the current value again, or rotate."
            )
        is_plain = proof.verdict != base.Verdict.REJECTED or refused == "refused_value"
        if work.run.trigger == Run.Trigger.RESTORE and is_plain and proof.verdict in _AFTER_RESTORE:
            notes.sentence = _AFTER_RESTORE[proof.verdict]
        pending = _pending_that_works(work) if proof.verdict == base.Verdict.REJECTED else None
        if pending is not None:
            notes.sentence = reasons.sentence("taken_up" if work.method.REPLACES else "unfinished")
        if proof.verdict != base.Verdict.ACCEPTED and not (pending is not None and work.method.REPLACES):
            notes.state = Step.State.FAILED
    changes.take_up(work, pending, base.Proof(base.Verdict.ACCEPTED, base.Level.HASH))
    if proof.verdict == base.Verdict.ACCEPTED:
        with transaction.atomic():
            versions.mark_verified(current)
            credential_state.note_verified(work.account, proof.level)
            leases.end(work.lease, Run.Outcome.SUCCEEDED, sentence=notes.sentence)
    elif proof.verdict == base.Verdict.REJECTED:
        code = credential_state.DATABASE_OLDER if is_older else refused
        work.end(Run.Outcome.FAILED, code, notes.sentence, Credential.OUT_OF_SYNC)
    elif reasons.stops(proof.code):
        work.block(proof.code, f"Could not check: {proof.reason}")
    else:
        work.end(Run.Outcome.FAILED, "unclear", notes.sentence, Credential.NOT_VERIFIED)


def _pending_that_works(work: Work) -> SecretVersion | None:
    pending = work.labelled(Label.Role.PENDING)
    if pending is None or not pending.offered_at:
        return None
    return pending if work.probe(pending).verdict == base.Verdict.ACCEPTED else None


def check(work: Work) -> None:
    """Look at the instance, or at one account on it, as every rotation does first; keep what was found."""
    username = work.run.username
    with work.step(Step.Name.PREFLIGHT) as notes:
        facts = _facts(work)
        others = creation.others(work.run.instance, username) if username else []
        lines = [base.Check("other_secret", base.Mark.WARNING, creation.told(other)) for other in others]
        notes.evidence = instances.as_evidence([*facts.checks, *lines])
        blocked = facts.blocked
        notes.state = Step.State.FAILED if blocked else Step.State.DONE
        about = f" of {username}" if username else ""
        notes.sentence = blocked.sentence if blocked else f"Everything that a rotation{about} needs is there."
    with transaction.atomic():
        instances.note_facts(work.run.instance, facts, keeps_checks=bool(username))
        if username and wires.has_dependants(work.run.instance.wire):
            dependants.note_for(work.run.instance, username, work.run.account_kind, facts)
        outcome = Run.Outcome.BLOCKED if blocked else Run.Outcome.SUCCEEDED
        leases.end(work.lease, outcome, code=blocked.code if blocked else "", sentence=notes.sentence)


def _facts(work: Work) -> base.Facts:
    if not work.run.username:
        return work.connector.preflight(work.manager, timeout=PREFLIGHT)
    return work.connector.preflight(
        work.manager,
        work.run.username,
        timeout=PREFLIGHT,
        console_id=str(work.run.instance.account_id),
        kind=work.method.KIND,
    )


def scan(work: Work) -> None:
    """Read what the host shows that it is by, for a user to compare; no credential is sent."""
    assert work.scanner is not None
    instance = work.run.instance
    with work.step(Step.Name.SCAN) as notes:
        management.require_whole(instance)
        keys = work.scanner.scan(instances.place(instance), timeout=SCAN)
        notes.sentence = f"The instance shows {instance.shown.count(len(keys))}."
    with transaction.atomic():
        identities.see_host_keys(instance, keys)
        leases.end(work.lease, Run.Outcome.SUCCEEDED, sentence=notes.sentence)
