"""What keeps Keyturn from an account, on real hosts: each thing has its own sentence, and no other's."""

import pytest

from lab import Host
from rotation.connectors import base
from rotation.connectors.base import Login, Manager, Mark, Sudo, Verdict
from rotation.connectors.ssh.connector import SshScanner
from secrets_app.crypto.plaintext import Plaintext
from tests.lab_fixtures import KeyPair
from tests.networks import endpoint
from tests.wires.ssh_rig import FIRST, SECOND, Rig, rig

MANAGERS_PASSWORD = "the-managers-Password-7"


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    return rig(host, management_key)


def blocked(svc: Rig, manager: Manager | None = None) -> tuple[str, str]:
    """The line of the checklist and the code that forbid a rotation."""
    facts = svc.connector.preflight(manager or svc.manager, "svc", timeout=30, console_id=svc.console)
    (check,) = [c for c in facts.checks if c.mark == Mark.BLOCKED]
    return check.name, check.code


def test_fi_r_50_a_limit_on_logins_is_no_forced_command(svc: Rig) -> None:
    svc.host.write("/etc/security/limits.d/zz.conf", "keyturn - maxlogins 0\n")
    assert blocked(svc) == ("command", "no_session")
    svc.host.write("/etc/security/limits.d/zz.conf", "svc - maxlogins 0\n")
    assert blocked_nothing(svc)
    proof = svc.prove(FIRST)
    assert (proof.verdict, proof.code) == (Verdict.UNCLEAR, "no_session")


def blocked_nothing(svc: Rig) -> bool:
    return svc.preflight(timeout=30).blocked is None


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("Ciphers chacha20-poly1305@openssh.com", "chacha20-poly1305@openssh.com"),
        ("KexAlgorithms sntrup761x25519-sha512@openssh.com", "sntrup761x25519-sha512@openssh.com"),
        ("MACs umac-128-etm@openssh.com\nCiphers aes128-ctr", "umac-128-etm@openssh.com"),
    ],
)
def test_fi_r_51_safe_algorithms_that_we_do_not_have_are_not_called_unsafe(
    svc: Rig, line: str, named: str
) -> None:
    keys = tuple(svc.host.host_keys())
    svc.configure_sshd(*line.splitlines())
    for call in (
        lambda: svc.set(SECOND),
        lambda: SshScanner().scan(endpoint(svc.host.address, svc.host.port), timeout=10),
    ):
        with pytest.raises(base.Unreachable) as away:
            call()
        assert away.value.code == "no_common"
        assert named in str(away.value)
    assert keys == tuple(svc.host.host_keys())


def test_fi_r_51_unsafe_algorithms_are_still_called_that(svc: Rig) -> None:
    svc.configure_sshd("Ciphers aes128-cbc,3des-cbc")
    with pytest.raises(base.Unreachable) as away:
        svc.set(SECOND)
    assert away.value.code == "weak_ssh"


def by_password(svc: Rig, *, key: bool = False) -> Manager:
    svc.host.set_password("keyturn", MANAGERS_PASSWORD)
    private = Plaintext(svc.key.private) if key else None
    login = Login("keyturn", password=Plaintext(MANAGERS_PASSWORD), private_key=private)
    return Manager(login, Sudo.PASSWORDLESS)


def test_fi_r_52_a_management_account_that_is_asked_at_the_keyboard_only_is_named_as_that(svc: Rig) -> None:
    svc.configure_sshd("PasswordAuthentication no", "KbdInteractiveAuthentication yes")
    assert blocked(svc, by_password(svc)) == ("login", "keyboard_only")
    assert "Failed" not in svc.host.sshd_log()


@pytest.mark.parametrize("methods", ["publickey,password", "password,publickey"])
def test_fi_r_53_a_host_that_wants_a_key_and_a_password_is_given_both(svc: Rig, methods: str) -> None:
    manager = by_password(svc, key=True)
    svc.configure_sshd(f"AuthenticationMethods {methods}")
    facts = svc.connector.preflight(manager, "svc", timeout=30, console_id=svc.console)
    assert facts.blocked is None
    assert blocked(svc, by_password(svc)) in {("login", "more_wanted"), ("login", "login_refused")}
    assert blocked(svc) in {("login", "more_wanted"), ("login", "login_refused")}


def test_fi_r_54_sudo_that_lets_a_shell_run_nothing_is_named_as_that(svc: Rig) -> None:
    svc.configure_sudo("Defaults noexec")
    assert blocked(svc) == ("sudo", "sudo_noexec")


def test_fi_r_55_sudo_that_asks_for_a_code_is_named_as_that(svc: Rig) -> None:
    """The program is a double: no module that asks for a code is on the hosts."""
    asks = 'printf "%s" "$4"; read -r password; printf "Verification code: " >&2; read -r code; exit 1'
    svc.replace_program("/usr/bin/sudo", asks)
    manager = Manager(svc.manager.login, Sudo.PASSWORD, Plaintext(MANAGERS_PASSWORD))
    assert blocked(svc, manager) == ("sudo", "sudo_code")


#: Settings of nsswitch.conf(5) with which another source may be asked before the host's own files, or after.
ASKED_FIRST = (
    "passwd: extrausers files\nshadow: extrausers files\n",
    "passwd: compat\nshadow: files\n",
    "passwd: files [SUCCESS=continue] extrausers\nshadow: files\n",
    "passwd: files\npasswd: extrausers files\nshadow: files\n",
    "shadow: files\n",
)


@pytest.mark.parametrize("sources", ASKED_FIRST)
def test_fi_r_40_a_local_account_that_another_source_answers_for_is_not_changed(
    svc: Rig, sources: str
) -> None:
    svc.host.write("/etc/nsswitch.conf", sources)
    theirs = '[ "$1" = passwd ] && echo "svc:x:4711:4711::/:/bin/sh" || exec getent.real "$@"'
    svc.replace_program("/usr/bin/getent", theirs)
    assert blocked(svc) == ("local", "other_source")
    with pytest.raises(base.Refused) as refusal:
        svc.set(SECOND)
    assert refusal.value.code == "other_source"
    assert svc.probe(FIRST).code == "other_source"
    assert svc.accepts(FIRST)


def test_fi_r_40_a_daemon_that_remembers_answers_is_asked_even_where_the_files_come_first(svc: Rig) -> None:
    theirs = '[ "$1" = passwd ] && echo "svc:x:4711:4711::/:/bin/sh" || exec getent.real "$@"'
    svc.replace_program("/usr/bin/getent", theirs)
    svc.set(SECOND)
    svc.host.run(["mkdir", "-p", "/run/nscd"])
    svc.host.write("/run/nscd/socket", "")
    with pytest.raises(base.Refused) as refusal:
        svc.set(FIRST)
    assert refusal.value.code == "other_source"


def test_fi_r_42_a_password_program_that_gives_no_reason_is_not_said_to_have_a_rule(svc: Rig) -> None:
    svc.host.run(["sed", "-i", "1i password requisite pam_deny.so", "/etc/pam.d/common-password"])
    with pytest.raises(base.Refused) as refusal:
        svc.set(SECOND)
    assert refusal.value.code == "not_set"


def test_fi_r_37_each_check_has_a_time_of_its_own(svc: Rig) -> None:
    checker = "/usr/sbin/unix_chkpwd"
    svc.replace_program(checker, f'sleep 3; exec {checker}.real "$@"')
    manager, value = svc.manager, Plaintext(FIRST)
    assert svc.connector.probe_password(manager, "svc", value, timeout=30).verdict == Verdict.ACCEPTED
