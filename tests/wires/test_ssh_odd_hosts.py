"""Real hosts that talk too much, are too busy, or shut an account out: each is named for what it is."""

import socket
import threading
import tracemalloc

import pytest

from lab import Host
from rotation import reasons
from rotation.connectors import base
from rotation.connectors.base import Level, Login, Manager, Mark, Sudo, Verdict
from rotation.connectors.ssh.connector import SshScanner
from secrets_app.crypto.plaintext import Plaintext
from tests.lab_fixtures import KeyPair
from tests.networks import endpoint
from tests.waiting import wait_for
from tests.wires.ssh_rig import FIRST, SECOND, Rig, rig
from tests.wires.test_ssh_sessions import running

TEN_MEGABYTES = 10 * 1024 * 1024


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    return rig(host, management_key)


def test_fi_h_17_ten_megabytes_of_anything_pass_through_and_none_of_it_is_kept_or_shown(svc: Rig) -> None:
    noise = "printf '\\033[2J\\033]0;title\\007'; head -c 10485760 /dev/urandom; echo the-hosts-own-words\n"
    for account in ("keyturn", "svc"):
        svc.host.write(f"/home/{account}/.bashrc", noise)
    svc.host.run(
        ["sh", "-c", "head -c 10485760 /dev/urandom >/etc/motd; head -c 200000 /dev/urandom >/etc/banner"]
    )
    svc.configure_sshd("Banner /etc/banner", "PrintMotd yes")
    tracemalloc.start()
    facts = svc.preflight(timeout=60)
    svc.set(SECOND, timeout=60)
    assert svc.probe(SECOND).verdict == Verdict.ACCEPTED
    assert svc.prove(SECOND, timeout=60).level == Level.COMMAND
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < TEN_MEGABYTES
    assert facts.blocked is None
    shown = "".join(c.sentence for c in facts.checks) + facts.os_name
    assert shown.isprintable()
    assert "the-hosts-own-words" not in shown


def test_fi_h_17_what_a_host_says_of_itself_is_cut_and_cannot_move_a_terminals_cursor(svc: Rig) -> None:
    long = "\\033[2J" + "x" * 900
    svc.host.write("/etc/os-release", f"PRETTY_NAME=\"$(printf '{long}')\"\n")
    svc.host.run(["usermod", "--shell", "/usr/sbin/nologin", "svc"])
    facts = svc.preflight()
    assert facts.os_name.isprintable()
    assert 0 < len(facts.os_name) <= 128
    assert all(len(c.sentence) < 400 for c in facts.checks)


@pytest.mark.parametrize("line", [b"x", b"x" * 1000 + b"\n"])
def test_fi_h_17_a_host_that_never_says_its_version_fills_no_memory(line: bytes) -> None:
    """The host is a double: no sshd would speak without end before its version."""
    listener = socket.create_server(("127.0.0.1", 0))
    sent = 0

    def talk() -> None:
        nonlocal sent
        client, _ = listener.accept()
        with client:
            try:
                while True:
                    sent += client.send(line * 1000)
            except OSError:
                return

    talker = threading.Thread(target=talk, daemon=True)
    talker.start()
    tracemalloc.start()
    with listener, pytest.raises(base.Unreachable):
        SshScanner().scan(endpoint("127.0.0.1", listener.getsockname()[1]), timeout=10)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    talker.join(10)
    assert not talker.is_alive()
    assert peak < TEN_MEGABYTES // 8


def test_fi_n_06_one_connection_too_many_is_a_busy_host_and_no_refused_login(svc: Rig) -> None:
    svc.configure_sshd("MaxStartups 1:100:1")
    with socket.create_connection((svc.host.address, svc.host.port)) as waiting:
        assert waiting.recv(4) == b"SSH-"
        for call in (
            lambda: svc.set(SECOND),
            lambda: svc.probe(FIRST),
            lambda: svc.prove(FIRST),
            lambda: SshScanner().scan(endpoint(svc.host.address, svc.host.port), timeout=10),
        ):
            with pytest.raises(base.Unreachable) as busy:
                call()
            assert busy.value.code == "busy_sshd"
        (check,) = svc.preflight().checks
        assert (check.name, check.mark, check.code) == ("reachable", Mark.BLOCKED, "busy_sshd")
    assert "Failed" not in svc.host.sshd_log()
    wait_for(lambda: running(svc.host, "sshd: [accepted]") == running(svc.host, "sshd: unknown") == 0)
    svc.set(SECOND)
    assert svc.accepts(SECOND)


def test_fi_r_56_an_address_that_sshd_punishes_is_told_apart_from_a_busy_host() -> None:
    """The host is a double: this machine's sshd is older than PerSourcePenalties (9.8)."""
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        client, _ = listener.accept()
        with client:
            client.sendall(b"Not allowed at this time\r\n")

    threading.Thread(target=refuse, daemon=True).start()
    with listener, pytest.raises(base.Unreachable) as busy:
        SshScanner().scan(endpoint("127.0.0.1", listener.getsockname()[1]), timeout=10)
    assert busy.value.code == "penalty"
    assert "PerSourcePenalties" in str(busy.value)


@pytest.mark.parametrize(
    "ageing",
    [
        ["--expiredate", "2001-01-01"],
        ["--lastday", "2001-01-01", "--maxdays", "9", "--inactive", "9"],
    ],
)
@pytest.mark.parametrize("by", ["password", "key"])
def test_fi_p_05_an_account_that_has_expired_is_named_as_that(svc: Rig, ageing: list[str], by: str) -> None:
    svc.host.set_authorized_keys("svc", f"{svc.key.public}\n")
    svc.host.run(["chage", *ageing, "svc"])
    login = Login("svc", password=Plaintext(FIRST))
    if by == "key":
        login = Login("svc", private_key=Plaintext(svc.key.private))
    proof = svc.connector.prove_login(login, timeout=15)
    assert (proof.verdict, proof.code) == (Verdict.UNCLEAR, "expired")
    assert svc.host.sshd_log().count("Failed") == 1


def test_fi_p_05_a_wrong_password_of_an_expired_account_is_still_wrong(svc: Rig) -> None:
    svc.host.run(["chage", "--expiredate", "2001-01-01", "svc"])
    assert svc.prove("wrong").verdict == Verdict.REJECTED


def test_fi_p_05_a_management_account_that_has_expired_is_named_as_that(svc: Rig) -> None:
    svc.host.run(["chage", "--expiredate", "2001-01-01", "keyturn"])
    with pytest.raises(base.LoginRefused) as refusal:
        svc.set(SECOND)
    assert refusal.value.code == "manager_expired"
    (check,) = [c for c in svc.preflight().checks if c.mark == Mark.BLOCKED]
    assert (check.name, check.code) == ("login", "manager_expired")
    assert svc.accepts(FIRST)


def test_a_management_account_that_nologin_keeps_out_is_told_where_to_look(svc: Rig) -> None:
    svc.host.write("/etc/nologin", "closed for the night\n")
    with pytest.raises(base.Unreachable) as ended:
        svc.set(SECOND)
    assert ended.value.code == "manager_broken"
    assert "/etc/nologin" in str(ended.value)
    assert "/etc/nologin" in reasons.advice("manager_broken").text
    assert (reasons.waits("manager_broken"), reasons.is_away("manager_broken")) == (True, True)
    svc.host.run(["rm", "/etc/nologin"])
    assert svc.accepts(FIRST)


@pytest.mark.parametrize(
    ("rule", "mark"),
    [
        ("Defaults log_input", Mark.BLOCKED),
        ("Defaults log_stdin", Mark.BLOCKED),
        ("Defaults:keyturn log_output, log_input", Mark.BLOCKED),
        ("keyturn ALL=(root) NOPASSWD: LOG_INPUT: ALL", Mark.BLOCKED),
        ("Defaults log_output", Mark.PASSED),
        ("Defaults:svc log_input", Mark.PASSED),
    ],
)
def test_fi_p_10_sudo_that_keeps_what_it_reads_is_named(svc: Rig, rule: str, mark: Mark) -> None:
    svc.configure_sudo(rule)
    (check,) = [c for c in svc.preflight().checks if c.name == "sudo_log"]
    assert check.mark == mark


def test_every_answer_that_is_unclear_says_why_in_a_word(svc: Rig) -> None:
    nobody = Manager(svc.manager.login, Sudo.NONE)
    value = Plaintext(FIRST)
    codes = {
        "bad_user": svc.connector.probe_password(svc.manager, "-x", value, timeout=15),
        "bad_value": svc.connector.probe_password(svc.manager, "svc", Plaintext("a\nb"), timeout=15),
        "no_such_user": svc.connector.probe_password(svc.manager, "nobody-here", value, timeout=15),
        "sudo": svc.connector.probe_key(nobody, "svc", svc.key.public, timeout=15),
        "no_credential": svc.connector.prove_login(Login("svc"), timeout=15),
        "bad_key": svc.connector.prove_login(Login("svc", private_key=Plaintext("none")), timeout=15),
        "too_long_to_check": svc.probe("x" * 250),
    }
    assert {word: (proof.verdict, proof.code) for word, proof in codes.items()} == {
        word: (Verdict.UNCLEAR, word) for word in codes
    }
