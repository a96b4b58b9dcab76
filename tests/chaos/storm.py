"""Rotate everywhere, break everything, and look at the truth all the time."""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from kombu.exceptions import OperationalError

from lab import Fleet, Spec
from rotation import runs, tasks
from rotation.models import Run
from secrets_app import keyring
from tests import factories
from tests.chaos import windows
from tests.chaos.hosts import Watched, prepare_both
from tests.chaos.naive import Control
from tests.chaos.programs import Programs
from tests.lab_fixtures import KeyPair
from tests.services import Postgres, Redis

TICK = 0.2
PATIENCE = 60.0  # seconds beyond a lease in which every run ends once nothing is broken any more
CALM = 15.0  # seconds after which the next fault comes even where nothing has ended since the last one
CONTROL = 120.0  # seconds in which the naive script goes on alone, where it has lost nothing by the end
HURRY = 5.0  # seconds after which somebody asks again for a run that waits
T = TypeVar("T")


class Storm:
    """So many rotations on so many hosts, until the last one has ended."""

    def __init__(
        self, folder: Path, rotations: int, hosts: int, windows_hosts: int, seed: int | None,
        store: Postgres | None, queue: Redis | None,
    ) -> None:  # fmt: skip
        self._folder, self._wanted, self._count = folder, rotations, hosts
        self._windows_count = windows_hosts
        self._random = random.Random(seed)
        self._store, self._queue = store, queue
        self._tally, self._faults = Counter[str](), Counter[str]()
        self._active: dict[
            Any, tuple[Watched, float]
        ] = {}  # by run: its target, and when it began or was hurried
        self._orphans: dict[
            Any, tuple[int, float]
        ] = {}  # by run: the lease of its dead worker, and when it died
        self._resumes: list[float] = []
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._started = self._met = 0
        self._broken_at = 0.0

    def run(self) -> int:
        call_command("migrate", verbosity=0)
        keyring.ensure_root_key()
        key = KeyPair.generate()
        with Fleet(self._folder / "fleet") as fleet, windows.running(self._windows_count) as self._windows:
            self._hosts = fleet.start_many(self._count, Spec(public_key=key.public))
            self._targets: list[Watched] = []
            for host in self._hosts:
                self._targets += prepare_both(host, key)
            for at in self._windows:
                self._targets += windows.prepare(at)
            self._actor = factories.administrator()
            self._naive = Control(self._folder, key)
            self._programs = Programs(self._folder)
            began = time.monotonic()
            try:
                self._programs.look_after()
                self._rotate_and_break()
                self._end_in_peace()
                seconds = time.monotonic() - began
                self._let_the_control_lose_one()
            finally:
                self._naive.stop()
                self._programs.end()
        return self._report(seconds)

    def _let_the_control_lose_one(self) -> None:
        """A short run may be over before the script has lost any."""
        most = time.monotonic() + CONTROL
        while not self._naive.counts()["lost"] and time.monotonic() < most:
            time.sleep(TICK)

    # ---------------------------------------------------------------- the loop

    def _rotate_and_break(self) -> None:
        next_fault = time.monotonic() + 5
        self._naive.start()
        while self._started < self._wanted or self._active:
            self._tick()
            if time.monotonic() > next_fault and self._has_met_the_last_fault():
                self._break_something()
                next_fault = time.monotonic() + self._random.uniform(0.5, 5.5)
            if sys.stderr.isatty():
                print(f"\r{self._tally['ended']} of {self._wanted}", end="", file=sys.stderr, flush=True)
            # The last few are left in peace, which is when a run that is stuck shows.
            if self._started >= self._wanted and len(self._active) < len(self._hosts) / 2:
                return

    def _has_met_the_last_fault(self) -> bool:
        """On a slow machine faults come slower too: workers that only start meet nothing."""
        return self._tally["ended"] >= self._met or time.monotonic() - self._broken_at > CALM

    def _tick(self) -> None:
        time.sleep(TICK)
        for at, work in [entry for entry in self._later if entry[0] <= time.monotonic()]:
            self._later.remove((at, work))
            work()
        self._programs.look_after()
        self._asking(self._start_more)
        self._asking(self._look)

    def _asking(self, work: Callable[[], T]) -> T | None:
        """Ask the database, which may be away for a moment."""
        try:
            close_old_connections()
            return work()
        except (DatabaseError, InterfaceError):
            self._tally["asked in vain"] += 1
            connection.close()
            return None

    def _start_more(self) -> None:
        busy = {target.secret.pk for target, _ in self._active.values()}
        idle = [target for target in self._targets if target.secret.pk not in busy]
        self._random.shuffle(idle)
        for target in idle[: max(0, self._wanted - self._started)]:
            run = runs.start(target.secret, actor=self._actor, is_leak=self._random.random() < 0.1)
            if run.pk in self._active:
                continue
            self._active[run.pk] = (target, time.monotonic())
            self._started += 1
            self._wake(run)

    def _wake(self, run: Run) -> None:
        try:
            tasks.advance.apply_async((str(run.pk),), retry=False)
        except (OperationalError, OSError):
            self._tally["messages lost"] += 1  # the sweep finds the run

    def _look(self) -> None:
        found = {run.pk: run for run in Run.objects.filter(pk__in=list(self._active))}
        for pk, (lease, died_at) in list(self._orphans.items()):
            run = found.get(pk)
            if run is None or run.lease > lease or not run.is_active:
                self._resumes.append(time.monotonic() - died_at)
                del self._orphans[pk]
        for pk, run in found.items():
            target, since = self._active[pk]
            if not run.is_active:
                self._note_end(run, target)
                del self._active[pk]
            elif run.state == Run.State.WAITING and time.monotonic() - since > HURRY:
                # Where it has ended since it was read, this begins another one, which is followed too.
                hurried = runs.start(target.secret, actor=self._actor)
                self._active[pk] = self._active[hurried.pk] = (target, time.monotonic())
        self._look_at(self._random.choice(self._targets))

    def _look_at(self, target: Watched) -> None:
        """I1, while workers are at it."""
        self._tally["samples"] += 1
        if target.is_lost():
            self._tally["lost"] += 1
            print(f"\nlost: {target.place}", file=sys.stderr)

    def _note_end(self, run: Run, target: Watched) -> None:
        self._tally["ended"] += 1
        self._tally["on Windows"] += isinstance(target, windows.Target)
        self._tally[run.outcome] += 1
        if run.outcome != Run.Outcome.SUCCEEDED:
            self._tally[f"{run.outcome}: {run.code} ({run.truth or 'host told nothing'})"] += 1
        elif not target.has(run.version_id):
            # Of which the value is there then: it is compared at its own end.
            later = Run.objects.filter(secret=target.secret, kind=run.kind, created_at__gt=run.created_at)
            what = "overtaken" if later.exists() else "untrue"
            self._tally[what] += 1
            print(f"\n{what}: {target.place}, run {run.pk}", file=sys.stderr)
        self._look_at(target)

    # ---------------------------------------------------------------- faults

    def _break_something(self) -> None:
        kinds: dict[str, tuple[int, Callable[[], None]]] = {
            "worker killed": (6, self._kill_a_worker),
            "web killed": (1, lambda: self._programs.kill("web")),
            "beat killed": (1, lambda: self._programs.kill("beat")),
            "sessions of a host cut": (3, lambda: self._random.choice(self._hosts).drop_sessions()),
            "sshd of a host away": (2, self._cut_a_host),
        }
        if self._windows:
            kinds["connections of a Windows host cut"] = (
                3,
                lambda: self._random.choice(self._windows).drop(),
            )
            kinds["WinRM of a Windows host away"] = (2, self._cut_a_windows_host)
            kinds["answer of a Windows host lost"] = (4, self._lose_an_answer)
        if self._store and self._queue:
            kinds["broker killed"] = (1, self._kill_the_broker)
            kinds["database restarted"] = (1, self._store.restart_immediately)
        self._met = self._tally["ended"] + self._random.randint(1, 4)
        self._broken_at = time.monotonic()
        name = self._random.choices(list(kinds), [weight for weight, _ in kinds.values()])[0]
        self._faults[name] += 1
        kinds[name][1]()

    def _kill_a_worker(self) -> None:
        name = self._random.choice(["worker", "worker2"])
        mark = f"/{self._programs.pid(name)}/"
        self._programs.kill(name)
        died_at = time.monotonic()

        def note() -> None:
            held = Run.objects.filter(state=Run.State.RUNNING, worker__contains=mark)
            for run in held:
                self._orphans[run.pk] = (run.lease, died_at)

        self._asking(note)

    def _cut_a_host(self) -> None:
        host = self._random.choice(self._hosts)
        host.cut()
        self._later.append((time.monotonic() + self._random.uniform(0.2, 3), host.restore))

    def _cut_a_windows_host(self) -> None:
        at = self._random.choice(self._windows)
        at.is_away = True
        at.drop()

        def restore() -> None:
            at.is_away = False

        self._later.append((time.monotonic() + self._random.uniform(0.2, 3), restore))

    def _lose_an_answer(self) -> None:
        windows.break_an_operation(self._random.choice(self._windows), self._random)

    def _kill_the_broker(self) -> None:
        assert self._queue is not None
        self._queue.kill()
        self._later.append((time.monotonic() + self._random.uniform(0.2, 3), self._queue.start))

    # ---------------------------------------------------------------- the end

    def _end_in_peace(self) -> None:
        """Nothing is broken any more: every run ends, and the console says that it works."""
        for _, work in self._later:
            work()
        self._later.clear()
        limit = time.monotonic() + settings.LEASE.total_seconds() + PATIENCE
        while self._active and time.monotonic() < limit:
            self._tick()
        self._tally["stuck"] = len(self._active)
        while not self._programs.answers():
            if time.monotonic() > limit + PATIENCE:
                self._tally["stuck"] += 1
                print("\nthe console does not come back", file=sys.stderr)
                break
            time.sleep(0.5)
        for target in self._targets:
            self._look_at(target)
            current = target.secret.labels.filter(role="current").first()
            in_sync = type(target.secret.managed).objects.get(secret=target.secret).credential == "in_sync"
            if in_sync and not target.has(current.version_id):
                self._tally["untrue"] += 1
                print(f"\nuntrue at the end: {target.place}", file=sys.stderr)

    def _report(self, seconds: float) -> int:
        tally = self._tally
        if sys.stderr.isatty():
            print(file=sys.stderr)
        store = "PostgreSQL, Redis" if self._store else "SQLite, embedded broker"
        print(
            f"rotations      {tally['ended']} over {self._count} hosts, passwords and key pairs, on {store}"
        )
        if self._windows:
            print(f"on Windows     {tally['on Windows']} of them over {self._windows_count} simulated hosts")
        print(f"faults         {sum(self._faults.values())}")
        for name, count in self._faults.most_common():
            print(f"               {count:4d} {name}")
        print(f"succeeded      {tally['succeeded']}")
        for name, count in sorted(tally.items()):
            if ": " in name:
                print(f"               {count:4d} {name}")
        print(f"lost           {tally['lost']}   in {tally['samples']} looks")
        print(f"untrue         {tally['untrue']}   successes that the host does not confirm")
        if tally["overtaken"]:
            print(f"overtaken      {tally['overtaken']}   successes that another rotation followed")
        print(f"stuck          {tally['stuck']}")
        locked = sum(account.is_locked for at in self._windows for account in at.host.accounts.values())
        if self._windows:
            print(f"locked         {locked}   accounts of Windows hosts, by wrong passwords")
        if len(self._resumes) > 1:
            p99 = statistics.quantiles(self._resumes, n=100)[98]
            print(
                f"resume         p50 {statistics.median(self._resumes):.1f} s, p99 {p99:.1f} s "
                f"of {len(self._resumes)}, lease {settings.LEASE.seconds} s"
            )
        naive = self._naive.counts()
        print(f"naive control  {naive['lost']} lost of {naive.total()}")
        print(f"seconds        {seconds:.0f}")
        if not naive["lost"]:
            print("The naive rotator lost nothing, so this run proves nothing. Run more rotations.")
        bad = locked or tally["lost"] or tally["stuck"] or tally["untrue"] or tally["ended"] < self._wanted
        return 1 if bad or not naive["lost"] else 0
