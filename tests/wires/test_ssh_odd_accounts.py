"""Real hosts whose sudo, start-up files or accounts are odd: what is said of each is what was seen."""

import pytest

from lab import Host
from rotation.connectors import base
from rotation.connectors.base import Mark, Verdict
from tests.lab_fixtures import KeyPair
from tests.wires.ssh_rig import FIRST, SECOND, Rig, rig


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    return rig(host, management_key)


def blocked(svc: Rig) -> base.Check:
    found = svc.preflight().blocked
    assert found is not None
    return found


def test_fi_r_57_sudo_that_starts_no_shell_is_not_said_to_want_a_password(svc: Rig) -> None:
    host = svc.host
    sudoers, rules = "/etc/sudoers", host.read("/etc/pam.d/sudo")
    for break_it, mend_it in (
        (lambda: host.run(["chmod", "0666", sudoers]), lambda: host.run(["chmod", "0440", sudoers])),
        (
            lambda: svc.configure_sudo('Defaults secure_path="/nowhere"'),
            lambda: host.run(["rm", "/etc/sudoers.d/zz"]),
        ),
        (
            lambda: host.write("/etc/pam.d/sudo", f"account required pam_deny.so\n{rules}"),
            lambda: host.write("/etc/pam.d/sudo", rules),
        ),
    ):
        break_it()
        assert blocked(svc).code == "sudo_failed"
        with pytest.raises(base.Refused) as refused:
            svc.set(SECOND)
        assert refused.value.code == "sudo_failed"
        assert svc.accepts(FIRST)
        mend_it()
    svc.configure_sudo("keyturn ALL=(root) PASSWD: ALL")
    assert blocked(svc).code == "sudo"  # of this one sudo says so itself


def test_fi_r_58_a_start_up_file_that_ends_the_command_is_listed_among_what_may_be_the_cause(
    svc: Rig,
) -> None:
    for text in ("exit 0\n", "exec /bin/true\n"):
        svc.host.write("/home/keyturn/.bashrc", text)
        found = blocked(svc)
        assert found.code == "forced_command", text
        assert ".bashrc" in found.sentence
        assert svc.probe(FIRST).verdict == Verdict.UNCLEAR


def test_fi_r_44_a_password_whose_time_is_over_is_not_called_an_account_that_has_expired(svc: Rig) -> None:
    svc.host.run(["chage", "-d", "2020-01-01", "-M", "30", "-I", "1", "svc"])
    assert blocked(svc).code == "inactive"
    with pytest.raises(base.Refused) as refused:
        svc.set(SECOND)
    assert refused.value.code == "inactive"
    assert svc.accepts(FIRST)
    svc.host.run(["chage", "-I", "-1", "-M", "-1", "-E", "2020-01-01", "svc"])
    assert blocked(svc).code == "expired"


def test_fi_r_45_a_password_that_is_not_in_the_shadow_file_is_left_alone_and_named(svc: Rig) -> None:
    passwd, shadow = svc.host.read("/etc/passwd"), svc.host.read("/etc/shadow")
    without = "".join(line for line in shadow.splitlines(True) if not line.startswith("svc:"))
    for path, text in (("/etc/passwd", passwd.replace("svc:x:", "svc::")), ("/etc/shadow", without)):
        kept = svc.host.read(path)
        svc.host.write(path, text)
        assert blocked(svc).code == "not_shadowed"
        with pytest.raises(base.Refused) as refused:
            svc.set(SECOND)
        assert refused.value.code == "not_shadowed"
        assert svc.host.read(path) == text
        svc.host.write(path, kept)


def test_fi_r_46_a_shell_that_is_not_there_is_seen_before_a_login_is_tried(svc: Rig) -> None:
    for shell in ("/bin/gone", "/etc/passwd"):
        svc.host.run(["sed", "-i", f"s|^\\(svc:.*\\):[^:]*$|\\1:{shell}|", "/etc/passwd"])
        facts = svc.preflight()
        assert facts.blocked is None
        assert not facts.password_login
        line = next(check for check in facts.checks if check.name == "password_login")
        assert (line.mark, shell in line.sentence) == (Mark.WARNING, True)
