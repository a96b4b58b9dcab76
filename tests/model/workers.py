"""Workers that stop, die and come back where a test says, all in one thread and one transaction.

Each is a greenlet, so a worker that stands still at a failpoint is the real engine half-way through the
real code, and another one can go on meanwhile. A sequence of thousands of them is rolled back at its end.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import connection
from greenlet import GreenletExit, getcurrent, greenlet

from rotation.connectors import base
from rotation.connectors.memory.connector import MemoryConnector
from rotation.engine import engine, failpoints
from rotation.models import Run

if TYPE_CHECKING:
    from tests.model.world import World

ROTATION = Path(engine.__file__).parent
#: Every failpoint that the code has, and the two ends of every change of a host.
_CODE = "".join(path.read_text() for path in sorted(ROTATION.rglob("*.py")))
PLACES = sorted({*re.findall(r'failpoints.reach\("(\w+)"', _CODE), "before_sending", "after_sending"})
MOST_QUERIES = 90  # about as many as a whole rotation makes


class Crash(BaseException):
    """Stands for a worker that is gone: nothing catches it."""


@dataclass
class Plan:
    """Where a worker stops or dies, the first time that it comes there; nowhere where all is empty."""

    place: str = ""
    dies: bool = False
    at_query: int = 0  # it dies when it asks the database for the n-th time
    is_late: bool = False  # what it sends is applied later, and it never learns of it


class Worker(greenlet):
    """One worker that takes up one run."""

    def __init__(self, world: World, run_id: UUID, number: int, plan: Plan) -> None:
        super().__init__()
        self.world, self.run_id, self.name, self.plan = world, run_id, f"w{number}", plan
        self.lease = 0  # the number of the lease that it took
        self.host_had = ""  # the pending value that was on the host when it took the run up
        self.began_with: Any = None  # the current version when it took the run up, or meant to send

    def run(self) -> None:
        with contextlib.suppress(Crash):
            engine.advance(self.run_id, worker=self.name, connect=lambda _: Channel(self), scanner=None)

    def at(self, place: str) -> None:
        """Come to `place`, and do there what the plan says."""
        if place == "after_claim":
            self.lease = self.world.run_row(self).lease
            self.host_had = self.world.unsettled()
        if place in {"after_claim", "after_intent"}:
            self.began_with = self.world.current_pk()
        if self.plan.place != place:
            return
        self.plan.place = ""
        self.world.is_left(self)
        if self.plan.dies:
            raise Crash
        self.parent.switch()

    @property
    def was_overtaken(self) -> bool:
        """Whether it took a lease and another worker, a person or the end of the run took it away."""
        run = self.world.run_row(self)
        return bool(self.lease) and (run.lease, run.state) != (self.lease, Run.State.RUNNING)

    def end(self) -> None:
        """Be gone, wherever it stands."""
        if not self.dead and self.started:
            self.throw(GreenletExit)

    @property
    def started(self) -> bool:
        return bool(self)


class Channel:
    """The connection of one worker to the simulated host: the host's own, with eyes on what is sent."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._real = MemoryConnector(worker.world.host)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self._worker.world.no_transaction_is_open()
            return method(*arguments, **named)

        return call

    def set_password(self, manager: base.Manager, username: str, new: Any, **named: Any) -> None:
        self._send(new.reveal(), lambda: self._real.set_password(manager, username, new, **named))

    def add_key(self, manager: base.Manager, username: str, key: str, **named: Any) -> None:
        self._send(key, lambda: self._real.add_key(manager, username, key, **named))

    def remove_key(self, manager: base.Manager, username: str, key: str, **named: Any) -> None:
        self._send("", lambda: self._real.remove_key(manager, username, key, **named))

    def _send(self, value: str, apply: Callable[[], None]) -> None:
        world, worker = self._worker.world, self._worker
        world.no_transaction_is_open()
        world.is_about_to_hear(worker, value)
        worker.at("before_sending")
        if worker.plan.is_late:
            worker.plan.is_late = False
            world.late.append((worker, apply))
            raise base.Unknown
        world.change(worker, apply)
        worker.at("after_sending")


def watch(world: World) -> None:
    """Have every failpoint tell the worker that comes to it."""
    for place in PLACES:
        failpoints.arm(place, lambda place=place: _reached(place))  # type: ignore[misc]


def _reached(place: str) -> None:
    worker = getcurrent()
    if isinstance(worker, Worker):
        worker.at(place)


def count_queries(execute: Callable[..., Any], *arguments: Any) -> Any:
    """An execute wrapper: the worker whose plan says so dies instead of asking once more."""
    worker = getcurrent()
    if isinstance(worker, Worker) and worker.plan.at_query:
        worker.plan.at_query -= 1
        if not worker.plan.at_query:
            worker.world.is_left(worker)
            raise Crash
    return execute(*arguments)


def open_savepoints() -> int:
    return len(connection.savepoint_ids)
