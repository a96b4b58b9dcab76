"""FI-H-10 to 14: key files that cannot be written, read or found, or that sshd passes over.

A password needs none of it: its rotation goes on, and so proves that the host is otherwise in order.
"""

from __future__ import annotations

import pytest

from tests.faults.case import Case

pytestmark = pytest.mark.django_db(transaction=True)
both = pytest.mark.parametrize("kind", ["password", "key_pair"])
keys = pytest.mark.parametrize("kind", ["key_pair"])
FILE = "/home/svc/.ssh/authorized_keys"


def rotates_only_passwords(case: Case, *codes: str) -> None:
    """A rotation of the password succeeds; one of the key is blocked, the homes left as they are."""
    before = case.sh("find /home -ls")
    run = case.rotate()
    if not case.is_key_pair:
        assert run.outcome == "succeeded", run.sentence
        return
    assert run.outcome == "blocked"
    assert run.code in codes
    assert case.account.credential_code == run.code
    assert case.sh("find /home -ls") == before


NOT_WRITABLE = {
    "of root": (f"chown root {FILE}; chmod 0400 {FILE}", f"chown svc {FILE}; chmod 0600 {FILE}"),
    "immutable": (f"chattr +i {FILE}", f"chattr -i {FILE}"),
    "in an immutable folder": ("chattr +i /home/svc/.ssh", "chattr -i /home/svc/.ssh"),
    "on a read-only disk": (
        "mount --bind /home /home; mount -o remount,bind,ro /home",
        "mount -o remount,bind,rw /home",
    ),
}


@keys
def test_fi_h_10_a_key_file_that_cannot_be_written_is_left_as_it_is(case: Case):
    with case.nothing_else_changes():
        for arrange, mend in NOT_WRITABLE.values():
            case.sh(arrange)
            try:
                rotates_only_passwords(case, "unwritable", "unreadable", "disk")
            finally:
                case.sh(mend)
            assert case.sh("ls -A /home/svc/.ssh").split() == ["authorized_keys"]
        assert case.rotate().outcome == "succeeded"


@both
def test_fi_h_11_root_that_may_not_look_into_the_home_has_the_account_edit_its_file(case: Case):
    """As on NFS with root_squash: root there is nobody, and only the account itself may read and write."""
    case.host.cut()
    case.host.restore(without=["dac_override"])
    case.sh("chmod 0700 /home/svc")
    bound = case.sh("grep CapBnd /proc/$(cat /run/sshd.pid)/status").split()[1]
    assert not int(bound, 16) & 0b10  # CAP_DAC_OVERRIDE, capabilities(7)
    with case.nothing_else_changes():
        assert case.rotate().outcome == "succeeded"


@both
@pytest.mark.parametrize("left", ["nothing", "the empty place of the mount"])
def test_fi_h_12_a_home_that_is_not_mounted_gets_no_file_in_its_place(case: Case, left: str):
    with case.nothing_else_changes():
        case.sh("mv /home/svc /run/away")
        if left != "nothing":
            case.sh("mkdir -m 755 /home/svc")
        rotates_only_passwords(case, "no_home")
        case.sh("rmdir /home/svc 2>/dev/null || true; mv /run/away /home/svc")
        assert case.rotate().outcome == "succeeded"


@both
def test_fi_h_12_a_folder_that_the_account_may_not_read_is_not_taken_for_an_empty_one(case: Case):
    with case.nothing_else_changes():
        case.sh("mkdir -p /home/svc/.ssh; chmod 0 /home/svc/.ssh")
        rotates_only_passwords(case, "unreadable")
        case.sh("chmod 700 /home/svc/.ssh; chown svc: /home/svc/.ssh")
        assert case.rotate().outcome == "succeeded"


@both
def test_fi_h_13_a_file_that_sshd_passes_over_is_named_before_anything_is_changed(case: Case):
    if not case.is_key_pair:
        case.host.set_authorized_keys("svc", "# nobody's\n")
    with case.nothing_else_changes():
        for mode, path in (("0777", "/home/svc"), ("0777", "/home/svc/.ssh"), ("0666", FILE)):
            before = case.sh(f"stat -c %a {path}").strip()
            case.sh(f"chmod {mode} {path}")
            rotates_only_passwords(case, "strict_modes")
            case.sh(f"chmod {before} {path}")
        assert case.rotate().outcome == "succeeded"


@keys
def test_fi_h_14_the_file_that_is_edited_is_the_one_that_sshd_names(case: Case):
    case.configure_sshd("AuthorizedKeysFile /etc/ssh/keys/%u .ssh/nothing", user="svc")
    case.sh(f"mkdir -m 755 /etc/ssh/keys; cp {FILE} /etc/ssh/keys/svc; chmod 644 /etc/ssh/keys/svc")
    case.file = "/etc/ssh/keys/svc"
    before = case.host.authorized_keys("svc")
    with case.nothing_else_changes():
        assert case.rotate().outcome == "succeeded"
    assert case.host.authorized_keys("svc") == before


NO_FILE = [
    (["AuthorizedKeysFile none"], "keys_elsewhere"),
    (
        [
            "AuthorizedKeysFile none",
            "AuthorizedKeysCommand /bin/cat /etc/keys/%u",
            "AuthorizedKeysCommandUser nobody",
        ],
        "keys_elsewhere",
    ),
    (["PubkeyAuthentication no"], "no_public_keys"),
]


@both
def test_fi_h_14_a_host_that_reads_no_file_is_blocked(case: Case):
    before = case.host.read("/etc/ssh/sshd_config")
    for lines, code in NO_FILE:
        case.host.write("/etc/ssh/sshd_config", before)
        case.configure_sshd(*lines, user="svc")
        rotates_only_passwords(case, code)


@keys
def test_fi_h_14_an_old_key_that_a_command_still_names_is_told_and_not_called_removed(case: Case):
    old = case.current
    case.host.write("/etc/keys", f"{old.public_key}\n")
    case.configure_sshd(
        "AuthorizedKeysCommand /usr/bin/cat /etc/keys", "AuthorizedKeysCommandUser nobody", user="svc"
    )
    run = case.rotate()
    assert (run.outcome, run.truth, run.code) == ("failed", "new", "old_key_works"), run.sentence
    case.configure_sshd("AuthorizedKeysCommand none", user="svc")
    case.sh("rm /etc/keys")
    assert case.rotate().outcome == "succeeded"
    assert not case.accepts(old)


@keys
def test_fi_r_20_a_key_file_that_is_put_back_is_said_after_the_second_time(case: Case):
    # What configuration management does, as early as it can.
    case.replace_program(
        "/usr/bin/sync", 'cp /srv/kept "$1/k"; mv "$1/k" "$1/authorized_keys"; exec sync.real "$@"'
    )
    case.sh(f"cp {FILE} /srv/kept; chmod 644 /srv/kept")
    run = case.finish(case.rotate())
    assert (run.outcome, run.truth, run.code, run.attempts) == ("failed", "old", "reverted", 2), run.sentence
    case.restore_program("/usr/bin/sync")
    assert case.rotate().outcome == "succeeded"


@keys
def test_fi_r_21_a_key_in_no_file_that_logs_in_is_not_called_refused(case: Case):
    for path in ("/etc/keys", "/etc/told"):
        case.host.write(path, f"{case.current.public_key}\n")
    case.file = "/etc/keys"  # what is watched, from when it is there
    case.configure_sshd(
        "AuthorizedKeysCommand /usr/bin/cat /etc/told", "AuthorizedKeysCommandUser nobody", user="svc"
    )
    case.sh(f": >{FILE}")
    assert case.verify().outcome == "succeeded"
    assert case.account.credential == "in_sync"
    case.host.write("/etc/told", "")
    assert (case.verify().code, case.account.credential) == ("refused_value", "out_of_sync")
    case.host.write("/etc/told", f"{case.current.public_key}\n")
    assert (case.verify().outcome, case.account.credential) == ("succeeded", "in_sync")
