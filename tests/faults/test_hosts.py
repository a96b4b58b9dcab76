"""FI-H: hosts that are full, read-only, reinstalled, killed, slow, misconfigured or lying."""

from __future__ import annotations

import fcntl
import threading
import time

import pytest

from lab import Spec
from rotation import engine, failpoints, inventory, work
from tests import factories
from tests.faults.case import Case, advance

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("kind", ["password", "key_pair"])
passwords = pytest.mark.parametrize("kind", ["password"])
keys = pytest.mark.parametrize("kind", ["key_pair"])
CHPASSWD = "/usr/sbin/chpasswd"


# -- another machine, or the same one made anew ----------------------------------------------------


@both
def test_fi_h_03_a_host_that_was_reinstalled_is_told_nothing_until_its_new_key_is_approved(
    case: Case, fleet, management_key
):
    case.shared = False
    fleet.stop(case.host.name)
    anew = fleet.start(f"{case.host.name}-anew", Spec(public_key=management_key.public), address=case.host.address)
    try:
        case.host = anew
        run = case.rotate()
        assert (run.outcome, run.code, run.attempts) == ("blocked", "host_key_changed", 0)
        assert case.log_ins() == []
        case.trust_again()
        run = case.rotate()
        assert (run.outcome, run.code, run.attempts) == ("blocked", "no_such_user", 0)
        assert case.account.credential == "blocked"
    finally:
        fleet.stop(anew.name)


@both
def test_fi_h_04_another_machine_at_the_same_address_hears_no_value(case: Case, fleet, management_key):
    case.shared = False
    fleet.stop(case.host.name)
    other = fleet.start(f"{case.host.name}-other", Spec(public_key=management_key.public), address=case.host.address)
    try:
        case.host = other
        other.add_account("svc", password="of the other machine")
        before = other.shadow("svc"), other.authorized_keys("svc")
        run = case.rotate()
        assert (run.outcome, run.code, run.attempts) == ("blocked", "host_key_changed", 0)
        assert (other.shadow("svc"), other.authorized_keys("svc")) == before
        assert case.log_ins() == []
        assert case.pending is not None
        assert case.pending.offered_at is None
    finally:
        fleet.stop(other.name)


@both
def test_fi_h_18_a_changed_host_key_blocks_with_no_login_attempt_until_it_is_approved(case: Case):
    case.host.change_host_key()
    before = case.log_ins()
    run = case.rotate()
    assert (run.outcome, run.code, run.truth) == ("blocked", "host_key_changed", "")
    assert case.log_ins() == before
    assert case.accepts(case.current)
    case.trust_again()
    with case.nothing_else_changes():
        assert case.rotate().outcome == "succeeded"


# -- disks -------------------------------------------------------------------------------------------


def on_small_disk(case: Case, folder: str, size: str) -> None:
    """Put a folder of the host on a disk of its own."""
    case.sh(
        f"cp -a {folder} /run/kept; mount -t tmpfs -o size={size},mode=$(stat -c %a {folder}) none {folder};"
        f"chown --reference=/run/kept {folder}; cp -a /run/kept/. {folder}/; rm -r /run/kept"
    )


def fill(folder: str) -> str:
    return f"dd if=/dev/zero of={folder}/filler bs=1k 2>/dev/null || true"


@both
def test_fi_h_05_a_full_disk_leaves_the_old_value_whole_and_works_again_when_there_is_room(case: Case):
    folder = "/home/svc/.ssh" if case.is_key_pair else "/etc"
    on_small_disk(case, folder, "8m" if folder == "/etc" else "32k")
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
