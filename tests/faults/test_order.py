"""Two at once, one after another, and clocks that are wrong: what is newer stays, nothing happens twice."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import time_machine
from django.db import connection
from django.db.models.functions import Now
from django.utils import timezone

from lab import Host
from rotation import cancelling, instance_checks, leases, tasks
from rotation.connectors import base
from rotation.connectors.ssh.connector import SshConnector
from rotation.managed import creation, deletion
from rotation.models import ManagedAccount, Run, Schedule
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Label, Secret
from tests import factories, lab_instances, services
from tests.faults import rig as rigs
from tests.faults.rig import PASSWORD, NewRig, Rig
from tests.lab_fixtures import KeyPair
from tests.networks import endpoint

pytestmark = pytest.mark.django_db(transaction=True)
TRIES = 1_000


def test_fi_c_01_of_two_workers_one_has_the_lease_each_time_of_a_thousand(new_rig: NewRig) -> None:
    rig = new_rig(PASSWORD)
    run = rig.rotate()
    taken = rig.output.with_suffix(".taken")

    def contend() -> None:
        had = 0
        while had < TRIES // 2:
            # Due again as soon as the other one has it: a lease that has run out the moment it began.
            if lease := leases.claim(run.pk, tasks.worker_name(), lease=timedelta(microseconds=1)):
                had += 1
                with taken.open("a") as file:
                    file.write(f"{lease.number}\n")

    for pid in [rig.fork(contend), rig.fork(contend)]:
        assert rigs.ended(pid, patience=300) == 0, rig.output.read_text()[-3000:]
    numbers = [int(line) for line in taken.read_text().split()]
    assert sorted(numbers) == list(range(1, TRIES + 1))
    assert Run.objects.get(pk=run.pk).lease == TRIES


def test_fi_c_01_the_host_never_hears_two_at_a_time(new_rig: NewRig) -> None:
    rig = new_rig(PASSWORD)
    real = "/usr/sbin/chpasswd"
    rig.host.run(["mv", real, f"{real}.real"])
    script = f'echo start >> /run/order\n{real}.real "$@"\nstatus=$?\necho stop >> /run/order\nexit $status\n'
    rig.host.write(real, f"#!/bin/sh\n{script}", 0o755)
    with rigs.recoverable(rig):
        for _ in range(3):
            run = rig.rotate()
            for pid in [rig.worker(run) for _ in range(3)]:
                assert rigs.ended(pid) == 0
            assert rig.settle(run).outcome == "succeeded"
    assert rig.host.read("/run/order").split() == ["start", "stop"] * 3
    rigs.assert_one(rig, rotations=3)


def test_fi_c_02_who_rotates_at_once_joins_the_scheduled_rotation_that_runs(rig: Rig) -> None:
    run = rig.rotate(trigger=Run.Trigger.SCHEDULE)
    joined: list[Run] = []
    rigs.at("after_preflight", lambda: joined.append(rig.rotate()))
    with rigs.recoverable(rig):
        run = rig.settle(run)
    assert [one.pk for one in joined] == [run.pk]
    rigs.assert_settled(rig, run)


def test_fi_c_03_one_account_of_one_machine_has_one_secret_whatever_the_machine_is_called(
    rig: Rig,
) -> None:
    assert rig.settle(rig.rotate()).outcome == "succeeded"
    again = lab_instances.register(rig.host, rig.key, at=rig.host)
    check = instance_checks.check(again, actor=factories.administrator())
    assert rig.settle(check).outcome == "succeeded"
    again.refresh_from_db()
    with pytest.raises(creation.AccountTaken, match=rig.secret.name):
        factories.secret(instance=again, username=rig.username, kind=rig.kind)
    # Another account of that machine is nobody's.
    factories.secret(instance=again, username="other", kind=rig.kind)


@pytest.mark.parametrize("fenced", [True, False])
def test_fi_c_04_an_older_attempt_released_after_a_newer_value_was_verified_is_stale(
    kind: str, new_rig: NewRig, fenced: bool
) -> None:
    rig = new_rig(kind)
    run = rig.rotate()
    pid = rig.worker(run, "before_send", rigs.hang)
    assert rigs.ended(pid) == -signal.SIGSTOP
    older = rig.labelled(Label.Role.PENDING)
    assert rig.settle(run).outcome == "succeeded"
    assert rig.settle(rig.rotate()).outcome == "succeeded"
    before = rig.seen()
    if not fenced:
        # The control: without the host's memory the older value comes back, and this test can see it.
        rig.host.run(["sh", "-c", "rm -r /var/lib/keyturn/*"])
    os.kill(pid, signal.SIGCONT)
    assert rigs.ended(pid) == 0
    assert ("STALE" in rig.output.read_text().splitlines()) is fenced
    assert (rig.seen() == before) is fenced
    assert rig.accepts(older) is not fenced
    if fenced:
        rigs.assert_one(rig, rotations=2)


@pytest.mark.parametrize("place", ["after_create", "after_intent", "after_set"])
def test_fi_c_05_a_deletion_during_a_rotation_comes_before_the_host_is_told_or_not_at_all(
    rig: Rig, place: str
) -> None:
    answers: list[object] = []

    def delete() -> None:
        try:
            deletion.plan_deletion(rig.secret, actor=factories.administrator())
            answers.append("planned")
        except cancelling.TooLate as error:
            answers.append(error)

    run, before = rig.rotate(), rig.seen()
    rigs.at(place, delete)
    with rigs.recoverable(rig):
        run = rig.settle(run)
    if place == "after_create":
        assert answers == ["planned"]
        assert run.outcome == "cancelled"
        assert rig.seen() == before
        assert rig.secret.labelled(Label.Role.PENDING) is None
        deletion.restore(rig.secret, actor=factories.administrator())
        rig.secret.refresh_from_db()
        for left in rig.secret.runs.active():
            assert rig.settle(left).outcome == "succeeded"
        assert rig.settle(rig.rotate()).outcome == "succeeded"
    else:
        assert isinstance(answers[0], cancelling.TooLate)
        rigs.assert_settled(rig, run)
        deletion.plan_deletion(rig.secret, actor=factories.administrator())
    assert rig.accepts(rig.current())
    assert rig.secret.labelled(Label.Role.PENDING) is None


def test_fi_c_06_of_sixty_passwords_changed_at_once_none_is_falsely_reported_and_all_are_changed_in_the_end(
    new_host: Callable[..., Host], management_key: KeyPair
) -> None:
    host = new_host(sshd_config=("MaxStartups 100:1:200", "MaxSessions 100"))
    names = [f"u{number:02}" for number in range(60)]
    host.run(["sh", "-ec", f"for name in {' '.join(names)}; do useradd $name; done"])
    host.run(["chpasswd", "-c", "SHA256"], "".join(f"{name}:first-{name}\n" for name in names).encode())
    manager = base.Manager(
        base.Login("keyturn", private_key=Plaintext(management_key.private)), base.Sudo.PASSWORDLESS
    )
    place = endpoint(host.address, host.port, tuple(host.host_keys()))

    def change(name: str) -> str:
        value, fence = Plaintext(f"second-value-of-{name}"), base.Fence("0" * 32, 1)
        try:
            SshConnector(place).set_password(manager, name, value, fence=fence, timeout=60)
        except base.ConnectorError as error:
            return error.code
        return "applied"

    deadline, left = time.monotonic() + 240, names
    unsure: set[str] = set()  # of an attempt that may still have set it after nobody waited for it any more
    while left:
        assert time.monotonic() < deadline, left
        with ThreadPoolExecutor(60) as pool:
            said = dict(zip(left, pool.map(change, left), strict=True))
        # They share one lock on the host, for which none waits longer than three seconds.
        assert set(said.values()) <= {
            "applied",
            "timeout",
            "busy",
            "late",
            "unreachable",
            "unknown",
            "shadow_lock",
        }
        for name, answer in said.items():
            is_changed = host.shadow_accepts(name, f"second-value-of-{name}")
            assert host.shadow_accepts(name, f"first-{name}") is not is_changed
            # Ended after the switch, chpasswd has changed it and says no such thing: that is not known.
            if answer == "unknown":
                unsure.add(name)
            assert name in unsure or is_changed is (answer == "applied"), (name, answer)
        left = [name for name in left if said[name] != "applied"]


@pytest.mark.parametrize("days", [-365, 365])
def test_fi_t_01_a_worker_whose_clock_is_wrong_rotates_once_and_never_early(rig: Rig, days: int) -> None:
    _soon(rig)
    run = rig.rotate()

    def work() -> None:
        with time_machine.travel(timezone.now() + timedelta(days=days)) as clock:
            rigs.at("after_set", lambda: clock.shift(timedelta(days=-2)))
            rig.advance(run)

    with rigs.recoverable(rig):
        assert rigs.ended(rig.fork(work)) == 0, rig.output.read_text()[-3000:]
        run = rig.settle(run)
    rigs.assert_settled(rig, run)
    assert (run.attempts, run.lease) == (1, 1)


def _soon(rig: Rig) -> None:
    Schedule.objects.filter(secret=rig.secret).update(is_on=True, next_at=Now() + timedelta(hours=20))


@pytest.mark.parametrize("days", [-365, -1, 1, 365])
def test_fi_t_01_a_beat_whose_clock_is_wrong_starts_what_is_due_by_the_databases(
    new_rig: NewRig, days: int
) -> None:
    rig = new_rig(PASSWORD)
    with time_machine.travel(timezone.now() + timedelta(days=days)):
        _soon(rig)
        tasks.start_due()
        assert not rig.secret.runs.exists()
        Schedule.objects.filter(secret=rig.secret).update(next_at=Now() - timedelta(seconds=1))
        tasks.start_due()
        tasks.start_due()
        assert rig.secret.runs.count() == 1


def test_fi_t_02_a_database_whose_clock_jumps_ends_every_lease_and_no_value_is_set_twice(
    kind: str, own_store: services.Postgres, new_rig: NewRig
) -> None:
    rig = new_rig(kind)
    run = rig.rotate()
    pid = rig.worker(run, "before_send", rigs.hang)
    assert rigs.ended(pid) == -signal.SIGSTOP
    # What the product takes for the database's clock, two hours ahead from the next connection on.
    with own_store.connect() as store:
        store.execute("CREATE SCHEMA ahead")
        for name in ("statement_timestamp", "now", "clock_timestamp", "transaction_timestamp"):
            store.execute(
                f"CREATE FUNCTION ahead.{name}() RETURNS timestamptz STABLE LANGUAGE sql AS "  # type: ignore[arg-type]
                f"$$ SELECT pg_catalog.{name}() + interval '2 hours' $$"
            )
        store.execute("ALTER DATABASE keyturn SET search_path = ahead, pg_catalog, public")
    connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT STATEMENT_TIMESTAMP() - pg_catalog.statement_timestamp() > interval '1 hour'")
        assert cursor.fetchone() == (True,)
    with rigs.recoverable(rig):
        # At once: by the database's clock the lease ended long ago.
        assert rig.advance(run)
        run = rig.settle(run)
        before = rig.seen()
        os.kill(pid, signal.SIGCONT)
        assert rigs.ended(pid) == 0
        assert rig.seen() == before
    assert "STALE" in rig.output.read_text().splitlines()
    rigs.assert_settled(rig, run)
    assert rig.marks() == [2]


@pytest.mark.parametrize("aged", ["expired", "ahead"])
def test_fi_t_03_a_host_whose_dates_do_not_fit_names_the_reason_or_rotates(rig: Rig, aged: str) -> None:
    """A host's own clock cannot be set here; the account's dates are moved past it instead."""
    options = ["--expiredate", "2001-01-01"] if aged == "expired" else ["--lastday", "2090-01-01"]
    rig.host.run(["chage", *options, rig.username])
    rig.surroundings, before = rigs.surroundings(rig), rig.seen()
    with rigs.recoverable(rig):
        run = rig.settle(rig.rotate())
    if aged == "expired":
        assert (run.outcome, run.code) == ("blocked", "expired")
        assert "expired" in run.sentence
        assert rig.seen() == before
    else:
        assert run.outcome == "succeeded", run.sentence
    rigs.assert_known(rig, run)
    rigs.assert_undisturbed(rig)
    rigs.assert_nowhere(rig)


def test_fi_t_04_ten_thousand_secrets_due_in_one_second_are_started_oldest_first_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "BATCH", 40)
    monkeypatch.setattr(tasks, "wake", lambda run: None)  # no worker is to take them up here
    instance, actor = factories.instance(), factories.administrator()
    pattern = factories.secret(instance=instance)
    secrets = [
        Secret(
            name=f"acs/ecs/many-{number:05}",
            account=pattern.account,
            region=pattern.region,
            key=pattern.key,
            kind=pattern.kind,
            created_by=actor,
        )
        for number in range(10_000)
    ]
    Secret.objects.bulk_create(secrets, batch_size=1_000)
    accounts = [
        ManagedAccount(secret=secret, instance=instance, username=f"u{number}", kind=secret.kind)
        for number, secret in enumerate(secrets)
    ]
    ManagedAccount.objects.bulk_create(accounts, batch_size=1_000)
    at = timezone.now() - timedelta(seconds=30)
    # All within one second, the last made the oldest.
    due = [
        Schedule(secret=secret, is_on=True, next_at=at - timedelta(microseconds=50 * number))
        for number, secret in enumerate(secrets)
    ]
    Schedule.objects.bulk_create(due, batch_size=1_000)
    for turn in range(1, 4):
        tasks.start_due()
        started = Run.objects.filter(trigger=Run.Trigger.SCHEDULE).values_list("secret__name", flat=True)
        oldest = {secret.name for secret in secrets[-40 * turn :]}
        assert set(started) == oldest
        assert started.count() == 40 * turn
