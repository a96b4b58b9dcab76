"""FI-R-32 to 36: hosts that have the right password and let nobody in with it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from rotation.engine import logons
from rotation.engine.methods import password
from rotation.models import ManagedAccount, Run
from tests.faults.case import Case

pytestmark = pytest.mark.django_db(transaction=True)
passwords = pytest.mark.parametrize("kind", ["password"])
SSHD = "/etc/pam.d/sshd"


def deny_by_pam_access(case: Case) -> None:
    case.sh(f"echo '-:{case.username}:ALL' >>/etc/security/access.conf")
    case.sh(f"sed -i '1i account required pam_access.so' {SSHD}")


def ask_for_a_second_factor(case: Case) -> None:
    """A module that is not content with the password alone, as one for a code is not."""
    case.host.write("/usr/local/bin/factor", f'#!/bin/sh\n[ "$PAM_USER" != {case.username} ]\n', 0o755)
    case.sh(f"sed -i '1i auth required pam_exec.so quiet /usr/local/bin/factor' {SSHD}")


def slow_down(case: Case, seconds: int = 25) -> None:
    script = f'#!/bin/sh\n[ "$PAM_USER" = {case.username} ] && sleep {seconds}\nexit 0\n'
    case.host.write("/usr/local/bin/slow", script, 0o755)
    case.sh(f"sed -i '1i auth optional pam_exec.so quiet /usr/local/bin/slow' {SSHD}")


def keep_everybody_out(case: Case) -> None:
    """/etc/nologin, on a host where the rule spares the management account, so that it can be seen at all."""
    case.host.write("/etc/nologin", "closed for the night\n")
    rule = "account [success=1 default=ignore] pam_succeed_if.so quiet user = keyturn"
    case.sh(f"sed -i 's/^account .*pam_nologin.so/{rule}\\n&/' {SSHD}")
    # sshd itself reads the file too, before a command of anybody but root.
    case.sh("usermod --non-unique --uid 0 keyturn")


def shown_by_a_login(case: Case) -> None:
    ManagedAccount.objects.filter(secret=case.secret).update(verified_level="command")


def line(run: Run, name: str) -> dict[str, str]:
    step = run.steps.filter(name="preflight").last()
    assert step is not None
    return next((found for found in step.evidence if found["name"] == name), {})


def assert_current_and_shut_out(case: Case, run: Run, seen: str) -> None:
    assert (run.outcome, run.truth, run.code) == ("succeeded", "new", "no_login"), (run.code, run.sentence)
    assert case.accepts(case.current)
    assert case.pending is None
    assert run.sentence.startswith("Set and accepted by the instance's own check; logging on is refused: ")
    assert seen in run.sentence
    assert case.account.credential == "in_sync"
    assert case.account.credential_sentence == run.sentence


@passwords
def test_fi_r_32_an_account_that_pam_keeps_from_sshd_is_seen_before_the_change(case: Case):
    deny_by_pam_access(case)
    run = case.rotate()
    assert line(run, "login_now")["mark"] == "warning"
    assert "pam_access" in line(run, "login_now")["sentence"]
    assert_current_and_shut_out(case, run, "The connection ended")
    assert case.failed_logins() == 1  # sshd writes a refusal by PAM's account rules down as one
    run = case.rotate()
    assert_current_and_shut_out(case, run, "")
    assert case.failed_logins() == 1


@passwords
@pytest.mark.parametrize(
    ("shut", "seen"),
    [(deny_by_pam_access, "The connection ended"), (ask_for_a_second_factor, "a second factor")],
    ids=["pam_access", "second_factor"],
)
def test_fi_r_33_a_rule_that_came_since_the_last_login_leaves_the_new_value_current(case: Case, shut, seen):
    shown_by_a_login(case)
    shut(case)
    with case.nothing_else_changes():
        run = case.rotate()
    assert line(run, "login_now") == {}
    assert_current_and_shut_out(case, run, seen)


@passwords
def test_fi_r_33_a_login_that_fails_before_the_hosts_own_check_leaves_the_new_value_current(case: Case):
    ask_for_a_second_factor(case)
    case.host.write("/usr/local/bin/factor", "#!/bin/sh\n", 0o755)  # content with everybody, for now
    for _ in range(2):
        assert case.rotate().outcome == "succeeded"
    assert case.account.verified_level == "command"
    ask_for_it = f'#!/bin/sh\n[ "$PAM_USER" != {case.username} ]\n'
    # A program, and no setting of PAM: the check is known to stand on the same as before.
    case.host.write("/usr/local/bin/factor", ask_for_it, 0o755)
    with case.nothing_else_changes():
        run = case.rotate()
    assert_current_and_shut_out(case, run, "a second factor")
    assert case.failed_logins() == 1
    assert_current_and_shut_out(case, case.rotate(), "")
    assert case.failed_logins() == 1


@passwords
def test_fi_r_34_a_second_account_with_uid_0_is_known_to_be_kept_out_before_the_change(new_case, kind):
    case = new_case(kind)
    case.sh("usermod --non-unique --uid 0 svc")
    case.configure_sshd("PermitRootLogin prohibit-password")
    run = case.rotate()
    assert line(run, "password_login")["mark"] == "warning"
    assert "PermitRootLogin" in line(run, "password_login")["sentence"]
    assert (run.outcome, run.truth) == ("succeeded", "new")
    assert case.account.verified_level == "hash"
    assert case.accepts(case.current)
    assert case.failed_logins() == 0


@passwords
@pytest.mark.parametrize("is_known", [True, False])
def test_fi_r_35_a_login_that_takes_too_long_leaves_the_new_value_current(
    case: Case, monkeypatch: pytest.MonkeyPatch, is_known: bool
):
    """The console waits eight seconds here and not fifteen; the host takes three times as long."""
    monkeypatch.setattr(logons, "TEST", 8.0)
    if is_known:
        shown_by_a_login(case)
    slow_down(case)
    run = case.rotate()
    assert bool(line(run, "login_now")) is not is_known
    assert_current_and_shut_out(case, run, "did not answer the login in time")
    assert case.failed_logins() == 0


@passwords
def test_fi_r_36_a_nologin_file_that_stays_leaves_the_new_value_current(case: Case):
    keep_everybody_out(case)
    run = case.rotate()
    assert_current_and_shut_out(case, run, "/etc/nologin")
    case.sh("rm /etc/nologin")
    ManagedAccount.objects.filter(secret=case.secret).update(verified_at=Now() - timedelta(hours=1))
    run = case.rotate()
    assert (run.outcome, run.code) == ("succeeded", "")
    assert case.account.credential_sentence == ""


@passwords
def test_fi_r_36_a_host_that_cannot_be_reached_for_the_login_alone_has_its_value_current(
    case: Case, monkeypatch: pytest.MonkeyPatch
):
    from rotation.connectors import base
    from rotation.connectors.ssh.connector import SshConnector

    def away(*_: object, **__: object) -> base.Proof:
        raise base.Unreachable

    shown_by_a_login(case)
    monkeypatch.setattr(SshConnector, "prove_login", away)
    monkeypatch.setattr(password, "SOON", ())
    run = case.finish(case.rotate())
    assert_current_and_shut_out(case, run, "could not be reached")
