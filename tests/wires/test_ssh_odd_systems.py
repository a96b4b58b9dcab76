"""Real hosts that lack programs or have limits, access lists and lock-outs: what is said is what was seen."""

import pytest

from lab import Host
from rotation.connectors import base
from rotation.connectors.base import Kind, Level, Mark, Verdict
from rotation.connectors.ssh.answers import TOOLS
from tests.lab_fixtures import KeyPair
from tests.wires.ssh_rig import FIRST, SECOND, Rig, rig
from tests.wires.test_ssh_key_pairs import FILE
from tests.wires.test_ssh_key_pairs import Rig as KeyRig

FAILLOCK = (
    "auth required pam_faillock.so preauth deny=3 unlock_time=600\n"
    "auth [success=1 default=ignore] pam_unix.so\n"
    "auth [default=die] pam_faillock.so authfail deny=3 unlock_time=600\n"
    "auth required pam_permit.so\n"
)
# What acl(5) makes of `setfacl -m g::-,u:bin:r`: version 2, then tag, permissions and id of each entry.
LISTED = """
import os, struct
entries = [(1, 6, -1), (2, 4, 2), (4, 0, -1), (16, 4, -1), (32, 0, -1)]
packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", t, p, i & 0xFFFFFFFF) for t, p, i in entries)
os.setxattr("/home/svc/.ssh/authorized_keys", "system.posix_acl_access", packed)
"""


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    return rig(host, management_key)


@pytest.fixture
def keys(host: Host, management_key: KeyPair) -> KeyRig:
    made = KeyRig(host, management_key)
    host.add_account("svc")
    host.set_authorized_keys("svc", f"{made.old.public_key} comment\n")
    return made


def blocked(svc: Rig) -> base.Check:
    found = svc.preflight().blocked
    assert found is not None
    return found


def hide(host: Host, tool: str) -> None:
    for folder in ("/usr/bin", "/usr/sbin"):
        host.run(["sh", "-c", f"[ ! -e {folder}/{tool} ] || mv {folder}/{tool} {folder}/{tool}.gone"])


# ---------------------------------------------------------------- programs


@pytest.mark.parametrize("tool", sorted(TOOLS - {"cat", "mv"}))
def test_fi_r_60_a_program_that_is_missing_is_named_and_nothing_else_is_said_of_the_host(
    svc: Rig, tool: str
) -> None:
    """Without id no user was root, without df every disk was full. The lab itself needs cat and mv."""
    hide(svc.host, tool)
    found = blocked(svc)
    assert (found.code, f"no {tool} " in found.sentence) == ("no_tool", True)
    with pytest.raises(base.Refused) as refused:
        svc.set(SECOND)
    assert refused.value.code == "no_tool"
    assert svc.accepts(FIRST)
    assert svc.probe(FIRST).verdict == Verdict.UNCLEAR


@pytest.mark.parametrize("tool", ["getent", "base64", "stat", "sha256sum", "lsattr", "grep", "awk"])
def test_fi_r_60_a_program_that_a_password_can_do_without_stops_nothing(svc: Rig, tool: str) -> None:
    hide(svc.host, tool)
    assert svc.preflight().blocked is None
    svc.set(SECOND)
    assert svc.prove(SECOND).level == Level.COMMAND


# ---------------------------------------------------------------- access lists


def test_fi_r_61_an_access_list_of_the_key_file_stays(keys: KeyRig) -> None:
    keys.host.run(["python3", "-c", LISTED])
    before = looks(keys)
    assert "+" in before
    keys.add()
    keys.remove(keys.old.public_key, generation=2)
    assert looks(keys) == before
    assert listed(keys)


def test_fi_r_61_a_copy_without_its_access_list_is_never_put_in_place(keys: KeyRig) -> None:
    """The mode alone would give the group what the list gives to one user."""
    keys.host.run(["python3", "-c", LISTED])
    keys.host.run(["mv", "/usr/bin/cp", "/usr/bin/cp.real"])
    keys.host.write(
        "/usr/bin/cp",
        '#!/bin/sh\n/usr/bin/cp.real --preserve=ownership,timestamps "$3" "$4" && chmod 0640 "$4"\n',
        0o755,
    )
    before = keys.host.authorized_keys("svc")
    with pytest.raises(base.Refused) as refused:
        keys.add()
    assert refused.value.code == "unwritable"
    assert keys.host.authorized_keys("svc") == before
    assert listed(keys)


@pytest.mark.parametrize("mode", ["600", "644", "640"])
@pytest.mark.parametrize("gives", ["nothing", "group", "list"])
def test_fi_r_61_what_the_folder_gives_new_files_does_not_come_to_the_key_file(
    keys: KeyRig, gives: str, mode: str
) -> None:
    folder = FILE.rpartition("/")[0]
    if gives == "group":
        keys.host.run(["chgrp", "bin", folder])
        keys.host.run(["chmod", "2755", folder])
    elif gives == "list":
        default = LISTED.replace(FILE, folder).replace("posix_acl_access", "posix_acl_default")
        keys.host.run(["python3", "-c", default])
    keys.host.run(["chmod", mode, FILE])
    before = keys.host.run(["stat", "-c", "%A %u %g", FILE]).stdout
    keys.add()
    assert keys.host.run(["stat", "-c", "%A %u %g", FILE]).stdout == before
    keys.remove(keys.old.public_key, generation=2)
    assert keys.host.run(["stat", "-c", "%A %u %g", FILE]).stdout == before
    assert not listed(keys)
    assert keys.host.run(["ls", folder]).stdout == b"authorized_keys\n"


def looks(keys: KeyRig) -> str:
    return keys.host.run(["sh", "-c", f"ls -ld {FILE}"]).stdout.decode().split(" ")[0]


def listed(keys: KeyRig) -> bool:
    ask = f"import os; print('system.posix_acl_access' in os.listxattr('{FILE}'))"
    return keys.host.run(["python3", "-c", ask]).stdout.strip() == b"True"


# ---------------------------------------------------------------- limits and lock-outs


def test_fi_r_62_a_limit_on_processes_is_listed_among_what_may_keep_the_command_out(svc: Rig) -> None:
    svc.host.write("/etc/security/limits.d/zz.conf", "keyturn hard nproc 0\n")
    found = blocked(svc)
    assert found.code == "forced_command"
    assert "nproc" in found.sentence
    svc.host.write("/etc/security/limits.d/zz.conf", "svc hard nproc 0\n")
    assert svc.preflight().blocked is None
    svc.set(SECOND)
    proof = svc.prove(SECOND)
    assert (proof.verdict, proof.level) == (Verdict.ACCEPTED, Level.LOGIN)
    assert "runs no command" in proof.reason


def test_fi_r_63_an_account_that_too_many_failed_logins_have_locked_is_asked_without_another_one(
    svc: Rig,
) -> None:
    host = svc.host
    host.write("/etc/pam.d/common-auth", FAILLOCK)
    for _ in range(3):
        assert svc.prove("a-wrong-Password-9").verdict == Verdict.REJECTED
    counted = host.run(["faillock", "--user", "svc"]).stdout
    assert svc.preflight().blocked is None
    svc.set(SECOND)
    assert svc.probe(SECOND).verdict == Verdict.ACCEPTED
    assert svc.accepts(SECOND)
    assert host.run(["faillock", "--user", "svc"]).stdout == counted
    # The login is refused though the value is right: sshd says no more than that.
    assert svc.prove(SECOND).verdict == Verdict.REJECTED


# ---------------------------------------------------------------- names, folders, shells


def test_fi_r_64_bytes_that_are_no_text_and_a_foreign_locale_stop_nothing(svc: Rig) -> None:
    script = (
        r"printf 'odd:x:1555:1555:\377\376 \\ name:/home/odd:/bin/sh\n' >>/etc/passwd;"
        r" sed -i 's/^svc:x:\([0-9]*\):\([0-9]*\):[^:]*:/svc:x:\1:\2:J\xf6rg \xff:/' /etc/passwd"
    )
    svc.host.run(["sh", "-c", script])
    svc.host.write("/etc/default/locale", "LANG=ja_JP.SJIS\nLC_ALL=ja_JP.SJIS\n")
    facts = svc.preflight()
    assert facts.blocked is None
    assert "svc" in facts.accounts
    svc.set(SECOND)
    assert svc.prove(SECOND).level == Level.COMMAND


def test_fi_r_65_a_folder_for_temporary_files_that_takes_none_stops_nothing(keys: KeyRig) -> None:
    svc = Rig(keys.host, keys.key)
    svc.host.set_password("svc", FIRST)
    for folder in ("/tmp", "/var/tmp", "/dev/shm"):
        svc.host.run(["mount", "-t", "tmpfs", "-o", "ro,noexec", "tmpfs", folder])
    assert svc.preflight().blocked is None
    svc.set(SECOND)
    assert svc.accepts(SECOND)
    keys.add()
    assert keys.new.public_key in keys.host.authorized_keys("svc")


def test_fi_r_66_a_restricted_shell_runs_what_a_rotation_needs(svc: Rig) -> None:
    for who in ("keyturn", "svc"):
        svc.host.run(["sed", "-i", f"s|^\\({who}:.*\\):[^:]*$|\\1:/bin/rbash|", "/etc/passwd"])
    assert svc.preflight().blocked is None
    svc.set(SECOND)
    assert svc.prove(SECOND).level == Level.COMMAND


def test_fi_r_67_a_start_up_file_that_asks_or_prints_words_of_ours_gets_no_answer(svc: Rig) -> None:
    svc.host.write("/home/keyturn/.bashrc", "read -p 'Continue? ' answer\n")
    found = blocked(svc)
    assert (found.code, "asks something" in found.sentence) == ("forced_command", True)
    with pytest.raises(base.Refused):
        svc.set(SECOND)
    assert svc.accepts(FIRST)
    svc.host.write(
        "/home/keyturn/.bashrc", "cat /etc/passwd; echo SHELL; echo UP; echo READY; echo APPLIED\n"
    )
    assert svc.preflight().blocked is None
    svc.set(SECOND)
    assert svc.accepts(SECOND)


def test_fi_r_68_a_host_that_takes_keys_by_certificate_only_is_given_no_line(keys: KeyRig) -> None:
    keys.host.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "/etc/ssh/ca"])
    text = keys.host.read("/etc/ssh/sshd_config")
    rules = "TrustedUserCAKeys /etc/ssh/ca.pub\n", "Match User svc\nAuthorizedKeysFile none\nMatch all\n"
    keys.host.write("/etc/ssh/sshd_config", rules[0] + text + rules[1])
    keys.host.restart_sshd()
    before = keys.host.authorized_keys("svc")
    facts = keys.connector.preflight(
        keys.manager,
        "svc",
        timeout=15,
        console_id=keys.console,
        kind=Kind.KEY,
        public_key=keys.old.public_key,
    )
    assert facts.blocked is not None
    assert facts.blocked.code == "keys_elsewhere"
    with pytest.raises(base.Refused) as refused:
        keys.add()
    assert refused.value.code == "keys_elsewhere"
    assert keys.host.authorized_keys("svc") == before
    assert [check for check in facts.checks if check.mark == Mark.BLOCKED] == [facts.blocked]


@pytest.mark.parametrize("who", ["keyturn", "svc"])
@pytest.mark.parametrize("shell", ["/usr/bin/fish", "/bin/tcsh", "/bin/csh"])
def test_fi_r_70_a_login_shell_that_is_not_posix_s_runs_what_a_rotation_needs(
    svc: Rig, shell: str, who: str
) -> None:
    svc.host.run(["sed", "-i", f"s|^\\({who}:.*\\):[^:]*$|\\1:{shell}|", "/etc/passwd"])
    facts = svc.preflight()
    assert [check for check in facts.checks if check.mark not in {Mark.PASSED, Mark.UNKNOWN}] == []
    svc.set(SECOND)
    assert svc.prove(SECOND).level == Level.COMMAND


@pytest.mark.parametrize("who", ["keyturn", "svc"])
@pytest.mark.parametrize("shell", ["/usr/bin/fish", "/bin/tcsh"])
def test_fi_r_70_nor_is_a_key_added_otherwise(keys: KeyRig, shell: str, who: str) -> None:
    keys.host.run(["sed", "-i", f"s|^\\({who}:.*\\):[^:]*$|\\1:{shell}|", "/etc/passwd"])
    before = keys.host.authorized_keys("svc")
    keys.add()
    assert keys.host.authorized_keys("svc").startswith(before)
    assert keys.host.authorized_keys("svc").count("ssh-ed25519 ") == 2


def test_fi_r_71_folders_for_temporary_files_that_are_full_stop_nothing(svc: Rig) -> None:
    fill = "mount -t tmpfs -o size=64k none {0}; ! dd if=/dev/zero of={0}/all bs=1k count=100"
    for folder in ("/tmp", "/var/tmp"):
        svc.host.run(["sh", "-ec", fill.format(folder)])
    assert svc.preflight().blocked is None
    svc.set(SECOND)
    assert svc.prove(SECOND).level == Level.COMMAND


def test_fi_r_72_a_home_that_is_not_there_stops_no_password(svc: Rig) -> None:
    svc.host.run(["rm", "-rf", "/home/svc"])
    assert svc.preflight().blocked is None
    svc.set(SECOND)
    assert svc.prove(SECOND).level == Level.COMMAND


def test_fi_r_72_and_a_key_is_put_into_no_home_that_is_not_there(keys: KeyRig) -> None:
    """It may be mounted at the next login, and would hide what was written below it."""
    keys.host.run(["rm", "-rf", "/home/svc"])
    with pytest.raises(base.Refused) as refused:
        keys.add()
    assert refused.value.code == "no_home"
    assert keys.host.run(["test", "-e", "/home/svc"], check=False).returncode == 1
