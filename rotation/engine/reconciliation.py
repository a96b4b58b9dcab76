"""Set the current value on the host again after it was changed there outside Keyturn.

Follows the rules of a rotation without a new value: no label moves, and the value that is sent was proven
before. A worker may die between any two lines; a run that continues begins with a probe.
"""

from __future__ import annotations

from typing import NoReturn

from django.db import transaction

from rotation import leases, reasons
from rotation.connectors import base
from rotation.engine import changes, failpoints, logons
from rotation.engine.work import Credential, Work
from rotation.managed import credential_state, dependants
from rotation.models import Run, Step
from secrets_app.models import Label, SecretVersion
from secrets_app.secrets import versions


def reconcile(work: Work) -> None:
    """check -> set -> test -> note; nothing is sent to a host that has the value already."""
    current = _current(work)
    facts = changes.preflight(work)
    failpoints.reach("after_preflight")
    # pam_pwhistory refuses the same password again although it is the valid one.
    if not _has_it(work, current):
        generation = changes.intend(work, current, facts)
        failpoints.reach("after_intent")
        refused = changes.tell(work, current, generation)
        failpoints.reach("after_set")
        if refused is not None and not _has_it(work, current):
            work.block(
                refused.code,
                f"The instance refuses the current value: {refused} It may remember earlier passwords. "
                f"Rotate, "
                "so that it gets a new one.",
            )
    proof = changes.try_out(work, current, facts)
    failpoints.reach("after_test")
    if proof.verdict != base.Verdict.ACCEPTED:
        _not_taken(work, current, proof)
    _finish(work, current, proof)


def _current(work: Work) -> SecretVersion:
    current = work.labelled(Label.Role.CURRENT)
    if current is None:
        work.end(Run.Outcome.BLOCKED, "no_value", reasons.sentence("no_value"), Credential.NO_VALUE)
    leases.hold(work.lease, version=current)
    work.run.version = current
    return current


def _has_it(work: Work, current: SecretVersion) -> bool:
    with work.step(Step.Name.PROBE) as notes:
        proof = work.probe(current)
        notes.sentence = {
            base.Verdict.ACCEPTED: "The instance accepts the current value.",
            base.Verdict.REJECTED: "The instance refuses the current value; it is set again.",
            base.Verdict.UNCLEAR: f"Unclear: {proof.reason}",
        }[proof.verdict]
        if proof.verdict == base.Verdict.UNCLEAR:
            notes.state = Step.State.FAILED
    if proof.verdict == base.Verdict.UNCLEAR:
        work.doubt(proof, "It is not known whether the current value works")
    return proof.verdict == base.Verdict.ACCEPTED


def _not_taken(work: Work, current: SecretVersion, proof: base.Proof) -> NoReturn:
    if proof.verdict == base.Verdict.UNCLEAR:
        work.doubt(proof, "The current value could not be tested")
    if not work.method.REPLACES:
        versions.mark_refused(current)  # that it stands in its file says nothing from now on
    if code := changes.undone(work):
        work.fail(current, code, reasons.sentence(code))
    work.put_off(
        "untrue", "The instance reported a change, but refuses the current value.", Credential.OUT_OF_SYNC
    )


def _finish(work: Work, current: SecretVersion, proof: base.Proof) -> None:
    failpoints.reach("before_finish")
    with transaction.atomic():
        versions.mark_verified(current)
        note = logons.note(proof)
        credential_state.note_verified(work.account, proof.level, changed=True, no_login=note)
        sentence = note or "The instance accepts the current value again."
        leases.end(work.lease, Run.Outcome.SUCCEEDED, code=proof.code if note else "", sentence=sentence)
        dependants.follow(work.secret, work.account)
    failpoints.reach("after_finish")
