"""The checklist before a rotation, on real hosts: every line says what was found there."""

import pytest

from lab import Host
from rotation.connectors import base
from rotation.connectors.base import Check, Fence, Kind, Mark, Verdict
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from tests.lab_fixtures import KeyPair
from tests.wires.ssh_rig import FIRST, SECOND, Rig, rig

FILE = "/home/svc/.ssh/authorized_keys"
COMMON = ["reachable", "host_key", "login", "sudo", "disk"]
ACCOUNT = ["account", "local", "locked", "expired", "must_change", "foreign_console", "generation"]
OTHER = "0b1f6a52-3c0e-4a51-9a5d-6f3d0c6a7f10"


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    made = rig(host, management_key)
    host.set_authorized_keys("svc", f"{management_key.public}\n")
    return made


def look(svc: Rig, kind: Kind = Kind.PASSWORD, username: str = "svc", **more: object) -> base.Facts:
    return svc.connector.preflight(
        svc.manager,
        username,
        timeout=15,
        console_id=svc.console,
        kind=kind,
        **more,  # type: ignore[arg-type]
    )


def line(facts: base.Facts, name: str) -> Check:
    (check,) = [c for c in facts.checks if c.name == name]
    return check


def add_key(svc: Rig, **more: object) -> None:
    svc.connector.add_key(
        svc.manager,
        "svc",
        key_pairs.generate("ed25519").public_key,
        like="",
        fence=Fence(svc.console, 1),
        timeout=15,
        **more,  # type: ignore[arg-type]
    )


def change(svc: Rig, value: str, generation: int = 1, **more: object) -> None:
    fence = Fence(svc.console, generation)
    svc.connector.set_password(
        svc.manager,
        "svc",
        Plaintext(value),
        fence=fence,
        timeout=15,
        **more,  # type: ignore[arg-type]
    )


def test_every_line_is_there_for_a_password_and_nothing_stands_in_the_way(svc: Rig) -> None:
    facts = look(svc)
    assert [c.name for c in facts.checks] == [
        *COMMON,
        *("chpasswd", "sudo_log", "fence"),
        *ACCOUNT,
        *("password_login", "shadow_file", "hash"),
    ]
    assert {c.mark for c in facts.checks} == {Mark.PASSED}
    assert all(c.sentence.endswith(".") for c in facts.checks)
    assert "yescrypt" in line(facts, "hash").sentence
    assert "user id" in line(facts, "account").sentence
    assert " MB" in line(facts, "disk").sentence


def test_every_line_is_there_for_a_key_and_nothing_stands_in_the_way(svc: Rig) -> None:
    facts = look(svc, Kind.KEY)
    assert [c.name for c in facts.checks] == [
        *COMMON,
        "fence",
        *ACCOUNT,
        *("key_login", "key_file", "key_disk", "selinux"),
    ]
    assert {c.mark for c in facts.checks} == {Mark.PASSED}
    assert FILE in line(facts, "key_file").sentence
    assert "-rw------- 100" in line(facts, "key_file").sentence


def test_the_whole_list_takes_one_login(svc: Rig) -> None:
    look(svc, Kind.KEY)
    assert svc.host.sshd_log().count("Accepted publickey for ") == 1


@pytest.mark.parametrize(
    ("spoil", "name", "code"),
    [
        (["userdel", "svc"], "account", "no_such_user"),
        (["sed", "-i", "/^svc:/d", "/etc/shadow"], "local", "not_shadowed"),
        (["passwd", "--lock", "svc"], "locked", "locked"),
        (["passwd", "--delete", "svc"], "locked", "empty_password"),
        (["chage", "--expiredate", "2001-01-01", "svc"], "expired", "expired"),
        (["chage", "--lastday", "2001-01-01", "-M", "9", "-I", "9", "svc"], "expired", "inactive"),
        (["chage", "--lastday", "0", "svc"], "must_change", "must_change"),
    ],
)
def test_an_accounts_problem_stands_in_its_own_line_and_hides_what_follows_it(
    svc: Rig, spoil: list[str], name: str, code: str
) -> None:
    svc.host.run(spoil)
    facts = look(svc)
    blocked = line(facts, name)
    assert (blocked.mark, blocked.code) == (Mark.BLOCKED, code)
    assert facts.blocked == blocked
    names = [c.name for c in facts.checks]
    later = ACCOUNT[ACCOUNT.index(name) + 1 : 5]
    assert not set(later) & set(names)


def test_dates_and_ages_are_told(svc: Rig) -> None:
    ageing = ["--expiredate", "2031-02-03", "--lastday", "2020-01-01", "--mindays", "7", "--maxdays", "30"]
    svc.host.run(["chage", *ageing, "svc"])
    facts = look(svc)
    assert "2031-02-03" in line(facts, "expired").sentence
    assert "2020-01-01" in line(facts, "must_change").sentence
    assert line(facts, "aged").mark == Mark.WARNING
    assert line(facts, "min_age").mark == Mark.PASSED
    assert "7 days" in line(facts, "min_age").sentence
    change(svc, SECOND)
    assert svc.accepts(SECOND)


def test_the_account_that_we_connect_with_is_warned_of(svc: Rig) -> None:
    svc.host.set_password("keyturn", FIRST)
    check = line(look(svc, username="keyturn"), "own_account")
    assert (check.mark, check.code) == (Mark.WARNING, "own_account")
    assert "own_account" not in [c.name for c in look(svc).checks]


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ("PasswordAuthentication no", "PasswordAuthentication"),
        ("AllowUsers keyturn", "AllowUsers"),
        ("DenyUsers s*", "DenyUsers"),
        ("AllowGroups keyturn", "AllowGroups"),
        ("DenyGroups svc", "DenyGroups"),
        ("Match User svc\nForceCommand /bin/true\nMatch all", "ForceCommand"),
        ("AuthenticationMethods publickey,password publickey", "AuthenticationMethods"),
    ],
)
def test_the_rule_of_sshds_that_forbids_a_password_login_is_named(svc: Rig, config: str, word: str) -> None:
    svc.configure_sshd(*config.split("\n"))
    facts = look(svc)
    check = line(facts, "password_login")
    assert check.mark == Mark.WARNING
    assert word in check.sentence
    assert not facts.password_login
    assert facts.blocked is None


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ("AllowUsers keyturn", "AllowUsers"),
        ("DenyGroups svc", "DenyGroups"),
        ("Match User svc\nForceCommand /bin/true\nMatch all", "ForceCommand"),
    ],
)
def test_the_rule_of_sshds_that_stands_behind_a_key_is_named(svc: Rig, config: str, word: str) -> None:
    svc.configure_sshd(*config.split("\n"))
    check = line(look(svc, Kind.KEY), "key_login")
    assert check.mark == Mark.WARNING
    assert word in check.sentence


def crypt(host: Host, value: str, setting: str) -> str:
    """Hash a value by the host's own library, as an older system would have."""
    program = "chomp(my $s = <STDIN>); chomp(my $v = <STDIN>); print crypt($v, $s)"
    return host.run(["perl", "-e", program], f"{setting}\n{value}\n".encode()).stdout.decode()


BCRYPT = "$2b$05$abcdefghijklmnopqrstuu"


@pytest.mark.parametrize(
    ("setting", "word"),
    [("ab", "DES"), ("$1$abcdefgh$", "MD5"), (BCRYPT, "bcrypt")],
)
def test_a_weak_hash_is_warned_of_and_named(svc: Rig, setting: str, word: str) -> None:
    svc.host.run(["usermod", "--password", crypt(svc.host, FIRST, setting), "svc"])
    check = line(look(svc), "hash")
    assert check.mark == Mark.WARNING
    assert word in check.sentence


@pytest.mark.parametrize(("setting", "length"), [("ab", 12), (BCRYPT, 73)])
def test_fi_p_13_a_host_that_reads_only_the_beginning_of_a_value_is_not_believed(
    svc: Rig, setting: str, length: int
) -> None:
    value = ("a-Value-of-many-letters-" * 4)[:length]
    svc.host.run(["usermod", "--password", crypt(svc.host, value, setting), "svc"])
    assert svc.prove(value).verdict == Verdict.ACCEPTED
    assert svc.prove(value[:-1]).verdict == Verdict.ACCEPTED
    proof = svc.probe(value)
    assert (proof.verdict, proof.code) == (Verdict.UNCLEAR, "truncates")
    assert svc.probe("wrong").verdict == Verdict.REJECTED


@pytest.mark.parametrize("value", ["12345678", "1", "ü"])
def test_fi_p_13_a_value_that_an_old_hash_reads_whole_is_believed(svc: Rig, value: str) -> None:
    svc.host.run(["usermod", "--password", crypt(svc.host, value, "ab"), "svc"])
    assert svc.probe(value).verdict == Verdict.ACCEPTED


def test_an_immutable_file_is_named_before_anything_is_sent(svc: Rig) -> None:
    """lsattr is a double: not every file system of a lab's host keeps these marks."""
    svc.replace_program(
        "/usr/bin/lsattr", 'shift 2; for f; do ! grep -qx "$f" /run/frozen || echo "----i--- $f"; done'
    )
    svc.host.write("/run/frozen", "")
    assert look(svc).blocked is None
    assert look(svc, Kind.KEY).blocked is None
    svc.host.write("/run/frozen", f"/etc/shadow\n{FILE}\n")
    check = line(look(svc), "shadow_file")
    assert (check.mark, check.code) == (Mark.BLOCKED, "shadow_frozen")
    assert "/etc/shadow is marked immutable" in check.sentence
    check = line(look(svc, Kind.KEY), "key_file")
    assert (check.mark, check.code) == (Mark.BLOCKED, "unwritable")
    assert FILE in check.sentence


def test_a_mark_that_holds_no_number_is_named(svc: Rig) -> None:
    svc.host.write(f"/var/lib/keyturn/{svc.console}/svc.password", "nonsense\n")
    check = line(look(svc), "generation")
    assert (check.mark, check.code) == (Mark.BLOCKED, "fence")


@pytest.mark.parametrize(("programs", "mark"), [([], Mark.WARNING), (["/usr/sbin/restorecon"], Mark.PASSED)])
def test_a_host_with_selinux_and_no_restorecon_is_warned_of(
    svc: Rig, programs: list[str], mark: Mark
) -> None:
    """SELinux is a double: a file that says it is there, and a program of restorecon's name."""
    svc.host.run(
        [
            "sh",
            "-c",
            "mount -t tmpfs none /sys && mkdir -p /sys/fs/selinux && echo 1 >/sys/fs/selinux/enforce",
        ]
    )
    for path in programs:
        svc.host.write(path, "#!/bin/sh\n", 0o755)
    assert line(look(svc, Kind.KEY), "selinux").mark == mark


def test_a_key_files_own_file_system_is_measured(svc: Rig) -> None:
    script = """
        cp -a /home/svc/.ssh /run/ssh; mount -t tmpfs -o size=2m none /home/svc/.ssh
        cp -a /run/ssh/. /home/svc/.ssh/; chown svc /home/svc/.ssh; chmod 700 /home/svc/.ssh
    """
    svc.host.run(["sh", "-ec", script])
    assert line(look(svc, Kind.KEY), "key_disk").mark == Mark.PASSED
    svc.host.run(["sh", "-c", "head -c 1500000 /dev/zero >/home/svc/.ssh/big"])
    check = line(look(svc, Kind.KEY), "key_disk")
    assert (check.mark, check.code) == (Mark.BLOCKED, "disk")


# -- reasons that somebody may let pass --------------------------------------------------------------


def test_another_consoles_mark_may_be_let_pass_and_ours_then_stops_that_console(svc: Rig) -> None:
    ours, svc.console = svc.console, OTHER
    change(svc, "of-the-other-1", generation=9)
    add_key(svc)
    svc.console = ours
    for kind in Kind:
        assert line(look(svc, kind), "foreign_console").mark == Mark.BLOCKED
        check = line(look(svc, kind, allowed={"foreign_console"}), "foreign_console")
        assert (check.mark, check.code) == (Mark.WARNING, "foreign_console")
        assert look(svc, kind, allowed={"must_change"}).blocked
    with pytest.raises(base.Refused):
        change(svc, SECOND, allowed={"must_change"})
    change(svc, SECOND, allowed={"foreign_console"})
    add_key(svc, allowed={"foreign_console"})
    assert svc.accepts(SECOND)
    assert svc.host.read(f"/var/lib/keyturn/{OTHER}/svc.password") == "9\n"
    assert svc.host.read(f"/var/lib/keyturn/{ours}/svc.password") == "1\n"
    svc.console = OTHER
    with pytest.raises(base.Refused) as refusal:
        change(svc, "of-the-other-2", generation=10)
    assert refusal.value.code == "foreign_console"
    assert svc.accepts(SECOND)


def test_a_demand_for_a_change_may_be_let_pass_and_the_change_clears_it(svc: Rig) -> None:
    svc.host.run(["chage", "--lastday", "0", "svc"])
    check = line(look(svc, allowed={"must_change"}), "must_change")
    assert (check.mark, check.code) == (Mark.WARNING, "must_change")
    assert "clears" in check.sentence
    assert look(svc, allowed={"must_change"}).blocked is None
    for allowed in ((), {"foreign_console"}):
        with pytest.raises(base.Refused) as refusal:
            change(svc, SECOND, allowed=allowed)
        assert refusal.value.code == "must_change"
    change(svc, SECOND, allowed={"must_change"})
    assert look(svc).blocked is None
    assert svc.prove(SECOND).level == base.Level.COMMAND


@pytest.mark.parametrize(
    "spoil", [["passwd", "--lock", "svc"], ["chage", "--expiredate", "2001-01-01", "svc"]]
)
def test_no_other_reason_is_let_pass_together_with_one_that_is(svc: Rig, spoil: list[str]) -> None:
    svc.host.run(["chage", "--lastday", "0", "svc"])
    svc.host.run(spoil)
    assert look(svc, allowed=base.OVERRIDABLE).blocked
    with pytest.raises(base.Refused):
        change(svc, SECOND, allowed=base.OVERRIDABLE)
    assert not svc.accepts(SECOND)


def test_a_key_is_not_added_where_a_demand_for_a_change_would_make_it_useless(svc: Rig) -> None:
    svc.host.run(["chage", "--lastday", "0", "svc"])
    assert look(svc, Kind.KEY, allowed=base.OVERRIDABLE).blocked
    with pytest.raises(base.Refused) as refusal:
        add_key(svc, allowed=base.OVERRIDABLE)
    assert refusal.value.code == "must_change_first"


@pytest.mark.parametrize("allowed", [{"locked"}, {"must_change; touch /run/x"}, {""}])
def test_what_may_not_be_let_pass_never_reaches_a_host(svc: Rig, allowed: set[str]) -> None:
    for call in (
        lambda: look(svc, allowed=allowed),
        lambda: change(svc, SECOND, allowed=allowed),
        lambda: add_key(svc, allowed=allowed),
    ):
        with pytest.raises(ValueError, match="OVERRIDABLE"):
            call()
    assert svc.accepts(FIRST)
