"""Threads of one process that share a transaction of the audit trail.

A transaction waits for the disk, and the head of the trail admits one transaction at a time. So a thread that
comes while one is under way waits for its end, and one of the waiting threads makes the next transaction for
all of them. A thread gets its answer after its transaction has committed; if that fails, each thread of the
transaction gets an error.

Knows threads and transactions, and not what is recorded.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar, cast

from django.db import connection, transaction

from secrets_app.audit import trail

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")
MOST = 64  # in one transaction


@dataclass(eq=False)
class _Turn(Generic[Asked, Answer]):
    """One thread that asks, and what became of it once it is called."""

    asked: Asked
    called: threading.Event = field(default_factory=threading.Event)
    leads: bool = False  # it makes the next transaction
    is_complete: bool = False  # its transaction was about to commit, and may have
    is_durable: bool = False  # its transaction has committed
    answer: Answer | None = None
    error: BaseException | None = None  # of the thread that made the transaction


class Batches(Generic[Asked, Answer]):
    """One queue: `do` is called in a transaction, takes what some threads ask, and answers each of them.

    It gets a function that takes it from the queue, and calls that once: the later, the more have come.
    """

    def __init__(self, do: Callable[[Callable[[], Sequence[Asked]]], Sequence[Answer]]) -> None:
        self._do = do
        self._lock = threading.Lock()
        self._waiting: list[_Turn[Asked, Answer]] = []
        self._is_led = False

    def ask(self, asked: Asked) -> Answer:
        """Return the answer to `asked`, once it is durable.

        If `do` raises for many, each is tried by itself, and raises what it was the cause of. Raises
        `trail.NotRecorded` if a transaction that another thread made did not commit, and RuntimeError inside
        a transaction, where nothing is durable when it returns.
        """
        if connection.in_atomic_block:
            return self._alone(asked)
        turn: _Turn[Asked, Answer] = _Turn(asked)
        with self._lock:
            self._waiting.append(turn)
            turn.leads, self._is_led = not self._is_led, True
        if not turn.leads:
            self._wait(turn)
        if turn.leads:
            self._lead(turn)
        if turn.is_durable:
            return cast(Answer, turn.answer)
        if turn.is_complete:
            raise trail.NotRecorded("The audit trail did not accept this event.") from turn.error
        return self._alone(asked)

    def _alone(self, asked: Asked) -> Answer:
        turn: _Turn[Asked, Answer] = _Turn(asked)
        self._commit([turn], lambda: [asked])
        return cast(Answer, turn.answer)

    def _wait(self, turn: _Turn[Asked, Answer]) -> None:
        try:
            turn.called.wait()
        except BaseException:  # this thread ends: the others do not wait for it
            with self._lock:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                if turn.leads:
                    self._call_next()
            raise

    def _lead(self, own: _Turn[Asked, Answer]) -> None:
        """Make one transaction for all who wait, this thread among them, and call the next to lead."""
        turns: list[_Turn[Asked, Answer]] = []

        def take() -> Sequence[Asked]:
            with self._lock:
                turns[:], self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            return [turn.asked for turn in turns]

        error: BaseException | None = None
        try:
            self._commit(turns, take)
        except Exception as caught:  # noqa: BLE001  # each is tried by itself, and raises its own
            error = caught
            if not turns:  # it failed before, and would for each of them
                take()
        finally:
            with self._lock:
                if own in self._waiting:  # this thread ends
                    self._waiting.remove(own)
                self._call_next()
            for turn in turns:
                turn.error = error
                turn.called.set()
        if error is not None and (own.is_complete or len(turns) == 1):
            raise error

    def _commit(self, turns: Sequence[_Turn[Asked, Answer]], take: Callable[[], Sequence[Asked]]) -> None:
        with transaction.atomic(durable=True):
            answers = self._do(take)
            # From here on it may be on the disk, whatever the commit says.
            for turn in turns:
                turn.is_complete = True
        for turn, answer in zip(turns, answers, strict=True):
            turn.answer, turn.is_durable = answer, True

    def _call_next(self) -> None:
        """Have the first who waits lead; the caller holds the lock."""
        self._is_led = bool(self._waiting)
        if self._waiting:
            self._waiting[0].leads = True
            self._waiting[0].called.set()
