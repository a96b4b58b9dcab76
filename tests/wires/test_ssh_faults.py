"""A change over SSH that is cut, slowed, overtaken or lied about leaves the old value or the new one."""

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from lab import Host
from rotation.connectors import base
from rotation.connectors.base import Login, Verdict
from rotation.connectors.ssh import scripts as ssh_scripts
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from secrets_app.crypto.plaintext import Plaintext
from tests.lab_fixtures import KeyPair
from tests.networks import endpoint
from tests.waiting import PATIENCE, wait_for
from tests.wires.relay import Relay
from tests.wires.ssh_rig import FIRST, SECOND, Rig, rig

CHPASSWD = "/usr/sbin/chpasswd"


@pytest.fixture
def svc(host: Host, management_key: KeyPair) -> Rig:
    return rig(host, management_key)


# -- cuts ------------------------------------------------------------------------------------------


def test_a_connection_cut_at_any_byte_leaves_the_old_value_or_the_new_one_and_the_error_says_which(
    svc: Rig,
) -> None:
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay
        svc.set(FIRST)
        whole = relay.sent
    outcomes: set[tuple[str, str]] = set()
    for number, short in enumerate(range(0, 640, 16), 2):
        value = f"value-number-{number}-" + "x" * 40
        svc.host.set_password("svc", FIRST)
        with Relay(svc.host.address, svc.host.port) as relay:
            svc.relay = relay
            relay.cut_after_sent = whole - short
            try:
                svc.set(value, generation=number)
                outcome = "applied"
            except base.ConnectorError as error:
                outcome = error.code
        # What the host still has in hand is finished or dropped within its own limit; this is at once.
        wait_for(lambda: not at_work(svc.host))
        now = "old" if svc.accepts(FIRST) else "new" if svc.accepts(value) else "neither"
        outcomes.add((outcome, now))
    assert outcomes <= {("applied", "new"), ("unknown", "old"), ("unknown", "new"), ("unreachable", "old")}
    assert {("unknown", "old"), ("unreachable", "old")} <= outcomes


def at_work(host: Host) -> set[str]:
    """The programs of a change that still run on the host."""
    names = host.run(["sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null"], check=False).stdout.decode().split()
    return {"timeout", "chpasswd", "sudo"} & set(names)


def exists(host: Host, path: str) -> bool:
    return host.run(["test", "-e", path], check=False).returncode == 0


@pytest.mark.parametrize(
    "said", ["", "half", f"{SECOND}\n", f"{SECOND}\nCOMMIT\n", f"{SECOND}\nother COMMIT\n"]
)
def test_a_value_without_its_commit_line_is_never_applied(svc: Rig, said: str) -> None:
    answer = talk_to_script(svc, said)
    assert answer == "nonce ABORTED"
    assert svc.accepts(FIRST)


def test_the_script_applies_a_value_that_is_committed(svc: Rig) -> None:
    assert talk_to_script(svc, f"{SECOND}\nnonce COMMIT\n").startswith("nonce APPLIED ACCEPTED")
    assert svc.accepts(SECOND)


def test_a_commit_that_comes_late_is_not_obeyed(svc: Rig) -> None:
    assert talk_to_script(svc, f"{SECOND}\nnonce COMMIT\n", limit=6, pause=4) == "nonce ABORTED"
    assert svc.accepts(FIRST)


def test_a_script_that_is_told_nothing_ends_by_itself_and_lets_go_of_the_lock(svc: Rig) -> None:
    assert talk_to_script(svc, None, limit=2) == ""
    svc.set(SECOND)
    assert svc.accepts(SECOND)


def talk_to_script(svc: Rig, said: str | None, *, limit: int = 8, pause: float = 0) -> str:
    """Run the script as sudo's shell would, say this at READY, and return its last word."""
    arguments = {"nonce": "nonce", "user": "svc", "console": svc.console, "generation": "1"}
    arguments["hash_seconds"] = "3"
    shell = svc.host.spawn(["sh"])
    assert shell.stdin is not None
    assert shell.stdout is not None
    shell.stdin.write(ssh_scripts.block("set_password.sh", arguments, seconds=limit))
    shell.stdin.flush()
    assert shell.stdout.readline() == b"nonce READY\n"
    time.sleep(pause)
    if said is not None:
        shell.stdin.write(said.encode())
        shell.stdin.close()
    try:
        shell.wait(20)
    finally:
        shell.kill()
    if said is None:
        shell.stdin.close()
    with shell.stdout:
        return shell.stdout.read().decode().strip()


def test_a_shell_without_a_printf_of_its_own_is_given_no_value(svc: Rig) -> None:
    arguments = {"nonce": "nonce", "user": "svc", "console": svc.console, "generation": "1"}
    svc.host.write(
        "/run/script",
        ssh_scripts.block("set_password.sh", arguments)
        .decode()
        .replace('sh -c "', 'bash -c "enable -n printf; '),
    )
    assert svc.host.run(["sh", "/run/script"]).stdout == b"nonce REFUSED shell\n"


@pytest.mark.parametrize("fault", ["cut", "silence"])
def test_a_reply_that_is_lost_after_the_change_is_unknown_and_the_new_value_works(
    svc: Rig, fault: str
) -> None:
    svc.replace_program(CHPASSWD, f"{CHPASSWD}.real; status=$?; sleep 1; exit $status")
    before = svc.host.shadow("svc")
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay

        def break_when_changed() -> None:
            wait_for(lambda: svc.host.shadow("svc") != before)
            relay.cut() if fault == "cut" else relay.paused.set()

        watcher = threading.Thread(target=break_when_changed)
        watcher.start()
        started = time.monotonic()
        with pytest.raises(base.Unknown):
            svc.set(SECOND, timeout=8)
        watcher.join()
    assert time.monotonic() - started < PATIENCE
    svc.relay = None
    assert svc.accepts(SECOND)
    assert svc.probe(SECOND).verdict == Verdict.ACCEPTED


# -- slow and silent ---------------------------------------------------------------------------------
# Without the deadline each of these takes half an hour, or has no end. How long a machine takes is not asked.


def calls(svc: Rig, relay: Relay) -> dict[str, Callable[[], object]]:
    """Every call of the connector that raises, with four seconds each."""
    value = Plaintext(FIRST)
    return {
        "set": lambda: svc.set(SECOND, timeout=4),
        "probe": lambda: svc.connector.probe_password(svc.manager, "svc", value, timeout=4),
        "prove": lambda: svc.prove(FIRST, timeout=4),
        "scan": lambda: SshScanner().scan(endpoint(relay.address, relay.port), timeout=4),
    }


@pytest.mark.parametrize("call", ["set", "probe", "prove", "scan"])
def test_a_host_that_sends_a_byte_a_second_holds_nobody_beyond_the_deadline(svc: Rig, call: str) -> None:
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay
        relay.bytes_a_second = 1
        started = time.monotonic()
        with pytest.raises(base.Unreachable):
            calls(svc, relay)[call]()
        assert time.monotonic() - started < PATIENCE
    assert svc.accepts(FIRST)


def test_the_preflight_of_a_host_that_sends_a_byte_a_second_ends_by_its_deadline(svc: Rig) -> None:
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay
        relay.bytes_a_second = 1
        started = time.monotonic()
        assert (blocked := svc.preflight(timeout=4).blocked) is not None
        assert time.monotonic() - started < PATIENCE
    assert blocked.code == "unreachable"


@pytest.mark.parametrize("after", [3000, 4000])
def test_a_host_that_falls_silent_at_any_point_ends_by_the_deadline(svc: Rig, after: int) -> None:
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay
        relay.on_sent = lambda total: relay.paused.set() if total > after else None
        started = time.monotonic()
        with pytest.raises((base.Unreachable, base.Unknown)):
            svc.set(SECOND, timeout=8)
        assert time.monotonic() - started < PATIENCE


def test_a_login_that_falls_silent_between_any_two_messages_ends_by_its_deadline_and_rejects_nothing(
    svc: Rig,
) -> None:
    steps: list[int] = []
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay
        relay.on_sent = steps.append
        svc.prove(FIRST)
    outcomes: list[str] = []

    def prove(connector: SshConnector) -> None:
        login = Login("svc", password=Plaintext(FIRST))
        try:
            outcomes.append(connector.prove_login(login, timeout=3).verdict)
        except base.Unreachable as error:
            outcomes.append(error.code)

    # The relay lets each message through, and not the answer to it.
    relays = [Relay(svc.host.address, svc.host.port) for _ in steps]
    for relay, step in zip(relays, steps, strict=True):
        relay.on_sent = partial(fall_silent, relay, step)
    threads = []
    for relay in relays:
        svc.relay = relay
        threads.append(threading.Thread(target=prove, args=(svc.connector,), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(15)
    for relay in relays:
        relay.__exit__()
    assert len(outcomes) == len(steps)
    assert set(outcomes) <= {"unreachable", "unclear", "accepted"}
    assert "unreachable" in outcomes
    assert "unclear" in outcomes


def fall_silent(relay: Relay, step: int, total: int) -> None:
    relay.drops_replies = relay.drops_replies or total >= step


def test_a_slow_network_is_no_reason_to_fail(svc: Rig) -> None:
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay
        relay.delay_seconds = 0.1
        svc.set(SECOND)
    assert svc.accepts(SECOND)


def test_too_little_time_means_that_the_change_is_not_begun(svc: Rig) -> None:
    with pytest.raises(base.Unreachable):
        svc.set(SECOND, timeout=4)
    assert svc.accepts(FIRST)


# -- late and parallel --------------------------------------------------------------------------------


def is_set(svc: Rig, value: str) -> bool:
    """Whether a newer attempt was obeyed, and did not meet one that is still under way."""
    try:
        svc.set(value, generation=2)
    except base.Busy:
        return False
    return True


def test_an_older_attempt_that_still_runs_on_the_host_cannot_overtake_a_newer_one(svc: Rig) -> None:
    svc.replace_program(CHPASSWD, f"[ -e /run/slow ] || {{ touch /run/slow; sleep 1.5; }}; {CHPASSWD}.real")
    with Relay(svc.host.address, svc.host.port) as relay:
        svc.relay = relay

        def cut_when_begun() -> None:
            wait_for(lambda: svc.host.run(["test", "-e", "/run/slow"], check=False).returncode == 0)
            relay.cut()

        watcher = threading.Thread(target=cut_when_begun)
        watcher.start()
        with pytest.raises(base.Unknown):
            svc.set("the-older-value", generation=1)
        watcher.join()
    svc.relay = None
    wait_for(partial(is_set, svc, SECOND))
    assert svc.accepts(SECOND)
    time.sleep(2)
    assert svc.accepts(SECOND)


def test_two_changes_at_once_come_one_after_the_other(svc: Rig) -> None:
    svc.replace_program(
        CHPASSWD, f"echo start >> /run/order; sleep 0.5; {CHPASSWD}.real; echo stop >> /run/order"
    )
    outcomes: list[str] = []

    def change(generation: int) -> None:
        try:
            svc.set(f"value-{generation}-long", generation)
            outcomes.append("applied")
        except (base.Stale, base.Busy) as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=change, args=(generation,)) for generation in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    order = svc.host.read("/run/order").split()
    assert order == ["start", "stop"] * outcomes.count("applied")
    assert "applied" in outcomes


def test_a_lock_that_somebody_holds_is_busy(svc: Rig) -> None:
    svc.set(SECOND)
    holder = svc.host.spawn(["flock", "-o", "/var/lib/keyturn/svc.password.lock", "sleep", "30"])
    wait_for(
        lambda: (
            svc.host.run(
                ["flock", "-n", "/var/lib/keyturn/svc.password.lock", "true"], check=False
            ).returncode
        )
    )
    with pytest.raises(base.Busy):
        svc.set(FIRST, generation=2)
    # What is right now may not be in a moment: the host's check is asked only once the change is over.
    for value in (FIRST, SECOND):
        proof = svc.probe(value)
        assert (proof.verdict, proof.code) == (Verdict.UNCLEAR, "changing")
    svc.host.run(["pkill", "-x", "flock"])
    holder.wait(10)
    assert svc.accepts(SECOND)
    assert svc.probe(SECOND).verdict == Verdict.ACCEPTED
    assert svc.probe(FIRST).verdict == Verdict.REJECTED


# -- the host's password program ----------------------------------------------------------------------


def test_a_password_program_that_hangs_is_ended_and_nothing_has_changed(svc: Rig) -> None:
    svc.replace_program(CHPASSWD, "sleep 61")
    with pytest.raises(base.Refused) as refusal:
        svc.set(SECOND)
    assert refusal.value.code == "timeout"
    assert svc.accepts(FIRST)
    wait_for(lambda: not at_work(svc.host))
    assert (
        "sleep\n"
        not in svc.host.run(["sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null"], check=False).stdout.decode()
    )


def test_what_outlives_a_password_program_that_was_ended_is_waited_for(svc: Rig) -> None:
    """Killed in rename(2), chpasswd finishes that, and timeout(1) does not wait for it.

    It says nothing any more: whoever reads what it says would wait for it by that alone.
    """
    late = f"sleep 3.5; touch /run/changed; exec {CHPASSWD}.real"
    svc.replace_program(CHPASSWD, f"exec 4<&0; setsid sh -c '{late}' <&4 >/dev/null 2>&1 & sleep 61")
    with pytest.raises(base.Unknown):
        svc.set(SECOND)
    assert exists(svc.host, "/run/changed")
    assert svc.accepts(SECOND)


def test_where_there_is_no_lock_to_wait_for_a_program_that_was_ended_leaves_a_doubt(svc: Rig) -> None:
    svc.replace_program("/usr/bin/flock", "exit 1")
    svc.replace_program(CHPASSWD, "sleep 61")
    with pytest.raises(base.Unknown):
        svc.set(SECOND)
    assert svc.accepts(FIRST)


def test_a_host_is_not_asked_for_a_password_while_a_change_of_it_is_under_way(svc: Rig) -> None:
    svc.replace_program(CHPASSWD, f"touch /run/begun; sleep 1; exec {CHPASSWD}.real")
    change = threading.Thread(target=svc.set, args=(SECOND,))
    change.start()
    wait_for(lambda: exists(svc.host, "/run/begun"))
    proof = svc.probe(SECOND)
    change.join()
    assert proof.verdict == Verdict.ACCEPTED


@pytest.mark.parametrize(
    ("script", "error", "now"),
    [
        ("exit 1", base.Refused, FIRST),  # said no, and meant it
        ("exit 0", base.Unknown, FIRST),  # said yes, and did nothing
        (f"{CHPASSWD}.real; exit 1", base.Unknown, SECOND),  # said no, and did it
        (f"{CHPASSWD}.real; kill -KILL $$", base.Unknown, SECOND),  # was killed when it had done it
        ("kill -KILL $$", base.Refused, FIRST),
    ],
)
def test_only_a_yes_with_a_change_is_success_and_only_a_no_without_one_is_refusal(
    svc: Rig, script: str, error: type[base.ConnectorError], now: str
) -> None:
    svc.replace_program(CHPASSWD, script)
    with pytest.raises(error):
        svc.set(SECOND)
    assert svc.accepts(now)


def test_a_password_rule_of_the_host_is_a_refusal(svc: Rig) -> None:
    svc.host.run(
        [
            "sed",
            "-i",
            "1i password requisite pam_pwhistory.so remember=5 enforce_for_root",
            "/etc/pam.d/common-password",
        ]
    )
    svc.set(SECOND)
    with pytest.raises(base.Refused) as refusal:
        svc.set(SECOND, generation=2)
    assert refusal.value.code == "policy"
    assert svc.accepts(SECOND)


def test_a_rule_that_is_named_at_the_end_of_much_that_is_said_is_a_refusal(svc: Rig) -> None:
    noise = "head -c 200000 /dev/zero | tr '\\000' x"
    svc.replace_program(
        CHPASSWD, f"cat >/dev/null; {noise}; echo; echo 'BAD PASSWORD: too short' >&2; exit 1"
    )
    with pytest.raises(base.Refused) as refusal:
        svc.set(SECOND)
    assert refusal.value.code == "policy"
    assert svc.accepts(FIRST)


def test_the_number_is_on_the_host_before_the_change_is(svc: Rig) -> None:
    svc.replace_program(CHPASSWD, f"cat /var/lib/keyturn/*/svc.password > /run/seen; {CHPASSWD}.real")
    svc.set(SECOND, generation=41)
    assert svc.host.read("/run/seen") == "41\n"
    modes = svc.host.run(
        ["stat", "-c", "%a %U", "/var/lib/keyturn", f"/var/lib/keyturn/{svc.console}"]
    ).stdout
    assert modes == b"700 root\n700 root\n"


def test_a_mark_that_holds_no_number_stops_the_change(svc: Rig) -> None:
    svc.host.write(f"/var/lib/keyturn/{svc.console}/svc.password", "garbage\n", 0o600)
    with pytest.raises(base.Refused) as refusal:
        svc.set(SECOND)
    assert refusal.value.code == "fence"
