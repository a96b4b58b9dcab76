"""The figures and pictures of the overview.

Every number has a link to the list that it counts, made of that list's own filter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from console.reports.charts import Bar, Chart, Series
from console.reports.overview.counts import AGES, DAYS, Counts
from console.reports.overview.seen import Seen
from rotation.models import Instance, Run
from secrets_app.models import Secret


@dataclass(frozen=True)
class Figure:
    """A number, and the list that it counts."""

    label: str
    count: int
    url: str
    note: str = ""
    tone: str = ""


class Figures:
    """Those of one region, or of all."""

    def __init__(self, seen: Seen) -> None:
        self._seen, self._counts = seen, Counts(seen)

    @property
    def figures(self) -> list[Figure]:
        return [*self._figures_of_secrets(), *self._figures_of_instances(), *self._figures_of_runs()]

    def _figures_of_secrets(self) -> Iterator[Figure]:
        if not self._seen.may_secrets:
            return
        counts = self._counts.types()
        every = sum(counts.values())
        managed = every - counts.get(Secret.Type.GENERIC, 0)
        in_sync, overdue = self._counts.in_sync(), self._counts.overdue(every)
        # A generic secret has no instance to be in sync with.
        share = f"{in_sync / managed:.0%} of all" if managed else ""
        yield Figure("Secrets", every, self._seen.link("secrets"), self._counts.note("", every))
        yield Figure("In sync", in_sync, self._seen.link("secrets", credential="in_sync"), share)
        drifted = self._seen.counted_troubled[1]
        if drifted is None:
            drifted = self._seen.secrets(credential="drifted").count()
        yield Figure(
            "Drifted",
            drifted,
            self._seen.link("secrets", credential="drifted"),
            tone="danger" if drifted else "",
        )
        yield Figure(
            "Overdue",
            overdue,
            self._seen.link("secrets", automatic="overdue"),
            self._counts.note("", every),
            tone="danger" if overdue else "",
        )

    def _figures_of_instances(self) -> Iterator[Figure]:
        if not self._seen.may_instances:
            return
        every, ready = self._counts.instances()
        is_kept = self._counts.sees_all_instances and self._counts.keeps(every)
        link = self._seen.link("instances", status=Instance.State.READY.value)
        note = f"of {every:,}"
        yield Figure("Instances ready", ready, link, self._counts.note(note, every) if is_kept else note)

    def _figures_of_runs(self) -> Iterator[Figure]:
        chosen = {"kind": "rotate", "since": (timezone.localdate() - timedelta(days=DAYS - 1)).isoformat()}
        counts, link = self._counts.runs, self._seen.link("rotations", **chosen)
        missed = sum(count for (_, outcome), count in counts.items() if outcome == Run.Outcome.MISSED)
        note = self._counts.note_of_runs(f"{missed:,} missed" if missed else "")
        yield Figure(f"Rotations, {DAYS} days", counts.total(), link, note)

    @property
    def charts(self) -> list[Chart]:
        return [self._per_day(), *([self._ahead(), self._ages()] if self._seen.may_secrets else [])]

    def _per_day(self) -> Chart:
        first = timezone.localdate() - timedelta(days=DAYS - 1)
        days = [first + timedelta(days=number) for number in range(DAYS)]
        counts = self._counts.runs
        series = [
            Series("Succeeded", "ok"),
            Series("Blocked", "warning"),
            Series("Failed", "danger"),
            Series("Cancelled", "muted"),
            Series("Missed", "info"),
            Series("Under way", "busy"),
        ]
        outcomes = [*(line.name.lower() for line in series[:-1]), ""]
        bars = []
        for day in days:
            parts = [counts[day.isoformat(), outcome] for outcome in outcomes]
            link = self._seen.link("rotations", kind="rotate", since=day.isoformat(), until=day.isoformat())
            bars.append(Bar(day.isoformat(), tuple(parts), link))
        note = self._counts.note_of_runs(f"The last {DAYS} days")
        return Chart("Rotations per day", "Day", tuple(series), tuple(bars), note)

    def _ahead(self) -> Chart:
        days = [timezone.localdate() + timedelta(days=number) for number in range(DAYS)]
        counts = self._counts.ahead(days)
        bars = tuple(Bar(day.isoformat(), (counts[day],)) for day in days)
        note = self._counts.note(f"The next {DAYS} days", counts.total())
        empty = f"No automatic rotation in the next {DAYS} days."
        return Chart("What rotates next", "Day", (Series("Rotations", "busy"),), bars, note, empty)

    def _ages(self) -> Chart:
        counts = self._counts.ages()
        note = self._counts.note("Automatic ones", sum(counts))
        bars = tuple(
            Bar(name, (count, 0) if number < 4 else (0, count))
            for number, (name, count) in enumerate(zip(AGES, counts, strict=True))
        )
        series = (Series("Within its period", "ok"), Series("Older", "danger"))
        return Chart("Age against the period", "Age", series, bars, note)
