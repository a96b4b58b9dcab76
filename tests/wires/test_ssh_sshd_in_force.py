"""sshd's rules as they are in force for this very connection, on real hosts."""

from __future__ import annotations

import pytest

from lab import Host
from rotation.connectors.base import Kind, Level, Mark, Verdict
from tests.lab_fixtures import KeyPair
from tests.wires.test_ssh import shells  # noqa: F401
from tests.wires.test_ssh_key_pairs import Rig, raw

CONFIG = "/etc/ssh/sshd_config"


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    made = Rig(host, management_key)
    host.add_account("svc", authorized_keys=[made.old.public_key])
    return made


def move_keys(svc: Rig, path: str) -> None:
    """Have the account's key in a file of root's, and in no other."""
    folder = path.rpartition("/")[0]
    svc.sh(f"mkdir -p -m 755 '{folder}'; mv /home/svc/.ssh/authorized_keys '{path}'")
    svc.sh(f"chown root '{path}'; chmod 644 '{path}'")


def rotates_in(svc: Rig, path: str) -> None:
    """The new key gets its line there and works; the old one goes."""
    assert svc.blocked() == ""
    assert svc.probe(svc.old.public_key).verdict == Verdict.ACCEPTED
    svc.add()
    assert svc.new.public_key.encode() in raw(svc.host, path)
    assert svc.prove(svc.new).level == Level.COMMAND
    svc.remove()
    assert svc.prove(svc.old).verdict == Verdict.REJECTED


@pytest.mark.parametrize(
    "written",
    ['"/etc/ssh/auth keys/%u"', "'/etc/ssh/auth keys/%u'  # quoted", '.ssh/no "/etc/ssh/auth keys/%u"'],
)
def test_fi_r_15_a_blank_in_the_path_of_the_key_file_is_part_of_it(svc: Rig, written: str) -> None:
    move_keys(svc, "/etc/ssh/auth keys/svc")
    svc.configure_sshd(f"AuthorizedKeysFile {written}")
    assert svc.prove(svc.old).verdict == Verdict.ACCEPTED
    rotates_in(svc, "/etc/ssh/auth keys/svc")
    assert "auth\n" not in svc.sh("ls /etc/ssh")


def test_fi_r_15_a_path_that_can_be_read_in_two_ways_is_left_alone(svc: Rig) -> None:
    move_keys(svc, "/etc/ssh/auth keys/svc")
    svc.configure_sshd(
        'AuthorizedKeysFile "/etc/ssh/auth keys/%u"',
        "Match User x",
        "AuthorizedKeysFile /etc/ssh/auth keys/%u",
    )
    assert svc.blocked() == "keys_blank"
    assert svc.refusal() == "keys_blank"
    assert svc.probe(svc.old.public_key).verdict == Verdict.UNCLEAR
    assert "auth\n" not in svc.sh("ls /etc/ssh")


@pytest.mark.parametrize("rule", ["LocalPort {port}", "LocalAddress {address}", "RDomain none"])
def test_fi_r_16_a_match_on_the_hosts_own_side_counts(svc: Rig, rule: str) -> None:
    match = rule.format(port=svc.host.port, address=svc.host.address)
    path = "/home/svc/.ssh/authorized_keys"
    if "RDomain" not in rule:
        path = "/etc/keys/svc"
        move_keys(svc, path)
    svc.configure_sshd(f"Match {match} User svc", "AuthorizedKeysFile /etc/keys/%u")
    rotates_in(svc, path)


def test_fi_r_17_the_file_that_the_daemon_was_started_with_counts(svc: Rig) -> None:
    path = "/etc/keys/svc"
    move_keys(svc, path)
    text = svc.host.read(CONFIG)
    svc.host.write("/etc/ssh/other", f"{text}\nMatch User svc\nAuthorizedKeysFile /etc/keys/%u\n")
    svc.host.cut()
    svc.host.run(["/usr/sbin/sshd", "-E", "/var/log/sshd.log", "-f", "/etc/ssh/other"])
    rotates_in(svc, path)


def test_fi_r_18_a_daemon_in_another_place_is_found(svc: Rig) -> None:
    svc.sh("mkdir -p /usr/local/sbin; cp /usr/sbin/sshd /usr/local/sbin/sshd")
    svc.host.cut()
    svc.host.run(["/usr/local/sbin/sshd", "-E", "/var/log/sshd.log"])
    svc.sh("rm /usr/sbin/sshd")
    rotates_in(svc, "/home/svc/.ssh/authorized_keys")


def test_fi_r_19_a_bad_line_with_an_older_daemon_is_not_a_refusal(svc: Rig) -> None:
    svc.host.write(CONFIG, svc.host.read(CONFIG) + "\nNoSuchWord yes\n")
    assert svc.prove(svc.old).verdict == Verdict.ACCEPTED
    assert svc.blocked() == "no_sshd_answer"
    assert (svc.probe(svc.old.public_key).verdict, svc.probe(svc.old.public_key).code) == (
        Verdict.UNCLEAR,
        "no_sshd_answer",
    )


def test_fi_r_17_a_daemon_whose_words_are_not_to_be_seen_is_said_so(svc: Rig) -> None:
    # A copy under another name: no ancestor of the connection is an sshd by its path.
    svc.sh("cp /usr/sbin/sshd /usr/sbin/other")
    svc.host.cut()
    svc.host.run(["/usr/sbin/other", "-E", "/var/log/sshd.log"])
    facts = svc.connector.preflight(
        svc.manager, svc.username, timeout=15, console_id=svc.console, kind=Kind.KEY
    )
    (check,) = [c for c in facts.checks if c.name == "key_login"]
    assert (check.mark, "could not be seen" in check.sentence) == (Mark.UNKNOWN, True)


@pytest.mark.parametrize(
    "pattern", ["/etc//keys//%u", "/etc/./keys/%u", "/etc/link/%u", "/etc/far/../keys/%u"]
)
def test_fi_r_22_a_safe_path_in_another_spelling_is_edited(svc: Rig, pattern: str) -> None:
    move_keys(svc, "/etc/keys/svc")
    svc.sh("ln -s keys /etc/link; mkdir -p /srv/a; ln -s /srv/a /etc/far; ln -s /etc/keys /srv/keys")
    svc.configure_sshd(f"AuthorizedKeysFile {pattern}")
    rotates_in(svc, "/etc/keys/svc")


@pytest.mark.parametrize("folder", ["/srv/own", "/srv/own/of-root"])
def test_fi_r_22_a_link_in_a_folder_of_the_accounts_own_is_never_followed_by_root(
    svc: Rig, folder: str
) -> None:
    # sshd is told not to mind; root's own file is what an account would lead us to.
    svc.sh(f"mkdir -p {folder} /root/.ssh; echo kept >/root/.ssh/authorized_keys")
    svc.sh(f"ln -s /root/.ssh/authorized_keys {folder}/svc; chown svc /srv/own")
    svc.configure_sshd("AuthorizedKeysFile /etc/way/%u")
    svc.sh(f"ln -s {folder} /etc/way")
    assert svc.refusal() in ("path", "unreadable")
    assert raw(svc.host, "/root/.ssh/authorized_keys") == b"kept\n"
