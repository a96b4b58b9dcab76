"""Public keys added and removed over SSH on real hosts: whose file, which line, and nothing else."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field

import pytest

from lab import Fleet, Host, Management, Spec
from rotation.connectors import base
from rotation.connectors.base import Fence, Kind, Level, Login, Manager, Sudo, Verdict
from rotation.connectors.ssh.connector import SshConnector
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from tests.lab_fixtures import KeyPair, NewHost
from tests.networks import endpoint
from tests.wires.test_ssh import shells  # noqa: F401

FILE = "/home/svc/.ssh/authorized_keys"


@dataclass
class Rig:
    """A real host whose account svc logs in with the key `old`; its password is locked."""

    host: Host
    key: KeyPair
    username: str = "svc"
    manager_name: str = "keyturn"
    sudo: Sudo = Sudo.PASSWORDLESS
    console: str = field(default_factory=lambda: str(uuid.uuid4()))
    old: key_pairs.KeyPair = field(default_factory=lambda: key_pairs.generate("ed25519"))
    new: key_pairs.KeyPair = field(default_factory=lambda: key_pairs.generate("ed25519"))

    @property
    def manager(self) -> Manager:
        return Manager(Login(self.manager_name, private_key=Plaintext(self.key.private)), self.sudo)

    @property
    def connector(self) -> SshConnector:
        return SshConnector(endpoint(self.host.address, self.host.port, tuple(self.host.host_keys())))

    def fence(self, generation: int = 1) -> Fence:
        return Fence(self.console, generation)

    def add(self, key: str = "", *, like: str = "", generation: int = 1, username: str = "") -> None:
        self.connector.add_key(
            self.manager,
            username or self.username,
            key or self.new.public_key,
            like=like or self.old.public_key,
            fence=self.fence(generation),
            timeout=15,
        )

    def remove(self, key: str = "", *, generation: int = 1) -> None:
        self.connector.remove_key(
            self.manager,
            self.username,
            key or self.old.public_key,
            fence=self.fence(generation),
            timeout=15,
        )

    def probe(self, key: str) -> base.Proof:
        return self.connector.probe_key(self.manager, self.username, key, timeout=15)

    def prove(self, pair: key_pairs.KeyPair) -> base.Proof:
        return self.connector.prove_login(Login(self.username, private_key=pair.private_key), timeout=15)

    def blocked(self) -> str:
        facts = self.connector.preflight(
            self.manager, self.username, timeout=15, console_id=self.console, kind=Kind.KEY
        )
        return facts.blocked.code if facts.blocked else ""

    def refusal(self, action: str = "add") -> str:
        with pytest.raises(base.Refused) as refused:
            self.add() if action == "add" else self.remove()
        return refused.value.code

    def sh(self, script: str) -> str:
        return self.host.run(["sh", "-ec", script]).stdout.decode()

    def configure_sshd(self, *lines: str) -> None:
        """Add lines that count for this account only: the management account keeps its way in."""
        text = self.host.read("/etc/ssh/sshd_config")
        match = [f"Match User {self.username}", *lines]
        self.host.write("/etc/ssh/sshd_config", "\n".join([text, *match, ""]))
        self.host.restart_sshd()


def raw(host: Host, path: str = FILE) -> bytes:
    return host.run(["cat", path]).stdout


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    made = Rig(host, management_key)
    host.add_account("svc", authorized_keys=[made.old.public_key])
    return made


def test_a_key_is_added_tested_and_the_old_one_removed(svc: Rig) -> None:
    assert svc.blocked() == ""
    svc.add()
    assert svc.prove(svc.new) == base.Proof(Verdict.ACCEPTED, Level.COMMAND)
    assert svc.prove(svc.old).verdict == Verdict.ACCEPTED
    svc.remove()
    assert svc.prove(svc.new).verdict == Verdict.ACCEPTED
    assert svc.prove(svc.old).verdict == Verdict.REJECTED
    assert svc.probe(svc.new.public_key) == base.Proof(Verdict.ACCEPTED, Level.LISTED)
    assert svc.probe(svc.old.public_key).verdict == Verdict.REJECTED


@pytest.mark.parametrize("algorithm", key_pairs.ALGORITHMS)
def test_every_algorithm_that_is_offered_logs_in(svc: Rig, algorithm: str) -> None:
    made = key_pairs.generate(algorithm)
    svc.add(made.public_key)
    assert svc.prove(made).level == Level.COMMAND


def test_adding_and_removing_again_changes_nothing(svc: Rig) -> None:
    svc.add()
    once = raw(svc.host)
    svc.add()
    assert raw(svc.host) == once
    svc.remove()
    once = raw(svc.host)
    svc.remove()
    assert raw(svc.host) == once


def awkward(old: str, ending: bytes) -> tuple[bytes, bytes, bytes]:
    """A file around one line of ours: what is before, that line's options and comment, what follows."""
    others = [key_pairs.generate("ed25519").public_key for _ in range(4)]
    before = (
        b"# a comment, with umlauts \xc3\xa4 and a byte that is no UTF-8 \xff\r\n"
        b"\n"
        b'from="10.0.0.0/8",command="echo \\"quoted\\" '
        + old.encode()
        + b'" '
        + others[0].encode()
        + b" somebody else\n"
        + b"#"
        + old.encode()
        + b"\n"
        + b"   "
        + others[1].encode()
        + b"\r\n"
        + b"ssh-ed25519-cert-v01@openssh.com AAAAIHNza cert\n"
        + others[2].encode()
        + b" twice\n"
        + others[2].encode()
        + b" twice\n"
    )
    return before, b'from="127.0.0.0/8",no-pty %s my\\tcomment', others[3].encode() + b"  tail \t" + ending


@pytest.mark.parametrize("ending", [b"\n", b""])
def test_fi_k_03_only_our_line_changes_and_it_keeps_its_options(svc: Rig, ending: bytes) -> None:
    before, ours, after = awkward(svc.old.public_key, ending)
    text = before + ours % svc.old.public_key.encode() + b"\n" + after
    svc.host.run(["sh", "-c", f"cat >{FILE}"], text)
    looks = svc.sh(f"stat -c '%a %u %g' {FILE} /home/svc/.ssh; ls -A /home/svc/.ssh")
    svc.add()
    assert svc.prove(svc.new).verdict == Verdict.ACCEPTED
    svc.remove()
    # The last line gets the end that it lacked with the addition.
    assert raw(svc.host) == before + ours % svc.new.public_key.encode() + b"\n" + after.rstrip(b"\n") + b"\n"
    assert svc.sh(f"stat -c '%a %u %g' {FILE} /home/svc/.ssh; ls -A /home/svc/.ssh") == looks


def test_a_last_line_that_is_not_ended_is_neither_broken_nor_ended_by_a_removal(svc: Rig) -> None:
    other = key_pairs.generate("ed25519").public_key
    svc.host.run(
        ["sh", "-c", f"cat >{FILE}"], f"{svc.old.public_key}\n{other}\n{svc.old.public_key}".encode()
    )
    svc.remove()
    assert raw(svc.host) == f"{other}\n".encode()
    svc.host.run(["sh", "-c", f"cat >{FILE}"], f"{svc.old.public_key}\n{other}".encode())
    svc.remove()
    assert raw(svc.host) == other.encode()


def test_a_key_file_that_is_not_there_yet_is_made_as_sshd_wants_it(svc: Rig) -> None:
    svc.sh("rm -r /home/svc/.ssh")
    assert svc.blocked() == ""
    svc.add()
    assert svc.prove(svc.new).level == Level.COMMAND
    assert svc.sh(f"stat -c '%a %U' /home/svc/.ssh {FILE}").split() == ["700", "svc", "600", "svc"]


def test_a_file_with_a_nul_in_it_is_left_as_it_is(svc: Rig) -> None:
    text = b"#\0 odd\n" + svc.old.public_key.encode() + b"\n"
    svc.host.run(["sh", "-c", f"cat >{FILE}"], text)
    try:
        svc.add()
    except base.ConnectorError:
        assert raw(svc.host) == text
    else:
        assert raw(svc.host) == text + svc.new.public_key.encode() + b"\n"


@pytest.mark.parametrize("where", ["file", "folder"])
def test_fi_k_07_a_link_to_roots_file_gives_nobody_root(svc: Rig, where: str) -> None:
    svc.sh("mkdir -p -m 700 /root/.ssh; echo '# of root' >/root/.ssh/authorized_keys; rm -r /home/svc/.ssh")
    link = f"mkdir -p ~/.ssh; ln -s /root/.ssh/authorized_keys {FILE}"
    svc.host.run(["su", "svc", "-c", link if where == "file" else "ln -s /root/.ssh /home/svc/.ssh"])
    before = svc.sh("stat -c '%i %Y %s' /root/.ssh/authorized_keys; ls -A /root/.ssh")
    code = svc.refusal()
    assert code in {"path", "unreadable", "unwritable"}
    assert svc.blocked() == code
    assert svc.sh("stat -c '%i %Y %s' /root/.ssh/authorized_keys; ls -A /root/.ssh") == before
    assert raw(svc.host, "/root/.ssh/authorized_keys") == b"# of root\n"


def test_fi_k_07_a_link_into_a_folder_that_is_roots_but_holds_another_accounts_file(svc: Rig) -> None:
    """The path is not root's alone, so root does not follow it, and the account may not."""
    svc.host.add_account("other", authorized_keys=["# of other"])
    svc.host.run(["su", "svc", "-c", f"rm {FILE}; ln -s /home/other/.ssh/authorized_keys {FILE}"])
    before = svc.host.authorized_keys("other")
    assert svc.refusal() in {"path", "unreadable", "unwritable"}
    assert svc.host.authorized_keys("other") == before


def test_a_link_of_the_accounts_own_stays_a_link(svc: Rig) -> None:
    svc.host.run(["su", "svc", "-c", f"mv {FILE} ~/keys; chmod 600 ~/keys; ln -s ../keys {FILE}"])
    svc.add()
    svc.remove()
    assert svc.sh(f"readlink {FILE}").strip() == "../keys"
    assert svc.prove(svc.new).verdict == Verdict.ACCEPTED


def test_fi_h_10_a_file_that_is_not_the_accounts_own_is_left_alone(svc: Rig) -> None:
    svc.sh(f"chown root {FILE}; chmod 0444 {FILE}")
    before = raw(svc.host)
    assert svc.refusal() == svc.blocked() == "unwritable"
    assert raw(svc.host) == before
    assert svc.sh("ls -A /home/svc/.ssh").split() == ["authorized_keys"]


def test_fi_h_10_a_read_only_folder_is_named_and_left_as_it_is(svc: Rig) -> None:
    svc.sh("mount --bind /home/svc/.ssh /home/svc/.ssh; mount -o remount,bind,ro /home/svc/.ssh")
    before = raw(svc.host)
    assert svc.refusal() == svc.blocked() == "unwritable"
    assert raw(svc.host) == before
    assert svc.probe(svc.old.public_key).verdict == Verdict.ACCEPTED
    assert svc.sh("ls -A /home/svc/.ssh").split() == ["authorized_keys"]


def test_fi_h_10_a_file_that_cannot_be_replaced_keeps_its_lines_and_the_new_one_is_taken_away(
    svc: Rig,
) -> None:
    svc.sh(f"mount --bind {FILE} {FILE}")  # as an immutable one: to be read and written, not to be renamed
    before = raw(svc.host)
    assert svc.refusal() == "unwritable"
    assert raw(svc.host) == before
    assert svc.sh("ls -A /home/svc/.ssh").split() == ["authorized_keys"]


def test_fi_h_11_root_that_may_not_read_the_home_edits_as_the_account(svc: Rig) -> None:
    """As on NFS with root_squash: what is done there is done by the account."""
    svc.add()
    svc.remove()
    owner = svc.sh(f"stat -c %U {FILE}").strip()
    assert owner == "svc"
    svc.sh("chmod 0700 /home/svc")
    svc.add(svc.old.public_key, like=svc.new.public_key)
    assert svc.prove(svc.old).verdict == Verdict.ACCEPTED


def test_fi_h_11_root_that_permissions_bind_edits_as_the_account_or_says_why_not(
    new_host: NewHost, management_key: KeyPair
) -> None:
    """Root logs in without CAP_DAC_OVERRIDE: what root_squash makes of it, for every file at once."""
    svc = Rig(new_host(management=Management.ROOT), management_key, manager_name="root", sudo=Sudo.NONE)
    svc.host.add_account("svc", authorized_keys=[svc.old.public_key])
    svc.sh("chmod 0700 /home/svc")
    bound = "exec setpriv --bounding-set=-dac_override --inh-caps=-dac_override"
    svc.host.write("/usr/bin/bound-sh", f'#!/bin/sh\n{bound} /bin/bash "$@"\n', 0o755)
    svc.sh("usermod --shell /usr/bin/bound-sh root")
    svc.add()
    assert svc.sh(f"stat -c %U {FILE}").strip() == "svc"
    assert svc.prove(svc.new).verdict == Verdict.ACCEPTED
    assert svc.probe(svc.old.public_key).verdict == Verdict.ACCEPTED
    svc.sh("chown root /home/svc/.ssh; chmod 0700 /home/svc/.ssh")
    assert svc.refusal("remove") == svc.blocked() == "unreadable"
    svc.sh(f"chmod 0755 /home/svc/.ssh; chown root {FILE}; chmod 0444 {FILE}")
    assert svc.refusal("remove") == svc.blocked() == "unwritable"


def test_fi_h_12_a_home_that_is_not_there_is_not_put_in_its_place(svc: Rig) -> None:
    svc.sh("mv /home/svc /home/away")
    assert svc.refusal() == svc.blocked() == "no_home"
    assert svc.probe(svc.old.public_key).verdict == Verdict.UNCLEAR
    svc.sh("mkdir -m 755 /home/svc")  # a mount point, empty and root's
    assert svc.refusal() == svc.blocked() == "no_home"
    assert svc.sh("ls -A /home/svc") == ""


def test_fi_h_12_a_folder_that_cannot_be_read_is_not_an_empty_one(svc: Rig) -> None:
    svc.sh("chmod 0 /home/svc/.ssh")
    assert svc.refusal() == svc.blocked() == "unreadable"
    assert svc.probe(svc.old.public_key).verdict == Verdict.UNCLEAR


@pytest.mark.parametrize("path", ["/home/svc", "/home/svc/.ssh", FILE])
def test_fi_h_13_a_file_that_sshd_would_pass_over_is_named_before_anything_is_changed(
    svc: Rig, path: str
) -> None:
    svc.sh(f"chmod o+w {path}")
    assert svc.blocked() == "strict_modes"
    assert svc.prove(svc.old).verdict == Verdict.REJECTED


def test_fi_h_14_the_file_is_the_one_that_sshd_names(svc: Rig) -> None:
    svc.configure_sshd("AuthorizedKeysFile /etc/ssh/keys/%u .ssh/%%%U")
    svc.sh("mkdir -m 755 /etc/ssh/keys")
    before = raw(svc.host)
    svc.add()
    assert svc.prove(svc.new).verdict == Verdict.ACCEPTED
    assert svc.sh("stat -c '%a %U' /etc/ssh/keys/svc").split() == ["644", "root"]
    assert raw(svc.host) == before


@pytest.mark.parametrize(
    ("line", "code"),
    [("AuthorizedKeysFile none", "keys_elsewhere"), ("PubkeyAuthentication no", "no_public_keys")],
)
def test_fi_h_14_a_host_where_no_file_counts_is_blocked(svc: Rig, line: str, code: str) -> None:
    svc.configure_sshd(line)
    assert svc.refusal() == svc.blocked() == code


def test_a_locked_password_is_no_reason_for_a_key_and_stays_locked(svc: Rig) -> None:
    assert svc.host.shadow("svc").startswith("!")
    svc.add()
    assert svc.prove(svc.new).verdict == Verdict.ACCEPTED
    assert svc.host.shadow("svc").startswith("!")


def test_fi_p_04_a_password_that_must_be_changed_blocks_keys_too(svc: Rig) -> None:
    svc.sh("chage -d 0 svc")
    assert svc.refusal() == svc.blocked() == "must_change_first"


def test_fi_p_05_an_account_that_has_expired_blocks_keys_too(svc: Rig) -> None:
    svc.sh("chage -E 2001-01-01 svc")
    assert svc.refusal() == svc.blocked() == "expired"


def test_fi_k_04_twenty_edits_at_once_lose_no_line(svc: Rig) -> None:
    keys = [key_pairs.generate("ed25519").public_key for _ in range(20)]

    def add(mine: list[str]) -> None:
        for key in mine:
            while True:
                try:
                    svc.add(key)
                    break
                except (base.Busy, base.Unreachable):
                    continue

    threads = [threading.Thread(target=add, args=(keys[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = raw(svc.host).decode().splitlines()
    assert len(lines) == 21
    assert {line.split()[1] for line in lines} == {k.split()[1] for k in [*keys, svc.old.public_key]}


def test_fi_h_05_a_full_disk_leaves_the_file_whole(svc: Rig) -> None:
    other = "\n".join(f"{key_pairs.generate('ed25519').public_key} {n}" for n in range(100))
    svc.sh("mkdir /run/small; mount -t tmpfs -o size=32k,mode=0755 none /run/small || exit 9")
    svc.sh("mkdir -m 700 /run/small/svc; chown svc /run/small/svc")
    svc.configure_sshd("AuthorizedKeysFile /run/small/svc/keys")
    svc.host.run(["su", "svc", "-c", "cat >/run/small/svc/keys"], f"{svc.old.public_key}\n{other}\n".encode())
    svc.sh("dd if=/dev/zero of=/run/small/fill bs=1k 2>/dev/null || true")
    before = raw(svc.host, "/run/small/svc/keys")
    assert svc.refusal() == "disk"
    assert raw(svc.host, "/run/small/svc/keys") == before
    assert svc.sh("ls -A /run/small/svc").split() == ["keys"]


@pytest.mark.parametrize("action", ["add", "remove"])
def test_fi_h_05_a_copy_that_came_out_too_short_is_thrown_away(svc: Rig, action: str) -> None:
    other = "".join(f"{key_pairs.generate('ed25519').public_key} {n}\n" for n in range(50))
    svc.host.run(["sh", "-c", f"cat >{FILE}"], f"{other}{svc.old.public_key}\n".encode())
    svc.sh("mv /usr/bin/awk /usr/bin/awk.real")
    short = '#!/bin/bash\nawk.real "$@" || exit\n[ "$mode" != write ] || truncate -s 4096 "$temp"\n'
    svc.host.write("/usr/bin/awk", short, 0o755)
    before = raw(svc.host)
    with pytest.raises(base.Refused) as refused:
        getattr(svc, action)()
    assert refused.value.code == "disk"
    assert raw(svc.host) == before
    assert svc.sh("ls -A /home/svc/.ssh").split() == ["authorized_keys"]


@pytest.mark.parametrize("change", ["printf '# two\\n' | dd.real of=$f conv=notrunc", "echo '# more' >>$f"])
@pytest.mark.parametrize("action", ["add", "remove"])
def test_fi_k_04_what_another_program_has_just_written_is_not_lost(
    svc: Rig, action: str, change: str
) -> None:
    """dd is a double that changes the file meanwhile, as a program would that does not know our lock."""
    svc.host.run(["sh", "-c", f"cat >{FILE}"], f"# one\n{svc.old.public_key}\n".encode())
    svc.sh("mv /usr/bin/dd /usr/bin/dd.real")
    double = (
        f'#!/bin/sh\nf={FILE}\ncase $* in *$f.keyturn*) {change} ;; esac 2>/dev/null\nexec dd.real "$@"\n'
    )
    svc.host.write("/usr/bin/dd", double, 0o755)
    with pytest.raises(base.Busy):
        getattr(svc, action)()
    assert raw(svc.host).decode().splitlines() == (
        ["# two", svc.old.public_key] if "two" in change else ["# one", svc.old.public_key, "# more"]
    )
    assert svc.sh("ls -A /home/svc/.ssh").split() == ["authorized_keys"]


@pytest.mark.parametrize(
    ("action", "before"),
    [
        ("add", "true"),
        ("remove", "true"),
        ("add", f"chmod 0640 {FILE}"),  # a copy of it is written to
        ("add", "rm -r /home/svc/.ssh"),
    ],
)
def test_a_key_file_is_on_the_disk_before_it_takes_the_place_of_the_old_one(
    svc: Rig, action: str, before: str
) -> None:
    """After a power cut a name may stand for a file that was renamed and never written: no key, no login."""
    svc.sh(before)
    calls = "/var/tmp/calls"
    svc.sh(f"install -m 0666 /dev/null {calls}")
    trace = f"strace -qq -y -A -o {calls} -e trace=fsync,rename,renameat,renameat2"
    for program in ("dd", "mv", "sync"):
        svc.sh(f"mv /usr/bin/{program} /usr/bin/{program}.real")
        svc.host.write(f"/usr/bin/{program}", f'#!/bin/sh\nexec {trace} {program}.real "$@"\n', 0o755)
    getattr(svc, action)()
    said = svc.sh(f"cat {calls}").splitlines()
    done = [line for line in said if "/home/svc/.ssh" in line and line.endswith(" = 0")]
    assert [line.split("(")[0].removesuffix("at2").removesuffix("at") for line in done][-3:] == [
        "fsync", "rename", "fsync",
    ], said  # fmt: skip
    assert f"{FILE}.keyturn>" in done[-3], said
    assert "</home/svc/.ssh>)" in done[-1], said


def test_c_04_an_older_attempt_is_stale_and_another_console_is_left_alone(svc: Rig) -> None:
    svc.add(generation=7)
    with pytest.raises(base.Stale):
        svc.remove(svc.new.public_key, generation=6)
    svc.console = str(uuid.uuid4())
    assert svc.refusal() == svc.blocked() == "foreign_console"


@pytest.mark.parametrize(
    "key", ["", "ssh-ed25519 AAAA\nssh-ed25519 BBBB", "x", 'command="id" ssh-rsa AAAA', "ssh-rsa A;id"]
)
def test_what_is_no_key_never_reaches_a_host(svc: Rig, key: str) -> None:
    with pytest.raises(base.Refused) as refused:
        svc.connector.add_key(svc.manager, "svc", key, like="", fence=svc.fence(), timeout=15)
    assert refused.value.code == "bad_key_line"
    assert svc.probe(key).verdict == Verdict.UNCLEAR


def test_roots_own_keys_are_edited_by_root(new_host: NewHost, management_key: KeyPair) -> None:
    svc = Rig(new_host(), management_key, username="root")
    svc.sh("rm -rf /root/.ssh; chmod 700 /root")
    svc.add()
    assert svc.prove(svc.new).verdict == Verdict.ACCEPTED
    svc.sh("chmod o+w /root")
    assert svc.blocked() == "path"


@pytest.mark.parametrize("action", ["add", "remove"])
def test_fi_p_15_restorecon_is_told_of_the_file_where_there_is_one(svc: Rig, action: str) -> None:
    """restorecon is a double that writes down what it is told, and as whom."""
    svc.host.write("/usr/sbin/restorecon", '#!/bin/sh\necho "$(id -un) $*" >>/tmp/told\n', 0o755)
    svc.sh("chmod 1777 /tmp")
    svc.add() if action == "add" else svc.remove()
    assert svc.host.read("/tmp/told") == f"svc {FILE}\n"


@pytest.mark.parametrize("shell", ["bash", "busybox"])
def test_every_common_sh_and_awk_edits_alike(
    shells: Fleet,  # noqa: F811
    management_key: KeyPair,
    shell: str,
) -> None:
    svc = Rig(shells.start(f"keys-{shell}", Spec(public_key=management_key.public)), management_key)
    svc.host.add_account("svc", authorized_keys=[svc.old.public_key])
    svc.sh(f"ln -sf /usr/bin/{shell} /usr/bin/sh")
    if shell == "busybox":
        applets = "timeout dd df head tail mkdir mv rm cp date id sleep ls wc cksum readlink mktemp awk"
        svc.sh(f"for name in {applets}; do ln -sf /usr/bin/busybox /usr/bin/$name; done")
    before, ours, after = awkward(svc.old.public_key, b"")
    svc.host.run(["sh", "-c", f"cat >{FILE}"], before + ours % svc.old.public_key.encode() + b"\n" + after)
    assert svc.blocked() == ""
    svc.add()
    assert svc.prove(svc.new).verdict == Verdict.ACCEPTED
    svc.remove()
    assert raw(svc.host) == before + ours % svc.new.public_key.encode() + b"\n" + after + b"\n"
    assert svc.probe(svc.old.public_key).verdict == Verdict.REJECTED
    assert svc.probe(svc.new.public_key).verdict == Verdict.ACCEPTED
