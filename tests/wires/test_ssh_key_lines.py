"""One key on several lines, in several files, behind options: on real hosts, and each option by itself."""

from __future__ import annotations

import pytest

from lab import Host
from rotation.connectors.base import Check, Facts, Kind, Level, Mark, Verdict
from rotation.connectors.ssh import key_lines
from rotation.connectors.ssh.findings import Findings
from tests.lab_fixtures import KeyPair
from tests.wires.test_ssh import shells  # noqa: F401
from tests.wires.test_ssh_key_pairs import FILE, Rig, raw

SECOND = "/home/svc/.ssh/authorized_keys2"


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    made = Rig(host, management_key)
    host.add_account("svc", authorized_keys=[made.old.public_key])
    return made


def put(svc: Rig, *lines: str, path: str = FILE) -> None:
    """Give a file of the account's these lines, OLD standing for its key."""
    text = "".join(line.replace("OLD", svc.old.public_key) + "\n" for line in lines)
    svc.host.run(["su", "svc", "-c", f"umask 077; cat >{path}"], text.encode())


def read(svc: Rig, path: str = FILE) -> list[str]:
    """The lines of a file, the two keys as OLD and NEW."""
    text = raw(svc.host, path).decode()
    return text.replace(svc.old.public_key, "OLD").replace(svc.new.public_key, "NEW").splitlines()


def facts(svc: Rig) -> Facts:
    return svc.connector.preflight(
        svc.manager,
        svc.username,
        timeout=15,
        console_id=svc.console,
        kind=Kind.KEY,
        public_key=svc.old.public_key,
    )


def told(svc: Rig) -> Check:
    (check,) = [c for c in facts(svc).checks if c.name == "key_lines"]
    return check


def test_fi_r_01_a_key_in_a_second_file_passes_its_options_on_in_that_file(svc: Rig) -> None:
    put(svc, "# nobody's")
    put(svc, 'restrict,command="/bin/date" OLD of a job', path=SECOND)
    svc.add()
    assert read(svc) == ["# nobody's"]
    assert read(svc, SECOND) == [f'restrict,command="/bin/date" {k} of a job' for k in ("OLD", "NEW")]
    assert svc.prove(svc.new).level == Level.LOGIN
    svc.remove()
    assert read(svc, SECOND) == ['restrict,command="/bin/date" NEW of a job']


def test_fi_r_01_a_second_file_needs_no_first_one(svc: Rig) -> None:
    svc.sh(f"rm {FILE}")
    put(svc, 'command="/bin/date" OLD', path=SECOND)
    svc.add()
    assert svc.sh("ls -A /home/svc/.ssh").split() == ["authorized_keys2"]
    assert read(svc, SECOND)[1] == 'command="/bin/date" NEW'


def test_fi_r_02_a_second_file_that_cannot_be_changed_leaves_the_first_as_it_is(svc: Rig) -> None:
    put(svc, 'command="/bin/date" OLD', path=SECOND)
    svc.sh(f"chown root {SECOND}; chmod 0444 {SECOND}")
    before = raw(svc.host)
    assert svc.refusal() == "unwritable"
    assert (blocked := facts(svc).blocked) is not None
    assert blocked.code == "unwritable"
    assert raw(svc.host) == before


def test_fi_r_02_a_second_file_that_changes_at_the_last_moment_has_the_first_put_back(svc: Rig) -> None:
    put(svc, 'command="/bin/date" OLD', path=SECOND)
    svc.sh(f"mount --bind {SECOND} {SECOND}")  # to be read and written, not to be renamed
    before = raw(svc.host)
    assert svc.refusal() == "unwritable"
    assert raw(svc.host) == before
    assert sorted(svc.sh("ls -A /home/svc/.ssh").split()) == ["authorized_keys", "authorized_keys2"]


def test_fi_r_03_a_key_that_only_a_program_names_is_given_no_line_without_options(svc: Rig) -> None:
    put(svc, "# nobody's")
    svc.host.write("/etc/keys", f'command="/bin/date" {svc.old.public_key}\n')
    svc.configure_sshd("AuthorizedKeysCommand /usr/bin/cat /etc/keys", "AuthorizedKeysCommandUser nobody")
    assert svc.prove(svc.old).level == Level.LOGIN
    assert (blocked := facts(svc).blocked) is not None
    assert blocked.code == svc.refusal() == "key_by_command"
    assert read(svc) == ["# nobody's"]


def test_fi_r_03_a_key_that_stands_nowhere_is_told_before_the_new_one_gets_its_line(svc: Rig) -> None:
    put(svc, "# nobody's")
    assert told(svc).mark == Mark.WARNING
    assert "or else none" in told(svc).sentence
    svc.add()
    assert read(svc) == ["# nobody's", "NEW keyturn"]


TWO = ['from="127.0.0.0/8" OLD one', 'from="10.9.9.9",no-pty OLD two']


@pytest.mark.parametrize("lines", [TWO, TWO[::-1]], ids=["ours first", "ours last"])
def test_fi_r_04_each_line_of_a_key_gets_its_twin(svc: Rig, lines: list[str]) -> None:
    put(svc, "# before", *lines, "# after")
    assert told(svc).mark == Mark.WARNING
    assert "from=" in told(svc).sentence
    svc.add()
    twins = [line.replace("OLD", key) for line in lines for key in ("OLD", "NEW")]
    assert read(svc) == ["# before", *twins, "# after"]
    svc.add()
    assert read(svc) == ["# before", *twins, "# after"]
    assert svc.prove(svc.new).verdict == Verdict.ACCEPTED
    svc.remove()
    assert read(svc) == ["# before", *(line.replace("OLD", "NEW") for line in lines), "# after"]


def test_fi_r_04_a_twin_that_is_missing_is_put_beside_the_one_that_is_there(svc: Rig) -> None:
    put(svc, TWO[0], TWO[1], TWO[1].replace("OLD", svc.new.public_key))
    svc.add()
    assert read(svc) == [TWO[0], TWO[0].replace("OLD", "NEW"), TWO[1], TWO[1].replace("OLD", "NEW")]


CLOSED = {
    "another machine": ('from="10.9.9.9"', "key_from"),
    "all but this one": ('from="*,!127.0.0.0/8"', "key_from"),
    "a date that is over": ('expiry-time="20200101"', "key_expired"),
    "a date that is over, among others": (
        'restrict,command="a, b=\\"c\\"",Expiry-Time="202001010000Z",pty',
        "key_expired",
    ),
    "an authority": ('cert-authority,principals="svc"', "key_authority"),
    "principals of no authority": ('principals="svc"', "key_authority"),
    "an option that is not known": ('no-such-option="x"', "key_line"),
    "an option twice": ('from="127.0.0.1",from="127.0.0.1"', "key_line"),
}


@pytest.mark.parametrize(("options", "code"), CLOSED.values(), ids=CLOSED.keys())
def test_fi_r_05_a_line_that_lets_nobody_in_from_here_is_named_by_its_option(
    svc: Rig, options: str, code: str
) -> None:
    put(svc, f"{options} OLD")
    assert svc.prove(svc.old).verdict == Verdict.REJECTED  # so sshd itself takes it
    assert (blocked := facts(svc).blocked) is not None
    assert (blocked.name, blocked.code) == ("key_lines", code)
    proof = svc.probe(svc.old.public_key)
    assert (proof.verdict, proof.code) == (Verdict.UNCLEAR, code)


OPEN = [
    'from="127.0.0.1"',
    'from="10.9.9.9,127.0.0.?"',
    'FROM="127.0.0.0/8,!127.9.0.0/16"',
    'expiry-time="20990101"',
    'expiry-time="209901010000Z",no-pty',
    "restrict",
    "verify-required",
    'command="from=\\"10.9.9.9\\",expiry-time=20200101"',
    'no-pty,no-port-forwarding,no-agent-forwarding,no-X11-forwarding,no-user-rc,environment="A=b, c"',
]


@pytest.mark.parametrize("options", OPEN)
def test_fi_r_06_a_line_that_lets_us_in_is_never_called_closed(svc: Rig, options: str) -> None:
    put(svc, f"{options} OLD")
    assert svc.prove(svc.old).verdict == Verdict.ACCEPTED
    assert facts(svc).blocked is None
    assert told(svc).mark == Mark.PASSED
    assert svc.probe(svc.old.public_key) == svc.probe(svc.old.public_key)
    assert svc.probe(svc.old.public_key).verdict == Verdict.ACCEPTED


def found(**told: str) -> Findings:
    made = Findings()
    facts = {"now_local": "20260101120000", "now_seconds": "1767265200", "use_dns": "no"}
    line = {"key_loose": "no", "key_options": "from", "key_from": "", "key_until": ""}
    for key, value in (facts | line | told).items():
        made.put(f"{key}={value}")
    return made


@pytest.mark.parametrize(
    ("until", "is_over"),
    [
        ("20260101", True), ("20260102", False), ("202601011130", True), ("202601011230", False),
        ("202601011030Z", True), ("202601011130Z", False), ("20260101110001Z", False), ("soon", False),
    ],
)  # fmt: skip
def test_a_date_is_read_in_the_hosts_zone_or_in_utc(until: str, is_over: bool) -> None:
    assert key_lines.closed(found(key_options="expiry-time", key_until=until), "192.0.2.1") == (
        "key_expired" if is_over else ""
    )


@pytest.mark.parametrize(
    ("sources", "more", "address", "code"),
    [
        ("2001:db8::/32", {}, "2001:db8::7", ""),
        ("2001:db8::/32", {}, "2001:db9::7", "key_from"),
        ("bastion.example", {}, "192.0.2.1", "key_from"),
        ("bastion.example", {"use_dns": "yes"}, "192.0.2.1", ""),
        ("bastion.example", {}, "", ""),
        ("1" * 250, {}, "192.0.2.1", ""),
    ],
)
def test_a_source_that_is_not_certain_closes_nothing(
    sources: str, more: dict[str, str], address: str, code: str
) -> None:
    assert key_lines.closed(found(key_from=sources, **more), address) == code
