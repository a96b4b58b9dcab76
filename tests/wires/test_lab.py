"""The lab's hosts are real, apart from each other, blind to the console, and leave nothing behind."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import paramiko
import pytest

from lab import Fleet, Gone, Host, HostNotStarted, Management, Spec, layer, machine
from lab.fleet import PACKAGES
from tests.lab_fixtures import KeyPair, NewHost, command, connect
from tests.waiting import PATIENCE

CHECKOUT = Path(__file__).resolve().parents[2]
PASSWORD = "First-Password.1"
OTHER = "Second-Password.2"


@pytest.fixture
def svc(host: Host) -> Host:
    host.add_account("svc", password=PASSWORD)
    return host


def refused(host: Host, username: str, **login: object) -> bool:
    with pytest.raises(paramiko.SSHException) as caught:
        connect(host, username, **login)  # type: ignore[arg-type]
    return isinstance(caught.value, paramiko.AuthenticationException)


def eventually(holds: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.05)
    return holds()


# -- real ---------------------------------------------------------------------------------------


def test_the_management_account_logs_in_by_key_and_is_root_by_sudo(host: Host, management_key: KeyPair):
    with connect(host, "keyturn", key=management_key) as client:
        assert command(client, "sudo -n id -u") == (0, "0\n")


def test_sudo_asks_for_the_password_where_the_host_was_made_so(new_host: NewHost, management_key: KeyPair):
    host = new_host(management=Management.SUDO_PASSWORD)
    host.set_password("keyturn", PASSWORD)
    with connect(host, "keyturn", key=management_key) as client:
        assert command(client, "sudo -n id -u")[0] == 1
        assert command(client, "sudo -S -p '' id -u 2>/dev/null", f"{PASSWORD}\n") == (0, "0\n")
        assert command(client, "sudo -k -S -p '' id -u", f"{OTHER}\n")[0] == 1


def test_root_logs_in_by_key_where_the_host_was_made_so(new_host: NewHost, management_key: KeyPair):
    host = new_host(management=Management.ROOT)
    with connect(host, "root", key=management_key) as client:
        assert command(client, "id -u") == (0, "0\n")


def test_a_host_made_with_nobody_in_it_lets_nobody_in(new_host: NewHost, management_key: KeyPair):
    host = new_host(management=Management.NONE)
    assert refused(host, "root", key=management_key)
    assert refused(host, "keyturn", key=management_key)


def test_an_account_logs_in_by_its_password_and_by_no_other(svc: Host):
    assert refused(svc, "svc", password=OTHER)
    with connect(svc, "svc", password=PASSWORD) as client:
        assert command(client, "id -un") == (0, "svc\n")


def test_an_account_logs_in_by_its_own_key_and_by_no_other(host: Host, management_key: KeyPair):
    own = KeyPair.generate()
    host.add_account("app", authorized_keys=[own.public])
    assert host.authorized_keys("app") == f"{own.public}\n"
    assert refused(host, "app", key=management_key)
    with connect(host, "app", key=own) as client:
        assert command(client, "id -un") == (0, "app\n")


def test_openssh_s_own_client_logs_in_too(host: Host, management_key: KeyPair, tmp_path: Path):
    key, known = tmp_path / "key", tmp_path / "known_hosts"
    key.write_text(management_key.private)
    key.chmod(0o600)
    place = host.address if host.port == 22 else f"[{host.address}]:{host.port}"
    known.write_text("".join(f"{place} {line}\n" for line in host.host_keys()))
    options = ["-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes"]
    place = ["-i", str(key), "-p", str(host.port), f"keyturn@{host.address}"]
    done = subprocess.run(["ssh", *options, *place, "hostname"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, f"{host.name}\n")


def test_chpasswd_over_ssh_changes_the_shadow_and_the_old_password_is_refused(
    svc: Host, management_key: KeyPair
):
    before = svc.shadow("svc")
    with connect(svc, "keyturn", key=management_key) as client:
        assert command(client, "sudo -n chpasswd", f"svc:{OTHER}\n") == (0, "")
    assert svc.shadow("svc") != before
    assert svc.shadow_accepts("svc", OTHER)
    assert not svc.shadow_accepts("svc", PASSWORD)
    assert refused(svc, "svc", password=PASSWORD)
    connect(svc, "svc", password=OTHER).close()


def test_no_password_is_accepted_from_the_shadow_of_a_locked_account(svc: Host):
    svc.run(["passwd", "-l", "svc"])
    assert not svc.shadow_accepts("svc", PASSWORD)
    svc.add_account("keys-only")
    assert not svc.shadow_accepts("keys-only", "!")


def test_an_account_is_aged_as_it_was_asked_for(host: Host):
    host.add_account("svc", password=PASSWORD, groups=["adm"], ageing=["--maxdays", "90", "--warndays", "14"])
    assert host.run(["passwd", "-S", "svc"]).stdout.decode().split()[3:] == ["0", "90", "14", "-1"]
    assert host.run(["id", "-nG", "svc"]).stdout == b"svc adm\n"


def test_the_sshd_log_counts_a_failed_login(svc: Host):
    assert svc.sshd_log().count("Failed password for svc") == 0
    assert refused(svc, "svc", password=OTHER)
    assert eventually(lambda: svc.sshd_log().count("Failed password for svc") == 1)


def test_files_are_written_and_read_with_their_mode(host: Host):
    host.write("/etc/made/for-a-test", "one\ntwo\n", 0o640)
    assert host.read("/etc/made/for-a-test") == "one\ntwo\n"
    assert host.run(["stat", "-c", "%a %U", "/etc/made/for-a-test"]).stdout == b"640 root\n"
    with pytest.raises(FileNotFoundError):
        host.read("/etc/not-made")


def test_a_command_runs_as_the_account_that_was_asked_for(host: Host):
    assert host.run(["id", "-un"], user="nobody").stdout == b"nobody\n"
    assert host.run(["cat", "/etc/shadow"], user="nobody", check=False).returncode == 1


def test_an_unprivileged_account_of_a_host_sees_the_command_lines_of_root(host: Host):
    host.run(["sh", "-c", "sleep 77.7 >/dev/null 2>&1 &"])
    watch = "until tr '\\0' ' ' < /proc/$1/cmdline | grep -q 'sleep 77.7'; do set -- $(($1 % 300 + 1)); done"
    with host.spawn(["sh", "-c", f"{watch} 2>/dev/null; echo seen", "sh", "1"], user="nobody") as watcher:
        assert watcher.communicate(timeout=20)[0] == b"seen\n"


def test_a_host_has_keys_of_every_type_that_was_asked_for(new_host: NewHost):
    host = new_host(host_key_types=("ed25519", "rsa"))
    assert sorted(line.split()[0] for line in host.host_keys()) == ["ssh-ed25519", "ssh-rsa"]


def test_a_package_is_had_by_a_host_and_not_by_this_machine(tmp_path: Path):
    assert layer.missing(["hello"]) == ["hello"]
    wanted = (*PACKAGES, "hello")
    with ThreadPoolExecutor() as pool:
        layers = set(pool.map(lambda _: layer.prepare(wanted, tmp_path / "cache"), range(3)))
    assert len(layers) == 1
    assert sorted(path.name for path in (tmp_path / "cache").glob("[!l]*")) == []
    with Fleet(tmp_path / "fleet", packages=wanted, cache=tmp_path / "cache") as fleet:
        assert fleet.start("greeter").run(["hello"]).stdout == b"Hello, world!\n"
    assert layer.missing(["hello"]) == ["hello"]


# -- apart --------------------------------------------------------------------------------------


def test_two_hosts_have_nothing_in_common_that_names_a_host(new_host: NewHost):
    one, two = new_host(), new_host()
    assert one.address != two.address
    assert one.host_keys() != two.host_keys()
    assert one.read("/etc/machine-id") != two.read("/etc/machine-id")
    assert one.run(["hostname"]).stdout != two.run(["hostname"]).stdout
    one.add_account("svc", password=PASSWORD)
    with pytest.raises(KeyError):
        two.shadow("svc")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[list[Path]]:
    """Make files where a console keeps some: in its checkout, its folders, and where tools are installed."""
    places = [CHECKOUT / "tests", tmp_path, Path("/root"), Path("/tmp"), Path("/usr/local"), Path("/var/lib")]
    made = [place / f"kept-{time.monotonic_ns()}" for place in places]
    for path in made:
        path.write_text("only the console's")
    yield made
    for path in made:
        path.unlink()


def test_not_even_root_of_a_host_reads_the_console_s_files(new_host: NewHost, kept: list[Path]):
    host = new_host()
    for path in kept:
        assert host.run(["cat", str(path)], check=False).returncode == 1, path
    names = [path.name for path in kept]
    found = host.run(["sh", "-c", "find / -xdev -name 'kept-*'; find /usr -name 'kept-*'"]).stdout.decode()
    assert not [name for name in names if name in found]


def test_a_folder_under_usr_is_hidden_when_it_is_asked_for(tmp_path: Path):
    assert Path("/usr/share/base-passwd/passwd.master").exists()
    with Fleet(tmp_path / "fleet", hide=[Path("/usr/share/base-passwd")]) as fleet:
        host = fleet.start("blind")
        assert host.run(["ls", "/usr/share/base-passwd"], check=False).returncode != 0
        assert host.run(["ls", "/usr/share"]).stdout


def test_root_of_a_host_can_neither_mount_this_machine_s_disk_nor_turn_its_kernel(
    host: Host, management_key: KeyPair
):
    with connect(host, "keyturn", key=management_key) as client:
        for attempt in (
            "mount -t tmpfs none /mnt",
            "mknod /tmp/disk b 254 0",
            "sh -c 'echo other > /proc/sys/kernel/domainname'",
            "umount /proc/sys",
            "ls /proc/sys/../../.outside",
        ):
            assert command(client, f"sudo -n {attempt}")[0] != 0, attempt


def test_a_host_sees_no_process_and_no_environment_of_this_machine(
    host: Host, monkeypatch: pytest.MonkeyPatch, fleet: Fleet
):
    monkeypatch.setenv("KEYTURN_TEST_SECRET", "seen-by-nobody")
    late = fleet.start("late")
    try:
        for one in (host, late):
            environments = one.run(["sh", "-c", "cat /proc/[0-9]*/environ"]).stdout
            assert b"PATH=" in environments
            assert b"seen-by-nobody" not in environments
            listed = one.run(["sh", "-c", "cat /proc/[0-9]*/cmdline"]).stdout
            assert b"python" not in listed
    finally:
        fleet.stop("late")


# -- broken on purpose --------------------------------------------------------------------------


def test_a_host_that_is_cut_refuses_until_it_is_restored(svc: Host):
    with connect(svc, "svc", password=PASSWORD) as before:
        svc.cut()
        with pytest.raises(paramiko.ssh_exception.NoValidConnectionsError):
            connect(svc, "svc", password=PASSWORD)
        assert command(before, "echo still here") == (0, "still here\n")
    svc.restore()
    connect(svc, "svc", password=PASSWORD).close()


def test_a_restored_sshd_gives_root_no_more_than_the_first_one(host: Host, management_key: KeyPair):
    host.restart_sshd()
    with connect(host, "keyturn", key=management_key) as client:
        assert command(client, "sudo -n mount -t tmpfs none /mnt")[0] != 0


def test_an_open_session_ends_when_sessions_are_dropped(svc: Host):
    with connect(svc, "svc", password=PASSWORD) as client:
        svc.drop_sessions()
        assert eventually(lambda: not client.get_transport().is_active())
    connect(svc, "svc", password=PASSWORD).close()


def test_a_frozen_host_answers_nobody_until_it_is_thawed(svc: Host):
    svc.freeze()
    with socket.create_connection((svc.address, svc.port), timeout=1) as silent, pytest.raises(TimeoutError):
        silent.recv(1)
    svc.thaw()
    connect(svc, "svc", password=PASSWORD).close()


def test_a_changed_host_key_is_another_one_and_is_shown(svc: Host):
    before = svc.host_keys()
    svc.change_host_key()
    after = svc.host_keys()
    assert len(after) == 1
    assert after != before
    connect(svc, "svc", password=PASSWORD).close()


def test_sshd_does_not_come_back_with_a_broken_configuration_and_says_why(svc: Host):
    svc.write("/etc/ssh/sshd_config", "NoSuchOption yes\n")
    with pytest.raises(RuntimeError, match="NoSuchOption"):
        svc.restart_sshd()


# -- gone ---------------------------------------------------------------------------------------


def test_a_stopped_host_refuses_and_says_that_it_is_gone(svc: Host, fleet: Fleet):
    svc.stop()
    assert machine.is_free(svc.address, svc.port)
    assert svc.name not in [host.name for host in fleet.hosts()]
    with pytest.raises(Gone):
        svc.run(["true"])
    with pytest.raises(Gone):
        svc.shadow("svc")


def test_a_host_that_cannot_start_says_why_and_leaves_nothing(fleet: Fleet):
    with pytest.raises(HostNotStarted, match="NoSuchOption"):
        fleet.start("broken", Spec(sshd_config=("NoSuchOption yes",)))
    assert "broken" not in machine.running(fleet.folder)
    assert not (fleet.folder / "broken").exists()


def test_a_name_is_one_host_s_until_it_stops(fleet: Fleet):
    first = fleet.start("named")
    with pytest.raises(ValueError, match="named"):
        fleet.start("named")
    first.stop()
    second = fleet.start("named", address=first.address)
    assert (second.address, second.port) == (first.address, first.port)
    assert second.read("/etc/machine-id")
    fleet.stop("named")


def test_many_hosts_start_together_and_another_process_finds_and_stops_them(tmp_path: Path):
    with Fleet(tmp_path) as fleet:
        started = fleet.start_many(5)
        found = Fleet(tmp_path).hosts()
        assert [(h.name, h.address, h.pid) for h in found] == [(h.name, h.address, h.pid) for h in started]
        assert found[0].run(["hostname"]).stdout == b"host-001\n"
        Fleet(tmp_path).stop_all()
        assert not any(host.is_running for host in started)
        assert list(tmp_path.iterdir()) == []


STARTER = """
import os, sys, time
from pathlib import Path
from lab import Fleet
Fleet(Path(sys.argv[1]), die_with_parent=sys.argv[2] == "yes").start_many(2)
if sys.argv[3] == "fork" and not os.fork():
    os.close(1)
    sys.exit(sys.stdin.read())
print("up", flush=True)
time.sleep(60)
"""


@contextmanager
def killed_starter(folder: Path, die_with_parent: str, fork: str = "") -> Iterator[list[int]]:
    """Start two hosts in another process and kill it; give the hosts' process ids while its fork lives."""
    words = [sys.executable, "-c", STARTER, str(folder), die_with_parent, fork]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=CHECKOUT, stdin=pipe, stdout=pipe) as starter:
        assert starter.stdout.readline() == b"up\n"
        pids = [pid for pair in machine.running(folder).values() for pid in pair]
        assert len(pids) == 4
        assert all(pids)
        starter.kill()
        yield pids


def test_hosts_end_when_the_process_that_started_them_is_killed(tmp_path: Path):
    with killed_starter(tmp_path, "yes") as pids:
        assert eventually(lambda: not any(machine.started(pid) for pid in pids))


def test_a_forked_child_of_the_starter_does_not_keep_its_hosts(tmp_path: Path):
    with killed_starter(tmp_path, "yes", "fork") as pids:
        assert eventually(lambda: not any(machine.started(pid) for pid in pids))


def test_hosts_that_outlive_a_killed_starter_are_all_stopped_by_the_next_process(tmp_path: Path):
    with killed_starter(tmp_path, "no") as pids:
        pass
    everything = [pid for first in pids[1::2] for pid in machine.inside(first)]
    assert len(everything) >= 4
    Fleet(tmp_path).stop_all()
    assert not any(machine.started(pid) for pid in everything + pids)
    assert str(tmp_path) not in Path("/proc/mounts").read_text()
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_brings_hosts_up_shows_them_and_takes_them_down(tmp_path: Path):
    def lab(*words: str) -> str:
        command = [sys.executable, "-m", "lab", *words, "--folder", str(tmp_path)]
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout

    try:
        shown = lab("up", "--count", "2")
        assert [line.split("\t")[0] for line in shown.splitlines()] == ["host-001", "host-002"]
        assert lab("list") == shown
    finally:
        lab("down")
    assert lab("list") == ""
    assert machine.running(tmp_path) == {}
