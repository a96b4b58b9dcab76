"""FI-P: what sudo, PAM, password ageing and sshd's rules make of a rotation."""

from __future__ import annotations

import socket
import threading

import paramiko
import pytest

from lab import Management
from rotation.connectors.base import Sudo
from secrets_app.crypto.plaintext import Plaintext
from tests.faults.case import Case
from tests.lab_fixtures import connect

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("kind", ["password", "key_pair"])
passwords = pytest.mark.parametrize("kind", ["password"])
keys = pytest.mark.parametrize("kind", ["key_pair"])
CHPASSWD = "/usr/sbin/chpasswd"
SUDO_PASSWORD = "the-Password-of-sudo-3"


def configure_sudo(case: Case, *lines: str) -> None:
    case.host.write("/etc/sudoers.d/zz", "".join(f"{line}\n" for line in lines), 0o440)


def blocked_before_it_heard_anything(case: Case, code: str) -> str:
    """The rotation is blocked, the value was stored and never offered; returns the sentence."""
    run = case.rotate()
    assert (run.outcome, run.code, run.attempts) == ("blocked", code, 0), run.sentence
    assert case.pending is not None
    assert case.pending.offered_at is None
    assert case.accepts(case.current)
    assert (case.account.credential, case.account.credential_code) == ("blocked", code)
    return run.sentence


# -- sudo ------------------------------------------------------------------------------------------------


def sudo_case(new_case, kind: str, stored: str | None, real: str) -> Case:
    """A case whose account has a first, proven value from a time when sudo's password was right."""
    sudo = Sudo.PASSWORD if stored is not None else Sudo.PASSWORDLESS
    given = {"sudo": sudo.value} | ({"sudo_password": Plaintext(stored)} if stored is not None else {})
    case = new_case(kind, credential=given, spec={"management": Management.SUDO_PASSWORD}, verified=False)
    case.host.set_password("keyturn", real)
    configure_sudo(case, "Defaults logfile=/var/log/sudo.log")
    return case


@both
def test_fi_p_01_sudo_that_asks_where_no_password_is_stored_blocks_before_anything_is_sent(
    new_case, kind: str
):
    case = sudo_case(new_case, kind, None, SUDO_PASSWORD)
    assert "password" in blocked_before_it_heard_anything(case, "sudo")


@both
def test_fi_p_01_a_wrong_sudo_password_is_tried_once_and_no_value_is_offered_in_its_place(
    new_case, kind: str
):
    case = sudo_case(new_case, kind, "a-wrong-Password-of-sudo", SUDO_PASSWORD)
    blocked_before_it_heard_anything(case, "sudo")
    log = " ".join(case.host.read("/var/log/sudo.log").split())
    assert log.count("1 incorrect password attempt") == log.count("incorrect password attempt") >= 1


@both
def test_fi_p_01_sudo_that_asks_is_given_its_password_and_nothing_else(new_case, kind: str):
    case = sudo_case(new_case, kind, SUDO_PASSWORD, SUDO_PASSWORD)
    with case.nothing_else_changes():
        assert case.rotate().outcome == "succeeded"
    assert "incorrect" not in case.host.read("/var/log/sudo.log")


@both
def test_fi_p_02_sudo_that_does_not_work_is_named(case: Case):
    for path, text, code in (
        ("/etc/sudoers.d/zz", "Defaults requiretty\n", "sudo"),
        ("/etc/sudoers.d/management", "keyturn ALL=(root NOPASSWD ALL\n", "sudo"),  # a bracket is missing
        ("/etc/sudo.conf", "Plugin sudoers_policy sudoers.so\nPlugin gone gone.so\n", "sudo_failed"),
    ):
        before = case.sh(f"cat {path} 2>/dev/null || true")
        case.host.write(path, text, 0o440)
        assert "sudo" in blocked_before_it_heard_anything(case, code)
        case.host.write(path, before, 0o440)
    assert case.rotate().outcome == "succeeded"


# -- the state of the account ------------------------------------------------------------------------


@both
def test_fi_p_03_a_locked_account_stays_locked_and_its_key_rotates(case: Case):
    case.host.run(["passwd", "-l", "svc"])
    with case.nothing_else_changes():
        locked = case.host.shadow("svc")
        case.shared = case.is_key_pair  # nobody can log in with a locked password, the right one included
        run = case.rotate()
        assert (run.outcome, run.code) == (("succeeded", "") if case.is_key_pair else ("blocked", "locked"))
        assert case.host.shadow("svc") == locked
        assert locked.startswith("!")


@both
def test_fi_p_04_a_password_that_must_be_changed_blocks_and_the_flag_stays(case: Case):
    case.host.run(["chage", "-d", "0", "svc"])
    with case.nothing_else_changes():
        blocked_before_it_heard_anything(case, "must_change_first" if case.is_key_pair else "must_change")
    assert case.sh("chage -l svc").startswith("Last password change\t\t\t\t\t: password must be changed")


@both
def test_fi_p_05_an_account_that_has_expired_is_called_that_and_stays_so(case: Case):
    for ageing, code in (
        (["-E", "2001-01-01"], "expired"),
        (["-E", "0"], "expired"),
        (["-E", "-1", "-d", "2020-01-01", "-M", "30", "-I", "7"], "inactive"),
    ):
        case.host.run(["chage", *ageing, "svc"])
        with case.nothing_else_changes():
            blocked_before_it_heard_anything(case, code)


@both
def test_fi_p_05_a_management_account_that_has_expired_is_not_called_a_wrong_credential(case: Case):
    case.host.run(["chage", "-E", "2001-01-01", "keyturn"])
    run = case.rotate()
    assert (run.outcome, run.code, run.attempts) == ("blocked", "manager_expired", 0)
    assert "expired" in run.sentence
    case.host.run(["chage", "-E", "-1", "keyturn"])
    assert case.rotate().outcome == "succeeded"


# -- counters of failed logins -------------------------------------------------------------------------


def count_failures(case: Case, deny: int) -> None:
    """Have PAM count failed logins, and refuse every one after `deny` of them: pam_faillock(8), EXAMPLES."""
    case.sh(
        f"sed -i -e '1i auth required pam_faillock.so preauth deny={deny}' "
        f"-e 's/^auth.*pam_deny.so/auth [default=die] pam_faillock.so authfail deny={deny}/' "
        "/etc/pam.d/common-auth; sed -i '1i account required pam_faillock.so' /etc/pam.d/common-account"
    )


def failures(case: Case) -> int:
    return case.host.run(["faillock", "--user", "svc"]).stdout.decode().count(" RHOST ")


@passwords
def test_fi_p_06_looking_for_the_valid_value_feeds_no_counter(case: Case):
    count_failures(case, 3)
    case.failed_logins_allowed = 3
    # The counter works: one login of this test's own shows it.
    with pytest.raises(paramiko.AuthenticationException):
        connect(case.host, "svc", password="a-wrong-one")
    assert failures(case) == case.failed_logins() == 1
    case.host.set_password("svc", "somebody-elses-Password")
    for _ in range(6):
        assert case.verify().outcome == "failed"
    assert case.account.credential == "out_of_sync"
    assert failures(case) == case.failed_logins() == 1
    assert case.rotate().outcome == "succeeded"
    assert case.failed_logins() == 1
    case.shared = False  # somebody else set a value meanwhile
    assert case.accepts(case.current)
    case.failed_logins_allowed = 1


@both
def test_fi_p_07_no_rotation_comes_near_the_failures_for_which_sshd_shuts_out_an_address(case: Case):
    for _ in range(3):
        before = case.host.sshd_log().count("Failed ")
        assert case.rotate().outcome == "succeeded"
        # The one refused login is the proof that the old key is out.
        assert case.host.sshd_log().count("Failed ") - before == (1 if case.is_key_pair else 0)


@both
def test_fi_p_07_an_address_that_is_shut_out_is_waited_for_and_not_called_refused(case: Case):
    """sshd since 9.8 says this in place of its version to an address that failed too often, and hangs up."""
    case.host.cut()
    with socket.create_server((case.host.address, case.host.port)) as listener:
        threading.Thread(target=turn_away, args=(listener,), daemon=True).start()
        run = case.rotate()
        assert (run.state, run.code) == ("waiting", "penalty")
        assert case.account.credential == "unreachable"
        listener.shutdown(socket.SHUT_RDWR)
    case.host.restore()
    assert case.finish(run).outcome == "succeeded"


def turn_away(listener: socket.socket) -> None:
    while True:
        try:
            caller, _ = listener.accept()
        except OSError:
            return
        with caller:
            caller.sendall(b"Not allowed at this time\r\n")
