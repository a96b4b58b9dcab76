"""Carry one run through its steps, each safe to repeat.

The order is the promise: the new value is stored before any host hears of it, and becomes current
only after a login with it succeeded on a new connection. A worker may die between any two lines;
running the run again is always right, because it begins by asking what the host accepts.

Knows secrets by id and hosts by `Connector`; reads no request and renders nothing. No transaction
is open while a host is being talked to.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import NoReturn
from uuid import UUID

from django.db import transaction

from rotation import leases, reasons, schedules
from rotation.connectors import base
from rotation.engine import (
    aftercare,
    changes,
    checks,
    dependants,
    drift,
    failpoints,
    logons,
    reconciliation,
)
from rotation.engine.methods import table as methods
from rotation.engine.work import TELLS, Arrived, Connect, Credential, Stop, Work
from rotation.inventory import management
from rotation.managed import credential_state, restored
from rotation.models import Run, Step
from secrets_app import keyring
from secrets_app.audit import trail
from secrets_app.journal import places
from secrets_app.models import Label, SecretVersion
from secrets_app.secrets import versions

log = logging.getLogger(__name__)

MOST_TRIES = 30  # times that a worker takes a run up, crashes included
MOST_VALUES = 3  # generated values that a host may refuse, per run
NEW = "A new value is stored, encrypted. It has not been sent to an instance."
KEPT = "The value that an earlier run stored is used. It has not been sent to an instance."
OFFERED = "An earlier run's value may be on the instance; it is used again."


def advance(
    run_id: UUID, *, worker: str, connect: Connect, scanner: base.Scanner, lease: timedelta | None = None
) -> Run | None:
    """Take up a run and carry it as far as it goes now; return it, or None if nothing was done."""
    failpoints.reach("before_claim")
    if restored.look() and Run.objects.filter(pk=run_id, kind__in=TELLS).exists():
        return None  # it stays where it is; the sweep finds it when the restore is acknowledged
    held = leases.claim(run_id, worker, lease=lease)
    if held is None:
        return None
    failpoints.reach("after_claim")
    run = held.run
    assert run is not None
    work = Work(run, held, connect, methods.of(run), scanner)
    try:
        try:
            _carry(work)
        except Arrived as arrived:
            _finish_arrived(work, arrived)
    except leases.Overtaken:
        log.info("run %s was overtaken: lease %s of %s", run_id, held.number, worker)
    except Stop:
        pass
    except Exception as error:
        leases.leave(held, error)
        raise
    finally:
        work.hang_up()
    return run


def _carry(work: Work) -> None:
    """Do the work of this kind of run; an obstacle becomes a wait or an end."""
    try:
        if work.run.tries > MOST_TRIES:
            _give_up(work)
        KINDS[work.run.kind](work)
    except (base.ConnectorError, management.NotAttached) as error:
        work.settle(error)
    except keyring.Sealed as error:
        _wait_for_a_person(work, "sealed", str(error))
    except places.Away as error:
        _wait_for_a_person(work, "journal_away", str(error))
    except restored.Unacknowledged as error:
        _wait_for_a_person(work, "restored", str(error))
    except keyring.KeyUnusable as error:
        _stop_unusable(work, error)


def _finish_arrived(work: Work, arrived: Arrived) -> None:
    """Make the value current that the host accepts, although not every proof of it was made."""
    sentence = reasons.sentence("not_shown", str(arrived))
    proof = base.Proof(base.Verdict.ACCEPTED, base.Level.HASH, reason=sentence, code="not_shown")
    _finish(work, arrived.version, proof)


def _stop_unusable(work: Work, error: keyring.KeyUnusable) -> NoReturn:
    """End the run: it needs a value that cannot be opened until a user enables the key."""
    code = "key_disabled" if isinstance(error, keyring.KeyDisabled) else "key_unusable"
    work.settle(base.ConnectorError(str(error), code=code))


def _give_up(work: Work) -> NoReturn:
    """End a run that many workers could not end, with what is known without a call to the host."""
    sentence, truth = reasons.sentence("gave_up"), ""
    version = work.run.version
    if work.run.kind == Run.Kind.ROTATE and aftercare.is_finished(work):
        sentence, truth = (
            f"The new value is current. What follows a rotation was given up: {sentence}",
            Run.Truth.NEW,
        )
    elif version and version.offered_at:
        truth = Run.Truth.UNKNOWN
    work.end(Run.Outcome.FAILED, "gave_up", sentence, "", truth=truth)


def _wait_for_a_person(work: Work, code: str, sentence: str) -> None:
    leases.wait(work.lease, timedelta(minutes=1), code=code, sentence=sentence)


# ---------------------------------------------------------------- rotate


def rotate(work: Work) -> None:
    """create -> check -> set -> test -> finish, and what follows; a broken run begins with a probe."""
    if aftercare.is_finished(work):
        aftercare.carry(work)
        return
    work.require_kind()
    version = _create(work, then=Step.Name.PREFLIGHT)
    failpoints.reach("after_create")
    is_open = version.offered_at and not version.dead_at
    if is_open and changes.host_has(work, version, sends_again=True):
        _finish(work, version, _test(work, version))
        return
    for _ in range(MOST_VALUES):
        facts = changes.preflight(work, is_kept=not work.is_own_login)
        failpoints.reach("after_preflight")
        with changes.lifeline(work):
            proof = _change(work, version, facts)
        if proof is not None:
            _finish(work, version, proof)
            failpoints.reach("after_finish")
            return
        version = _replace(work, version)
    work.block(
        "policy",
        "The instance refused three generated passwords. Check its password rules and the secret's.",
    )


def _change(work: Work, version: SecretVersion, facts: base.Facts) -> base.Proof | None:
    """Tell the host and try the value; None where it will not take this value, and nothing has changed."""
    generation = changes.intend(work, version, facts)
    failpoints.reach("after_intent")
    refused = changes.tell(work, version, generation)
    failpoints.reach("after_set")
    if refused is not None:
        work.refusal = refused
        return None
    proof = _test(work, version, facts)
    failpoints.reach("after_test")
    return proof


def _create(work: Work, *, then: str = "") -> SecretVersion:
    """Have the value stored, with everything needed to log in, before any host hears of it.

    A new value starts the step that comes `then`.
    """
    failpoints.reach("before_create")
    pending = work.labelled(Label.Role.PENDING)
    if pending is not None:
        changes.require_key(work, pending)
        if work.run.version_id == pending.pk:
            return pending
    leases.go_on(work.lease)
    try:
        with transaction.atomic():
            if pending is not None:
                version = pending
                sentence = OFFERED if pending.offered_at else KEPT
            else:
                version = _generate(work)
                sentence = NEW
            leases.passed(work.lease, Step.Name.CREATE, sentence, then="" if pending else then)
            leases.hold(work.lease, version_id=version.pk)
    except keyring.KeyUnusable as error:
        row = leases.begin(work.lease, Step.Name.CREATE)
        leases.finish(work.lease, row, Step.State.FAILED, str(error))
        raise
    work.run.version = version
    return version


def _generate(work: Work) -> SecretVersion:
    version = versions.stage_first(
        work.secret,
        work.method.generate(work.secret, work.account.username),
        origin=SecretVersion.Origin.GENERATED,
        actor=work.run.requested_by,
    )
    work.has_pending(version)
    if version.sealed is not None:
        work.opens(version, version.sealed.key_version)
    return version


def _test(work: Work, version: SecretVersion, facts: base.Facts | None = None) -> base.Proof:
    """Try the new value; only a login, or the check in its place, makes a success."""
    proof = changes.try_out(work, version, facts or work.look())
    if proof.verdict != base.Verdict.ACCEPTED:
        _not_taken(work, version, facts, proof)
    return proof


def _not_taken(work: Work, version: SecretVersion, facts: base.Facts | None, proof: base.Proof) -> NoReturn:
    """End the run or put it off: the new value was not shown to work."""
    work.method.undo(work, version, facts, proof)
    if proof.verdict == base.Verdict.UNCLEAR:
        work.doubt(proof, "The new value could not be tested")
    if code := changes.undone(work):
        work.fail(version, code, reasons.sentence(code))
    work.put_off(
        "untrue", "The instance reported a change, but refuses the new value.", Credential.UNVERIFIED
    )


def _finish(work: Work, version: SecretVersion, proof: base.Proof) -> None:
    """Move the labels, the account's state, the schedule and the run in one transaction."""
    failpoints.reach("before_finish")
    leases.go_on(work.lease)
    sentence = logons.note(proof)
    kept = "The new value is current; the old one is kept as previous."
    is_first = work.labelled(Label.Role.CURRENT) is None

    def move() -> None:
        versions.promote(version)
        credential_state.note_verified(work.account, proof.level, rotated=True, no_login=sentence)
        schedules.rotated(work.secret)

    with transaction.atomic(), trail.at_the_end():
        told = "The new value is current. It is the first one." if is_first else kept
        leases.passed(work.lease, Step.Name.FINISH, told, then=aftercare.begins_with(work, version))
        # The lease comes before anything else: a worker that was overtaken finds other labels.
        if dependants.can_have(work):
            leases.hold(work.lease)
            dependants.expect(work)
        if aftercare.is_due(work):
            leases.hold(work.lease)
            move()
        else:
            leases.end(
                work.lease,
                Run.Outcome.SUCCEEDED,
                truth=Run.Truth.NEW,
                code=proof.code if sentence else "",
                sentence=sentence,
                known=work.run,
                with_it=move,
            )
    work.promoted(version)
    work.no_login = sentence
    if aftercare.is_due(work):
        work.work_as(None)  # an own login is the new value from here on
        failpoints.reach("after_labels")
        aftercare.carry(work)


def _replace(work: Work, version: SecretVersion) -> SecretVersion:
    """Make another value after the host refused this one, but only once this one is proven dead."""
    if changes.host_has(work, version):
        # pam_pwhistory refuses the same password again although it is the valid one.
        _finish(work, version, _test(work, version))
        raise Stop
    with transaction.atomic():
        leases.hold(work.lease)
        versions.drop_pending(version)
    work.labels_moved()
    refused = work.refusal
    if refused and version.origin in {SecretVersion.Origin.CUSTOM, SecretVersion.Origin.EARLIER}:
        work.fail(
            version,
            refused.code,
            f"The instance refused the chosen value; the old one is unchanged. {refused}",
        )
    work.run.version = work.run.version_id = None
    return _create(work)


KINDS: dict[str, Callable[[Work], None]] = {
    Run.Kind.ROTATE: rotate,
    Run.Kind.VERIFY: checks.verify,
    Run.Kind.CHECK: checks.check,
    Run.Kind.SCAN: checks.scan,
    Run.Kind.DRIFT: drift.drift,
    Run.Kind.RECONCILE: reconciliation.reconcile,
    Run.Kind.DEPENDANTS: dependants.again,
}
