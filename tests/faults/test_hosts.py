"""FI-H: hosts that are full, read-only, reinstalled, killed, slow, misconfigured or lying."""

from __future__ import annotations

import fcntl
import os
import random
import threading
import time
from functools import partial

import pytest

from lab import Spec
from rotation.engine import failpoints, work
from rotation.engine.methods import key_pair as keypart
from rotation.engine.methods import password as passwordpart
from tests.faults.case import Case, advance
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("kind", ["password", "key_pair"])
passwords = pytest.mark.parametrize("kind", ["password"])
keys = pytest.mark.parametrize("kind", ["key_pair"])
CHPASSWD = "/usr/sbin/chpasswd"


# -- another machine, or the same one made anew ----------------------------------------------------


@both
def test_fi_h_03_a_host_that_was_reinstalled_is_told_nothing_until_its_accounts_are_rebound(
    case: Case, fleet, management_key
):
    case.shared = False
    fleet.stop(case.host.name)
    anew = fleet.start(
        f"{case.host.name}-anew", Spec(public_key=management_key.public), address=case.host.address
    )
    try:
        case.host = anew
        run = case.rotate()
        assert (run.outcome, run.code, run.attempts) == ("blocked", "host_key_changed", 0)
        assert case.log_ins() == []
        case.trust_again()
        run = case.rotate()
        assert (run.outcome, run.code, run.attempts) == ("blocked", "other_machine", 0)
        assert case.log_ins() == []
        case.rebind()
        run = case.rotate()
        assert (run.outcome, run.code, run.attempts) == ("blocked", "no_such_user", 0)
        assert case.account.credential == "blocked"
    finally:
        fleet.stop(anew.name)


@both
def test_fi_h_04_another_machine_at_the_same_address_hears_no_value(case: Case, fleet, management_key):
    case.shared = False
    fleet.stop(case.host.name)
    other = fleet.start(
        f"{case.host.name}-other", Spec(public_key=management_key.public), address=case.host.address
    )
    try:
        case.host = other
        other.add_account("svc", password="of the other machine")
        before = other.shadow("svc"), other.authorized_keys("svc")
        run = case.rotate()
        assert (run.outcome, run.code, run.attempts) == ("blocked", "host_key_changed", 0)
        assert (other.shadow("svc"), other.authorized_keys("svc")) == before
        assert case.log_ins() == []
        case.trust_again()  # somebody takes it for the one that was there
        run = case.rotate()
        assert (run.outcome, run.code, run.attempts) == ("blocked", "other_machine", 0)
        assert (other.shadow("svc"), other.authorized_keys("svc")) == before
        assert case.log_ins() == []
        assert case.pending is not None
        assert case.pending.offered_at is None
    finally:
        fleet.stop(other.name)


@both
def test_fi_h_18_a_changed_host_key_blocks_with_no_login_attempt_until_the_account_is_rebound(case: Case):
    case.host.change_host_key()
    before = case.log_ins()
    run = case.rotate()
    assert (run.outcome, run.code, run.truth) == ("blocked", "host_key_changed", "")
    assert case.log_ins() == before
    assert case.accepts(case.current)
    case.trust_again()
    assert case.rotate().code == "other_machine"
    assert case.log_ins() == before
    case.rebind()
    with case.nothing_else_changes():
        assert case.rotate().outcome == "succeeded"


# -- disks -------------------------------------------------------------------------------------------


def on_small_disk(case: Case, folder: str, size: str) -> None:
    """Put a folder of the host on a disk of its own."""
    case.sh(
        f"cp -a {folder} /run/kept; mount -t tmpfs -o size={size},mode=$(stat -c %a {folder}) none {folder};"
        f"chown --reference=/run/kept {folder}; cp -a /run/kept/. {folder}/; rm -r /run/kept"
    )
    case.forget_what_was_seen()  # the file was not there for a moment, by this test


def fill(folder: str) -> str:
    return f"dd if=/dev/zero of={folder}/filler bs=1k 2>/dev/null || true"


@both
def test_fi_h_05_a_full_disk_leaves_the_old_value_whole_and_works_again_when_there_is_room(case: Case):
    folder = "/home/svc/.ssh" if case.is_key_pair else "/etc"
    on_small_disk(case, folder, "8m" if folder == "/etc" else "4m")
    with case.nothing_else_changes():
        before = case.sh(f"ls -A {folder}")
        failpoints.arm("after_intent", lambda: case.sh(fill(folder)))
        run = case.rotate()
        failpoints.disarm()
        assert (run.outcome, run.code, run.attempts) == ("blocked", "disk", 1)
        case.sh(f"rm {folder}/filler")
        assert case.sh(f"ls -A {folder}") == before
        assert case.accepts(case.current)
        assert case.rotate().outcome == "succeeded"


@passwords
def test_fi_h_05_a_disk_that_fills_up_while_the_program_writes_leaves_the_old_value(case: Case):
    on_small_disk(case, "/etc", "8m")
    case.replace_program(CHPASSWD, f"{fill('/etc')}; exec {CHPASSWD}.real")
    with case.nothing_else_changes():
        run = case.rotate()
        assert (run.outcome, run.code, run.attempts) == ("blocked", "disk", 1)
        assert case.accepts(case.current)
        case.sh("rm /etc/filler")
        assert case.sh("ls -A /etc | grep -c nshadow || true").strip() == "0"
        case.restore_program(CHPASSWD)
        assert case.rotate().outcome == "succeeded"


@both
@pytest.mark.parametrize("moment", ["before", "during"])
def test_fi_h_06_a_disk_that_cannot_be_written_leaves_the_old_value(case: Case, moment: str):
    folder, code = ("/home", {"unwritable", "disk"}) if case.is_key_pair else ("/etc", {"disk"})
    case.sh(f"mount --bind {folder} {folder}")
    make_read_only = f"mount -o remount,bind,ro {folder}"
    with case.nothing_else_changes():
        if moment == "before":
            case.sh(make_read_only)
        else:
            failpoints.arm("after_intent", lambda: case.sh(make_read_only))
        run = case.rotate()
        failpoints.disarm()
        assert run.outcome == "blocked"
        assert run.code in code
        assert run.attempts == (moment == "during")
        assert case.accepts(case.current)
        case.sh(f"mount -o remount,bind,rw {folder}")
        assert case.rotate().outcome == "succeeded"


# -- programs that are killed, held up or slow ---------------------------------------------------------


@passwords
def test_fi_h_07_a_password_program_killed_before_the_switch_leaves_the_old_value(case: Case):
    for number, call in enumerate(("write", "fchown", "fsync", "rename"), 1):
        case.replace_program(
            CHPASSWD, f"exec strace -qq -o /dev/null -e inject={call}:signal=KILL:when=1 {CHPASSWD}.real"
        )
        with case.nothing_else_changes():
            run = case.rotate()
            assert (run.state, run.code) == ("waiting", "timeout"), call
            assert case.accepts(case.current)
            assert case.pending is not None
            assert not case.accepts(case.pending)
            assert case.sh("ls /etc/nshadow").strip() == "/etc/nshadow"  # it died where it was told to
            case.restore_program(CHPASSWD)
            assert case.finish(run).outcome == "succeeded"
        assert (run.attempts, case.secret.versions.count()) == (2, number + 1)


@passwords
def test_fi_h_07_a_password_program_killed_after_the_switch_ends_in_success_at_once(case: Case):
    case.replace_program(
        CHPASSWD, f"exec strace -qq -o /dev/null -e inject=exit_group:signal=KILL:when=1 {CHPASSWD}.real"
    )
    run = case.rotate()
    assert (run.outcome, run.truth, run.attempts) == ("succeeded", "new", 1)
    assert "probe" in case.steps(run)


@keys
@pytest.mark.parametrize("program", ["/usr/bin/dd", "/usr/bin/mv"])
def test_fi_h_07_an_edit_of_the_key_file_killed_anywhere_leaves_a_key_that_works(case: Case, program: str):
    for number, done in enumerate(("", f'{program}.real "$@";'), 1):
        case.replace_program(
            program, f'case "$*" in *authorized_keys*) {done} kill -KILL $$ ;; esac; exec {program}.real "$@"'
        )
        with case.nothing_else_changes():
            run = case.rotate()
            # What changed nothing blocks; where even taking it back was killed, the same key is tried again.
            assert run.outcome == "blocked" or run.code == "unknown", run.sentence
            assert case.accepts(case.current)
            case.restore_program(program)
            assert (case.finish(run) if run.is_active else case.rotate()).outcome == "succeeded"
            assert case.secret.versions.count() == number + 1
            assert case.sh("ls -A /home/svc/.ssh").split() == ["authorized_keys"]


@both
def test_fi_h_09_a_password_file_that_somebody_holds_is_waited_for(case: Case):
    with open(f"/proc/{case.host.pid}/root/etc/.pwd.lock", "w") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX)
        run = case.rotate()
        if case.is_key_pair:
            assert run.outcome == "succeeded"
            return
        assert (run.state, run.code) == ("waiting", "timeout")
        assert case.accepts(case.current)
        assert processes(case) & {"chpasswd", "timeout", "sudo"} == set()
    assert case.finish(run).outcome == "succeeded"


def processes(case: Case) -> set[str]:
    return set(case.sh("cat /proc/[0-9]*/comm 2>/dev/null || true").split())


@both
def test_fi_h_19_sshd_restarted_between_any_two_steps_is_not_noticed(case: Case):
    places = ["after_preflight", "after_intent", "after_set", "before_finish"]
    restarted: list[str] = []

    def restart(place: str) -> None:
        kill_and_restart(case)
        restarted.append(place)

    for place in places:
        failpoints.arm(place, partial(restart, place))
    assert case.rotate().outcome == "succeeded"
    assert restarted == places


@both
def test_fi_h_19_sshd_killed_in_the_middle_of_the_change_is_followed_to_success(case: Case):
    program = "/usr/bin/dd" if case.is_key_pair else CHPASSWD
    case.replace_program(
        program,
        "for p in /proc/[0-9]*; do read name <$p/comm; case $name in sshd*) kill -KILL ${p#/proc/} ;; esac; "
        f'done 2>/dev/null; exec {program}.real "$@"',
    )
    run = case.rotate()
    assert (run.state, run.code) == ("waiting", "unreachable")
    case.restore_program(program)
    case.host.cut()
    case.host.restore()
    assert case.finish(run).outcome == "succeeded"
    assert case.secret.versions.count() == 2


@both
def test_fi_h_19_sshd_killed_at_any_moment_of_four_rotations_loses_none(case: Case):
    chance = random.Random(19)
    for number in range(1, 5):
        timer = threading.Timer(chance.uniform(0, 2), kill_and_restart, [case])
        run = case.start()
        timer.start()
        advance(run)
        timer.join()
        assert case.finish(run).outcome == "succeeded", run.sentence
        assert case.secret.versions.count() == number + 1


def kill_and_restart(case: Case) -> None:
    case.host.cut()
    case.host.drop_sessions()
    case.host.restore()


@keys
def test_fi_h_22_a_host_that_does_not_answer_is_left_at_the_deadline(case: Case, monkeypatch):
    for module, name in [
        (work, "PREFLIGHT"),
        (passwordpart, "SET"),
        (passwordpart, "PROBE"),
        (keypart, "SET"),
        (keypart, "PROBE"),
    ]:
        monkeypatch.setattr(module, name, 7.0)
    failpoints.arm("after_intent", case.host.freeze)
    run = case.rotate()
    failpoints.disarm()
    assert (run.state, run.code, run.attempts) == ("waiting", "unreachable", 1)
    assert advance(run).state == "waiting"
    case.host.thaw()
    monkeypatch.undo()
    assert case.finish(run).outcome == "succeeded"
    assert case.secret.versions.count() == 2


@passwords
def test_fi_h_22_an_answer_that_comes_after_the_deadline_is_not_waited_for(case: Case, monkeypatch):
    monkeypatch.setattr(work, "PROBE", 4.0)
    program = CHPASSWD
    case.replace_program(program, f'touch /run/begun 2>/dev/null; sleep 1; exec {program}.real "$@"')
    watcher = threading.Thread(target=freeze_when, args=(case, "/run/begun"))
    watcher.start()
    run = case.rotate()
    watcher.join()
    assert (run.state, run.code) == ("waiting", "unreachable")
    assert case.account.credential == "unverified"
    case.host.thaw()
    case.restore_program(program)
    assert case.finish(run).outcome == "succeeded"
    assert case.secret.versions.count() == 2


def freeze_when(case: Case, path: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if os.path.exists(f"/proc/{case.host.pid}/root{path}"):
            case.host.freeze()
            return
        time.sleep(0.01)


# -- accounts ---------------------------------------------------------------------------------------


@both
def test_fi_h_23_an_account_that_is_gone_blocks_and_is_not_made_again(case: Case):
    case.shared = False
    for change in ("usermod --login other svc", "userdel other"):
        case.sh(change)
        before = case.host.read("/etc/passwd"), case.host.read("/etc/shadow")
        run = case.rotate()
        assert (run.outcome, run.code, run.attempts) == ("blocked", "no_such_user", 0)
        assert (case.host.read("/etc/passwd"), case.host.read("/etc/shadow")) == before
        assert case.account.credential == "blocked"


@both
def test_fi_h_23_an_account_with_another_number_is_the_same_account(case: Case):
    case.sh("usermod --uid 4321 svc")
    with case.nothing_else_changes():
        assert case.rotate().outcome == "succeeded"


@both
def test_fi_h_24_an_account_of_a_directory_is_left_alone(case: Case):
    case.shared = False
    entry = case.sh("getent passwd svc").strip()
    case.sh("sed -i /^svc:/d /etc/shadow")
    is_left_alone(case, "not_shadowed")
    case.sh("sed -i /^svc:/d /etc/passwd")
    case.replace_program(
        "/usr/bin/getent", f'case "$2" in svc) echo {entry};; *) exec getent.real "$@";; esac'
    )
    is_left_alone(case, "not_local")


def is_left_alone(case: Case, code: str) -> None:
    before = case.host.read("/etc/shadow")
    run = case.rotate()
    assert (run.outcome, run.code, run.attempts) == ("blocked", code, 0)
    assert case.host.read("/etc/shadow") == before
