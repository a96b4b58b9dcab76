"""Whether a login works with a value that the host's own check accepts, and why it does not.

A right password may not permit a login: account rules of PAM, a second factor, /etc/nologin, a login that is
too slow. The host has the value even so, so the value becomes current, and the run and the credential say why
the login failed. A login is also tried before a change if it costs no failed login.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings

from rotation import reasons
from rotation.connectors import base
from rotation.engine.work import TEST, Work
from rotation.inventory import instances
from rotation.managed import credential_state
from secrets_app.models import Label, SecretVersion

#: After a login that ran a command, no other login is needed before a change for this long.
SHOWN = timedelta(hours=1)
MUST_CHANGE = "must_change"
_LOGINS = frozenset({base.Level.LOGIN, base.Level.COMMAND})


def try_current(work: Work, facts: base.Facts) -> Iterator[base.Check]:
    """Log in with the current password before it is changed; yield a line of the checklist if that was tried.

    Tries only a password that the host's own check accepts, so no wrong password is counted. If the login
    fails, `work.shut_out` says why, and the new value is proven by the host's own check alone. Raises
    `HostKeyChanged`, and `Unreachable` if the check cannot be asked.
    """
    if work.is_own_login or not facts.password_login or work.run.attempts:
        return
    if MUST_CHANGE in work.run.overrides:
        return  # what keeps users out then is the old password's age, which the change ends
    current = work.labelled(Label.Role.CURRENT)
    if current is None:
        return
    if _was_shown(work):
        work.login_works = True
        return
    if work.probe(current).verdict != base.Verdict.ACCEPTED:
        return
    if _was_refused_lately(work):
        seen = work.account.credential_sentence.removeprefix(reasons.sentence(credential_state.NO_LOGIN, ""))
        work.shut_out = base.Proof(base.Verdict.UNCLEAR, reason=seen)
    else:
        try:
            work.shut_out = _refused(work, current)
        except base.Unreachable as error:
            sentence = f"A login with the current value could not be tried: {error}"
            yield base.Check("login_now", base.Mark.UNKNOWN, sentence)
            return
    if work.shut_out is None:
        work.login_works = True
        yield base.Check("login_now", base.Mark.PASSED, "A login with the current value works.")
    else:
        sentence = (
            f"No login with the current value is possible: {_seen(work.shut_out)} The new value is proven by "
            "the instance's own check."
        )
        yield base.Check("login_now", base.Mark.WARNING, sentence, credential_state.NO_LOGIN)


def follows(work: Work) -> bool:
    """Whether a login with the new value comes before the host's own check of it, which it asks too.

    It counts as failed if the host does not have the value, so only where logins work, and not soon after
    another one that failed.
    """
    apart = settings.FAILED_LOGINS_APART
    return work.login_works and not instances.was_controlled_within(
        work.run.instance, apart, before=work.taken_at
    )


def _refused(work: Work, current: SecretVersion) -> base.Proof | None:
    proof = log_in(work, current)
    if proof.verdict == base.Verdict.REJECTED:
        instances.note_control(work.run.instance)  # a failed login; the daily one would be a second
    return None if proof.verdict == base.Verdict.ACCEPTED else proof


def log_in(work: Work, version: SecretVersion) -> base.Proof:
    """Log in with this password once: sshd counts a login that PAM's account rules end as a failed one."""
    held = work.value(version)
    return work.connector.prove_login(base.Login(held.username, password=held.password), timeout=TEST)


def after_login(work: Work, version: SecretVersion, seen: base.Proof) -> base.Proof:
    """The proof for a value with which a login failed before the host's own check was asked."""
    if seen.verdict == base.Verdict.REJECTED:
        instances.note_control(work.run.instance)  # a failed login, for the next one to stay away from
    quiet = work.probe(version)
    if quiet.verdict == base.Verdict.ACCEPTED:
        return judged(work, version, seen)
    return quiet if quiet.verdict == base.Verdict.REJECTED or reasons.stops(quiet.code) else seen


def judged(work: Work, version: SecretVersion, seen: base.Proof) -> base.Proof:
    """The proof for a value that the host's own check accepts and that a login did not accept.

    The check runs again, apart from the change: a host that lies has to lie twice.
    """
    if work.is_own_login:
        # Keyturn itself could not come back, so this one is not left as it is.
        if seen.verdict == base.Verdict.REJECTED:
            return base.Proof(
                base.Verdict.UNCLEAR, reason=reasons.sentence("refused_login"), code="refused_login"
            )
        return seen
    if seen.verdict == base.Verdict.REJECTED:
        instances.note_control(work.run.instance)
    again = work.probe(version)
    return noted(again, seen) if again.verdict == base.Verdict.ACCEPTED else again


def noted(quiet: base.Proof, seen: base.Proof) -> base.Proof:
    """The proof by the host's own check, with the reason why the login failed."""
    sentence = reasons.sentence(credential_state.NO_LOGIN, _seen(seen))
    return base.Proof(base.Verdict.ACCEPTED, quiet.level, sentence, credential_state.NO_LOGIN)


def refusal(proof: base.Proof) -> tuple[str, str]:
    """The reason's code and the sentence for a current value that was refused.

    By a login, where the host's check says yes: the value is there, and something else keeps it out.
    """
    if proof.level == base.Level.LOGIN and proof.code:
        return proof.code, proof.reason
    return "refused_value", reasons.sentence("refused_value")


def note(proof: base.Proof) -> str:
    """Return why the login failed, for a run and a credential; empty if a login succeeded."""
    return proof.reason if proof.code in {credential_state.NO_LOGIN, "not_shown"} else ""


def _seen(proof: base.Proof) -> str:
    return proof.reason or reasons.sentence("refused_login")


def _was_shown(work: Work) -> bool:
    at = work.account.verified_at
    return work.account.verified_level in _LOGINS and at is not None and at >= work.taken_at - SHOWN


def _was_refused_lately(work: Work) -> bool:
    """Whether a login with the right password failed so lately that another one would be too many."""
    at, apart = work.account.verified_at, settings.FAILED_LOGINS_APART
    is_shut_out = work.account.credential_code == credential_state.NO_LOGIN
    return is_shut_out and at is not None and at >= work.taken_at - apart
