"""What every connector promises, asked of each of them."""

import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest

from lab import Host
from lab.windows.certificates import Authority
from lab.windows.hosts import WindowsHost
from lab.windows.wsman import Endpoint
from rotation.connectors import base
from rotation.connectors.base import Fence, Level, Login, Manager, Mark, Sudo, Verdict
from rotation.connectors.memory.connector import MemoryConnector, MemoryHost
from rotation.connectors.ssh.connector import SshConnector
from rotation.connectors.winrm.connections import Transport
from rotation.connectors.winrm.connector import WinRmConnector, WinRmNameScanner, WinRmScanner
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from tests.lab_fixtures import KeyPair, NewHost
from tests.networks import endpoint

CONSOLE = str(uuid.uuid4())
PROBLEMS = ["no_such_user", "locked", "expired", "must_change"]
FIRST = "the-first-Password-1"
OLD_KEY, NEW_KEY = key_pairs.generate("ed25519"), key_pairs.generate("ecdsa-p256")


class Rig(Protocol):
    """A host whose account svc has the password FIRST, and the means to spoil it."""

    connector: base.Connector
    manager: Manager
    login_alone_counts: bool  # without a command after it, a login is tried even so

    def accepts(self, password: str) -> bool: ...

    def spoil(self, problem: str) -> str:
        """Put the account into this state, and return the code of it."""
        ...

    def run_nothing(self) -> None: ...
    def refuse_by_policy(self) -> None: ...
    def change_host_key(self) -> None: ...
    def go_away(self) -> None: ...


class KeyRig(Rig, Protocol):
    """A host that takes keys too, and the account svc has OLD_KEY."""

    def read_only_the_beginning(self) -> None: ...


class MemoryRig:
    """A simulated host."""

    login_alone_counts = False

    def __init__(self) -> None:
        self.host = MemoryHost()
        self.host.add_account("svc", FIRST).keys.append(OLD_KEY.public_key)
        self.connector: base.Connector = MemoryConnector(self.host)
        self.manager = Manager(Login("keyturn", password=Plaintext("unused")), Sudo.PASSWORDLESS)

    def accepts(self, password: str) -> bool:
        return self.host.shadow_accepts("svc", password)

    def spoil(self, problem: str) -> str:
        if problem == "no_such_user":
            del self.host.accounts["svc"]
        else:
            self.host.accounts["svc"].problem = problem
        return problem

    def run_nothing(self) -> None:
        self.host.accounts["svc"].runs_commands = False

    def refuse_by_policy(self) -> None:
        self.host.refuses = "policy"

    def read_only_the_beginning(self) -> None:
        self.host.reads_only = 8

    def change_host_key(self) -> None:
        self.host.host_key_changed = True

    def go_away(self) -> None:
        self.host.unreachable = True


class SshRig:
    """A real OpenSSH host."""

    login_alone_counts = False

    def __init__(self, host: Host, key: KeyPair) -> None:
        self.host = host
        host.add_account("svc", password=FIRST, authorized_keys=[OLD_KEY.public_key])
        place = endpoint(host.address, host.port, tuple(host.host_keys()))
        self.connector: base.Connector = SshConnector(place)
        self.manager = Manager(Login("keyturn", private_key=Plaintext(key.private)), Sudo.PASSWORDLESS)

    def accepts(self, password: str) -> bool:
        return self.host.shadow_accepts("svc", password)

    def spoil(self, problem: str) -> str:
        self.host.run(
            {
                "no_such_user": ["userdel", "svc"],
                "locked": ["passwd", "--lock", "svc"],
                "empty_password": ["passwd", "--delete", "svc"],
                "expired": ["chage", "--expiredate", "2001-01-01", "svc"],
                "must_change": ["chage", "--lastday", "0", "svc"],
            }[problem]
        )
        return problem

    def run_nothing(self) -> None:
        self.host.run(["usermod", "--shell", "/usr/sbin/nologin", "svc"])

    def refuse_by_policy(self) -> None:
        self.host.write("/usr/local/bin/judge", "#!/bin/sh\necho BAD PASSWORD; exit 1\n", 0o755)
        rule = "password requisite pam_exec.so quiet stdout /usr/local/bin/judge"
        self.host.run(["sed", "-i", f"1i {rule}", "/etc/pam.d/common-password"])

    def read_only_the_beginning(self) -> None:
        self.host.run(["sed", "-i", "s/^ENCRYPT_METHOD.*/ENCRYPT_METHOD DES/", "/etc/login.defs"])
        self.host.run(["sed", "-i", "s/obscure yescrypt/obscure/", "/etc/pam.d/common-password"])
        self.host.set_password("svc", FIRST)

    def change_host_key(self) -> None:
        self.host.change_host_key()

    def go_away(self) -> None:
        self.host.cut()


class WindowsRig:
    """A simulated Windows host, over HTTPS with a pinned certificate or over HTTP with sealed messages."""

    login_alone_counts = True

    def __init__(self, transport: Transport, stack: ExitStack) -> None:
        self.host = WindowsHost()
        self.host.add_account("Administrator", "Admin-Word:1", is_admin=True, rid=500)
        # Of the administrators, so that a login runs a command.
        self.host.add_account("svc", FIRST, is_admin=True)
        self._authority = Authority()
        https = transport is Transport.HTTPS
        self.at = stack.enter_context(
            Endpoint(
                self.host,
                "127.0.41.1",
                certificate=self._authority.issue("self_signed", "127.0.41.1") if https else None,
            )
        )
        scanner = WinRmScanner() if https else WinRmNameScanner()
        shown = scanner.scan(endpoint(self.at.address, self.at.port), timeout=15)
        place = endpoint(self.at.address, self.at.port, tuple(key.line for key in shown))
        self.connector = WinRmConnector(place, transport)
        self.manager = Manager(Login("Administrator", password=Plaintext("Admin-Word:1")))

    def accepts(self, password: str) -> bool:
        return self.host.accepts("svc", password)

    def spoil(self, problem: str) -> str:
        account = self.host.accounts["svc"]
        match problem:
            case "no_such_user":
                del self.host.accounts["svc"]
            case "locked":
                account.is_locked = True
                return "locked_out"
            case "expired":
                account.expires = datetime.now(UTC) - timedelta(days=1)
                return "account_expired"
            case "must_change":
                account.must_change = True
        return problem

    def run_nothing(self) -> None:
        self.host.accounts["svc"].is_admin = False

    def refuse_by_policy(self) -> None:
        self.host.refuses_values = True

    def change_host_key(self) -> None:
        self.at.certificate = self._authority.issue("self_signed", "127.0.41.1")

    def go_away(self) -> None:
        self.at.stop()


def made(request: pytest.FixtureRequest) -> Iterator[Rig]:
    if request.param == "memory":
        yield MemoryRig()
    elif request.param == "ssh":
        new_host: NewHost = request.getfixturevalue("new_host")
        yield SshRig(new_host(), request.getfixturevalue("management_key"))
    else:
        with ExitStack() as stack:
            windows = WindowsRig(Transport(request.param.removeprefix("winrm-")), stack)
            yield windows
            assert windows.host.record.of("unsupported") == []
            assert windows.at.shells == {}


rig = pytest.fixture(made, params=["memory", "ssh", "winrm-https", "winrm-http"])
key_rig = pytest.fixture(made, params=["memory", "ssh"])


def change(rig: Rig, value: str, generation: int = 1, console: str = CONSOLE, username: str = "svc") -> None:
    fence = Fence(console, generation)
    rig.connector.set_password(rig.manager, username, Plaintext(value), fence=fence, timeout=15)


def probe(rig: Rig, value: str) -> base.Proof:
    return rig.connector.probe_password(rig.manager, "svc", Plaintext(value), timeout=15)


def prove(rig: Rig, value: str) -> base.Proof:
    return rig.connector.prove_login(Login("svc", password=Plaintext(value)), timeout=15)


def preflight(rig: Rig, username: str = "svc") -> base.Facts:
    return rig.connector.preflight(rig.manager, username, timeout=15, console_id=CONSOLE)


def test_a_set_value_is_the_only_one_that_works(rig: Rig) -> None:
    change(rig, "the-second-1")
    assert rig.accepts("the-second-1")
    assert not rig.accepts(FIRST)


def test_a_value_that_works_is_accepted_by_the_hosts_own_check_and_by_a_login(rig: Rig) -> None:
    assert probe(rig, FIRST) == base.Proof(Verdict.ACCEPTED, Level.HASH)
    assert prove(rig, FIRST) == base.Proof(Verdict.ACCEPTED, Level.COMMAND)


def test_a_value_that_does_not_work_is_rejected_by_the_hosts_own_check_and_by_a_login(rig: Rig) -> None:
    assert probe(rig, "wrong").verdict == Verdict.REJECTED
    assert prove(rig, "wrong").verdict == Verdict.REJECTED


@pytest.mark.parametrize("value", ["", "a\nb", "a\rb", "a\0b", "x" * 512, "é" * 256])
def test_a_value_that_chpasswd_would_take_for_another_is_refused(rig: Rig, value: str) -> None:
    with pytest.raises(base.Refused) as refusal:
        change(rig, value)
    assert refusal.value.code == "bad_value"
    assert rig.accepts(FIRST)
    assert probe(rig, value).verdict == Verdict.UNCLEAR


def test_the_same_generation_may_be_sent_again_and_an_older_one_may_not(rig: Rig) -> None:
    change(rig, "the-second-1", generation=7)
    change(rig, "the-second-1", generation=7)
    with pytest.raises(base.Stale):
        change(rig, "the-older-1", generation=6)
    assert rig.accepts("the-second-1")
    assert preflight(rig).generation == 7


def test_a_value_that_the_host_refuses_for_its_rules_leaves_its_number_behind(rig: Rig) -> None:
    rig.refuse_by_policy()
    with pytest.raises(base.Refused) as refusal:
        change(rig, "the-second-1", generation=7)
    assert refusal.value.code == "policy"
    assert rig.accepts(FIRST)
    assert (preflight(rig).generation, trace(rig).generation) == (7, 7)
    with pytest.raises(base.Stale):
        change(rig, "the-older-1", generation=6)


def test_a_host_that_reads_only_the_beginning_of_a_value_proves_none(key_rig: KeyRig) -> None:
    key_rig.read_only_the_beginning()
    proof = probe(key_rig, FIRST)
    assert (proof.verdict, proof.code) == (Verdict.UNCLEAR, "truncates")
    assert probe(key_rig, "wrong").verdict == Verdict.REJECTED


def test_an_account_that_another_console_manages_is_left_alone(rig: Rig) -> None:
    change(rig, "the-second-1", console=str(uuid.uuid4()))
    with pytest.raises(base.Refused) as refusal:
        change(rig, "the-third-1")
    assert refusal.value.code == "foreign_console"
    assert rig.accepts("the-second-1")
    assert (blocked := preflight(rig).blocked) is not None
    assert blocked.code == "foreign_console"


@pytest.mark.parametrize("problem", PROBLEMS)
def test_an_account_in_no_state_for_a_change_is_not_changed(rig: Rig, problem: str) -> None:
    code = rig.spoil(problem)
    with pytest.raises(base.Refused) as refusal:
        change(rig, "the-second-1")
    assert refusal.value.code == code
    assert (blocked := preflight(rig).blocked) is not None
    assert blocked.code == code
    if problem != "no_such_user":
        assert not rig.accepts("the-second-1")


def test_an_account_without_a_password_is_not_given_one(key_rig: KeyRig) -> None:
    key_rig.spoil("empty_password")
    with pytest.raises(base.Refused) as refusal:
        change(key_rig, "the-second-1")
    assert refusal.value.code == "empty_password"
    assert (blocked := preflight(key_rig).blocked) is not None
    assert blocked.code == trace(key_rig).problem == probe(key_rig, FIRST).code == "empty_password"
    assert not key_rig.accepts("the-second-1")


def test_a_locked_account_has_no_password_that_could_be_called_wrong(rig: Rig) -> None:
    rig.spoil("locked")
    assert probe(rig, FIRST).verdict == Verdict.UNCLEAR


@pytest.mark.parametrize("problem", ["expired", "must_change"])
def test_a_login_that_the_account_forbids_says_nothing_about_the_password(rig: Rig, problem: str) -> None:
    rig.spoil(problem)
    proof = prove(rig, FIRST)
    assert proof.verdict == Verdict.UNCLEAR
    assert "expired" in proof.reason if problem == "expired" else "change" in proof.reason


def test_an_account_without_a_shell_is_proven_by_the_login_alone(rig: Rig) -> None:
    rig.run_nothing()
    assert prove(rig, FIRST).level == Level.LOGIN
    assert preflight(rig).password_login == rig.login_alone_counts


def test_an_account_in_order_passes_its_preflight(rig: Rig) -> None:
    facts = preflight(rig)
    assert facts.blocked is None
    assert "svc" in facts.accounts
    assert facts.password_login
    assert facts.generation == 0


def test_a_host_may_be_looked_at_without_naming_an_account(rig: Rig) -> None:
    assert preflight(rig, "").blocked is None


def test_a_host_that_cannot_be_reached_is_told_nothing(rig: Rig) -> None:
    rig.go_away()
    check_nothing_is_told(rig, base.Unreachable, "unreachable")


@pytest.mark.parametrize(
    ("rig", "code"),
    [("memory", "host_key_changed"), ("ssh", "host_key_changed"), ("winrm-https", "certificate_changed")],
    indirect=["rig"],
)
def test_a_host_that_cannot_be_trusted_is_told_nothing(rig: Rig, code: str) -> None:
    rig.change_host_key()
    check_nothing_is_told(rig, base.HostKeyChanged, code)


def check_nothing_is_told(rig: Rig, error: type[base.ConnectorError], code: str) -> None:
    with pytest.raises(error):
        change(rig, "the-second-1")
    with pytest.raises(error):
        probe(rig, FIRST)
    with pytest.raises(error):
        prove(rig, FIRST)
    (check,) = preflight(rig).checks
    assert (check.mark, check.code) == (Mark.BLOCKED, code)
    assert rig.accepts(FIRST)


@pytest.mark.parametrize("username", ["", "-x", "..", "a b", "a:b", "a\nb", "$(id)", "a" * 33, "ü"])
def test_a_name_that_no_account_can_have_is_refused(rig: Rig, username: str) -> None:
    with pytest.raises(base.Refused) as refusal:
        change(rig, "the-second-1", username=username)
    assert refusal.value.code == "bad_user"


def test_no_error_and_no_proof_shows_a_value(rig: Rig) -> None:
    value = secrets.token_urlsafe(24)
    rig.spoil("locked")
    with pytest.raises(base.Refused) as refusal:
        change(rig, value)
    shown = f"{refusal.value!r} {refusal.value.__cause__!r} {probe(rig, value)!r} {prove(rig, value)!r}"
    assert value not in shown


# ---------------------------------------------------------------- keys


def edit(rig: Rig, action: str, pair: key_pairs.KeyPair, generation: int = 1, console: str = CONSOLE) -> None:
    fence = Fence(console, generation)
    if action == "add":
        rig.connector.add_key(
            rig.manager, "svc", pair.public_key, like=OLD_KEY.public_key, fence=fence, timeout=15
        )
    else:
        rig.connector.remove_key(rig.manager, "svc", pair.public_key, fence=fence, timeout=15)


def listed(rig: Rig, pair: key_pairs.KeyPair) -> base.Verdict:
    return rig.connector.probe_key(rig.manager, "svc", pair.public_key, timeout=15).verdict


def key_login(rig: Rig, pair: key_pairs.KeyPair) -> base.Proof:
    return rig.connector.prove_login(Login("svc", private_key=pair.private_key), timeout=15)


def key_facts(rig: Rig) -> base.Facts:
    return rig.connector.preflight(rig.manager, "svc", timeout=15, console_id=CONSOLE, kind=base.Kind.KEY)


def test_both_keys_work_between_an_addition_and_a_removal(key_rig: KeyRig) -> None:
    assert (listed(key_rig, OLD_KEY), listed(key_rig, NEW_KEY)) == (Verdict.ACCEPTED, Verdict.REJECTED)
    assert key_login(key_rig, NEW_KEY) == base.Proof(Verdict.REJECTED, Level.LOGIN)
    edit(key_rig, "add", NEW_KEY)
    assert (
        key_login(key_rig, OLD_KEY)
        == key_login(key_rig, NEW_KEY)
        == base.Proof(Verdict.ACCEPTED, Level.COMMAND)
    )
    edit(key_rig, "remove", OLD_KEY)
    assert (listed(key_rig, OLD_KEY), listed(key_rig, NEW_KEY)) == (Verdict.REJECTED, Verdict.ACCEPTED)
    assert key_login(key_rig, OLD_KEY).verdict == Verdict.REJECTED
    assert key_rig.accepts(FIRST)


def test_what_a_host_says_of_a_key_that_it_took_is_what_it_says_when_it_is_asked(key_rig: KeyRig) -> None:
    told = key_rig.connector.add_key(
        key_rig.manager, "svc", NEW_KEY.public_key, like="", fence=Fence(CONSOLE, 1), timeout=15
    )
    assert told == key_rig.connector.probe_key(key_rig.manager, "svc", NEW_KEY.public_key, timeout=15)


def test_a_key_has_a_fence_of_its_own(key_rig: KeyRig) -> None:
    edit(key_rig, "add", NEW_KEY, generation=7)
    assert (key_facts(key_rig).generation, preflight(key_rig).generation) == (7, 0)
    with pytest.raises(base.Stale):
        edit(key_rig, "remove", NEW_KEY, generation=6)
    with pytest.raises(base.Refused) as refusal:
        edit(key_rig, "remove", NEW_KEY, generation=8, console=str(uuid.uuid4()))
    assert refusal.value.code == "foreign_console"
    assert listed(key_rig, NEW_KEY) == Verdict.ACCEPTED


@pytest.mark.parametrize("problem", ["locked", "empty_password"])
def test_a_password_that_is_locked_or_empty_is_no_reason_for_a_key(key_rig: KeyRig, problem: str) -> None:
    key_rig.spoil(problem)
    assert key_facts(key_rig).blocked is None
    edit(key_rig, "add", NEW_KEY)
    assert key_login(key_rig, NEW_KEY).verdict == Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("problem", "code"),
    [("no_such_user", "no_such_user"), ("expired", "expired"), ("must_change", "must_change_first")],
)
def test_an_account_that_no_key_opens_gets_none(key_rig: KeyRig, problem: str, code: str) -> None:
    key_rig.spoil(problem)
    with pytest.raises(base.Refused) as refusal:
        edit(key_rig, "add", NEW_KEY)
    assert refusal.value.code == code
    assert (blocked := key_facts(key_rig).blocked) is not None
    assert blocked.code == code


def test_a_host_that_is_away_is_told_nothing_of_a_key(key_rig: KeyRig) -> None:
    key_rig.go_away()
    for action in ("add", "remove"):
        with pytest.raises(base.Unreachable):
            edit(key_rig, action, NEW_KEY)
    with pytest.raises(base.Unreachable):
        listed(key_rig, NEW_KEY)


def test_a_line_that_is_not_one_key_is_refused(key_rig: KeyRig) -> None:
    bad = key_pairs.KeyPair(f"{NEW_KEY.public_key}\n{OLD_KEY.public_key}", NEW_KEY.private_key)
    with pytest.raises(base.Refused) as refusal:
        edit(key_rig, "add", bad)
    assert refusal.value.code == "bad_key_line"


# ---------------------------------------------------------------- traces, sessions, lifelines


def trace(rig: Rig, kind: base.Kind = base.Kind.PASSWORD, console: str = CONSOLE) -> base.Traces:
    return rig.connector.trace(rig.manager, "svc", kind=kind, console_id=console, timeout=15)


def test_a_trace_of_a_password_is_the_same_until_it_changes(rig: Rig) -> None:
    check_trace(rig, base.Kind.PASSWORD, lambda: change(rig, "the-second-1", generation=3))


def test_a_trace_of_keys_is_the_same_until_they_change(key_rig: KeyRig) -> None:
    check_trace(key_rig, base.Kind.KEY, lambda: edit(key_rig, "add", NEW_KEY, generation=3))


def check_trace(rig: Rig, kind: base.Kind, make_change: Callable[[], None]) -> None:
    first = trace(rig, kind)
    assert len(first.mark) == 64
    assert int(first.mark, 16)
    assert trace(rig, kind) == first
    assert trace(rig, kind, str(uuid.uuid4())).mark != first.mark
    make_change()
    changed = trace(rig, kind)
    assert changed.mark != first.mark
    assert (first.generation, changed.generation) == (0, 3)
    assert first.problem == changed.problem == ""


def test_a_password_and_a_key_leave_traces_apart_from_each_other(key_rig: KeyRig) -> None:
    password, key = trace(key_rig), trace(key_rig, base.Kind.KEY)
    assert password.mark != key.mark
    edit(key_rig, "add", NEW_KEY, generation=3)
    assert trace(key_rig).mark == password.mark


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_trace_names_what_keeps_everybody_out(rig: Rig, problem: str) -> None:
    code = rig.spoil(problem)
    traces = trace(rig)
    assert traces.problem == code
    assert bool(traces.mark) == (problem != "no_such_user")


def test_what_is_allowed_is_done_and_only_that(rig: Rig) -> None:
    change(rig, "the-second-1", console=str(uuid.uuid4()))
    fence = Fence(CONSOLE, 1)
    value = Plaintext("the-third-1")
    for allowed in ((), ("must_change",)):
        with pytest.raises(base.Refused) as refusal:
            rig.connector.set_password(rig.manager, "svc", value, fence=fence, timeout=15, allowed=allowed)
        assert refusal.value.code == "foreign_console"
    assert rig.accepts("the-second-1")
    allowed = ("foreign_console",)
    facts = rig.connector.preflight(rig.manager, "svc", timeout=15, console_id=CONSOLE, allowed=allowed)
    assert facts.blocked is None
    assert "foreign_console" in [c.code for c in facts.checks if c.mark == Mark.WARNING]
    rig.connector.set_password(rig.manager, "svc", value, fence=fence, timeout=15, allowed=allowed)
    assert rig.accepts("the-third-1")


def test_a_key_is_added_beside_what_is_allowed(key_rig: KeyRig) -> None:
    edit(key_rig, "add", NEW_KEY, console=str(uuid.uuid4()))
    fence, allowed = Fence(CONSOLE, 1), ("foreign_console",)
    key_rig.connector.add_key(
        key_rig.manager, "svc", NEW_KEY.public_key, like="", fence=fence, timeout=15, allowed=allowed
    )
    assert listed(key_rig, NEW_KEY) == Verdict.ACCEPTED


def test_a_demand_for_a_change_is_met_by_a_change_that_is_allowed(rig: Rig) -> None:
    rig.spoil("must_change")
    fence, value = Fence(CONSOLE, 1), Plaintext("the-second-1")
    allowed = ("must_change",)
    facts = rig.connector.preflight(rig.manager, "svc", timeout=15, console_id=CONSOLE, allowed=allowed)
    assert facts.blocked is None
    assert "must_change" in [c.code for c in facts.checks if c.mark == Mark.WARNING]
    rig.connector.set_password(rig.manager, "svc", value, fence=fence, timeout=15, allowed=allowed)
    assert rig.accepts("the-second-1")
    assert preflight(rig).blocked is None
    assert prove(rig, "the-second-1").level == Level.COMMAND


def test_nothing_but_the_demand_for_a_change_is_let_pass_with_it(rig: Rig) -> None:
    code = rig.spoil("locked")
    with pytest.raises(base.Refused) as refusal:
        rig.connector.set_password(
            rig.manager,
            "svc",
            Plaintext("the-second-1"),
            fence=Fence(CONSOLE, 1),
            timeout=15,
            allowed=base.OVERRIDABLE,
        )
    assert refusal.value.code == code


@pytest.mark.parametrize("problem", ["locked", "no_such_user"])
def test_an_answer_that_is_unclear_says_why_in_a_word(rig: Rig, problem: str) -> None:
    code = rig.spoil(problem)
    proof = probe(rig, FIRST)
    assert (proof.verdict, proof.code) == (Verdict.UNCLEAR, code)


def test_the_management_account_keeps_its_own_sessions(key_rig: KeyRig) -> None:
    with pytest.raises(base.Refused) as refusal:
        key_rig.connector.end_sessions(key_rig.manager, key_rig.manager.login.username, timeout=15)
    assert refusal.value.code == "own_session"


def test_an_account_with_nothing_open_has_nothing_that_ends(key_rig: KeyRig) -> None:
    assert key_rig.connector.end_sessions(key_rig.manager, "svc", timeout=15) == 0


def test_calls_go_through_a_lifeline_and_it_is_not_replaced(rig: Rig) -> None:
    with rig.connector.lifeline(rig.manager, timeout=15):
        change(rig, "the-second-1")
        assert probe(rig, "the-second-1").verdict == Verdict.ACCEPTED
        assert trace(rig).mark
        assert preflight(rig).blocked is None
    assert prove(rig, "the-second-1").level == Level.COMMAND


def test_a_host_that_is_away_opens_no_lifeline_and_shows_no_trace(rig: Rig) -> None:
    rig.go_away()
    with pytest.raises(base.Unreachable), rig.connector.lifeline(rig.manager, timeout=15):
        pytest.fail("it was opened")
    with pytest.raises(base.Unreachable):
        trace(rig)


def test_a_host_that_is_away_ends_no_session(key_rig: KeyRig) -> None:
    key_rig.go_away()
    with pytest.raises(base.Unreachable):
        key_rig.connector.end_sessions(key_rig.manager, "svc", timeout=15)
