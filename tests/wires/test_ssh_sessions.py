"""Sessions that are ended on real hosts: the account's by SSH with all that runs there, and nobody else's."""

import contextlib
from collections.abc import Iterator

import paramiko
import pytest

from lab import Fleet, Host, Management, Spec
from rotation.connectors import base
from rotation.connectors.base import Sudo
from rotation.connectors.ssh import traces
from tests.lab_fixtures import KeyPair, NewHost, command, connect
from tests.waiting import wait_for
from tests.wires.ssh_rig import FIRST, Rig, rig
from tests.wires.test_ssh import shells  # noqa: F401


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    return rig(host, management_key)


@contextlib.contextmanager
def session(
    host: Host, username: str = "svc", line: str = "", key: KeyPair | None = None
) -> Iterator[paramiko.SSHClient]:
    """A session of this account in which `line` runs; the line says UP once it does."""
    client = connect(host, username, password=None if key else FIRST, key=key)
    try:
        channel = client.get_transport().open_session(timeout=10)
        channel.settimeout(20)
        channel.exec_command(f"sh -c '{line or ': first; '}echo UP; sleep 7777'")
        assert channel.recv(100).strip() == b"UP"
        yield client
    finally:
        client.close()


def end(svc: Rig, username: str = "svc") -> int:
    return svc.connector.end_sessions(svc.manager, username, timeout=15)


def processes(host: Host, command: str) -> list[str]:
    """The ids, inside the host, of the processes whose command line begins with this."""
    script = "for f in /proc/[0-9]*; do echo \"${f#/proc/} $(tr '\\000' ' ' <$f/cmdline)\"; done 2>/dev/null"
    lines = host.run(["sh", "-c", script]).stdout.decode().splitlines()
    return [pid for pid, _, said in (line.partition(" ") for line in lines) if said.startswith(command)]


def running(host: Host, command: str) -> int:
    return len(processes(host, command))


def lay(host: Host, path: str, text: str, *pids: str) -> None:
    """Lay a double over a file of /proc, for these processes."""
    host.write(f"/run/{path}", text)
    for pid in pids:
        host.run(["mount", "--bind", f"/run/{path}", f"/proc/{pid}/{path}"])


def is_open(client: paramiko.SSHClient) -> bool:
    with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
        return command(client, "echo here")[1] == "here\n"
    return False


def test_every_session_of_the_account_ends_and_its_service_does_not(svc: Rig) -> None:
    service = svc.host.spawn(["setsid", "sleep", "5555"], user="svc")
    with session(svc.host) as one, session(svc.host) as two:
        wait_for(lambda: running(svc.host, "sleep 5555"))
        assert end(svc) == 2
        wait_for(lambda: not one.get_transport().is_active() and not two.get_transport().is_active())
        assert running(svc.host, "sleep 7777") == 0
        assert running(svc.host, "sshd: svc") == 0
    assert running(svc.host, "sleep 5555") == 1
    assert service.poll() is None
    service.kill()
    assert svc.prove(FIRST).verdict == base.Verdict.ACCEPTED


def test_the_sessions_of_others_stay_open_whatever_their_names_are(svc: Rig) -> None:
    svc.host.add_account("svc2", password=FIRST)
    svc.host.add_account("vc", password=FIRST)
    with (
        session(svc.host, "svc2") as longer,
        session(svc.host, "vc") as shorter,
        session(svc.host, "keyturn", key=svc.key) as manager,
        session(svc.host),
    ):
        assert end(svc) == 1
        assert is_open(longer)
        assert is_open(shorter)
        assert is_open(manager)
        assert running(svc.host, "sleep 7777") == 3


@pytest.mark.parametrize(
    "line",
    [
        "nohup sleep 6666 >/dev/null 2>&1 & ",
        "(sleep 6666 >/dev/null 2>&1 &) ; ",
        'trap "" TERM HUP; sleep 6666 & ',
    ],
)
def test_what_was_left_in_the_background_of_a_session_ends_too(svc: Rig, line: str) -> None:
    with session(svc.host, line=line):
        wait_for(lambda: running(svc.host, "sleep 6666"))
        no_records(svc)
        assert end(svc) == 1
        assert running(svc.host, "sleep 6666") == 0
        assert running(svc.host, "sleep 7777") == 0


def no_records(svc: Rig) -> None:
    """Have the account's sessions look as on a host whose kernel keeps no audit sessions."""
    lay(svc.host, "sessionid", "4294967295", *processes(svc.host, "sshd: svc@"))


# Its parent has ended, and it is in a kernel session of its own.
LEFT = 'setsid sh -c "sleep 6666 & exit" >/dev/null 2>&1 & '


@pytest.mark.parametrize("source", ["audit", "scope"])
def test_what_has_left_its_session_is_known_by_the_hosts_own_records(svc: Rig, source: str) -> None:
    """The audit session is the kernel's; the scope is a double, laid over a file in /proc."""
    with session(svc.host, line=LEFT):
        wait_for(lambda: running(svc.host, "sleep 6666") == 1)
        service = svc.host.spawn(["setsid", "sleep", "5555"], user="svc")
        wait_for(lambda: running(svc.host, "sleep 5555"))
        if source == "scope":
            no_records(svc)
            pids = (*processes(svc.host, "sleep 6666"), *processes(svc.host, "sshd: svc@"))
            lay(svc.host, "cgroup", "0::/user.slice/user-1000.slice/session-17.scope\n", *pids)
        assert end(svc) == 1
        assert running(svc.host, "sleep 6666") == 0
        assert running(svc.host, "sleep 5555") == 1
        service.kill()


def test_without_any_record_what_has_left_its_session_stays(svc: Rig) -> None:
    with session(svc.host, line=LEFT):
        wait_for(lambda: running(svc.host, "sleep 6666") == 1)
        no_records(svc)
        assert end(svc) == 1
        assert running(svc.host, "sleep 6666") == 1
        assert running(svc.host, "sleep 7777") == 0


def test_a_daemon_of_roots_that_was_started_in_a_session_is_not_ended_with_it(svc: Rig) -> None:
    """A service that somebody restarts by hand carries the session's records for as long as it runs."""
    with session(svc.host):
        daemon = svc.host.spawn(["setsid", "sleep", "5555"])
        wait_for(lambda: running(svc.host, "sleep 5555"))
        lay(
            svc.host,
            "sessionid",
            "17",
            *processes(svc.host, "sleep 5555"),
            *processes(svc.host, "sshd: svc@"),
        )
        assert end(svc) == 1
        assert running(svc.host, "sleep 5555") == 1
        daemon.kill()


def test_a_login_manager_is_told_to_end_the_session_too(svc: Rig) -> None:
    """The login manager is a double that writes down what it is asked."""
    svc.host.run(["mkdir", "-p", "/run/systemd/sessions"])
    svc.host.write("/usr/bin/loginctl", '#!/bin/sh\necho "$@" >>/run/asked\n', 0o755)
    with session(svc.host):
        lay(svc.host, "cgroup", "0::/user.slice/session-c3.scope\n", *processes(svc.host, "sshd: svc@"))
        assert end(svc) == 1
    assert svc.host.read("/run/asked") == "terminate-session c3\n"


def test_a_process_that_calls_itself_sshd_is_nobodys_session(svc: Rig) -> None:
    svc.host.add_account("other", password=FIRST)
    svc.host.run(["cp", "/usr/bin/sleep", "/usr/bin/sshd-sleep"])
    script = 'exec -a "sshd: svc@pts/9" sshd-sleep 4444'
    faker = svc.host.spawn(["setsid", "bash", "-c", script], user="other")
    wait_for(lambda: running(svc.host, "sshd: svc@pts/9"))
    assert end(svc) == 0
    assert faker.poll() is None
    faker.kill()


def test_nothing_open_is_nothing_to_end(svc: Rig) -> None:
    assert end(svc) == 0


def test_the_management_account_does_not_end_its_own_session(svc: Rig) -> None:
    with pytest.raises(base.Refused) as refusal:
        end(svc, "keyturn")
    assert refusal.value.code == "own_session"
    assert "keyturn" not in svc.host.sshd_log()


def test_roots_sessions_end_and_the_one_that_ends_them_does_not(svc: Rig) -> None:
    svc.host.run(["sh", "-c", "cp -r /home/keyturn/.ssh /root/ && chown -R root:root /root/.ssh"])
    with session(svc.host, "root", key=svc.key) as root:
        assert end(svc, "root") == 1
        wait_for(lambda: not root.get_transport().is_active())
        assert running(svc.host, "sleep 7777") == 0
    assert end(svc, "root") == 0


def test_the_session_that_asks_is_left_open_even_where_it_is_the_accounts_own(svc: Rig) -> None:
    with session(svc.host, "keyturn", key=svc.key) as other:
        with svc.connector._root_shell(svc.manager, 15) as (shell, _):
            assert traces.end_sessions(shell, "keyturn") == 1
        wait_for(lambda: not other.get_transport().is_active())


def test_another_name_for_root_does_not_end_the_session_that_asks(
    new_host: NewHost, management_key: KeyPair
) -> None:
    svc = rig(new_host(management=Management.ROOT), management_key, username="root", sudo=Sudo.NONE)
    svc.host.run(
        ["sh", "-c", "echo toor:x:0:0::/root:/bin/sh >>/etc/passwd; echo 'toor:*:19000::::::' >>/etc/shadow"]
    )
    with session(svc.host, "toor", key=svc.key) as toor:
        assert end(svc, "toor") == 1
        wait_for(lambda: not toor.get_transport().is_active())


def test_an_account_that_is_not_there_is_refused(svc: Rig) -> None:
    with pytest.raises(base.Refused) as refusal:
        end(svc, "nobody-here")
    assert refusal.value.code == "no_such_user"


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_every_common_sh_ends_sessions(
    shells: Fleet,  # noqa: F811
    management_key: KeyPair,
    shell: str,
) -> None:
    svc = rig(shells.start(f"end-{shell}", Spec(public_key=management_key.public)), management_key)
    svc.host.run(["ln", "-sf", f"/usr/bin/{shell}", "/usr/bin/sh"])
    if shell == "busybox":
        for applet in ("timeout", "id", "tr", "sleep"):
            svc.host.run(["ln", "-sf", "/usr/bin/busybox", f"/usr/bin/{applet}"])
    with session(svc.host, line="nohup sleep 6666 >/dev/null 2>&1 & "), session(svc.host):
        assert end(svc) == 2
        assert running(svc.host, "sleep 6666") == running(svc.host, "sleep 7777") == 0
    assert end(svc) == 0
