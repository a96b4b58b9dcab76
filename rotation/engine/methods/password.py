"""What only the rotation of a password does: set it, prove it, put the old one back, show that it is dead.

A host has one password for an account: setting the new one replaces the old one, so there is nothing to
remove. Proof that the old one is refused costs a failed login, which is counted and kept apart from others.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, NoReturn

from django.conf import settings
from django.db import transaction
from django.db.models import Max
from django.db.models.functions import Now

from rotation import leases, reasons
from rotation.connectors import base
from rotation.engine import control as controls
from rotation.engine import failpoints, logons, own_login
from rotation.engine.work import BACK_OFF, PROBE, SET, TEST, Stop, Work
from rotation.inventory import instances
from rotation.managed import credential_state
from rotation.models import Run, Step
from secrets_app.crypto import passwords
from secrets_app.models import Label, Secret, SecretVersion
from secrets_app.secrets import versions

KIND: Final = base.Kind.PASSWORD
REPLACES: Final = True
#: Seconds within which a connection counts as failed at once, and the pauses before it is tried again:
#: until the new password is current, the host refuses every user who fetches the old one.
AT_ONCE, SOON = 1.0, (0.2, 0.8)


def generate(secret: Secret, username: str) -> versions.Value:
    """Make a password that the secret's policy wants."""
    return versions.Value(username, password=passwords.policy(secret.password_policy).generate())


# ---------------------------------------------------------------- set


def tell(work: Work, version: SecretVersion, generation: int) -> None:
    """Set this version's password. Raises as `Connector.set_password` does."""
    instance = work.run.instance
    new = work.value(version).credential
    work.login_follows = logons.follows(work)
    work.told = work.passwords.set_password(
        work.manager,
        work.account.username,
        new,
        fence=base.Fence(work.console_id, generation),
        timeout=SET,
        allowed=work.run.overrides,
        controlled=instances.check_control_within(instance, controls.EVERY, before=work.taken_at),
        login_follows=work.login_follows,
    )
    if work.told is not None and work.told.control:
        instances.note_check_control(instance, work.told.control)


def control(work: Work, facts: base.Facts) -> Iterator[base.Check]:
    """Try a random wrong password where that is due; see `rotation.engine.control`."""
    yield from logons.try_current(work, facts)
    # A login that was refused just now is the failed one of this run, and shows what the control shows.
    if work.shut_out is None:
        yield from controls.check(work, facts)


# ---------------------------------------------------------------- does it work


def probe(work: Work, version: SecretVersion) -> base.Proof:
    """Ask the host's own check."""
    password = work.value(version).credential
    return work.passwords.probe_password(work.manager, work.account.username, password, timeout=PROBE)


def ask(work: Work, version: SecretVersion) -> base.Proof:
    """As `probe`: the host's own check decides about a password."""
    return probe(work, version)


def prove(work: Work, version: SecretVersion, facts: base.Facts) -> base.Proof:
    """Ask the host's own check first: it counts as no login, so a wrong value causes no lock-out.

    Where a login has worked just now, and the host was not asked as it took the value, a login comes first:
    it asks the same check, and costs the host half as much as both.
    """
    if work.login_follows and work.told is None:
        proof = _tried(work, version, is_set=True)
        return proof if proof.verdict == base.Verdict.ACCEPTED else logons.after_login(work, version, proof)
    quiet = _checked(work, version)
    if quiet.verdict == base.Verdict.REJECTED or reasons.stops(quiet.code) or not facts.password_login:
        return quiet
    is_set = quiet.verdict == base.Verdict.ACCEPTED
    if is_set and work.shut_out is not None:
        return logons.noted(quiet, work.shut_out)
    proof = _tried(work, version, is_set=is_set)
    if is_set and proof.verdict != base.Verdict.ACCEPTED:
        return logons.judged(work, version, proof)
    return proof


def _tried(work: Work, version: SecretVersion, *, is_set: bool) -> base.Proof:
    """What comes of a login with a value that the host reports as set, if it does."""
    try:
        return _log_in(work, version)
    except base.Unreachable as error:
        # A host may be away for a moment; if it answers the check again, it says whether it has the value.
        if not (is_set and work.run.waits):
            raise
        return base.Proof(base.Verdict.UNCLEAR, reason=str(error), code=error.code)


def _log_in(work: Work, version: SecretVersion) -> base.Proof:
    """Log in with the password, on one of three connections: sshd drops some at random (MaxStartups).

    One that fails before the login counts as none. A host that takes long to say so is left for later.
    """
    for pause in SOON:
        began = time.monotonic()
        try:
            return logons.log_in(work, version)
        except base.Unreachable as error:
            if not reasons.is_away(error.code) or time.monotonic() - began > AT_ONCE:
                raise
        time.sleep(pause)
    return logons.log_in(work, version)


def _checked(work: Work, version: SecretVersion) -> base.Proof:
    """What the host's own check says of this value.

    A host that lied about it once, so that a login failed and counted, is asked apart from the change from
    the second attempt on: it then has to lie twice, and the login is not tried.
    """
    told, work.told = work.told, None
    if told is not None and work.run.attempts <= 1:
        return told
    return work.probe(version)


# ---------------------------------------------------------------- put back


def undo(work: Work, version: SecretVersion, facts: base.Facts | None, proof: base.Proof) -> None:
    """Give the instance's own login its old password again if no login works with the new one."""
    is_refused = proof.verdict == base.Verdict.REJECTED or proof.code == "refused_login"
    if work.is_own_login and facts and is_refused:
        _put_back(work, version, work.run.generation)


def _put_back(work: Work, version: SecretVersion, generation: int) -> None:
    """Give the instance's own login its old password again, by the session that is still open, and prove it.

    Ends the run as failed if the old value works again. Otherwise returns, and the next worker finds out
    which value works.
    """
    current = work.labelled(Label.Role.CURRENT)
    if current is None:
        return
    with work.step(Step.Name.SET) as notes:
        _set_again(work, current, version, generation)
        work.work_as(current)
        held = work.value(current)
        proof = work.connector.prove_login(base.Login(held.username, password=held.password), timeout=TEST)
        works = proof.verdict == base.Verdict.ACCEPTED
        notes.state = Step.State.DONE if works else Step.State.FAILED
        notes.sentence = (
            "A login with the new value failed. The old one was set again over the session that was open, "
            f"and {'a new login with it succeeded' if works else 'could not be shown to work'}."
        )
        notes.evidence = [own_login.seen(Label.Role.CURRENT)] if works else []
    if works:
        with transaction.atomic():
            leases.hold(work.lease)
            versions.drop_pending(version)
        work.labels_moved()
        work.fail(version, "login_failed", reasons.sentence("login_failed"))


def _set_again(work: Work, current: SecretVersion, version: SecretVersion, generation: int) -> None:
    """Set the old password, by either value that sudo may ask for; does nothing if the host still has it."""
    for asked in (version, current):
        work.work_as(asked)
        try:
            if work.probe(current).verdict != base.Verdict.ACCEPTED:
                tell(work, current, generation)
            return
        except base.Refused as refused:
            if refused.code != "sudo" or asked is current:
                raise


# ---------------------------------------------------------------- the old password


def is_due(work: Work) -> bool:
    """Whether the old password is tried."""
    return work.tries_old_password


def clean(work: Work) -> None:
    """Do nothing: the new password replaced the old one."""


def disprove(work: Work) -> str:
    """Show that the old password is refused, by the host's own check and then by one login.

    Only if the secret's options ask for it. Returns a sentence for the user, or nothing. Ends the run as
    failed if the old password still works.
    """
    if not work.tries_old_password:
        return ""
    old = work.labelled(Label.Role.PREVIOUS)
    if old is None or old.sealed_id is None or old.refused_at or _is_same(work, old):
        return ""
    failpoints.reach("before_old")
    try:
        facts = work.look()
        if facts.blocked:
            raise base.ConnectorError(facts.blocked.sentence, code=facts.blocked.code)
        if _can_log_in(work, facts):
            _wait_for_budget(work)
        with work.step(Step.Name.CLEAN) as notes:
            proof = _try_old(work, old, facts)
            failpoints.reach("after_old_login")
            if proof.verdict == base.Verdict.REJECTED:
                versions.mark_refused(old)
            notes.sentence = {
                base.Verdict.ACCEPTED: "The instance accepts the old password too.",
                base.Verdict.REJECTED: "The instance refuses the old password.",
                base.Verdict.UNCLEAR: f"Unclear: {proof.reason}",
            }[proof.verdict]
            if proof.verdict != base.Verdict.REJECTED:
                notes.state = Step.State.FAILED
    except base.ConnectorError as error:
        sentence = f"It could not be shown that the old password is refused: {error}"
        if reasons.waits(error.code) and work.run.waits < len(BACK_OFF):
            _wait(work, BACK_OFF[work.run.waits], error.code, sentence)
        return sentence
    failpoints.reach("after_old")
    if proof.verdict == base.Verdict.ACCEPTED:
        leases.end(
            work.lease,
            Run.Outcome.FAILED,
            truth=Run.Truth.NEW,
            code="old_works",
            sentence=reasons.sentence("old_works"),
        )
        raise Stop
    if proof.verdict == base.Verdict.UNCLEAR:
        return f"It could not be shown that the old password is refused: {proof.reason}"
    return ""


def _try_old(work: Work, old: SecretVersion, facts: base.Facts) -> base.Proof:
    quiet = work.probe(old)
    if quiet.verdict != base.Verdict.REJECTED or not _can_log_in(work, facts):
        return quiet
    held = work.value(old)
    return work.connector.prove_login(base.Login(held.username, password=held.password), timeout=TEST)


def _can_log_in(work: Work, facts: base.Facts) -> bool:
    """Whether a failed login would prove anything: it does not if the right password fails too."""
    return facts.password_login and not credential_state.no_login(work.account)


def _is_same(work: Work, old: SecretVersion) -> bool:
    """Whether the current password is the same as the old one; a user may have chosen it again."""
    current = work.labelled(Label.Role.CURRENT)
    return current is not None and versions.are_same(old, current)


def _wait_for_budget(work: Work) -> None:
    """Put the run off while another failed login of this account is too near."""
    last = _last_failed_login(work)
    left = last + settings.FAILED_LOGINS_APART - _now(work) if last else timedelta(0)
    if left > timedelta(0):
        _wait(work, left, "budget", reasons.sentence("budget"))


def _now(work: Work) -> datetime:
    """The database's clock: a worker's may be wrong by a day, and the wait with it."""
    moment: datetime = Run.objects.filter(pk=work.run.pk).values_list(Now(), flat=True).get()
    return moment


def _last_failed_login(work: Work) -> datetime | None:
    refused = work.secret.versions.aggregate(last=Max("refused_at"))["last"]
    control = instances.control_at(work.run.instance)
    # A worker that died may have tried the old password without a record of it.
    broken = Step.objects.filter(run__secret=work.secret, name=Step.Name.CLEAN, state=Step.State.BROKEN)
    untold = broken.aggregate(last=Max("started_at"))["last"]
    return max(filter(None, (refused, control, untold)), default=None)


def _wait(work: Work, delay: timedelta, code: str, sentence: str) -> NoReturn:
    leases.wait(work.lease, delay, code=code, sentence=sentence)
    raise Stop
