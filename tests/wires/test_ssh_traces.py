"""What is read of an account from day to day, on real hosts: what changed shows, and what it was does not."""

import hashlib

import pytest

from lab import Fleet, Spec
from rotation.connectors import base
from rotation.connectors.base import Kind, Traces
from rotation.connectors.ssh.scripts import block
from tests.lab_fixtures import KeyPair
from tests.wires.ssh_rig import FIRST, SECOND, Rig, rig
from tests.wires.test_ssh import shells  # noqa: F401

FILE = "/home/svc/.ssh/authorized_keys"


@pytest.fixture
def svc(host: object, management_key: KeyPair) -> Rig:
    made = rig(host, management_key)  # type: ignore[arg-type]
    made.host.set_authorized_keys("svc", f"{management_key.public}\n")
    return made


def trace(svc: Rig, kind: Kind = Kind.PASSWORD) -> Traces:
    return svc.connector.trace(svc.manager, "svc", kind=kind, console_id=svc.console, timeout=15)


def digest(svc: Rig, marked: str) -> str:
    return hashlib.sha256(f"{svc.console}\0{marked}".encode()).hexdigest()


def test_a_mark_is_the_digest_of_the_console_and_what_it_marks(svc: Rig) -> None:
    assert trace(svc).mark == digest(svc, svc.host.shadow("svc"))
    assert trace(svc, Kind.KEY).mark == digest(svc, svc.host.read(FILE))


def test_every_file_that_sshd_reads_counts_and_one_that_is_not_there_is_empty(svc: Rig) -> None:
    svc.configure_sshd("AuthorizedKeysFile .ssh/authorized_keys .ssh/none /etc/ssh/keys/%u")
    svc.host.write("/etc/ssh/keys/svc", "of root\n")
    assert trace(svc, Kind.KEY).mark == digest(svc, svc.host.read(FILE) + "of root\n")
    svc.host.write(FILE, "")
    assert trace(svc, Kind.KEY).mark == digest(svc, "of root\n")


@pytest.mark.parametrize(
    "spoil",
    [
        "chmod 0 /home/svc/.ssh",
        "mv /home/svc /home/away",
        f"rm {FILE}; mkfifo {FILE}",
        f"ln -sf /etc/shadow {FILE}",
    ],
)
def test_files_that_the_account_itself_cannot_read_have_no_mark(svc: Rig, spoil: str) -> None:
    svc.host.run(["sh", "-c", spoil])
    assert trace(svc, Kind.KEY).mark == ""
    assert trace(svc).mark


def test_a_host_that_can_compute_no_digest_has_no_mark(svc: Rig) -> None:
    svc.host.run(["rm", "/usr/bin/sha256sum"])
    traces = trace(svc)
    assert traces.mark == ""
    assert traces.changed_on


def test_the_hash_leaves_the_host_neither_by_the_answer_nor_by_a_list_of_processes(svc: Rig) -> None:
    svc.replace_program(
        "/usr/bin/sha256sum",
        "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\000' ' ' >/run/seen; exec sha256sum.real",
    )
    arguments = {"nonce": "n", "user": "svc", "console": svc.console, "address": "", "editor": ""}
    given = block("trace.sh", {**arguments, "kind": "password"})
    shell = ["env", "hash=exported", "sh"]
    said = svc.host.run(shell, given).stdout.decode()
    stored = svc.host.shadow("svc")
    assert digest(svc, stored) in said
    assert stored not in said
    seen = svc.host.read("/run/seen")
    assert "trace" in seen or "sha256sum" in seen
    assert stored not in seen


def test_a_change_shows_with_its_day_and_its_number(svc: Rig) -> None:
    svc.host.run(["chage", "--lastday", "2020-01-01", "svc"])
    before = trace(svc)
    assert (before.changed_on, before.generation, before.problem) == (18262, 0, "")
    assert trace(svc) == before
    svc.set(SECOND, generation=4)
    after = trace(svc)
    assert after.mark != before.mark
    assert after.changed_on
    assert after.changed_on > 18262
    assert after.generation == 4


@pytest.mark.parametrize(
    ("spoil", "kind", "problem"),
    [
        (["passwd", "--lock", "svc"], Kind.PASSWORD, "locked"),
        (["passwd", "--lock", "svc"], Kind.KEY, ""),
        (["chage", "--expiredate", "2001-01-01", "svc"], Kind.KEY, "expired"),
        (["chage", "--lastday", "0", "svc"], Kind.PASSWORD, "must_change"),
        (["chage", "--lastday", "0", "svc"], Kind.KEY, "must_change_first"),
    ],
)
def test_what_keeps_everybody_out_is_named_and_the_mark_is_there_all_the_same(
    svc: Rig, spoil: list[str], kind: Kind, problem: str
) -> None:
    svc.host.run(spoil)
    traces = trace(svc, kind)
    assert traces.problem == problem
    assert traces.mark


def test_sshd_that_takes_no_keys_is_named_and_the_files_are_marked(svc: Rig) -> None:
    svc.configure_sshd("Match User svc", "PubkeyAuthentication no", "Match all")
    traces = trace(svc, Kind.KEY)
    assert (traces.problem, traces.mark) == ("no_public_keys", digest(svc, svc.host.read(FILE)))


def test_a_trace_changes_nothing_and_makes_no_login_as_the_account(svc: Rig) -> None:
    svc.host.run(["rm", "-rf", "/var/lib/keyturn"])
    trace(svc)
    trace(svc, Kind.KEY)
    assert svc.host.run(["test", "-e", "/var/lib/keyturn"], check=False).returncode == 1
    assert " for svc " not in svc.host.sshd_log()
    assert svc.accepts(FIRST)


def test_a_host_without_a_root_shell_refuses(svc: Rig) -> None:
    svc.sudo = base.Sudo.NONE
    with pytest.raises(base.Refused) as refusal:
        trace(svc)
    assert refusal.value.code == "sudo"


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox"])
def test_every_common_sh_computes_the_same_mark(
    shells: Fleet,  # noqa: F811
    management_key: KeyPair,
    shell: str,
) -> None:
    svc = rig(shells.start(f"trace-{shell}", Spec(public_key=management_key.public)), management_key)
    svc.host.set_authorized_keys("svc", f"{management_key.public}\n")
    svc.host.run(["ln", "-sf", f"/usr/bin/{shell}", "/usr/bin/sh"])
    if shell == "busybox":
        for applet in ("timeout", "date", "id", "ls", "cat", "readlink", "tr", "sha256sum"):
            svc.host.run(["ln", "-sf", "/usr/bin/busybox", f"/usr/bin/{applet}"])
    assert trace(svc).mark == digest(svc, svc.host.shadow("svc"))
    assert trace(svc, Kind.KEY).mark == digest(svc, svc.host.read(FILE))


@pytest.mark.parametrize("shell", ["tcsh", "fish"])
def test_any_login_shell_will_do(
    shells: Fleet,  # noqa: F811
    management_key: KeyPair,
    shell: str,
) -> None:
    svc = rig(shells.start(f"trace-{shell}", Spec(public_key=management_key.public)), management_key)
    svc.host.run(["usermod", "--shell", f"/usr/bin/{shell}", "keyturn"])
    assert trace(svc).mark == digest(svc, svc.host.shadow("svc"))
    assert svc.connector.end_sessions(svc.manager, "svc", timeout=15) == 0
