"""Change one credential on a host: look, mark what is about to be said, say it, and try it.

Each part is safe to repeat. A value is stored and marked as offered before it leaves this process; only a new
login shows whether it works. Does not know why the change is made, nor what follows it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import transaction

from rotation import binding, leases, reasons, schedules, wires
from rotation.connectors import base
from rotation.engine import failpoints, history, logons, own_login
from rotation.engine.work import TEST, Credential, Stop, Work
from rotation.inventory import instances
from rotation.managed import creation, credential_state, dependants, restored
from rotation.models import Run, Step
from secrets_app import keyring
from secrets_app.audit import trail
from secrets_app.journal import journal
from secrets_app.models import Label, SecretVersion
from secrets_app.secrets import versions

#: A change that was sent may still be applied for so long; without a fence on the host we wait it out.
LATE_APPLY = timedelta(seconds=30)
MOST_ATTEMPTS = 5  # times that a host is told, per run
MOST_PUT_BACK = 2  # times that a change of a file is made which is gone at the next look


def refuse_shared(work: Work) -> None:
    """End the run where it would change the account of a credential that other instances share."""
    credential = work.run.instance.credential
    if credential is not None and credential.username == work.account.username:
        work.block(
            "shared_account",
            reasons.sentence("shared_account", credential.username, credential.name),
        )


def host_has(work: Work, version: SecretVersion, *, sends_again: bool = False) -> bool:
    """Ask, without a counting login, whether the host took the value that it may have heard.

    With `sends_again` a host that keeps an old hash of it, of its beginning only, counts as one that has not.
    """
    with work.step(Step.Name.PROBE) as notes:
        proof = work.probe(version)
        notes.sentence = {
            base.Verdict.ACCEPTED: "The instance accepts the new value already.",
            base.Verdict.REJECTED: "The instance does not have the new value; it is sent again.",
            base.Verdict.UNCLEAR: f"Unclear: {proof.reason}",
        }[proof.verdict]
        if proof.verdict == base.Verdict.UNCLEAR:
            notes.state = Step.State.FAILED
        elif work.is_own_login:
            is_there = proof.verdict == base.Verdict.ACCEPTED
            notes.evidence = [own_login.seen(Label.Role.PENDING if is_there else Label.Role.CURRENT)]
    # A host that was taught a better hash uses it only once the value is set again.
    if proof.verdict == base.Verdict.UNCLEAR and not (sends_again and proof.code == "truncates"):
        work.doubt(proof, "It is not known which value works")
    return proof.verdict == base.Verdict.ACCEPTED


def preflight(work: Work, *, is_kept: bool = False) -> base.Facts:
    """Look before touching; end or put off the run where a check forbids it. `is_kept` as in `Work.step`."""
    refuse_shared(work)
    with work.step(Step.Name.PREFLIGHT, is_kept=is_kept) as notes:
        facts = work.look()
        instances.note_facts(work.run.instance, facts)
        if wires.has_dependants(work.run.instance.wire):
            dependants.note(work.account, facts)
        # The machine-id is known only now; what follows may ask which value works.
        if facts.machine_id != work.account.bound_machine_id:
            binding.narrowed(work.endpoint, work.run.instance, [work.secret])
        blocked = facts.blocked
        ours = [] if blocked else [*_ours(work, facts), *work.method.control(work, facts)]
        blocked = blocked or next((c for c in ours if c.mark == base.Mark.BLOCKED), None)
        notes.evidence = instances.as_evidence([*facts.checks, *ours])
        notes.sentence = blocked.sentence if blocked else "Nothing stands in the way."
        notes.state = Step.State.FAILED if blocked else Step.State.DONE
    if blocked:
        work.settle(base.ConnectorError(blocked.sentence, code=blocked.code))
    return facts


def _ours(work: Work, facts: base.Facts) -> Iterator[base.Check]:
    """The checks that need the store: other secrets of the account, overridden checks, restored snapshots."""
    account = work.account
    if work.may_have_others(facts):
        others = creation.others(work.run.instance, account.username, but=account)
        for other in others.select_related(None):  # `told` names none of what belongs to it
            yield base.Check("other_secret", base.Mark.WARNING, creation.told(other))
    for code in work.run.overrides:
        who = work.run.requested_by.name
        yield base.Check("override", base.Mark.WARNING, f"Overridden by {who} ({code}): {work.run.reason}")
    if wires.has_dependants(work.run.instance.wire) and (new := dependants.undecided(work.account)):
        yield base.Check("dependants", base.Mark.WARNING, new)
    if not work.run.attempts and history.went_back(work, facts.generation):
        history.note_keys_that_are_back(work)
        current = work.labelled(Label.Role.CURRENT)
        if current is not None and work.probe(current).verdict == base.Verdict.ACCEPTED:
            works = "The current value works even so."
        else:
            works = history.told(history.find(work))
        yield base.Check(
            "snapshot",
            base.Mark.WARNING,
            f"{reasons.sentence('snapshot')} {works} The rotation goes on.",
        )


def take_up(work: Work, pending: SecretVersion | None, proof: base.Proof) -> None:
    """Make the value of a rotation that was not finished current, where the host's own check accepts it.

    Ends the run then; returns where there is nothing to take up. A key that stands in its file may open
    nothing, so of key pairs only a rotation itself makes one current.
    """
    if pending is None or not work.method.REPLACES or proof.verdict != base.Verdict.ACCEPTED:
        return
    sentence = reasons.sentence("taken_up")
    with transaction.atomic(), trail.at_the_end():
        versions.promote(pending)
        credential_state.note_verified(work.account, proof.level, rotated=True)
        schedules.rotated(work.secret)
        leases.end(work.lease, Run.Outcome.SUCCEEDED, truth=Run.Truth.NEW, code="taken_up", sentence=sentence)
        dependants.follow(work.secret, work.account)
    raise Stop


def require_key(work: Work, version: SecretVersion) -> None:
    """Return if this value can be opened now: no host is told a value that may not be read afterwards.

    Raises `keyring.KeyDisabled` or `keyring.KeyUnusable`.
    """
    if version.sealed is not None:
        work.opens(version, keyring.usable(version.sealed))


def intend(work: Work, version: SecretVersion, facts: base.Facts) -> int:
    """Commit that the host is about to hear of the value, and with which number."""
    if work.run.attempts >= MOST_ATTEMPTS:
        work.fail(version, "attempts", reasons.sentence("attempts"))
    if not facts.fenced and versions.was_offered_within(version, LATE_APPLY):
        # Without a lock on the host an earlier attempt may still be applied after ours.
        work.put_off(
            "unfenced",
            "Waiting until an earlier attempt can no longer be applied.",
            Credential.UNVERIFIED,
        )
    leases.go_on(work.lease)
    # Before the commit that lets the host hear of it: if the database is lost, this knows the value.
    journal.append(version)
    failpoints.reach("after_journal")
    if not _offer_first(work, version, facts):
        require_key(work, version)
        restored.refuse()
        with transaction.atomic():
            versions.mark_offered(version)
            _mark_intent(work, facts)
    work.run.attempts += 1
    return work.run.generation


def _offer_first(work: Work, version: SecretVersion, facts: base.Facts) -> bool:
    """Mark a value that no host has heard, if the key and the restores of databases allow it at this moment.

    Both are asked by the statement that marks it. False says that nothing was written, not what is wrong.
    """
    opener, known = work.opener(version), restored.agreed()
    if opener is None or known is None or version.offered_at is not None:
        return False
    with transaction.atomic():
        if not versions.mark_offered_if(version, opener, known):
            return False
        _mark_intent(work, facts)
    return True


def _mark_intent(work: Work, facts: base.Facts) -> None:
    """Write the attempt and its number beside the mark of its value, in the caller's transaction."""
    work.run.generation = credential_state.raise_generation(work.account, facts.generation)
    # Of an own login this step says which value comes first, so it is there only once that is true.
    if not work.is_own_login:
        leases.begin_with(work.lease, Step.Name.SET)
    leases.hold(work.lease, attempts=work.run.attempts + 1, generation=work.run.generation)
    binding.bind_over(work.account, work.endpoint)  # who hears the first value is who it is for


@contextmanager
def lifeline(work: Work) -> Iterator[None]:
    """Keep a session open while the instance's own login changes: it stays logged in if the change fails."""
    if not work.is_own_login:
        yield
        return
    with work.lifelines.lifeline(work.manager, timeout=TEST):
        try:
            yield
        finally:
            work.work_as(None)


def tell(work: Work, version: SecretVersion, generation: int) -> base.Refused | None:
    """Tell the host. Returns the refusal where it will not take this value; nothing has changed then."""
    try:
        with work.step(Step.Name.SET, then=Step.Name.TEST) as notes:
            work.method.tell(work, version, generation)
            notes.sentence = f"The instance reports that the {_which(work)} value is set."
            if "must_change" in work.run.overrides:
                cleared = "The instance no longer demands a change at the next login, as was asked."
                notes.evidence = [{"name": "must_change", "mark": "warning", "sentence": cleared}]
    except base.Refused as refused:
        if refused.code != "policy":
            raise
        return refused
    except base.Unknown:
        # The one place where either value may be valid now: ask, and never send blindly again.
        if not host_has(work, version):
            work.put_off(
                "unknown",
                "The change did not end, and the instance kept the old value.",
                Credential.UNVERIFIED,
            )
    if work.method.REPLACES:
        work.work_as(version)  # sudo may ask for the account's password, which is the new one now
    return None


def undone(work: Work) -> str:
    """Return why another attempt is pointless although the host reports the change as done, or nothing.

    If another program edits the key file too, it undoes further attempts in the same way.
    """
    if not work.method.REPLACES and work.run.attempts >= MOST_PUT_BACK:
        return "reverted"
    return "untrue" if work.run.attempts >= MOST_ATTEMPTS else ""


def try_out(work: Work, version: SecretVersion, facts: base.Facts) -> base.Proof:
    """Log in on a new connection with this value, and keep what came of it as a step.

    One that succeeded is written with what the caller makes of it.
    """
    with work.step(Step.Name.TEST, is_kept=True) as notes:
        failpoints.reach("before_test")
        proof = work.method.prove(work, version, facts)
        notes.sentence = _told(proof, _which(work))
        if proof.verdict != base.Verdict.ACCEPTED:
            notes.state = Step.State.FAILED
    return proof


def _which(work: Work) -> str:
    """The value that this run sends, in a word: a reconciliation sends the current one again."""
    return "current" if work.run.kind == Run.Kind.RECONCILE else "new"


def _told(proof: base.Proof, which: str) -> str:
    if proof.verdict == base.Verdict.ACCEPTED:
        return (
            logons.note(proof)
            or {
                base.Level.COMMAND: f"A new login with the {which} value ran a command.",
                base.Level.LOGIN: f"A new login with the {which} value succeeded.",
                base.Level.LISTED: "The key stands in a file that the instance reads.",
                base.Level.HASH: f"The instance's own check accepts the {which} value. No login was tried; "
                "the checklist says why.",
            }[proof.level or base.Level.LOGIN]
        )
    return proof.reason or f"The instance refuses the {which} value."
