"""What follows a rotation whose new value is current: old keys go, sessions end, the old value is tried once.

None of it can lose anything: the new value is proven and current before. A worker that dies in between
leaves work for the next one, and a run ends only when all of it is done or known not to be doable.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NoReturn

from django.conf import settings
from django.db.models import Max
from django.db.models.functions import Now

from rotation import leases, reasons
from rotation.connectors import base
from rotation.engine import failpoints
from rotation.engine.methods import key_pair
from rotation.engine.work import BACK_OFF, TEST, Stop, Work
from rotation.inventory import instances
from rotation.managed import credential_state
from rotation.models import Run, Step
from secrets_app.models import Label, SecretVersion
from secrets_app.secrets import versions

MOST_TRIES = 3  # of ending the sessions


def is_finished(work: Work) -> bool:
    """Whether this run's value is current already, so that only the rest is left."""
    current = work.secret.labelled(Label.Role.CURRENT)
    return current is not None and current.pk == work.run.version_id


def is_due(work: Work) -> bool:
    """Whether anything follows the change itself."""
    return work.is_key_pair or work.ends_sessions or work.tries_old_password


def carry(work: Work) -> None:
    """Do what is left, and end the run as succeeded; what could not be done stands in its sentence."""
    if work.is_key_pair:
        key_pair.clean(work)
    left = [credential_state.no_login(work.account), end_sessions(work) if work.ends_sessions else ""]
    if work.tries_old_password:
        left.append(_prove_old_refused(work))
    sentence = " ".join(filter(None, left))
    failpoints.reach("before_end")
    leases.end(
        work.lease,
        Run.Outcome.SUCCEEDED,
        truth=Run.Truth.NEW,
        sentence=f"The new value is current. {sentence}" if sentence else "",
    )


# ---------------------------------------------------------------- sessions


def end_sessions(work: Work) -> str:
    """End what the account has open on the host, once. Returns what a person should know, or nothing."""
    tried = work.run.steps.filter(name=Step.Name.SESSIONS)
    if tried.filter(state=Step.State.DONE).exists():
        return ""
    failed = tried.filter(state=Step.State.FAILED)
    if failed.count() >= MOST_TRIES:
        return failed.order_by("-number")[0].sentence
    failpoints.reach("before_sessions")
    try:
        with work.step(Step.Name.SESSIONS) as notes:
            notes.sentence = _end_them(work)
    except base.ConnectorError as error:
        sentence = f"The sessions of {work.account.username} could not be ended: {error}"
        if reasons.waits(error.code) and failed.count() < MOST_TRIES:
            _wait(work, BACK_OFF[0], error.code, sentence)
        return sentence
    failpoints.reach("after_sessions")
    return ""


def _end_them(work: Work) -> str:
    try:
        ended = work.connector.end_sessions(work.manager, work.account.username, timeout=TEST)
    except base.Refused as refused:
        if refused.code != "own_session":
            raise
        return str(refused)  # Keyturn itself works there: worth a note, and nothing to do
    return f"{ended} ended." if ended else "It had none open."


# ---------------------------------------------------------------- the old password


def _prove_old_refused(work: Work) -> str:
    """Show that the old password is refused, by the host's own check and then by one login.

    Returns what a person should know, or nothing. Ends the run as failed where the old one still works.
    """
    old = work.secret.labelled(Label.Role.PREVIOUS)
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
    """Whether a login that fails would say anything: not where one with the right password fails too."""
    return facts.password_login and not credential_state.no_login(work.account)


def _is_same(work: Work, old: SecretVersion) -> bool:
    """Whether the current password is the old one again, as somebody may have chosen."""
    current = work.secret.labelled(Label.Role.CURRENT)
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
    # A worker that did not come back may have tried the old password, and told nobody.
    broken = Step.objects.filter(run__secret=work.secret, name=Step.Name.CLEAN, state=Step.State.BROKEN)
    untold = broken.aggregate(last=Max("started_at"))["last"]
    return max(filter(None, (refused, control, untold)), default=None)


def _wait(work: Work, delay: timedelta, code: str, sentence: str) -> NoReturn:
    leases.wait(work.lease, delay, code=code, sentence=sentence)
    raise Stop
