"""How soon a leaked value is worth nothing: idle, and before a queue of other rotations."""

from __future__ import annotations

import contextlib
import math
import statistics
import tempfile
import time
from pathlib import Path

from django.conf import settings

from lab import Fleet, Host, Spec
from rotation import runs, tasks
from rotation.models import Run
from secrets_app.models import Secret
from tests import factories
from tests.bench.readers import Watch, percentile
from tests.chaos.naive import FIRST
from tests.chaos.programs import Programs
from tests.lab_fixtures import KeyPair
from tests.lab_instances import register

IDLE_P50, QUEUED_P99 = 3.0, 15.0  # seconds, what is aimed at
BUSY_HOSTS = 5
PATIENCE = 120.0


def measure(rounds: int, queued: int) -> None:
    """Rotate a leaked value so many times, through the product's own processes."""
    key = KeyPair.generate()
    with (
        tempfile.TemporaryDirectory() as folder,
        Fleet(Path(folder) / "fleet") as fleet,
        contextlib.ExitStack() as stack,
    ):
        programs = Programs(Path(folder))
        stack.callback(programs.end)
        host = fleet.start("leaky", Spec(public_key=key.public))
        targets = _accounts(host, key, 2 * rounds)
        programs.look_after()
        while not programs.answers():
            time.sleep(0.2)
        idle = [_leak(secret, host) for secret in targets[:rounds]]
        print(
            f"leaked, idle           p50 {statistics.median(idle):.2f} s, p99 {percentile(idle, 99):.2f} s "
            f"until the old value is refused; goal p50 {IDLE_P50} s"
        )
        busy = [fleet.start(f"busy-{n}", Spec(public_key=key.public)) for n in range(BUSY_HOSTS)]
        _fill(busy, key, queued)
        before = Run.objects.active().count()
        if before < queued:
            raise SystemExit(f"only {before} of {queued} rotations were queued")
        under = [_leak(secret, host) for secret in targets[rounds:]]
        after = Run.objects.active().count()
        print(
            f"leaked, {before} queued    p50 {statistics.median(under):.2f} s, "
            f"p99 {percentile(under, 99):.2f} s ({after} were left); goal p99 {QUEUED_P99} s"
        )


def _accounts(host: Host, key: KeyPair, count: int) -> list[Secret]:
    """An account for each leak: that an old password is refused is shown once in five minutes."""
    instance, made = register(host, key), []
    for number in range(count):
        host.add_account(f"leaky{number}", password=FIRST)
        made.append(factories.secret(instance=instance, username=f"leaky{number}", initial=FIRST))
        factories.settle(made[-1])
    return made


def _fill(hosts: list[Host], key: KeyPair, count: int) -> None:
    """Queue rotations, so many that `count` still wait when the last has been queued."""
    secrets = [secret for host in hosts for secret in _crowd(host, key, math.ceil(1.3 * count / len(hosts)))]
    for run in [runs.start(secret, actor=factories.administrator()) for secret in secrets]:
        tasks.advance.delay(str(run.pk))


def _crowd(host: Host, key: KeyPair, count: int) -> list[Secret]:
    """So many accounts on one host."""
    names = [f"u{number}" for number in range(count)]
    host.run(["sh", "-c", 'for u in "$@"; do useradd -M -s /bin/bash "$u"; done', "sh", *names], timeout=120)
    first = "".join(f"{name}:{FIRST}\n" for name in names).encode()
    host.run(["chpasswd"], first, timeout=300)
    instance = register(host, key)
    return [factories.secret(instance=instance, username=name) for name in names]


def _leak(secret: Secret, host: Host) -> float:
    """Ask for the rotation of a leaked value; return the seconds until the host refuses the old one."""
    watch = Watch(host, secret.managed.username)
    began = time.monotonic()
    run = runs.start(secret, actor=factories.administrator(), is_leak=True)
    tasks.advance.delay(str(run.pk))
    changed = watch.end(PATIENCE)
    if not changed:
        raise SystemExit(f"the leaked value is still accepted after {PATIENCE:g} s")
    while run.is_active and time.monotonic() - began < PATIENCE + settings.LEASE.total_seconds():
        time.sleep(0.05)
        run.refresh_from_db()
    return changed - began
