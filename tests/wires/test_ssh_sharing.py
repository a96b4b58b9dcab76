"""One connection for the calls of a run, on real hosts."""

import pytest

from lab import Host, Management
from rotation.connectors import base
from rotation.connectors.base import Kind, Login, Manager, Sudo, Verdict
from rotation.connectors.ssh.connector import SshConnector
from rotation.models import Run
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Secret
from tests import factories, lab_instances
from tests.lab_fixtures import KeyPair, NewHost
from tests.wires import test_rotation as rotations
from tests.wires.relay import Relay
from tests.wires.ssh_rig import FIRST, SECOND, Rig, rig
from tests.wires.test_rotation import advance, rotate
from tests.wires.test_ssh_lifeline import OWN, change, logins


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    return rig(host, management_key)


def probed(connector: SshConnector, manager: Manager, value: str = FIRST) -> Verdict:
    return connector.probe_password(manager, "svc", Plaintext(value), timeout=15).verdict


def test_all_calls_but_a_proof_go_over_one_connection(svc: Rig) -> None:
    svc.configure_sshd("MaxSessions 1")
    connector, manager, pair = svc.connector, svc.manager, key_pairs.generate("ed25519")
    fence = base.Fence(svc.console, 1)
    with connector.shared():
        facts = connector.preflight(manager, "svc", timeout=15, console_id=svc.console)
        again = connector.preflight(manager, "svc", timeout=15, console_id=svc.console)
        assert facts.blocked is None
        assert [line.name for line in facts.checks] == [line.name for line in again.checks]
        change(connector, manager, "svc", SECOND, svc.console)
        assert probed(connector, manager, SECOND) == Verdict.ACCEPTED
        connector.add_key(manager, "svc", pair.public_key, like="", fence=fence, timeout=15)
        assert connector.probe_key(manager, "svc", pair.public_key, timeout=15).verdict == "accepted"
        connector.remove_key(manager, "svc", pair.public_key, fence=fence, timeout=15)
        assert connector.trace(manager, "svc", kind=Kind.KEY, console_id=svc.console, timeout=15).mark
        assert logins(svc.host) == 1
        assert connector.prove_login(Login("svc", password=Plaintext(SECOND)), timeout=15).level == "command"
        assert logins(svc.host) == 2
    # Afterwards each call is alone again.
    assert probed(connector, manager, SECOND) == Verdict.ACCEPTED
    assert logins(svc.host) == 3


@pytest.mark.parametrize("fault", ["dropped", "cut", "silent"])
def test_a_connection_that_broke_between_two_calls_is_replaced(svc: Rig, fault: str) -> None:
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay
        connector, manager = svc.connector, svc.manager
        with connector.shared():
            assert probed(connector, manager) == Verdict.ACCEPTED
            if fault == "silent":
                # Only this connection: what is opened after it goes through.
                relay.freeze()
            else:
                svc.host.drop_sessions() if fault == "dropped" else relay.cut()
            change(connector, manager, "svc", SECOND, svc.console)
            assert probed(connector, manager, SECOND) == Verdict.ACCEPTED
            assert logins(svc.host) == 2
    assert svc.accepts(SECOND)


def test_a_connection_that_breaks_after_the_value_left_is_unknown_and_then_replaced(svc: Rig) -> None:
    svc.replace_program("/usr/sbin/chpasswd", "/usr/sbin/chpasswd.real; kill -9 $(pgrep -f 'sshd: keyturn@')")
    connector, manager = svc.connector, svc.manager
    with connector.shared():
        with pytest.raises(base.Unknown):
            change(connector, manager, "svc", SECOND, svc.console)
        # The host is asked on a new connection, and nothing was sent a second time.
        assert probed(connector, manager, SECOND) == Verdict.ACCEPTED
        assert logins(svc.host) == 2


def count_sudo(svc: Rig) -> None:
    svc.replace_program("/usr/bin/sudo", 'echo "$@" >>/tmp/sudo; exec /usr/bin/sudo.real "$@"')
    svc.host.run(["touch", "/tmp/sudo"])
    svc.host.run(["chmod", "666", "/tmp/sudo"])


def ways_to_root(svc: Rig) -> int:
    return svc.host.read("/tmp/sudo").count("exec sh")


def test_the_shell_that_looked_at_an_account_makes_the_change(svc: Rig) -> None:
    count_sudo(svc)
    connector, manager = svc.connector, svc.manager
    with connector.shared():
        assert not connector.preflight(manager, "svc", timeout=15, console_id=svc.console).blocked
        change(connector, manager, "svc", SECOND, svc.console)
        assert ways_to_root(svc) == 1
        # The one that was given a value is not there for anything else.
        assert probed(connector, manager, SECOND) == Verdict.ACCEPTED
        assert ways_to_root(svc) == 2
    assert svc.accepts(SECOND)


def test_the_shell_that_looked_at_an_account_makes_all_changes_of_its_keys(svc: Rig) -> None:
    count_sudo(svc)
    svc.host.set_authorized_keys("svc", f"{OLD_KEY}\n")
    connector, manager = svc.connector, svc.manager
    look = {"timeout": 15, "console_id": svc.console, "kind": Kind.KEY}
    change = {"timeout": 15, "fence": base.Fence(svc.console, 1)}
    with connector.shared():
        assert not connector.preflight(manager, "svc", public_key=OLD_KEY, **look).blocked
        connector.add_key(manager, "svc", NEW_KEY, like=OLD_KEY, **change)
        connector.remove_key(manager, "svc", OLD_KEY, **change)
        assert not connector.preflight(manager, "svc", public_key=NEW_KEY, **look).blocked
        assert ways_to_root(svc) == 1
        # One by which a change was refused is not used again.
        with pytest.raises(base.Stale):
            connector.remove_key(manager, "svc", NEW_KEY, timeout=15, fence=base.Fence(svc.console, 0))
        assert not connector.preflight(manager, "svc", public_key=NEW_KEY, **look).blocked
        assert ways_to_root(svc) == 2
        assert logins(svc.host) == 1
    assert svc.host.authorized_keys("svc") == f"{NEW_KEY}\n"


def test_a_line_that_commits_a_change_too_late_is_no_command(svc: Rig) -> None:
    count_sudo(svc)
    svc.host.set_authorized_keys("svc", f"{OLD_KEY}\n")
    connector, manager = svc.connector, svc.manager
    with connector.shared():
        connector.add_key(manager, "svc", NEW_KEY, like=OLD_KEY, timeout=15, fence=base.Fence(svc.console, 1))
        before = svc.host.authorized_keys("svc")
        shell = connector._kept and connector._kept.shell
        assert shell is not None
        shell._talk.tell(f"{shell.nonce} COMMIT\n".encode())
        traces = connector.trace(manager, "svc", kind=Kind.KEY, console_id=svc.console, timeout=15)
        assert traces.generation == 1
        assert ways_to_root(svc) == 1
    assert svc.host.authorized_keys("svc") == before


@pytest.mark.parametrize("fault", ["dropped", "cut", "silent"])
def test_a_shell_that_ended_between_two_calls_is_replaced(svc: Rig, fault: str) -> None:
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay
        connector, manager = svc.connector, svc.manager
        with connector.shared():
            assert not connector.preflight(manager, "svc", timeout=15, console_id=svc.console).blocked
            if fault == "silent":
                relay.freeze()
            else:
                svc.host.drop_sessions() if fault == "dropped" else relay.cut()
            change(connector, manager, "svc", SECOND, svc.console)
            assert logins(svc.host) == 2
    assert svc.accepts(SECOND)


def test_a_root_shell_that_was_killed_between_two_calls_is_replaced(svc: Rig) -> None:
    connector, manager = svc.connector, svc.manager
    with connector.shared():
        assert not connector.preflight(manager, "svc", timeout=15, console_id=svc.console).blocked
        svc.host.run(["pkill", "-9", "-f", "-x", "sh"])
        change(connector, manager, "svc", SECOND, svc.console)
    assert svc.accepts(SECOND)


def test_a_shell_that_became_root_in_another_way_is_not_used(
    new_host: NewHost, management_key: KeyPair
) -> None:
    svc = rig(new_host(management=Management.SUDO_PASSWORD), management_key)
    svc.host.set_password("keyturn", OWN)
    connector = svc.connector
    login = Login("keyturn", password=Plaintext(OWN))
    right = Manager(login, Sudo.PASSWORD, Plaintext(OWN))
    wrong = Manager(login, Sudo.PASSWORD, Plaintext("wrong"))
    with connector.shared():
        assert not connector.preflight(right, "svc", timeout=15, console_id=svc.console).blocked
        with pytest.raises(base.Refused):
            change(connector, wrong, "svc", SECOND, svc.console)
    assert svc.accepts(FIRST)


def test_a_session_that_is_recorded_is_asked_about_again_before_a_value_is_sent(svc: Rig) -> None:
    svc.configure_sudo("Defaults log_input")
    connector, manager = svc.connector, svc.manager
    with connector.shared():
        assert connector.preflight(manager, "svc", timeout=15, console_id=svc.console).blocked
        with pytest.raises(base.Refused) as refusal:
            change(connector, manager, "svc", SECOND, svc.console)
        assert refusal.value.code == "sudo_log"
    assert svc.accepts(FIRST)


def test_a_refusal_does_not_cost_the_connection(svc: Rig) -> None:
    connector, manager = svc.connector, svc.manager
    with connector.shared():
        change(connector, manager, "svc", SECOND, svc.console, generation=5)
        with pytest.raises(base.Stale):
            change(connector, manager, "svc", FIRST, svc.console, generation=4)
        with pytest.raises(base.Refused):
            change(connector, manager, "nobody-here", FIRST, svc.console)
        assert probed(connector, manager, SECOND) == Verdict.ACCEPTED
    assert logins(svc.host) == 1


def test_another_login_gets_a_connection_of_its_own(svc: Rig) -> None:
    connector = svc.connector
    wrong = Manager(Login("keyturn", password=Plaintext("wrong")), Sudo.PASSWORDLESS)
    with connector.shared():
        assert probed(connector, svc.manager) == Verdict.ACCEPTED
        with pytest.raises(base.LoginRefused):
            probed(connector, wrong)
        assert logins(svc.host) == 1
        assert probed(connector, svc.manager) == Verdict.ACCEPTED


def test_a_lifeline_is_the_connection_that_is_there(new_host: NewHost, management_key: KeyPair) -> None:
    svc = rig(new_host(management=Management.SUDO_PASSWORD), management_key)
    svc.host.set_password("keyturn", OWN)
    old = Manager(Login("keyturn", password=Plaintext(OWN)), Sudo.PASSWORD, Plaintext(OWN))
    connector = svc.connector
    with connector.shared():
        assert not connector.preflight(old, "svc", timeout=15, console_id=svc.console).blocked
        with connector.lifeline(old, timeout=15):
            change(connector, old, "keyturn", SECOND, svc.console)
            now = Manager(old.login, Sudo.PASSWORD, Plaintext(SECOND))
            assert connector.probe_password(now, "keyturn", Plaintext(SECOND), timeout=15).level == "hash"
        assert logins(svc.host) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("kind", "most"), [("password", 2), ("key_pair", 3)])
def test_a_rotation_makes_as_few_connections_as_it_can(
    host: Host, management_key: KeyPair, kind: str, most: int
) -> None:
    with Relay(host.address, host.port) as relay:
        made = managed(host, relay, management_key, kind)
        # Before the first change nobody has shown yet that a login with the current password works.
        assert advance(rotate(made)).outcome == Run.Outcome.SUCCEEDED
        before = relay.connections
        run = advance(rotate(made))
        assert run.outcome == Run.Outcome.SUCCEEDED, run.sentence
        assert relay.connections - before == most


def managed(host: Host, relay: Relay, key: KeyPair, kind: str) -> Secret:
    host.add_account("svc", password=rotations.OLD)
    instance, more = lab_instances.register(host, key, at=relay), {}
    value = rotations.OLD
    if kind == "key_pair":
        pair = key_pairs.generate("ed25519")
        host.set_authorized_keys("svc", f"{pair.public_key}\n")
        value, more = pair.private_key.reveal(), {"kind": kind, "key_algorithm": "ed25519"}
    made = factories.secret(instance=instance, initial=value, **more)
    factories.settle(made)
    return made


def key_look(connector: SshConnector, svc: Rig, username: str) -> base.Facts:
    return connector.preflight(
        svc.manager, username, timeout=15, console_id=svc.console, kind=Kind.KEY, public_key=OLD_KEY
    )


def add_key(connector: SshConnector, svc: Rig, username: str) -> None:
    fence = base.Fence(svc.console, 1)
    connector.add_key(svc.manager, username, NEW_KEY, like=OLD_KEY, fence=fence, timeout=15)


OLD_KEY, NEW_KEY = (key_pairs.generate("ed25519").public_key for _ in range(2))


def test_a_change_of_one_account_asks_sshd_again_after_a_look_at_another(svc: Rig) -> None:
    svc.host.add_account("other", password=FIRST)
    svc.configure_sshd("Match User other", "AuthorizedKeysFile /etc/ssh/keys-%u", "Match all")
    for path in ("/home/svc/.ssh/authorized_keys", "/home/other/.ssh/authorized_keys", "/etc/ssh/keys-other"):
        svc.host.run(["sh", "-c", f"mkdir -p $(dirname {path}) && echo '{OLD_KEY}' >{path}"])
    svc.host.run(["chown", "-R", "svc:", "/home/svc"])
    connector = svc.connector
    with connector.shared():
        assert not key_look(connector, svc, "svc").blocked
        add_key(connector, svc, "other")
    assert NEW_KEY in svc.host.read("/etc/ssh/keys-other")
    assert NEW_KEY not in svc.host.read("/home/other/.ssh/authorized_keys")
