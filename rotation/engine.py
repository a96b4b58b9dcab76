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
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from rotation import failpoints, inventory, keys, leases, looks, managed, schedules
from rotation.connectors import base
from rotation.models import Run, Step
from rotation.work import PREFLIGHT, SET, TEST, Connect, Credential, Stop, Work
from secrets_app import keypairs, keyring, passwords, versions
from secrets_app.models import Label, SecretVersion

log = logging.getLogger(__name__)

#: A change that was sent may still be applied for so long; without a fence on the host we wait it out.
LATE_APPLY = timedelta(seconds=15)
MOST_ATTEMPTS = 5  # times that a host is told, per run
MOST_TRIES = 30  # times that a worker takes a run up, crashes included
MOST_VALUES = 3  # generated values that a host may refuse, per run


def advance(
    run_id: UUID, *, worker: str, connect: Connect, scanner: base.Scanner, lease: timedelta | None = None
) -> bool:
    """Take up a run and carry it as far as it goes now; False where there was nothing to take up."""
    failpoints.reach("before_claim")
    held = leases.claim(run_id, worker, lease=lease)
    if held is None:
        return False
    failpoints.reach("after_claim")
    run = Run.objects.select_related(
        "secret__managed",
        "secret__region",
        "instance__credential__sealed",
        "instance__region",
        "version",
        "requested_by",
    ).get(pk=run_id)
    work = Work(run, held, connect, scanner)
    try:
        if run.tries > MOST_TRIES:
            work.end(Run.Outcome.FAILED, "gave_up", "Given up after many tries; see the server's log.", "")
        KINDS[run.kind](work)
    except leases.Overtaken:
        log.info("run %s was overtaken: lease %s of %s", run_id, held.number, worker)
    except Stop:
        pass
    except (base.ConnectorError, inventory.NotAttached) as error:
        work.settle(error)
    except keyring.Sealed as error:
        _wait_unsealed(work, str(error))
    return True


def _wait_unsealed(work: Work, sentence: str) -> None:
    try:
        leases.wait(work.lease, timedelta(minutes=1), code="sealed", sentence=sentence)
    except leases.Overtaken:
        log.info("run %s was overtaken: lease %s", work.run.pk, work.lease.number)


# ---------------------------------------------------------------- rotate


def rotate(work: Work) -> None:
    """create -> check -> set -> test -> finish, and for keys clean; a broken run begins with a probe."""
    if keys.is_finished(work):
        keys.clean(work)
        return
    refuse_shared(work)
    version = _create(work)
    failpoints.reach("after_create")
    if version.offered_at and not version.dead_at and _host_has(work, version):
        _finish(work, version, _test(work, version))
        return
    for _ in range(MOST_VALUES):
        facts = _preflight(work)
        failpoints.reach("after_preflight")
        generation = _intend(work, version, facts)
        failpoints.reach("after_intent")
        refused = _set(work, version, generation)
        failpoints.reach("after_set")
        if refused is None:
            proof = _test(work, version, facts)
            failpoints.reach("after_test")
            _finish(work, version, proof)
            failpoints.reach("after_finish")
            return
        version = _replace(work, version, refused)
    work.block(
        "policy",
        "The host refused three generated passwords. Check its password rules and the secret's.",
    )


def refuse_shared(work: Work) -> None:
    """End the run where it would change the account of a credential that other instances share."""
    credential = work.run.instance.credential
    if credential is not None and credential.username == work.account.username:
        work.block(
            "shared_account",
            f"Keyturn works on this instance as {credential.username}, with the shared management credential "
            f"{credential.name}. Let the instance log in with this secret, or attach another credential.",
        )


def _create(work: Work) -> SecretVersion:
    """Have the value stored, with everything needed to log in, before any host hears of it."""
    failpoints.reach("before_create")
    pending = work.secret.labelled(Label.Role.PENDING)
    if pending is not None and work.run.version_id == pending.pk:
        return pending
    with work.step(Step.Name.CREATE) as notes, transaction.atomic():
        if pending is not None:
            notes.sentence = "An earlier run's value may be on the host; it is used again."
            version = pending
        else:
            version = _generate(work)
            notes.sentence = "A new value is stored, encrypted. No host has heard of it."
        leases.hold(work.lease, version=version)
        work.run.version = version
    return version


def _generate(work: Work) -> SecretVersion:
    username = work.account.username
    if work.is_key_pair:
        pair = keypairs.generate(work.secret.key_algorithm)
        made = versions.Value(username, public_key=pair.public_key, private_key=pair.private_key)
    else:
        made = versions.Value(username, password=passwords.policy(work.secret.password_policy).generate())
    return versions.stage(
        work.secret,
        made,
        origin=SecretVersion.Origin.GENERATED,
        actor=work.run.requested_by,
    )


def _host_has(work: Work, version: SecretVersion) -> bool:
    """Ask, without a counting login, whether the host took the value that it may have heard."""
    with work.step(Step.Name.PROBE) as notes:
        proof = work.probe(version)
        notes.sentence = {
            base.Verdict.ACCEPTED: "The host accepts the new value already.",
            base.Verdict.REJECTED: "The host does not have the new value; it is sent again.",
            base.Verdict.UNCLEAR: f"Unclear: {proof.reason}",
        }[proof.verdict]
        if proof.verdict == base.Verdict.UNCLEAR:
            notes.state = Step.State.FAILED
    if proof.verdict == base.Verdict.UNCLEAR:
        work.put_off(
            "unverified", f"It is not known which value works: {proof.reason}", Credential.UNVERIFIED
        )
    return proof.verdict == base.Verdict.ACCEPTED


def _preflight(work: Work) -> base.Facts:
    """Look before touching; end or put off the run where a check forbids it."""
    with work.step(Step.Name.PREFLIGHT) as notes:
        facts = _look(work)
        notes.evidence = inventory.as_evidence(facts.checks)
        blocked = facts.blocked
        notes.sentence = blocked.sentence if blocked else "Nothing stands in the way."
        notes.state = Step.State.FAILED if blocked else Step.State.DONE
    inventory.note_facts(work.run.instance, facts)
    if blocked:
        work.settle(base.ConnectorError(blocked.sentence, code=blocked.code))
        raise Stop
    return facts


def _look(work: Work) -> base.Facts:
    return work.connector.preflight(
        work.manager,
        work.account.username,
        timeout=PREFLIGHT,
        console_id=str(work.secret.account_id),
        kind=base.Kind.KEY if work.is_key_pair else base.Kind.PASSWORD,
    )


def _intend(work: Work, version: SecretVersion, facts: base.Facts) -> int:
    """Commit that the host is about to hear of the value, and with which number."""
    if work.run.attempts >= MOST_ATTEMPTS:
        work.fail(version, "attempts", "The host did not take the new value in five attempts.")
    if not facts.fenced and version.offered_at and version.offered_at + LATE_APPLY > timezone.now():
        # Without a lock on the host an earlier attempt may still be applied after ours.
        work.put_off(
            "unfenced",
            "Waiting until an earlier attempt can no longer be applied.",
            Credential.UNVERIFIED,
        )
    with transaction.atomic():
        generation = managed.raise_generation(work.account, facts.generation)
        leases.hold(work.lease, attempts=work.run.attempts + 1, generation=generation)
        versions.mark_offered(version)
    work.run.attempts += 1
    return generation


def _set(work: Work, version: SecretVersion, generation: int) -> base.Refused | None:
    """Tell the host. Returns the refusal where it will not take this value; nothing has changed then."""
    try:
        with work.step(Step.Name.SET) as notes:
            if work.is_key_pair:
                keys.add(work, version, generation)
            else:
                work.connector.set_password(
                    work.manager,
                    work.account.username,
                    versions.value(version).credential,
                    fence=base.Fence(str(work.secret.account_id), generation),
                    timeout=SET,
                )
            notes.sentence = "The host reports that the new value is set."
    except base.Refused as refused:
        if refused.code not in {"policy", "failed"}:
            raise
        return refused
    except base.Unknown:
        # The one place where either value may be valid now: ask, and never send blindly again.
        if not _host_has(work, version):
            work.put_off(
                "unknown",
                "The connection broke and the host kept the old value.",
                Credential.UNVERIFIED,
            )
    return None


def _test(work: Work, version: SecretVersion, facts: base.Facts | None = None) -> base.Proof:
    """Log in on a new connection with the new value; only that makes a success."""
    with work.step(Step.Name.TEST) as notes:
        failpoints.reach("before_test")
        proof = _prove(work, version, facts or _look(work))
        notes.sentence = _told(proof)
        if proof.verdict != base.Verdict.ACCEPTED:
            notes.state = Step.State.FAILED
    if proof.verdict == base.Verdict.REJECTED:
        if work.is_key_pair and proof.level == base.Level.LOGIN:
            keys.take_back(work, version)
        if work.run.attempts >= MOST_ATTEMPTS:
            work.fail(version, "untrue", "The host reports a change that it does not make.")
        work.put_off(
            "untrue", "The host reported a change, but refuses the new value.", Credential.UNVERIFIED
        )
    if proof.verdict == base.Verdict.UNCLEAR:
        work.put_off(
            "unverified", f"The new value could not be tested: {proof.reason}", Credential.UNVERIFIED
        )
    return proof


def _prove(work: Work, version: SecretVersion, facts: base.Facts) -> base.Proof:
    """Ask the host's own check first: it counts as no login, so a wrong value never feeds a lock-out."""
    if work.is_key_pair:
        return keys.prove(work, version)
    quiet = work.probe(version)
    if quiet.verdict == base.Verdict.REJECTED or not facts.password_login:
        return quiet
    held = versions.value(version)
    proof = work.connector.prove_login(base.Login(held.username, password=held.password), timeout=TEST)
    if proof.verdict == base.Verdict.REJECTED and quiet.verdict == base.Verdict.ACCEPTED:
        return base.Proof(
            base.Verdict.UNCLEAR, reason="the password is right, but the host refuses the login."
        )
    return proof


def _finish(work: Work, version: SecretVersion, proof: base.Proof) -> None:
    """Move the labels, the account's state, the schedule and the run in one transaction."""
    failpoints.reach("before_finish")
    row = leases.begin(work.lease, Step.Name.FINISH)
    with transaction.atomic():
        versions.promote(version)
        managed.note_verified(work.account, proof.level, rotated=True)
        schedules.rotated(work.secret)
        leases.finish(
            work.lease, row, Step.State.DONE, "The new value is current; the old one is kept as previous."
        )
        if not work.is_key_pair:
            leases.end(work.lease, Run.Outcome.SUCCEEDED, truth=Run.Truth.NEW)
    if work.is_key_pair:
        failpoints.reach("after_labels")
        keys.clean(work)


def _replace(work: Work, version: SecretVersion, refused: base.Refused) -> SecretVersion:
    """Make another value after the host refused this one, but only once this one is proven dead."""
    if _host_has(work, version):
        # pam_pwhistory refuses the same password again although it is the valid one.
        _finish(work, version, _test(work, version))
        raise Stop
    with transaction.atomic():
        leases.hold(work.lease)
        versions.drop_pending(version)
    if version.origin in {SecretVersion.Origin.CUSTOM, SecretVersion.Origin.EARLIER}:
        work.fail(
            version,
            refused.code,
            f"The host refused the chosen value; the old one is unchanged. {refused}",
        )
    work.run.version = work.run.version_id = None
    return _create(work)


def _told(proof: base.Proof) -> str:
    if proof.verdict == base.Verdict.ACCEPTED:
        return {
            base.Level.COMMAND: "A new login with the new value ran a command.",
            base.Level.LOGIN: "A new login with the new value succeeded.",
            base.Level.LISTED: "The key stands in a file that the host reads.",
            base.Level.HASH: "The host's own check accepts the new value; it lets no password log in.",
        }[proof.level or base.Level.LOGIN]
    return proof.reason or "The host refuses the new value."


KINDS: dict[str, Callable[[Work], None]] = {
    Run.Kind.ROTATE: rotate,
    Run.Kind.VERIFY: looks.verify,
    Run.Kind.CHECK: looks.check,
    Run.Kind.SCAN: looks.scan,
}
