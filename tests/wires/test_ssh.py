"""A password changed over SSH on a real host: what arrives, what is refused, what nobody can see."""

import logging
import os
import threading
import time
from collections.abc import Iterator

import paramiko
import pytest

from lab import Fleet, Host, Management, Spec
from rotation.connectors import base
from rotation.connectors.base import Endpoint, Level, Login, Mark, Sudo, Verdict
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from secrets_app.crypto.plaintext import Plaintext
from tests.lab_fixtures import KeyPair, NewHost
from tests.networks import endpoint
from tests.waiting import PATIENCE, wait_for
from tests.wires.ssh_rig import FIRST, SECOND, Rig, rig

AWKWARD = [
    "quote'and\"quote",
    "back\\slash\\n\\0",
    "dollar$HOME${x}$(id)`id`",
    "per%cent%s%n",
    "  spaces  around  ",
    "\ttab\t",
    "#leading hash",
    "-n leading hyphen",
    "colons:in:it:",
    "ünïcödé-€-\U0001f511",
    "svc:other\\r",
    "*?[a-z]~",
    "!history!",
    "x" * 511,
    "{ echo; }",
]


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    """A host where sudo does not ask."""
    return rig(host, management_key)


@pytest.fixture(scope="session")
def shells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Hosts that have other shells too."""
    packages = ("openssh-server", "sudo", "busybox", "tcsh", "fish")
    with Fleet(tmp_path_factory.mktemp("shells"), packages=packages) as fleet:
        yield fleet


def blocked_code(facts: base.Facts) -> str:
    return facts.blocked.code if facts.blocked else ""


def mark_of(facts: base.Facts, name: str) -> Mark:
    (check,) = [c for c in facts.checks if c.name == name]
    return check.mark


# -- values ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", AWKWARD, ids=range(len(AWKWARD)))
def test_every_value_that_is_allowed_arrives_as_it_was_sent(svc: Rig, value: str) -> None:
    svc.set(value)
    assert svc.accepts(value)
    assert not svc.accepts(FIRST)
    assert svc.probe(value).verdict == Verdict.ACCEPTED
    assert svc.prove(value).level == Level.COMMAND


def test_a_refused_value_is_refused_before_a_connection_is_made(management_key: KeyPair) -> None:
    nowhere = SshConnector(Endpoint("192.0.2.1", 22, ("ssh-ed25519 AAAA",), wire="ssh"))
    manager = base.Manager(Login("keyturn", private_key=Plaintext(management_key.private)))
    with pytest.raises(base.Refused) as refusal:
        nowhere.set_password(manager, "svc", Plaintext("two\nlines"), fence=base.Fence("0", 1), timeout=600)
    assert refusal.value.code == "bad_value"


# -- the way to root ---------------------------------------------------------------------------


def test_sudo_that_asks_is_given_its_password_and_the_account_gets_the_value(
    new_host: NewHost, management_key: KeyPair
) -> None:
    svc = rig(new_host(management=Management.SUDO_PASSWORD), management_key, sudo=Sudo.PASSWORD)
    svc.host.set_password("keyturn", "the sudo password")
    svc.sudo_password = "the sudo password"
    svc.set(SECOND)
    assert svc.accepts(SECOND)
    assert svc.preflight().blocked is None


def test_a_sudo_password_that_is_not_asked_for_is_not_sent(svc: Rig) -> None:
    # Sent all the same, it would be the first line that the root shell reads.
    svc.sudo, svc.sudo_password = Sudo.PASSWORD, "touch /run/sent-all-the-same"
    svc.set(SECOND)
    assert svc.accepts(SECOND)
    assert svc.host.run(["test", "-e", "/run/sent-all-the-same"], check=False).returncode == 1


def test_a_wrong_sudo_password_is_tried_once_and_the_new_value_is_not_offered_to_sudo(
    new_host: NewHost, management_key: KeyPair
) -> None:
    svc = rig(new_host(management=Management.SUDO_PASSWORD), management_key, sudo=Sudo.PASSWORD)
    svc.host.set_password("keyturn", SECOND)
    svc.configure_sudo("Defaults logfile=/var/log/sudo.log")
    svc.sudo_password = "wrong"
    with pytest.raises(base.Refused) as refusal:
        svc.set(SECOND)  # sudo would take it, were it ever offered
    assert refusal.value.code == "sudo"
    assert svc.accepts(FIRST)
    assert blocked_code(svc.preflight()) == "sudo"
    # One for each of the two calls; sudo writes it when we are gone.
    wait_for(lambda: sudo_log(svc).count("1 incorrect password attempt") == 2, "both lines of the log")
    log = sudo_log(svc)
    assert "/bin/sh -c" in log
    assert "2 incorrect" not in log


def sudo_log(svc: Rig) -> str:
    return " ".join(svc.host.read("/var/log/sudo.log").split())


def test_sudo_that_asks_where_no_password_is_stored_blocks_and_does_not_wait(
    new_host: NewHost, management_key: KeyPair
) -> None:
    svc = rig(new_host(management=Management.SUDO_PASSWORD), management_key)
    svc.host.set_password("keyturn", "unknown to us")
    for sudo in (Sudo.PASSWORDLESS, Sudo.PASSWORD):
        svc.sudo = sudo
        assert blocked_code(svc.preflight()) == "sudo"
        with pytest.raises(base.Refused) as refusal:
            svc.set(SECOND)
        assert refusal.value.code == "sudo"
    assert svc.accepts(FIRST)


def test_root_needs_no_sudo(new_host: NewHost, management_key: KeyPair) -> None:
    svc = rig(new_host(management=Management.ROOT), management_key, username="root", sudo=Sudo.NONE)
    svc.set(SECOND)
    assert svc.accepts(SECOND)
    assert svc.preflight().blocked is None


def test_an_account_that_is_not_root_and_has_no_sudo_is_named_as_that(svc: Rig) -> None:
    svc.sudo = Sudo.NONE
    blocked = svc.preflight().blocked
    assert blocked is not None
    assert blocked.name == "sudo"
    assert "not root" in blocked.sentence


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("Defaults requiretty", "terminal"),
        ("keyturn ALL=(root) NOPASSWD: /usr/sbin/chpasswd, !/bin/sh, !/usr/bin/sh", "sudoers"),
    ],
)
def test_a_sudo_rule_that_stops_us_is_named(svc: Rig, rule: str, words: str) -> None:
    svc.configure_sudo(rule)
    blocked = svc.preflight().blocked
    assert blocked is not None
    assert blocked.code == "sudo"
    assert words in blocked.sentence


@pytest.mark.parametrize("rule", ["Defaults log_input", "keyturn ALL=(root) NOPASSWD: LOG_INPUT: ALL"])
def test_sudo_that_records_what_it_reads_is_given_no_value(svc: Rig, rule: str) -> None:
    assert mark_of(svc.preflight(), "sudo_log") == Mark.PASSED
    svc.configure_sudo(rule)
    assert mark_of(svc.preflight(), "sudo_log") == Mark.BLOCKED
    with pytest.raises(base.Refused) as refusal:
        svc.set(SECOND)
    assert refusal.value.code == svc.probe(FIRST).code == "sudo_log"
    svc.configure_sudo("Defaults !log_input", "keyturn ALL=(root) NOPASSWD: NOLOG_INPUT: ALL")
    assert mark_of(svc.preflight(), "sudo_log") == Mark.PASSED


# -- shells ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_every_common_sh_runs_the_scripts(shells: Fleet, management_key: KeyPair, shell: str) -> None:
    spec_host = start(shells, f"sh-{shell}", management_key)
    svc = rig(spec_host, management_key)
    spec_host.run(["ln", "-sf", f"/usr/bin/{shell}", "/usr/bin/sh"])
    if shell == "busybox":
        applets = ("timeout", "dd", "df", "head", "mkdir", "mv", "rm", "date", "id", "sleep", "grep")
        for applet in applets:
            spec_host.run(["ln", "-sf", "/usr/bin/busybox", f"/usr/bin/{applet}"])
    value = AWKWARD[0] + AWKWARD[1] + AWKWARD[2] + AWKWARD[9]
    assert svc.preflight().blocked is None
    assert svc.preflight().fenced
    svc.set(value)
    assert svc.accepts(value)
    assert svc.probe(value).verdict == Verdict.ACCEPTED
    assert svc.probe(FIRST).verdict == Verdict.REJECTED
    with pytest.raises(base.Stale):
        svc.set(SECOND, generation=0)


@pytest.mark.parametrize("shell", ["tcsh", "fish", "dash", "bash"])
def test_the_management_account_may_have_any_login_shell(
    shells: Fleet, management_key: KeyPair, shell: str
) -> None:
    svc = rig(start(shells, f"login-{shell}", management_key), management_key)
    svc.host.run(["usermod", "--shell", f"/usr/bin/{shell}", "keyturn"])
    svc.host.run(["usermod", "--shell", f"/usr/bin/{shell}", "svc"])
    svc.set(SECOND)
    assert svc.prove(SECOND).level == Level.COMMAND
    assert svc.preflight().blocked is None


def start(fleet: Fleet, name: str, key: KeyPair) -> Host:
    return fleet.start(name, Spec(public_key=key.public))


def test_a_start_up_file_may_print_whatever_it_likes(svc: Rig) -> None:
    noise = "printf 'READY\\nAPPLIED\\nUP\\n\\033[2J'; head -c 3000000 /dev/urandom; printf 'no newline'\n"
    svc.host.write("/home/keyturn/.bashrc", noise)
    svc.host.write("/home/svc/.bashrc", noise)
    svc.set(SECOND)
    assert svc.accepts(SECOND)
    assert svc.prove(SECOND).level == Level.COMMAND
    assert svc.preflight().blocked is None


def test_inherited_shell_options_and_exported_names_do_not_show_the_value(
    new_host: NewHost, management_key: KeyPair
) -> None:
    svc = rig(new_host(management=Management.ROOT), management_key, username="root", sudo=Sudo.NONE)
    svc.host.run(["ln", "-sf", "/usr/bin/bash", "/usr/bin/sh"])
    svc.configure_sshd("PermitUserEnvironment yes")
    svc.host.write("/root/.ssh/environment", "SHELLOPTS=xtrace:allexport\nvalue=exported\n", 0o600)
    svc.replace_program("/usr/sbin/chpasswd", "env > /run/environment; exec /usr/sbin/chpasswd.real")
    svc.set(SECOND)
    assert svc.accepts(SECOND)
    environment = svc.host.read("/run/environment")
    assert "PATH=" in environment
    assert SECOND not in environment
    assert "\nvalue=" not in environment


@pytest.mark.parametrize(
    "command",
    [
        "/bin/true",
        "/bin/cat",
        "echo $SSH_ORIGINAL_COMMAND; cat",
        "internal-sftp",
        "/bin/sh -c 'echo hello; env'",
    ],
)
def test_a_forced_command_is_not_taken_for_a_host_that_obeys(svc: Rig, command: str) -> None:
    svc.host.set_authorized_keys("keyturn", f'command="{command}" {svc.key.public}\n')
    assert blocked_code(svc.preflight(timeout=4)) == "forced_command"
    with pytest.raises(base.Refused) as refusal:
        svc.set(SECOND, timeout=4)
    assert refusal.value.code == "forced_command"
    assert svc.accepts(FIRST)


# -- the host's own state ------------------------------------------------------------------------


def test_a_locked_account_stays_locked(svc: Rig) -> None:
    svc.host.run(["passwd", "--lock", "svc"])
    before = svc.host.shadow("svc")
    with pytest.raises(base.Refused):
        svc.set(SECOND)
    assert svc.host.shadow("svc") == before
    assert before.startswith("!")


@pytest.mark.parametrize("expiry", ["0", "1", "2001-01-01"])
def test_every_way_of_writing_expired_counts(svc: Rig, expiry: str) -> None:
    svc.host.run(["chage", "--expiredate", expiry, "svc"])
    assert blocked_code(svc.preflight()) == "expired"


def test_an_aged_password_is_renewed_with_a_warning(svc: Rig) -> None:
    svc.host.run(["chage", "--lastday", "2020-01-01", "--maxdays", "30", "svc"])
    facts = svc.preflight()
    assert facts.blocked is None
    assert [c.mark for c in facts.checks if c.name == "aged"] == [Mark.WARNING]


def test_a_change_touches_nothing_but_the_hash_and_its_date(svc: Rig) -> None:
    svc.host.run(["chage", "--mindays", "1", "--maxdays", "90", "--warndays", "5", "svc"])
    before = state(svc.host)
    svc.set(SECOND)
    assert state(svc.host) == before


def state(host: Host) -> list[str]:
    """Everything that a change of svc's password may not touch."""
    shadow = [line.split(":") for line in host.read("/etc/shadow").splitlines()]
    kept = [":".join(f[:1] + f[3:] if f[0] == "svc" else f) for f in shadow]
    modes = host.run(["stat", "-c", "%n %a %u %g", "/etc/shadow", "/etc/passwd", "/home/svc"]).stdout.decode()
    return [*kept, modes, host.read("/etc/passwd"), host.read("/etc/group"), host.read("/etc/sudoers")]


def test_a_full_disk_is_seen_before_anything_is_sent(new_host: NewHost, management_key: KeyPair) -> None:
    svc = rig(new_host(disk="24m"), management_key)
    svc.host.run(["sh", "-c", "cat /dev/zero > /var/filler"], check=False)
    assert blocked_code(svc.preflight()) == "disk"
    with pytest.raises(base.Refused) as refusal:
        svc.set(SECOND)
    assert refusal.value.code == "disk"
    assert svc.accepts(FIRST)
    svc.host.run(["rm", "/var/filler"])
    svc.set(SECOND)
    assert svc.accepts(SECOND)


def test_a_host_that_can_limit_a_script_and_lock_nothing_is_not_fenced(svc: Rig) -> None:
    assert svc.preflight().fenced
    svc.host.run(["rm", "/usr/bin/flock"])
    svc.host.write("/usr/bin/flock", "#!/bin/sh\nexit 127\n", 0o755)
    assert not svc.preflight().fenced


def test_a_host_without_flock_and_timeout_works_and_says_that_it_is_not_fenced(svc: Rig) -> None:
    svc.host.run(["rm", "/usr/bin/flock", "/usr/bin/timeout"])
    # As where busybox stands in for a program that it was built without.
    svc.host.write("/usr/bin/flock", "#!/bin/sh\nexit 127\n", 0o755)
    facts = svc.preflight()
    assert not facts.fenced
    assert facts.blocked is None
    svc.set(SECOND, generation=3)
    assert svc.accepts(SECOND)
    with pytest.raises(base.Stale):
        svc.set(FIRST, generation=2)


@pytest.mark.parametrize(
    ("config", "allowed"),
    [
        ("PasswordAuthentication no", False),
        ("AllowUsers keyturn s?c", True),
        ("AllowUsers keyturn other", False),
        ("DenyUsers svc", False),
        ("AllowGroups keyturn", False),
        ("Match User svc\nForceCommand /bin/true\nMatch all", False),
        ("Match User svc\nPasswordAuthentication no\nMatch all", False),
        ("Match Address 127.0.0.0/8\nPasswordAuthentication no\nMatch all", False),
        ("AuthenticationMethods publickey,password publickey", False),
    ],
)
def test_preflight_says_whether_sshd_lets_the_account_in_with_a_password(
    svc: Rig, config: str, allowed: bool
) -> None:
    svc.configure_sshd(*config.split("\n"))
    assert svc.preflight().password_login == allowed
    assert (svc.prove(FIRST).level == Level.COMMAND) == allowed


def test_root_that_may_log_in_by_key_only_has_no_password_login(svc: Rig) -> None:
    svc.host.set_password("root", "a password")
    facts = svc.preflight("root")
    assert not facts.password_login
    assert facts.blocked is None


# -- tests of a value ----------------------------------------------------------------------------


def test_a_check_that_accepts_anything_is_not_believed(svc: Rig) -> None:
    svc.replace_program("/usr/sbin/unix_chkpwd", "exit 0")
    proof = svc.probe(FIRST)
    assert proof.verdict == Verdict.UNCLEAR
    assert "random" in proof.reason


def test_a_host_without_the_check_leaves_the_question_open(svc: Rig) -> None:
    svc.host.run(["rm", "/usr/sbin/unix_chkpwd"])
    assert svc.probe(FIRST).verdict == Verdict.UNCLEAR


def test_a_probe_counts_as_no_failed_login(svc: Rig) -> None:
    svc.host.run(["sed", "-i", "1i auth required pam_faillock.so preauth deny=2", "/etc/pam.d/common-auth"])
    svc.host.run(
        ["sh", "-c", "echo 'auth [default=die] pam_faillock.so authfail deny=2' >> /etc/pam.d/common-auth"]
    )
    for _ in range(5):
        assert svc.probe("wrong").verdict == Verdict.REJECTED
    tally = svc.host.run(["faillock", "--user", "svc"]).stdout.decode()
    assert "RHOST" not in tally.upper().replace("SOURCE", "")
    assert svc.host.sshd_log().count("Failed password") == 0


def test_a_login_that_is_right_but_not_enough_is_unclear(svc: Rig) -> None:
    svc.host.set_authorized_keys("svc", svc.key.public + "\n")
    svc.configure_sshd("Match User svc", "AuthenticationMethods publickey,password", "Match all")
    login = Login("svc", private_key=Plaintext(svc.key.private))
    proof = svc.connector.prove_login(login, timeout=15)
    assert proof.verdict == Verdict.UNCLEAR
    assert "second factor" in proof.reason


def test_a_login_by_key_is_one_attempt_and_reaches_a_command(svc: Rig) -> None:
    svc.host.set_authorized_keys("svc", svc.key.public + "\n")
    login = Login("svc", private_key=Plaintext(svc.key.private))
    assert svc.connector.prove_login(login, timeout=15).level == Level.COMMAND
    other = Login("svc", private_key=Plaintext(KeyPair.generate().private))
    assert svc.connector.prove_login(other, timeout=15).verdict == Verdict.REJECTED
    assert svc.host.sshd_log().count("Failed publickey") == 1


def test_a_wrong_password_is_one_failed_login_and_no_more(svc: Rig) -> None:
    assert svc.prove("wrong").verdict == Verdict.REJECTED
    assert svc.host.sshd_log().count("Failed password for svc") == 1
    assert "keyboard-interactive" not in svc.host.sshd_log()


def test_a_host_that_asks_for_passwords_in_another_way_is_not_given_one(svc: Rig) -> None:
    svc.configure_sshd("PasswordAuthentication no", "KbdInteractiveAuthentication yes")
    assert svc.prove(FIRST).verdict == Verdict.UNCLEAR
    assert "keyboard-interactive" not in svc.host.sshd_log()


def test_a_management_credential_that_is_refused_is_named(svc: Rig) -> None:
    svc.key = KeyPair.generate()
    assert blocked_code(svc.preflight()) == "login_refused"
    with pytest.raises(base.LoginRefused):
        svc.set(SECOND)


def test_text_that_is_no_key_is_named_and_not_shown(svc: Rig) -> None:
    svc.key = KeyPair("", "-----BEGIN not a key-----")
    with pytest.raises(base.LoginRefused) as refusal:
        svc.set(SECOND)
    assert refusal.value.code == "bad_key"
    assert "BEGIN" not in repr(refusal.value)


# -- host keys -----------------------------------------------------------------------------------


def test_a_changed_host_key_means_no_login_attempt_at_all(svc: Rig) -> None:
    connector, manager = svc.connector, svc.manager
    svc.host.change_host_key()
    seen = len(svc.host.sshd_log())
    fence = base.Fence(svc.console, 1)
    with pytest.raises(base.HostKeyChanged):
        connector.set_password(manager, "svc", Plaintext(SECOND), fence=fence, timeout=15)
    with pytest.raises(base.HostKeyChanged):
        connector.prove_login(Login("svc", password=Plaintext(FIRST)), timeout=15)
    assert blocked_code(connector.preflight(manager, "svc", timeout=15)) == "host_key_changed"
    log = svc.host.sshd_log()[seen:]
    assert "Connection closed by" in log
    assert not [word for word in ("Accepted", "Failed", "user", "Postponed") if word in log]


def test_a_host_without_an_approved_key_is_not_even_connected_to(svc: Rig) -> None:
    connector = SshConnector(Endpoint("192.0.2.1", 22, wire="ssh"))
    with pytest.raises(base.HostKeyChanged):
        connector.prove_login(Login("svc", password=Plaintext(FIRST)), timeout=600)


def test_any_one_pinned_key_of_several_is_enough(new_host: NewHost, management_key: KeyPair) -> None:
    svc = rig(new_host(host_key_types=("ed25519", "ecdsa", "rsa")), management_key)
    for line in svc.host.host_keys():
        connector = SshConnector(endpoint(svc.host.address, svc.host.port, (line,)))
        assert connector.prove_login(Login("svc", password=Plaintext(FIRST)), timeout=15).level


def test_a_host_that_has_lost_its_pinned_kind_of_key_has_changed(
    new_host: NewHost, management_key: KeyPair
) -> None:
    svc = rig(new_host(host_key_types=("rsa",)), management_key)
    pinned = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOHKU/xWQqrie6M6khcSMBtk8PqhIG0rJ0E4oKDCJuJN"
    connector = SshConnector(endpoint(svc.host.address, svc.host.port, (pinned,)))
    with pytest.raises(base.HostKeyChanged):
        connector.prove_login(Login("svc", password=Plaintext(FIRST)), timeout=15)


def test_a_scan_finds_every_key_as_ssh_keygen_prints_it_and_logs_in_nowhere(new_host: NewHost) -> None:
    host = new_host(host_key_types=("ed25519", "ecdsa", "rsa"))
    keys = SshScanner().scan(endpoint(host.address, host.port), timeout=15)
    assert keys[0].algorithm == "ssh-ed25519"
    assert {key.line for key in keys} == set(host.host_keys())
    printed = host.run(["sh", "-c", "for k in /etc/ssh/*.pub; do ssh-keygen -lf $k; done"]).stdout.decode()
    assert {key.fingerprint for key in keys} == {line.split()[1] for line in printed.splitlines()}
    assert not [word for word in ("Accepted", "Failed", "user") if word in host.sshd_log()]


def test_a_scan_of_nothing_is_unreachable(host: Host) -> None:
    host.cut()
    with pytest.raises(base.Unreachable):
        SshScanner().scan(endpoint(host.address, host.port), timeout=5)


@pytest.mark.parametrize(
    "config",
    [
        "Ciphers aes128-cbc",
        "MACs hmac-sha1\nCiphers aes128-ctr",
        "HostKeyAlgorithms ssh-rsa",
        "Ciphers 3des-cbc",
    ],
)
def test_a_host_with_broken_algorithms_only_is_not_talked_to(
    new_host: NewHost, management_key: KeyPair, config: str
) -> None:
    svc = rig(
        new_host(host_key_types=("ed25519", "rsa"), sshd_config=tuple(config.split("\n"))), management_key
    )
    with pytest.raises(base.Unreachable) as error:
        svc.prove(FIRST)
    assert error.value.code == "weak_ssh"


# -- what can be seen ----------------------------------------------------------------------------


def test_no_value_is_seen_in_the_list_of_processes_while_it_is_changed(svc: Rig) -> None:
    values = [f"watched-{number}-{os.urandom(9).hex()}" for number in range(20)]
    svc.host.write("/run/watch", WATCHER, 0o755)
    watcher = svc.host.spawn(["/bin/sh", "/run/watch"], user="nobody")
    seen: list[bytes] = []
    assert watcher.stdout is not None
    reader = threading.Thread(target=lambda out=watcher.stdout: seen.extend(out))
    reader.start()
    for number, value in enumerate(values, 1):
        svc.set(value, generation=number)
        assert svc.probe(value).verdict == Verdict.ACCEPTED
    # The control: as short-lived as a change, once in the arguments and once in the environment.
    svc.host.run(["sh", "-c", "sleep 0.1; :", "planted-in-arguments"])
    svc.host.run(["su", "-s", "/bin/sh", "nobody", "-c", "planted=planted-in-environment sleep 0.1"])
    svc.host.write("/tmp/stop", "")
    reader.join(20)
    watcher.wait(10)
    text = b"".join(seen).decode(errors="replace")
    assert "planted-in-arguments" in text
    assert "planted-in-environment" in text
    assert "chpasswd" in text
    assert [value for value in values if value in text] == []


WATCHER = """
while [ ! -e /tmp/stop ]; do
    cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'
done
"""


def test_logs_at_their_most_talkative_hold_no_value_and_nothing_that_the_host_said(
    svc: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    svc.host.write("/etc/banner", "a banner of the host \x1b[31m\n")
    svc.configure_sshd("Banner /etc/banner")
    caplog.set_level(logging.DEBUG)
    logging.getLogger("paramiko").setLevel(logging.DEBUG)
    svc.set(SECOND)
    svc.probe(SECOND)
    svc.prove(SECOND)
    svc.prove("a-wrong-Password-3")
    assert not [t for t in (SECOND, "a-wrong-Password-3", "a banner", "OpenSSH") if t in caplog.text]


def test_nothing_is_left_open_after_failures(svc: Rig) -> None:
    svc.prove(FIRST)
    files, threads = open_things()
    svc.key = KeyPair.generate()
    for _ in range(10):
        with pytest.raises(base.LoginRefused):
            svc.set(SECOND)
    left_files, left_threads = open_things()
    assert left_threads == threads
    assert left_files <= files  # what a test before had left open may be closed only now


def transports() -> int:
    return sum(isinstance(thread, paramiko.Transport) for thread in threading.enumerate())


def open_things() -> tuple[int, int]:
    """Files that are open at once, and threads of connections that are left a while after."""
    files = len(os.listdir("/proc/self/fd"))  # before the host ends what we have left open
    deadline = time.monotonic() + PATIENCE
    while transports() and time.monotonic() < deadline:
        time.sleep(0.05)
    return files, transports()
