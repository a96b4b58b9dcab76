"""A session that stays open while its own account's credential is changed, on real hosts."""

import time

import pytest
from paramiko.packet import Packetizer

from lab import Host, Management
from rotation.connectors import base
from rotation.connectors.base import Fence, Kind, Level, Login, Manager, Mark, Sudo, Verdict
from rotation.connectors.ssh.connector import SshConnector
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from tests.lab_fixtures import KeyPair, NewHost
from tests.waiting import wait_for
from tests.wires.relay import Relay
from tests.wires.ssh_rig import FIRST, SECOND, Rig, rig
from tests.wires.test_ssh_sessions import running

OWN = "the-account's-own-1"


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    return rig(host, management_key)


def logins(host: Host) -> int:
    log = host.sshd_log()
    return log.count("Accepted publickey for ") + log.count("Accepted password for ")


def change(
    connector: SshConnector, manager: Manager, username: str, value: str, console: str, generation: int = 1
) -> None:
    fence = Fence(console, generation)
    connector.set_password(manager, username, Plaintext(value), fence=fence, timeout=15)


def test_an_account_changes_its_own_password_and_the_session_outlives_the_change(
    new_host: NewHost, management_key: KeyPair
) -> None:
    svc = rig(new_host(management=Management.SUDO_PASSWORD), management_key)
    svc.host.set_password("keyturn", OWN)
    old = Manager(Login("keyturn", password=Plaintext(OWN)), Sudo.PASSWORD, Plaintext(OWN))
    connector = svc.connector
    with connector.lifeline(old, timeout=15):
        change(connector, old, "keyturn", SECOND, svc.console)
        assert svc.host.shadow_accepts("keyturn", SECOND)
        # sudo asks for the new one from now on; the session itself was let in with the old one.
        now = Manager(old.login, Sudo.PASSWORD, Plaintext(SECOND))
        assert connector.probe_password(now, "keyturn", Plaintext(SECOND), timeout=15).level == Level.HASH
        assert logins(svc.host) == 1
        proof = connector.prove_login(Login("keyturn", password=Plaintext(SECOND)), timeout=15)
        assert proof.level == Level.COMMAND
        assert connector.prove_login(old.login, timeout=15).verdict == Verdict.REJECTED
        # Had the new one not worked, this would have been the way back.
        change(connector, now, "keyturn", OWN, svc.console, generation=2)
    assert svc.host.shadow_accepts("keyturn", OWN)


def test_every_call_but_a_proof_goes_through_the_one_session(svc: Rig) -> None:
    connector, manager, pair = svc.connector, svc.manager, key_pairs.generate("ed25519")
    fence = Fence(svc.console, 1)
    svc.host.set_authorized_keys("svc", f"{svc.key.public}\n")
    with connector.lifeline(manager, timeout=15):
        for kind in Kind:
            facts = connector.preflight(manager, "svc", timeout=15, console_id=svc.console, kind=kind)
            assert facts.blocked is None
            assert connector.trace(manager, "svc", kind=kind, console_id=svc.console, timeout=15).mark
        assert "kept open" in facts.checks[0].sentence
        change(connector, manager, "svc", SECOND, svc.console)
        assert connector.probe_password(manager, "svc", Plaintext(SECOND), timeout=15).verdict == "accepted"
        connector.add_key(manager, "svc", pair.public_key, like="", fence=fence, timeout=15)
        assert connector.probe_key(manager, "svc", pair.public_key, timeout=15).verdict == "accepted"
        connector.remove_key(manager, "svc", pair.public_key, fence=fence, timeout=15)
        assert connector.end_sessions(manager, "svc", timeout=15) == 0
        assert logins(svc.host) == 1
        assert connector.prove_login(Login("svc", password=Plaintext(SECOND)), timeout=15).level == "command"
        assert logins(svc.host) == 2
    assert connector.trace(manager, "svc", kind=Kind.KEY, console_id=svc.console, timeout=15).mark
    assert logins(svc.host) == 3


def test_more_calls_than_a_connection_has_sessions_are_made_one_after_the_other(svc: Rig) -> None:
    svc.configure_sshd("MaxSessions 1")
    connector = svc.connector
    with connector.lifeline(svc.manager, timeout=15):
        for _ in range(5):
            proof = connector.probe_password(svc.manager, "svc", Plaintext(FIRST), timeout=15)
            assert proof.verdict == Verdict.ACCEPTED
    assert logins(svc.host) == 1


def test_a_refusal_does_not_end_the_session(svc: Rig) -> None:
    connector = svc.connector
    with connector.lifeline(svc.manager, timeout=15):
        change(connector, svc.manager, "svc", SECOND, svc.console, generation=5)
        with pytest.raises(base.Stale):
            change(connector, svc.manager, "svc", FIRST, svc.console, generation=4)
        with pytest.raises(base.Refused):
            change(connector, svc.manager, "nobody-here", FIRST, svc.console)
        change(connector, svc.manager, "svc", FIRST, svc.console, generation=6)
    assert logins(svc.host) == 1
    assert svc.accepts(FIRST)


def test_the_session_stays_open_longer_than_it_had_to_be_opened(svc: Rig) -> None:
    connector = svc.connector
    with connector.lifeline(svc.manager, timeout=3):
        time.sleep(3.5)
        change(connector, svc.manager, "svc", SECOND, svc.console)
    assert svc.accepts(SECOND)


@pytest.mark.parametrize("fault", ["dropped", "cut"])
def test_a_lifeline_that_breaks_is_not_replaced(svc: Rig, fault: str) -> None:
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay
        connector, manager = svc.connector, svc.manager
        with connector.lifeline(manager, timeout=15):
            svc.host.drop_sessions() if fault == "dropped" else relay.cut()
            calls = (
                lambda: change(connector, manager, "svc", SECOND, svc.console),
                lambda: connector.probe_password(manager, "svc", Plaintext(FIRST), timeout=15),
                lambda: connector.trace(manager, "svc", kind=Kind.KEY, console_id=svc.console, timeout=15),
                lambda: connector.end_sessions(manager, "svc", timeout=15),
            )
            for call in calls:
                with pytest.raises(base.Unreachable):
                    call()
            # A break that is noticed late comes after what was seen before it.
            *_, check = connector.preflight(manager, "svc", timeout=15, console_id=svc.console).checks
            assert (check.name, check.mark) == ("reachable", Mark.BLOCKED)
            assert logins(svc.host) == 1
            if fault == "dropped":
                assert connector.prove_login(Login("svc", password=Plaintext(FIRST)), timeout=15).level
    assert svc.accepts(FIRST)


@pytest.mark.parametrize("fault", ["dropped", "cut", "silent"])
def test_a_break_that_is_noticed_late_is_not_taken_for_another_command(
    svc: Rig, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Packetizer.read_message

    def late(packetizer: Packetizer) -> object:
        try:
            return read(packetizer)
        except (EOFError, OSError):
            time.sleep(1)  # as when the machine has better things to do than to run this thread
            raise

    monkeypatch.setattr(Packetizer, "read_message", late)
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay
        connector = svc.connector
        with connector.lifeline(svc.manager, timeout=15):
            {"dropped": svc.host.drop_sessions, "cut": relay.cut, "silent": relay.paused.set}[fault]()
            with pytest.raises(base.Unreachable):
                connector.probe_password(svc.manager, "svc", Plaintext(FIRST), timeout=3)


def test_a_command_that_a_signal_ended_says_nothing_about_the_host(svc: Rig) -> None:
    svc.replace_program("/usr/bin/sudo", "kill -KILL $$")
    with pytest.raises(base.Unreachable):
        svc.probe(FIRST)
    svc.host.run(["mv", "/usr/bin/sudo.real", "/usr/bin/sudo"])
    assert svc.probe(FIRST).verdict == Verdict.ACCEPTED


def test_a_change_whose_answer_is_lost_is_unknown_on_a_lifeline_too(svc: Rig) -> None:
    svc.replace_program("/usr/sbin/chpasswd", "/usr/sbin/chpasswd.real; kill -9 $(pgrep -f 'sshd: keyturn@')")
    connector = svc.connector
    with connector.lifeline(svc.manager, timeout=15):
        with pytest.raises(base.Unknown):
            change(connector, svc.manager, "svc", SECOND, svc.console)
        with pytest.raises(base.Unreachable):
            connector.probe_password(svc.manager, "svc", Plaintext(SECOND), timeout=15)
    assert svc.accepts(SECOND)


def test_a_lifeline_is_not_opened_where_no_root_shell_is_to_be_had(svc: Rig) -> None:
    wrong = Manager(Login("keyturn", password=Plaintext("wrong")), Sudo.PASSWORDLESS)
    for manager, error in (
        (Manager(svc.manager.login), base.Refused),
        (wrong, base.LoginRefused),
    ):
        with pytest.raises(error), svc.connector.lifeline(manager, timeout=15):
            pytest.fail("it was opened")


def test_nothing_is_left_open_when_the_block_ends_by_an_error(svc: Rig) -> None:
    connector = svc.connector
    with pytest.raises(ZeroDivisionError), connector.lifeline(svc.manager, timeout=15):
        raise ZeroDivisionError
    assert svc.probe(FIRST).verdict == Verdict.ACCEPTED
    wait_for(lambda: running(svc.host, "sshd: ") == 1)
    with connector.lifeline(svc.manager, timeout=15):
        change(connector, svc.manager, "svc", SECOND, svc.console)
