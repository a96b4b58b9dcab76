"""What follows a rotation whose new value is current: dependants get it, old keys go, sessions end.

No part of it can lose a value: the new value is proven and current before. If a worker dies in between, the
next one continues, and a run ends only when each part is done or known to be impossible.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NoReturn

from rotation import leases, reasons
from rotation.connectors import base
from rotation.engine import dependants, failpoints
from rotation.engine.work import BACK_OFF, TEST, Stop, Work
from rotation.managed import credential_state
from rotation.models import Run, Step
from secrets_app.models import Label, SecretVersion

MOST_TRIES = 3  # of ending the sessions


def is_finished(work: Work) -> bool:
    """Whether this run's value is current already, so that only the rest is left."""
    if work.run.version_id is None:
        return False
    current = work.labelled(Label.Role.CURRENT)
    return current is not None and current.pk == work.run.version_id


def is_due(work: Work) -> bool:
    """Whether anything follows the change itself."""
    return work.method.is_due(work) or work.ends_sessions or dependants.are_due(work)


def begins_with(work: Work, version: SecretVersion) -> str:
    """The step that surely comes next once `version` is current, or nothing."""
    old = work.labelled(Label.Role.CURRENT)
    is_other = old is not None and old.public_key != version.public_key
    return Step.Name.CLEAN if is_other and not work.method.REPLACES else ""


def carry(work: Work) -> None:
    """Do the remaining work and end the run as succeeded; its sentence names the parts that failed."""
    failed = dependants.update(work)  # before all that may wait: each tries the old value until then
    work.method.clean(work)
    left = [
        failed,
        credential_state.no_login(work.account) if work.no_login is None else work.no_login,
        end_sessions(work) if work.ends_sessions else "",
        work.method.disprove(work),
    ]
    sentence = " ".join(filter(None, left))
    failpoints.reach("before_end")
    leases.end(
        work.lease,
        Run.Outcome.SUCCEEDED,
        truth=Run.Truth.NEW,
        code=dependants.CODE if failed else "",
        sentence=f"The new value is current. {sentence}" if sentence else "",
        known=work.run,
    )


# ---------------------------------------------------------------- sessions


def end_sessions(work: Work) -> str:
    """End the account's sessions on the host, once. Returns a sentence for the user, or nothing."""
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
        ended = work.sessions.end_sessions(work.manager, work.account.username, timeout=TEST)
    except base.Refused as refused:
        if refused.code != "own_session":
            raise
        return str(refused)  # Keyturn itself works there: worth a note, and nothing to do
    who = work.account.username
    if not ended:
        return f"{who} had no SSH session open."
    return f"{ended} SSH session{'' if ended == 1 else 's'} of {who} ended."


def _wait(work: Work, delay: timedelta, code: str, sentence: str) -> NoReturn:
    leases.wait(work.lease, delay, code=code, sentence=sentence)
    raise Stop
