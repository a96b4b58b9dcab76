"""Count what happened since this process began: runs that ended, their steps, dates that were missed.

It follows the audit trail by its numbers, which have no gap, so each event is counted once and nothing is
counted that was rolled back. A look reads a bounded number of events however many runs there are; what is
left is read by the next one. The counts begin with the process, as those of Prometheus do.

Knows no names: a count has a kind, a state or an outcome, each one of a few words of our own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from prometheus_client import CollectorRegistry, Counter, Histogram

from rotation import missed
from rotation.leases import DIED
from rotation.models import Run, Step
from secrets_app.models import AuditEvent

MOST: Final = 10_000  # events of one look
AT_ONCE: Final = 500  # runs whose steps are read by one query
BUCKETS: Final = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)  # seconds
_KINDS: Final = {action: kind for kind, action in Run.ENDED_EVENTS.items()}
_OUTCOMES: Final = tuple(outcome for outcome in Run.Outcome if outcome != Run.Outcome.MISSED)


class Followed:
    """The counts of one process, and how far it has followed the trail."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sequence: int | None = None
        self.runs = Counter(
            "keyturn_runs_ended",
            "Runs that ended, by kind and outcome.",
            ("kind", "outcome"),
            registry=registry,
        )
        self.steps = Counter(
            "keyturn_steps_ended",
            "Steps of the runs that ended, by step and state.",
            ("step", "state"),
            registry=registry,
        )
        self.seconds = Histogram(
            "keyturn_step_duration_seconds",
            "How long the steps of the runs that ended took.",
            ("step",),
            registry=registry,
            buckets=BUCKETS,
        )
        self.lost = Counter(
            "keyturn_leases_lost",
            "Steps of the runs that ended whose worker did not come back.",
            registry=registry,
        )
        self.missed = Counter(
            "keyturn_rotations_missed",
            "Dates of schedules that passed without a rotation.",
            registry=registry,
        )
        self.events = Counter(
            "keyturn_audit_events", "Events of the audit trail, by outcome.", ("outcome",), registry=registry
        )
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """A count that is not there yet has no rate: the first failure would not be seen to be one."""
        for kind in Run.Kind:
            for outcome in _OUTCOMES:
                self.runs.labels(kind.value, outcome.value)
        for step in Step.Name:
            self.seconds.labels(step.value)
            for state in (Step.State.DONE, Step.State.FAILED, Step.State.BROKEN):
                self.steps.labels(step.value, state.value)
        for result in AuditEvent.Outcome:
            self.events.labels(result.value)

    def follow(self, head: int) -> None:
        """Count the events up to `head`, the number of the newest one. Raises DatabaseError."""
        if self.sequence is None or head < self.sequence:  # the first look; or an older database is there now
            self.sequence = head
            return
        rows = AuditEvent.objects.filter(sequence__gt=self.sequence, sequence__lte=head)
        named = rows.order_by("sequence").values_list("sequence", "action", "outcome", "details")
        read = list(named[:MOST])
        ended = [_run(details) for _, action, _, details in read if action in _KINDS]
        # All is read before anything is counted: a look that fails half way counts nothing twice.
        steps = list(_steps([run for run in ended if run]))
        for sequence, action, outcome, details in read:
            self._count(action, outcome, details)
            self.sequence = sequence
        for name, state, sentence, duration in steps:
            self._count_step(name, state, sentence, duration)

    def _count(self, action: str, outcome: str, details: dict[str, Any]) -> None:
        self.events.labels(_known(outcome, AuditEvent.Outcome)).inc()
        if action in _KINDS:
            self.runs.labels(_KINDS[action].value, _known(details.get("outcome"), _OUTCOMES)).inc()
        elif action == missed.MISSED:
            dates = details.get("dates")
            self.missed.inc(dates if isinstance(dates, int) and dates > 0 else 1)

    def _count_step(self, name: str, state: str, sentence: str, seconds: float | None) -> None:
        self.steps.labels(_known(name, Step.Name), _known(state, Step.State)).inc()
        if seconds is not None:
            self.seconds.labels(_known(name, Step.Name)).observe(seconds)
        if state == Step.State.BROKEN and sentence == DIED:
            self.lost.inc()


def _known(word: object, words: Iterable[str]) -> str:
    """The word if it is one of ours: a row that was changed outside Keyturn adds no label of its own."""
    return next((str(one) for one in words if one == word), "other")


def _run(details: dict[str, Any]) -> UUID | None:
    try:
        return UUID(str(details.get("run")))
    except ValueError:
        return None


def _steps(runs: list[UUID]) -> Iterable[tuple[str, str, str, float | None]]:
    for first in range(0, len(runs), AT_ONCE):
        rows = Step.objects.filter(run__in=runs[first : first + AT_ONCE]).order_by()
        for name, state, sentence, began, ended in rows.values_list(
            "name", "state", "sentence", "started_at", "ended_at"
        ):
            yield name, state, sentence, max(0.0, (ended - began).total_seconds()) if ended else None
