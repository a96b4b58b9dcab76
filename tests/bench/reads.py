"""How many values one process reads in a second, and how many events a second it verifies.

A read is a reveal by the domain in a request of its own, with everything that makes it safe: the right, the
limit, the key, the event and its commit. Sixteen readers at once, in turn with the same readers who have a
commit each, so that a machine that is busy for a while slows both.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
import uuid
from collections.abc import Sequence
from unittest import mock

from django.conf import settings
from django.db import connection, connections, transaction
from django.utils import timezone

from secrets_app import origin
from secrets_app.audit import batches, trail, verification
from secrets_app.models import Principal, Secret, SecretVersion
from secrets_app.secrets import versions
from tests import factories

READERS = 16
SECRETS = 32
ROUNDS = 5
EVENTS = 50_000
GOAL_READS, GOAL_EVENTS = 350, 50_000  # a second


def measure(count: int) -> None:
    """Print reads a second of one reader and of many, each `count` reads a round, and events a second."""
    _commit_as_in_production()
    settings.READS_AT_MOST = 10_000  # the most that can be set
    secrets = [factories.generic_secret(value=f"a-value-{n}") for n in range(SECRETS)]
    people = [factories.user(f"reads-{n}", "administrators").principal for n in range(READERS)]
    found: dict[str, list[tuple[float, float]]] = {"alone": [], "each": [], "shared": []}
    for _ in range(ROUNDS):
        found["alone"].append(_round(people[:1], secrets, count // 4))
        with mock.patch.object(batches, "MOST", 1):
            found["each"].append(_round(people, secrets, count))
        found["shared"].append(_round(people, secrets, count))
    ratio = statistics.median(a[0] / b[0] for a, b in zip(found["shared"], found["each"], strict=True))
    alone, each, shared = (_median(found[name]) for name in ("alone", "each", "shared"))
    print(
        f"reads, {READERS} readers   {shared[0]:4.0f} a second and {shared[1]:.2f} ms of the processor each, "
        f"{ratio:.1f} times as many as with a commit each ({each[0]:.0f}, {each[1]:.2f} ms); one reader "
        f"{alone[0]:.0f} ({alone[1]:.2f} ms) on {connection.vendor} (goal: {GOAL_READS}), "
        f"load {os.getloadavg()[0]:.0f}",
        flush=True,
    )
    _measure_verification()


def _commit_as_in_production() -> None:
    if connection.vendor == "sqlite":  # of which tests do not ask that it waits for the disk
        connections.settings["default"]["OPTIONS"] = settings.PRODUCTION_OPTIONS
        connection.close()


def _median(rounds: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return statistics.median(a for a, _ in rounds), statistics.median(b for _, b in rounds)


def _round(people: Sequence[Principal], secrets: Sequence[Secret], count: int) -> tuple[float, float]:
    """Reads a second, and milliseconds of this process's processor time for each."""
    wanted, each = [secret.pk for secret in secrets], count // len(people)
    ready, errors = threading.Barrier(len(people) + 1), list[BaseException]()

    def work(number: int) -> None:
        try:
            held = list(
                SecretVersion.objects.select_related("secret__region__account", "secret__account").filter(
                    secret__in=wanted
                )
            )
            _read(held[0], people[number])
            ready.wait()
            for turn in range(each):
                _read(held[(number * 7 + turn) % len(held)], people[number])
        except BaseException as error:
            errors.append(error)
            ready.abort()
            raise
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(people))]
    for thread in threads:
        thread.start()
    ready.wait()
    began, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.join()
    taken, used = time.perf_counter() - began, time.process_time() - used
    if errors:
        raise SystemExit(f"a read failed: {errors[0]!r}")
    total = each * len(people)
    return total / taken, used / total * 1000


def _read(version: SecretVersion, reader: Principal) -> None:
    request = uuid.uuid4().hex
    with origin.bind(
        request_id=request, address="127.0.0.1", session="s", is_secure=True, is_mfa=True, at=timezone.now()
    ):
        versions.reveal(version, actor=reader, reason="measured").credential.reveal()


def _measure_verification() -> None:
    _fill(EVENTS)
    rates = []
    for _ in range(ROUNDS):
        used = time.process_time()
        report = verification.verify()
        rates.append(report.events / (time.process_time() - used))
        if report.verdict is not verification.Verdict.WHOLE:
            raise SystemExit(f"the trail is not whole: {report.sentence}")
    print(
        f"audit verify        {statistics.median(rates):,.0f} of {report.events:,} events for each second of "
        f"the processor, {min(rates):,.0f} at least, on {connection.vendor} (goal: {GOAL_EVENTS:,}), "
        f"load {os.getloadavg()[0]:.0f}",
        flush=True,
    )


def _fill(count: int) -> None:
    """Append events as an installation has them: reads, rotations whose details name their run, refusals."""
    actor = factories.administrator()
    things = [uuid.uuid4() for _ in range(500)]
    for begin in range(0, count, 500):
        with transaction.atomic(), trail.at_the_end():
            for number in range(begin, min(begin + 500, count)):
                thing = things[number % 500]
                with origin.bind(request_id=uuid.uuid4().hex, address="127.0.0.1", session=thing.hex):
                    trail.record(
                        "kms:RotateSecret" if number % 2 else "kms:GetSecretValue",
                        f"acs:kms:main:1000000001:secret/acs/ecs/web-{number % 500:03d}",
                        actor=actor,
                        resource_id=thing,
                        version_id=str(uuid.uuid4()),
                        details={"run": str(uuid.uuid4()), "trigger": "schedule"} if number % 2 else {},
                        decision="Allow by statement 1 of the policy KMSFullAccess.",
                        value_mark="" if number % 2 else thing.hex * 2,
                    )
