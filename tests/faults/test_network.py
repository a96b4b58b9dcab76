"""The network between worker and host, or worker and database, refuses, falls silent, crawls or breaks."""

import contextlib
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection

from rotation import binding, leases
from rotation.connectors import base
from rotation.connectors.ssh.connector import SshConnector
from rotation.engine import changes, work
from rotation.engine.methods import key_pair, password
from rotation.inventory import management
from rotation.models import Instance, ManagedAccount, Run
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Label
from secrets_app.secrets import versions
from tests import factories
from tests.faults import rig as rigs
from tests.faults.rig import KEY_PAIR, PASSWORD, NewRig, Rig
from tests.lab_fixtures import KeyPair
from tests.networks import endpoint
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every conversation has a quarter of its time or a third, in the same order."""
    for module in (work, changes, password, key_pair):
        for name in ("PREFLIGHT", "SET", "TEST", "PROBE"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, 7.0)


def move(rig: Rig, **place: object) -> None:
    """Have the instance be elsewhere, with the word of somebody that its account's values may go there."""
    Instance.objects.filter(pk=rig.instance.pk).update(**place)
    account = ManagedAccount.objects.get(secret=rig.secret)
    binding.move(account, binding.now_at(account.instance))


@pytest.mark.parametrize(
    ("kind", "fault"),
    [(PASSWORD, "refused"), (KEY_PAIR, "refused"), (PASSWORD, "timeout"), (KEY_PAIR, "name")],
)
def test_fi_n_01_an_instance_that_is_away_is_waited_for_longer_each_time(
    kind: str, new_rig: NewRig, fault: str, short_deadlines: None
) -> None:
    rig = new_rig(kind)
    run = rig.rotate()
    if fault == "refused":
        rig.host.cut()
    elif fault == "timeout":
        rig.relay.paused.set()
    else:
        move(rig, address="no-such-host.invalid")
    waits = []
    with rigs.recoverable(rig):
        for number in range(2 if fault == "refused" else 1):
            wait_for(lambda: rig.advance(run))
            run.refresh_from_db()
            assert (run.state, run.code, run.attempts, run.waits) == ("waiting", "unreachable", 0, number + 1)
            waits.append((run.due_at - run.steps.last().ended_at).total_seconds())
            assert rig.account.credential == "unreachable"
        for wait, scheduled in zip(waits, work.BACK_OFF, strict=False):
            assert 0.7 <= wait / scheduled.total_seconds() <= 1.6
        # What works is served all the while, and the value that waits is kept.
        current = rig.secret.labelled(Label.Role.CURRENT)
        shown = versions.reveal(current, actor=factories.administrator(), reason="test")
        assert rig.accepts(shown)
        pending = rig.secret.labelled(Label.Role.PENDING)
        assert pending is not None
        assert pending.offered_at is None
        if fault == "refused":
            rig.host.restore()
        rig.relay.paused.clear()
        move(rig, address=rig.relay.address)
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert rig.secret.labelled(Label.Role.CURRENT) == pending


def test_fi_n_02_a_connection_cut_during_the_change_is_asked_about_before_anything_is_sent(
    kind: str, new_rig: NewRig, short_deadlines: None
) -> None:
    rig = new_rig(kind)
    if rig.kind == PASSWORD:
        real = "/usr/sbin/chpasswd"
        rig.host.run(["mv", real, f"{real}.real"])
        rig.host.write(real, f'#!/bin/sh\nsleep 1\nexec {real}.real "$@"\n', 0o755)
    run = rig.rotate()
    rigs.at("before_reply", rig.relay.cut)
    with rigs.recoverable(rig) as sampler:
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    # A change that came late is the same value: the host never had a third one.
    assert len({name for held in sampler.states.values() for name in held}) == 2


def test_fi_n_03_a_reply_lost_after_the_change_is_not_a_failure(rig: Rig) -> None:
    run, before = rig.rotate(), rig.seen()

    def lose() -> None:
        rig.relay.drops_replies = True
        wait_for(lambda: rig.seen() != before)
        time.sleep(0.3)
        rig.relay.cut()
        rig.relay.drops_replies = False

    rigs.at("before_reply", lose)
    with rigs.recoverable(rig):
        rig.advance(run)
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert (run.attempts, rig.marks()) == (1, [1])


def test_fi_n_04_a_network_that_goes_dark_in_the_change_costs_the_lease_and_no_value(
    rig: Rig, short_deadlines: None
) -> None:
    run = rig.rotate()
    told = rig.output.with_suffix(".told")
    pid = rig.worker(run, "before_send", told.touch)
    # Dark from within the change: its first bytes are on their way.
    rig.relay.on_sent = lambda _: told.exists() and rig.relay.paused.set()
    with rigs.recoverable(rig):
        wait_for(rig.relay.paused.is_set)
        threading.Timer(
            rigs.LEASE.total_seconds() + 2, lambda: (light(rig), rig.relay.paused.clear())
        ).start()
        run = rig.settle(run)
        assert rigs.ended(pid) == 0
    rigs.assert_settled(rig, run)
    assert run.lease > 1


def light(rig: Rig) -> None:
    rig.relay.on_sent = lambda _: None
    rig.relay.paused.clear()


@pytest.mark.parametrize(
    ("kind", "place"),
    [(PASSWORD, "before_claim"), (PASSWORD, "before_reply"), (KEY_PAIR, "before_reply")],
)
def test_fi_n_05_a_host_that_sends_a_byte_a_second_holds_a_worker_no_longer_than_the_deadlines(
    rig: Rig, place: str, short_deadlines: None
) -> None:
    # Unscaled: a change, and the question that follows where its answer did not come.
    assert password.SET + password.PROBE <= 40
    run = rig.rotate()

    def crawl() -> None:
        rig.relay.bytes_a_second = 1

    rigs.at(place, crawl)
    with rigs.recoverable(rig):
        started = time.monotonic()
        rig.advance(run)
        assert time.monotonic() - started < PATIENCE
        run.refresh_from_db()
        assert run.state == Run.State.WAITING
        rig.relay.bytes_a_second = None
        rig.relay.cut()
        run = rig.settle(run)
    rigs.assert_settled(rig, run)


def test_fi_n_06_a_host_that_drops_logins_for_their_number_has_refused_nobody(
    kind: str, new_rig: NewRig, short_deadlines: None
) -> None:
    rig = new_rig(kind)
    config = rig.host.read("/etc/ssh/sshd_config")
    rig.host.write("/etc/ssh/sshd_config", "MaxStartups 3:100:3\nLoginGraceTime 60\n" + config)
    rig.host.restart_sshd()
    run = rig.rotate()
    with rigs.recoverable(rig), contextlib.ExitStack() as held:
        for _ in range(60):
            held.enter_context(socket.create_connection((rig.host.address, rig.host.port), timeout=5))
        wait_for(lambda: "MaxStartups" in rig.host.sshd_log() or "drop connection" in rig.host.sshd_log())
        rig.advance(run)
        run.refresh_from_db()
        assert (run.state, run.code) == ("waiting", "busy_sshd"), run.sentence
        assert "Failed" not in rig.host.sshd_log()
        held.close()
        run = rig.settle(run)
    rigs.assert_settled(rig, run)


def test_fi_n_06_one_worker_at_a_time_talks_to_one_host(kind: str, new_rig: NewRig) -> None:
    first = new_rig(kind)
    second = rigs.build(
        kind, first.host, first.key, first.relay, first.output, username="other", instance=first.instance
    )
    one, other = first.rotate(), second.rotate()
    lease = leases.claim(one.pk, "one", lease=rigs.LEASE)
    assert lease is not None
    assert leases.claim(other.pk, "two", lease=rigs.LEASE) is None


def test_fi_n_07_two_hundred_refused_logins_leave_no_open_file_and_no_slot_taken(new_rig: NewRig) -> None:
    rig = new_rig(PASSWORD)
    pinned = management.endpoint(rig.instance).host_keys
    connector = SshConnector(endpoint(rig.host.address, rig.host.port, pinned))
    wrong = base.Login("svc", private_key=Plaintext(KeyPair.generate().private))

    def refused(_: int) -> None:
        assert connector.prove_login(wrong, timeout=15).verdict == base.Verdict.REJECTED

    def open_here() -> int:
        return len(os.listdir("/proc/self/fd"))

    def sessions() -> int:
        return len(rig.host._sessions())

    refused(0)
    wait_for(lambda: not sessions())
    before = open_here()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(refused, range(200)))
    wait_for(lambda: not sessions())
    wait_for(lambda: open_here() <= before)
    assert rig.host.sshd_log().count("Failed publickey for svc ") >= 201


def test_fi_n_08_a_slow_network_that_loses_packets_is_no_reason_to_fail(rig: Rig) -> None:
    rig.relay.delay_seconds = 0.1  # each way
    draw = random.Random(8)
    rig.relay.stalls = lambda: 0.4 if draw.random() < 0.05 else 0.0  # sent again after a while
    with rigs.recoverable(rig):
        run = rig.settle(rig.rotate())
    rigs.assert_settled(rig, run)
    assert run.attempts == 1


def test_fi_n_09_a_worker_that_lost_the_database_after_the_change_finishes_nothing(rig: Rig) -> None:
    run = rig.rotate()
    raised: list[BaseException] = []
    store = rigs.store_relay()

    def work_apart() -> None:
        try:
            rigs.through(store)
            rig.advance(run)
        except OperationalError as error:
            raised.append(error)
        finally:
            connection.close()

    # Once the host has the new value, neither this connection nor another one reaches the database.
    rigs.at("after_set", store.__exit__)
    with rigs.recoverable(rig):
        worker = threading.Thread(target=work_apart)
        worker.start()
        worker.join(60)
        assert raised
        assert rig.secret.labelled(Label.Role.PENDING) is not None
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert (run.attempts, rig.marks()) == (1, [1])
