"""What breaks on a Windows host, between it and the worker, and in its rules; on simulated hosts."""

from __future__ import annotations

import base64
import itertools
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import winrm

from lab.windows.certificates import Authority
from lab.windows.hosts import Dependant, WindowsHost
from lab.windows.records import Record
from lab.windows.wsman import Endpoint
from rotation import binding, runs
from rotation.connectors import base
from rotation.connectors.base import Fence, Login, Manager, Mark, Verdict
from rotation.connectors.winrm.connections import AUTHORITY, Transport
from rotation.connectors.winrm.connector import WinRmConnector, WinRmNameScanner, WinRmScanner
from rotation.inventory import identities, management
from rotation.models import ManagedAccount, ManagementCredential, Run
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import amounts, factories, waiting, windows_instances
from tests.networks import endpoint
from tests.windows_instances import MANAGER, PASSWORD, advance
from tests.wires.test_rotation import worker

pytestmark = pytest.mark.django_db(transaction=True)
OLD, NEW = "The-old-Password-1", "The-new-Password-2"
CONSOLE = "3f2c1a00-0000-4000-8000-000000000001"
#: The operations of one change, each with its number among those of its name.
CHANGE = [
    ("Create", 1), ("Command", 1), ("Send", 1), ("Receive", 1), ("Send", 2), ("Receive", 2), ("Signal", 1),
    ("Delete", 1),
]  # fmt: skip


@pytest.fixture
def at() -> Iterator[Endpoint]:
    with windows_instances.running("127.0.43.1") as made:
        made.host.add_account("svc", OLD)
        yield made


@pytest.fixture
def host(at: Endpoint) -> WindowsHost:
    return at.host


@pytest.fixture
def secret(at: Endpoint) -> Secret:
    made = factories.secret(instance=windows_instances.register(at), initial=OLD)
    factories.settle(made)
    return made


def connector(at: Endpoint) -> WinRmConnector:
    shown = WinRmScanner().scan(endpoint(at.address, at.port), timeout=15)
    return WinRmConnector(endpoint(at.address, at.port, tuple(key.line for key in shown)))


def named(at: Endpoint) -> base.Endpoint:
    """Where a host is over HTTP, with the name that it calls itself."""
    shown = WinRmNameScanner().scan(endpoint(at.address, at.port), timeout=15)
    return endpoint(at.address, at.port, tuple(key.line for key in shown))


def manager(username: str = MANAGER, password: str = PASSWORD) -> Manager:
    return Manager(Login(username, password=Plaintext(password)))


def change(
    wire: WinRmConnector, value: str = NEW, *, generation: int = 1, timeout: float = 15
) -> base.Proof | None:
    fence = Fence(CONSOLE, generation)
    return wire.set_password(manager(), "svc", Plaintext(value), fence=fence, timeout=timeout)


def probe(wire: WinRmConnector, value: str) -> base.Proof:
    return wire.probe_password(manager(), "svc", Plaintext(value), timeout=15)


def prove(wire: WinRmConnector, value: str) -> base.Proof:
    return wire.prove_login(Login("svc", password=Plaintext(value)), timeout=15)


def rotate(secret: Secret) -> Run:
    return runs.start(Secret.objects.get(pk=secret.pk), actor=factories.administrator())


def until_it_ends(run: Run) -> Run:
    for _ in range(12):
        run = advance(run)
        if run.state == Run.State.ENDED:
            return run
    raise AssertionError(f"{run.code}: {run.sentence}")


def current(secret: Secret) -> str:
    return versions.value(Secret.objects.get(pk=secret.pk).labelled("current")).password.reveal()


def account(secret: Secret) -> ManagedAccount:
    return ManagedAccount.objects.get(secret=secret)


# ---------------------------------------------------------------- the answer that is lost


@pytest.mark.parametrize(("operation", "nth"), CHANGE)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["drop", "503"])
def test_fi_x_01_an_answer_that_is_lost_anywhere_is_never_taken_for_a_failure(
    at, host, operation, nth, when, what
):
    at.arm(operation, when, what, nth=nth)
    wire = connector(at)
    is_sent = (operation, nth) in CHANGE[4:]
    may_have_heard = (operation, nth) in CHANGE[4:6]
    if may_have_heard:
        with pytest.raises(base.Unknown):
            change(wire)
    elif not is_sent:
        with pytest.raises(base.Unreachable):
            change(wire)
        assert host.accepts("svc", OLD)
    else:
        change(wire)
    # The script may still be at work: what is asked under its lock is the same before and after.
    change(wire)
    assert host.accepts("svc", NEW)
    assert prove(wire, NEW).verdict == Verdict.ACCEPTED
    assert host.failed_logons("svc") == 0


def test_fi_x_01_the_engine_finds_a_change_whose_answer_was_lost_and_makes_no_second_one(
    secret, at, host, monkeypatch
):
    lost = itertools.count(1)
    answer = Endpoint.answer

    def lose(self: Endpoint, user: str, message: bytes) -> tuple[str, bytes]:
        what, said = answer(self, user, message)
        return ("drop" if host.resets and next(lost) == 1 else what), said

    monkeypatch.setattr(Endpoint, "answer", lose)
    run = until_it_ends(rotate(secret))
    assert run.outcome == "succeeded", f"{run.code}: {run.sentence}"
    assert next(lost) > 2
    assert host.resets == ["svc"]
    assert host.accepts("svc", current(secret))
    assert host.failed_logons("svc") == 0


@pytest.mark.parametrize("place", ["after_create", "after_intent", "after_set", "before_finish"])
def test_fi_x_01_a_worker_killed_anywhere_leaves_one_change_and_no_guess(secret, host, place):
    run = rotate(secret)
    assert worker(run, place).wait(timeout=120) == -signal.SIGKILL
    run = until_it_ends(run)
    assert run.outcome == "succeeded", f"{run.code}: {run.sentence}"
    assert host.accepts("svc", current(secret))
    assert host.resets == ["svc"]
    # What the host may have heard of is asked for, and a value that it has not is a wrong password there.
    assert host.failed_logons("svc") == (place == "after_intent")


def test_fi_x_01_a_value_without_its_commit_line_is_never_set(at, host):
    wire = connector(at)
    at.arm("Send", "before", "drop", nth=2)
    with pytest.raises(base.Unknown):
        change(wire)
    assert host.accepts("svc", OLD)
    assert host.resets == []


# ---------------------------------------------------------------- the lock-out


def test_fi_x_02_near_the_lock_out_no_wrong_password_is_tried(at, host):
    host.rules.threshold = 3
    wire = connector(at)
    assert [probe(wire, "wrong-Word-1").verdict for _ in range(2)] == [Verdict.REJECTED] * 2
    for _ in range(3):
        proof = probe(wire, "wrong-Word-1")
        assert (proof.verdict, proof.code) == (Verdict.UNCLEAR, "near_lock_out")
    assert not host.accounts["svc"].is_locked
    assert host.failed_logons("svc") == 2


def test_fi_x_02_a_search_through_older_values_leaves_half_of_the_wrong_passwords_to_the_users(secret, host):
    host.rules.threshold = 6
    for _ in range(7):
        assert until_it_ends(rotate(secret)).outcome == "succeeded"
    host.reset("svc", "Set-by-0thers")
    run = until_it_ends(runs.drift(Secret.objects.get(pk=secret.pk), actor=factories.administrator()))
    assert (run.outcome, run.truth) == ("failed", "unknown"), run.sentence
    assert "some could not be checked" in run.sentence
    assert host.failed_logons("svc") == 3
    assert account(secret).credential == "out_of_sync"


def test_fi_x_02_near_the_lock_out_a_change_is_not_checked_either(at, host):
    host.lies = True
    host.rules.threshold = 3
    host.accounts["svc"].bad_attempts = 2
    host.accounts["svc"].bad_at = time.monotonic()
    wire = connector(at)
    proof = change(wire)
    assert (proof.verdict, proof.code) == (Verdict.UNCLEAR, "near_lock_out")
    assert prove(wire, NEW).code == "near_lock_out"
    assert host.failed_logons("svc") == 0


def test_fi_x_02_lost_answers_cost_no_failed_logon(secret, at, host):
    host.rules.threshold = 2
    at.most_seconds = 5
    run = rotate(secret)
    for nth in (2, 4, 6):
        at.arm("Command", "before", "drop", nth=nth)
    run = until_it_ends(run)
    assert run.outcome == "succeeded", f"{run.code}: {run.sentence}"
    assert host.failed_logons("svc") == 0


def test_fi_x_02_a_refused_login_says_wrong_only_of_an_account_that_was_in_order(at, host):
    wire = connector(at)
    assert (prove(wire, "wrong-Word-1").verdict, prove(wire, "wrong-Word-1").code) == (
        Verdict.UNCLEAR,
        "no_reason_given",
    )
    wire.preflight(manager(), "svc", timeout=15, console_id=CONSOLE)
    assert prove(wire, "wrong-Word-1").verdict == Verdict.REJECTED
    host.accounts["svc"].is_locked = True
    wire.preflight(manager(), "svc", timeout=15, console_id=CONSOLE)
    assert prove(wire, OLD).code == "locked_out"


# ---------------------------------------------------------------- X-03, -04, -05, -11: what Windows refuses


def test_fi_x_03_a_value_that_the_rules_refuse_is_drawn_again_and_the_old_one_kept(secret, host):
    host.refuses_values = True
    run = until_it_ends(rotate(secret))
    assert (run.outcome, run.code) == ("blocked", "policy"), run.sentence
    assert host.accepts("svc", OLD)
    assert current(secret) == OLD
    host.refuses_values = False
    assert until_it_ends(rotate(secret)).outcome == "succeeded"


@pytest.mark.parametrize("has_local_accounts", [True, False])
def test_fi_x_03_both_ways_to_set_a_password_name_the_rules(at, host, has_local_accounts):
    host.has_local_accounts = has_local_accounts
    host.refuses_values = True
    with pytest.raises(base.Refused) as refusal:
        change(connector(at))
    assert refusal.value.code == "policy"
    host.refuses_values = False
    change(connector(at), generation=2)
    assert host.accepts("svc", NEW)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ({"is_locked": True}, "locked_out"),
        ({"is_enabled": False}, "disabled"),
        ({"expires": datetime.now(UTC) - timedelta(days=1)}, "account_expired"),
        ({"must_change": True}, "must_change"),
    ],
)
def test_fi_x_04_an_account_that_is_not_in_order_is_named_and_left_as_it_is(secret, host, state, code):
    vars(host.accounts["svc"]).update(state)
    before = host.accounts["svc"].state
    run = advance(rotate(secret))
    assert (run.outcome, run.code) == ("blocked", code), run.sentence
    assert host.accounts["svc"].state == before
    assert host.accepts("svc", OLD)
    assert host.resets == []


@pytest.mark.parametrize("name", ["svc", ""])
def test_fi_x_05_an_account_that_laps_manages_is_left_to_it(secret, host, name):
    host.manage_by_laps(name)
    host.accounts["svc"].rid = 500
    run = advance(rotate(secret))
    assert (run.outcome, run.code) == ("blocked", "laps"), run.sentence
    assert (run.attempts, host.resets) == (0, [])


def test_fi_x_05_laps_that_is_not_seen_beforehand_refuses_the_change(at, host, monkeypatch):
    monkeypatch.setattr(WindowsHost, "_is_laps", lambda *_: True)
    with pytest.raises(base.Refused) as refusal:
        change(connector(at))
    assert refusal.value.code == "laps"
    assert host.accepts("svc", OLD)


def test_fi_x_11_a_domain_controller_has_no_local_accounts(secret, host):
    host.is_controller = True
    run = advance(rotate(secret))
    assert (run.outcome, run.code) == ("blocked", "domain_controller"), run.sentence
    assert host.resets == []


def test_fi_x_11_a_host_that_becomes_a_domain_controller_refuses_the_change_itself(at, host):
    wire = connector(at)
    host.is_controller = True
    with pytest.raises(base.Refused) as refusal:
        change(wire)
    assert refusal.value.code == "domain_controller"
    assert host.resets == []


# ---------------------------------------------------------------- what the host writes down


def test_fi_x_06_a_value_is_in_no_event_no_command_line_and_no_output(secret, at, host):
    values = [OLD]
    for _ in range(3):
        assert until_it_ends(rotate(secret)).outcome == "succeeded"
        values.append(current(secret))
    host.has_local_accounts = False
    assert until_it_ends(rotate(secret)).outcome == "succeeded"
    for value in [*values, current(secret)]:
        assert host.record.places(value) <= {"stdin"}
    assert host.record.places(PASSWORD) == set()
    session = winrm.Session("127.0.0.1", auth=(MANAGER, PASSWORD))
    with Endpoint(host, "127.0.43.2") as plain:
        session.protocol = winrm.Protocol(
            f"http://127.0.43.2:{plain.port}/wsman",
            transport="ntlm",
            username=MANAGER,
            password=PASSWORD,
            message_encryption="always",
            ca_trust_path=None,
            proxy=None,
        )
        session.run_ps(f"[Console]::Out.WriteLine('{values[1]}')")
    assert {"command line", "event 4688", "event 4104", "stdout"} <= host.record.places(values[1])


def test_fi_x_06_after_many_rotations_no_record_of_any_host_holds_a_value(host, secret):
    with windows_instances.running("127.0.43.6") as other, windows_instances.running("127.0.43.7") as third:
        accounts = [(secret, host)]
        for at in (other, third):
            at.host.add_account("svc", OLD)
            made = factories.secret(instance=windows_instances.register(at), initial=OLD)
            factories.settle(made)
            accounts.append((made, at.host))
        count = amounts.cases(9, long=500)
        set_on: list[tuple[str, WindowsHost]] = [(OLD, one) for _, one in accounts]
        for number in range(count):
            rotated, its = accounts[number % len(accounts)]
            assert until_it_ends(rotate(rotated)).outcome == "succeeded"
            set_on.append((current(rotated), its))
        assert len({value for value, _ in set_on}) == count + 1
        for value, its in set_on[len(accounts) :]:
            # It came on standard input, in base64: the search finds what is there.
            assert [one.record.places(value) for _, one in accounts if one is not its] == [set(), set()]
            assert its.record.places(value) == {"stdin"}


@pytest.mark.parametrize("form", ["plain", "UTF-16LE", "base64", "base64 of UTF-16LE", "hex", "HEX"])
def test_a_value_is_recognized_in_every_form_and_at_any_offset(form):
    value = "The-new-Password-2"
    for before in ("", "a", "ab", "abc"):
        text = f"{before}{value}!"
        wide = text.encode("utf-16-le")
        written = {
            "plain": text.encode(),
            "UTF-16LE": wide,
            "base64": base64.b64encode(text.encode()),
            "base64 of UTF-16LE": base64.b64encode(wide),
            "hex": text.encode().hex().encode(),
            "HEX": wide.hex().upper().encode(),
        }[form]
        record = Record()
        record.add("event 4104", written)
        assert record.places(value) == {"event 4104"}
        assert record.places("Another-Password-3") == set()


# ---------------------------------------------------------------- the certificate


def test_fi_x_07_a_certificate_that_changed_stops_before_any_login(secret, at, host):
    at.certificate = Authority().issue("self_signed", at.address)
    seen = at.attempts
    run = advance(rotate(secret))
    assert (run.outcome, run.code) == ("blocked", "certificate_changed"), run.sentence
    assert at.attempts == seen
    assert host.logons == []


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("good", ""),
        ("expired", "certificate_expired"),
        ("wrong_name", "certificate_name"),
        ("self_signed", "certificate_untrusted"),
    ],
)
def test_fi_x_07_under_an_approved_authority_a_certificate_is_judged_before_any_login(host, kind, code):
    authority = Authority()
    line = base.HostKey(AUTHORITY, authority.blob, "").line
    with Endpoint(host, "127.0.43.3", certificate=authority.issue(kind, "127.0.43.3")) as at:
        wire = WinRmConnector(endpoint(at.address, at.port, (line,)))
        facts = wire.preflight(manager(), timeout=15)
        assert (facts.blocked.code if facts.blocked else "") == code
        assert at.attempts == (not code)


@pytest.mark.parametrize("kind", ["expired", "wrong_name", "self_signed"])
def test_fi_x_07_a_certificate_that_was_compared_itself_is_trusted_for_what_it_is(host, kind):
    with Endpoint(host, "127.0.43.4", certificate=Authority().issue(kind, "127.0.43.4")) as at:
        assert connector(at).preflight(manager(), timeout=15).blocked is None


def test_fi_x_07_an_authority_may_sign_another_certificate_and_no_other_authority_may(secret, at, host):
    authority = Authority()
    at.certificate = authority.issue("good", at.address)
    instance, dot = secret.managed.instance, factories.administrator()
    identities.trust_authority(instance, authority.pem, actor=dot)
    management.attach(instance, ManagementCredential.objects.get(), actor=dot)
    binding.move(account(secret), binding.now_at(instance))
    assert until_it_ends(rotate(secret)).outcome == "succeeded"
    at.certificate = authority.issue("good", at.address)
    assert until_it_ends(rotate(secret)).outcome == "succeeded"
    seen, kept = at.attempts, current(secret)
    for kind, signer, code in (
        ("good", Authority(), "certificate_untrusted"),
        ("expired", authority, "certificate_expired"),
        ("wrong_name", authority, "certificate_name"),
        ("self_signed", authority, "certificate_untrusted"),
    ):
        at.certificate = signer.issue(kind, at.address)
        run = until_it_ends(rotate(secret))
        assert (run.outcome, run.code) == ("blocked", code), run.sentence
    assert at.attempts == seen
    assert host.accepts("svc", kept)


def test_fi_x_07_an_authority_that_another_one_has_signed_is_enough(host):
    root = Authority()
    issuing = Authority(signed_by=root)
    with Endpoint(host, "127.0.43.5", certificate=issuing.issue("good", "127.0.43.5")) as at:
        line = base.HostKey(AUTHORITY, issuing.blob, "").line
        wire = WinRmConnector(endpoint(at.address, at.port, (line,)))
        assert wire.preflight(manager(), timeout=15).blocked is None


def test_fi_x_07_without_an_approved_certificate_nothing_is_connected_to(at):
    wire = WinRmConnector(endpoint(at.address, at.port))
    with pytest.raises(base.HostKeyChanged):
        change(wire)
    assert at.connections == 0


# ---------------------------------------------------------------- quotas


def test_fi_x_08_too_many_shells_are_waited_for(secret, at, host):
    host.shell_quota = 0
    run = advance(rotate(secret))
    assert (run.state, run.code) == ("waiting", "shells_full"), run.sentence
    host.shell_quota = 30
    assert until_it_ends(run).outcome == "succeeded"


@pytest.mark.parametrize("status", ["500", "503", "413"])
def test_fi_x_08_an_error_of_http_is_no_refusal(secret, at, host, status):
    at.arm("Create", "before", status)
    run = advance(rotate(secret))
    assert run.state == "waiting", f"{run.code}: {run.sentence}"
    assert until_it_ends(run).outcome == "succeeded"


@pytest.mark.parametrize(
    ("operation", "when"),
    [("Create", "after"), ("Command", "before"), ("Receive", "after"), ("Delete", "after")],
)
def test_fi_x_08_a_login_that_was_let_in_is_one_whatever_breaks_then(at, host, operation, when):
    wire = connector(at)
    at.arm(operation, when, "drop")
    if operation == "Create":
        with pytest.raises(base.Unreachable):
            wire.prove_login(manager().login, timeout=15)
    else:
        proof = wire.prove_login(manager().login, timeout=15)
        assert proof.verdict == Verdict.ACCEPTED
        assert proof.level == (base.Level.COMMAND if operation == "Delete" else base.Level.LOGIN)
    host.shell_quota = 0
    proof = wire.prove_login(manager().login, timeout=15)
    assert (proof.verdict, proof.level) == (Verdict.ACCEPTED, base.Level.LOGIN)
    assert "too many WinRM shells" in proof.reason


# ---------------------------------------------------------------- a snapshot


def test_fi_x_09_a_snapshot_is_named_by_its_number_and_put_right(secret, host):
    assert until_it_ends(rotate(secret)).outcome == "succeeded"
    old, kept = current(secret), host.snapshot()
    assert until_it_ends(rotate(secret)).outcome == "succeeded"
    newest = current(secret)
    host.revert(kept)
    assert host.accepts("svc", old)
    run = advance(runs.drift(Secret.objects.get(pk=secret.pk), actor=factories.administrator()))
    assert (run.outcome, run.code) == ("failed", "snapshot"), run.sentence
    run = advance(runs.reconcile(Secret.objects.get(pk=secret.pk), actor=factories.administrator()))
    assert run.outcome == "succeeded", f"{run.code}: {run.sentence}"
    assert current(secret) == newest
    assert host.accepts("svc", newest)


# ---------------------------------------------------------------- Keyturn's own login


def own_login(at: Endpoint) -> Secret:
    instance = windows_instances.register(at)
    at.host.add_account("boss", OLD, is_admin=True)
    made = factories.secret(instance=instance, username="boss", initial=OLD)
    assert until_it_ends(made.runs.get()).outcome == "succeeded"
    management.use_own_login(instance, made, sudo="none", actor=factories.administrator())
    return Secret.objects.get(pk=made.pk)


def test_fi_x_10_the_account_that_keyturn_works_as_rotates_over_the_session_that_is_open(at, host):
    secret = own_login(at)
    for _ in range(2):
        run = until_it_ends(rotate(secret))
        assert run.outcome == "succeeded", f"{run.code}: {run.sentence}"
        assert host.accepts("boss", current(secret))
    assert host.failed_logons("boss") == 0
    assert host.resets == ["boss"] * 2


def test_fi_x_10_after_a_lost_answer_keyturn_finds_the_value_by_which_it_gets_in(at, host, monkeypatch):
    secret = own_login(at)
    lost = itertools.count(1)
    answer = Endpoint.answer

    def lose(self: Endpoint, user: str, message: bytes) -> tuple[str, bytes]:
        what, said = answer(self, user, message)
        return ("drop" if host.resets and next(lost) == 1 else what), said

    monkeypatch.setattr(Endpoint, "answer", lose)
    run = until_it_ends(rotate(secret))
    assert run.outcome == "succeeded", f"{run.code}: {run.sentence}"
    assert host.resets == ["boss"]
    assert host.accepts("boss", current(secret))
    assert host.failed_logons("boss") <= 1


# ---------------------------------------------------------------- what runs as the account


def checked(at: Endpoint) -> tuple[base.Facts, list[tuple[str, str]]]:
    facts = connector(at).preflight(manager(), "svc", timeout=15, console_id=CONSOLE)
    assert facts.blocked is None
    return facts, [(check.mark, check.sentence) for check in facts.checks if check.name == "dependants"]


def test_fi_x_12_what_runs_as_the_account_is_listed_before_its_password_changes(at, host):
    host.add_dependant("service", "Backup", ".\\svc", is_running=True)
    host.add_dependant("service", "Agent", "WIN-LAB\\svc")
    host.add_dependant("service", "Other", ".\\keyturn")
    host.add_dependant("task", "\\Jobs\\Nightly", "svc")
    host.add_dependant("task", "\\Jobs\\By SID", f"S-1-5-21-1-2-3-{host.accounts['svc'].rid}", logon=6)
    host.add_dependant("task", "\\Jobs\\Keeps none", "svc", logon=3)
    host.add_dependant("pool", "Shop", ".\\svc", is_running=True)
    host.add_dependant("pool", "Default", ".\\svc", identity="ApplicationPoolIdentity")
    facts, said = checked(at)
    assert [(one.kind, one.name, one.is_running) for one in facts.dependants] == [
        ("service", "Agent", False), ("service", "Backup", True), ("task", "\\Jobs\\By SID", False),
        ("task", "\\Jobs\\Nightly", False), ("pool", "Shop", True),
    ]  # fmt: skip
    assert [mark for mark, _ in said] == [Mark.WARNING] * 3
    assert "2 services on the instance run as this account" in said[0][1]
    assert "Agent, Backup." in said[0][1]
    assert "2 scheduled tasks" in said[1][1]
    assert "1 IIS application pool on the instance runs as this account" in said[2][1]


def test_a_list_that_the_host_does_not_give_is_unknown_and_not_empty(at, host):
    assert [mark for mark, _ in checked(at)[1]] == [Mark.PASSED]
    host.has_task_commands = False
    facts, said = checked(at)
    assert (facts.unasked, said[0][0]) == ({"task"}, Mark.UNKNOWN)
    assert "no commands for them" in said[0][1]
    host.has_task_commands = host.has_iis = True
    host.unasked = {"service", "task", "pool"}
    facts, said = checked(at)
    assert facts.unasked == {"service", "task", "pool"}
    assert [mark for mark, _ in said] == [Mark.UNKNOWN] * 3


def test_a_hundred_are_listed_and_the_rest_is_counted(at, host):
    for number in range(340):
        host.add_dependant("service", f"service-{number:03}", ".\\svc")
    facts, said = checked(at)
    assert (len(facts.dependants), facts.more_dependants) == (100, 240)
    assert said[-1] == (Mark.WARNING, "240 more run as this account; they are not listed.")
    assert said[0][1].count("service-") == 100


def update(
    at: Endpoint,
    dependant: Dependant,
    value: str = NEW,
    *,
    restarts: bool = True,
    was_running: bool = False,
    generation: int = 1,
    timeout: float = 15,
) -> base.Updated:
    return connector(at).update_dependant(
        manager(),
        "svc",
        Plaintext(value),
        base.Dependant(dependant.kind, dependant.name, is_running=was_running),
        fence=Fence(CONSOLE, generation),
        restarts=restarts,
        timeout=timeout,
    )


def test_a_service_a_task_and_a_pool_are_given_the_value_on_standard_input_and_restarted(at, host):
    change(connector(at))
    for kind, name in (("service", "Backup's"), ("task", "\\Jobs\\Nightly"), ("pool", "Shop & more")):
        one = host.add_dependant(kind, name, ".\\svc", is_running=True)
        other = host.add_dependant(kind, f"{name} 2", ".\\svc", is_running=True)
        one.password = other.password = OLD
        assert update(at, one) == base.Updated(restarted=True)
        assert (one.password, one.is_running, one.stops, one.starts) == (NEW, True, 1, 1)
        assert (other.password, other.stops) == (OLD, 0)
        one.is_running = False
        assert update(at, one) == base.Updated()
        assert not one.is_running
        assert update(at, one, was_running=True).restarted
        assert update(at, one, restarts=False) == base.Updated()
        assert (one.is_running, one.stops, one.starts) == (True, 1, 2)
    assert host.record.places(NEW) == {"stdin"}
    assert host.failed_logons("svc") == 0


def test_what_keeps_a_dependant_from_its_value_or_from_its_restart_is_named(at, host):
    change(connector(at))
    service = host.add_dependant("service", "Backup", ".\\svc", is_running=True)
    task = host.add_dependant("task", "\\Nightly", "svc")
    pool = host.add_dependant("pool", "Shop", ".\\svc", is_running=True)
    for one in (service, task, pool):
        one.password, one.is_denied = OLD, True
        with pytest.raises(base.Refused) as refusal:
            update(at, one)
        assert (refusal.value.code, one.password, one.stops) == ("dependant_denied", OLD, 0)
        one.is_denied = False
    for fault, code in (
        ("is_needed", "dependant_in_use"),
        ("hangs", "dependant_not_stopped"),
        ("fails_to_start", "dependant_not_started"),
    ):
        service.password, service.is_running, service.stops = OLD, True, 0
        setattr(service, fault, True)
        for _ in range(2):  # a second look finds it as the first one has left it
            assert update(at, service, timeout=8, was_running=True) == base.Updated(code=code)
            assert service.password == NEW
        setattr(service, fault, False)
    pool.fails_to_start = True
    assert update(at, pool, timeout=8).code == "dependant_not_started"


def test_only_what_runs_as_the_account_is_given_its_value(at, host):
    change(connector(at))
    sent = len(host.record.of("stdin"))
    for kind in ("service", "task", "pool"):
        other = host.add_dependant(kind, "\\Other", ".\\keyturn", is_running=True)
        gone = Dependant(kind, "\\Gone", ".\\svc")
        for one in (other, gone):
            with pytest.raises(base.Refused) as refusal:
                update(at, one)
            assert refusal.value.code == "dependant_gone"
        assert (other.password, other.stops) == (PASSWORD, 0)
    assert not [given for given in host.record.of("stdin")[sent:] if "COMMIT" in given]


def test_an_older_attempt_gives_no_dependant_its_value(at, host):
    service = host.add_dependant("service", "Backup", ".\\svc", is_running=True)
    change(connector(at), generation=7)
    assert update(at, service, generation=7).restarted
    with pytest.raises(base.Stale):
        update(at, service, value="The-older-Word-0", generation=6)
    assert (service.password, service.stops) == (NEW, 1)
    host.set_key("SOFTWARE\\Keyturn\\0another", **{"svc.password": 3})
    with pytest.raises(base.Refused) as refusal:
        update(at, service, value="The-older-Word-0", generation=8)
    assert refusal.value.code == "foreign_console"
    assert service.password == NEW


def test_a_dependant_whose_answer_is_lost_is_unknown_and_one_that_heard_nothing_is_not(at, host):
    change(connector(at))
    for operation, nth, when in [(*one, when) for one in CHANGE[:6] for when in ("before", "after")]:
        service = host.add_dependant("service", f"of {operation} {nth} {when}", ".\\svc")
        service.password = OLD
        at.arm(operation, when, "drop", nth=nth)
        may_have_heard = (operation, nth) in CHANGE[4:6]
        with pytest.raises(base.Unknown if may_have_heard else base.Unreachable):
            update(at, service)
        assert may_have_heard or service.password == OLD


# ---------------------------------------------------------------- what else may happen


def test_while_a_change_is_made_an_older_one_is_refused_and_a_newer_one_waits_and_gives_up(at, host):
    host.before_set = threading.Event()
    first = threading.Thread(target=lambda: change(connector(at), "The-newer-Word-3", generation=8))
    first.start()
    waiting.wait_for(lambda: host.generation(CONSOLE, "svc") == 8)
    with pytest.raises(base.Stale):
        change(connector(at), "The-older-Word-2", generation=7)
    with pytest.raises(base.Busy):
        change(connector(at), "Another-Word-4", generation=9)
    host.before_set.set()
    first.join()
    assert host.accepts("svc", "The-newer-Word-3")
    assert host.generation(CONSOLE, "svc") == 8


def test_a_process_that_died_with_the_lock_leaves_it_to_the_next_one(at, host):
    host.before_set = threading.Event()
    wire = connector(at)
    at.arm("Receive", "before", "drop", nth=2)
    with pytest.raises(base.Unknown):
        change(wire)
    waiting.wait_for(lambda: host.generation(CONSOLE, "svc") == 1)
    for shell in list(at.shells.values()):
        for process in shell.processes.values():
            process.kill()
    host.before_set.set()
    change(wire, generation=2)
    assert host.accepts("svc", NEW)


def test_an_account_without_rights_is_named(at, host):
    host.accounts[MANAGER].is_admin = False
    facts = connector(at).preflight(manager(), "svc", timeout=15, console_id=CONSOLE)
    assert facts.blocked is not None
    assert facts.blocked.code == "not_administrator"


def test_constrained_language_is_named(at, host):
    host.language_mode = "ConstrainedLanguage"
    facts = connector(at).preflight(manager(), "svc", timeout=15, console_id=CONSOLE)
    assert facts.blocked is not None
    assert facts.blocked.code == "constrained"


def test_the_marks_on_a_host_are_for_administrators_alone(at, host):
    change(connector(at))
    assert host.registry["software\\keyturn"]["(rights)"] == "O:BAG:BAD:P(A;CI;KA;;;BA)(A;CI;KA;;;SY)"


def test_a_change_that_cannot_be_checked_there_gives_no_verdict(at, host):
    host.is_broken_check = True
    wire = connector(at)
    assert change(wire) is None
    assert probe(wire, NEW).code == "check_failed"
    host.accounts["svc"].network_logon = False
    host.is_broken_check = False
    assert (probe(wire, NEW).verdict, probe(wire, NEW).code) == (Verdict.ACCEPTED, "no_network_logon")
    assert probe(wire, OLD).verdict == Verdict.REJECTED


def test_fi_x_02_a_host_that_lies_about_a_change_is_not_believed_and_the_account_not_locked(secret, host):
    host.lies = True
    run = until_it_ends(rotate(secret))
    assert run.outcome == "failed", run.sentence
    assert current(secret) == OLD
    assert not host.accounts["svc"].is_locked


def test_over_http_only_sealed_messages_leave(host):
    with Endpoint(host, "127.0.43.5") as at:
        wire = WinRmConnector(named(at), Transport.HTTP)
        change(wire)
        assert host.accepts("svc", NEW)
