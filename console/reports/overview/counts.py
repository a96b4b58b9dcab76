"""What the overview counts, in a number of queries that does not grow with what is counted.

Of a reader from whom nothing is hidden, rows are counted in an index, and what was counted is kept for a
minute if there is much of it. What is kept is told to no reader from whom anything is hidden.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

from django.core.cache import cache
from django.db.models import Case, CharField, Count, Q, QuerySet, Value, When
from django.db.models.functions import Cast, Substr
from django.utils import timezone

from console.access import resources
from console.lists import run_filters
from console.reports.overview.seen import Credential, Seen
from rotation.models import Instance, ManagedAccount, Run, Schedule
from secrets_app import prepared
from secrets_app.models import Secret

DAYS = 30
KEPT_FROM = 10_000  # secrets; the ages of fewer are counted as quickly as they are looked up
AGES = ("to 25%", "to 50%", "to 75%", "to 100%", "longer")


class Counts:
    """The counts of one region, or of all."""

    def __init__(self, seen: Seen) -> None:
        self.request, self.region = seen.request, seen.region
        self.sees_all = seen.sees_all
        self._seen = seen

    def types(self) -> dict[str, int]:
        """How many secrets there are of each type."""
        if (kept := self._kept("types")) is not None:
            return dict(kept)
        # An index by type is all that is read; that `created_at` is there is said for it.
        types = self._seen.secrets().filter(created_at__isnull=False).order_by().values_list("type")
        counts: dict[str, int] = dict(types.annotate(count=Count("*")))
        self._keep("types", counts, sum(counts.values()))
        return counts

    def overdue(self, every: int) -> int:
        if (kept := self._kept("overdue")) is not None:
            return int(kept)
        count = self._seen.secrets(automatic="overdue").count()
        self._keep("overdue", count, every)
        return count

    def in_sync(self) -> int:
        """The count of the list's own filter; the few that rotate are subtracted, not asked of each row."""
        if (kept := self._kept("in_sync")) is not None:
            return int(kept)
        count = self._counted_in_sync()
        self._keep("in_sync", count, count)
        return count

    def _counted_in_sync(self) -> int:
        rows = self._seen.secrets().filter(managed__credential=Credential.IN_SYNC)
        # Their keys and not a query in the query, for which SQLite would ask about each secret.
        busy = rows.filter(pk__in=self._seen.rotating).count()
        if self._seen.counts_all:  # an account is released as its secret is purged
            kept = ManagedAccount.objects.filter(released_at__isnull=True, credential=Credential.IN_SYNC)
            return kept.aggregate(count=Count("*"))["count"] - busy  # type: ignore[no-any-return]
        return rows.count() - busy

    @cached_property
    def sees_all_instances(self) -> bool:
        return resources.sees_all_instances(self.request, resources.ALL_REGIONS)

    def instances(self) -> tuple[int, int]:
        """How many there are, and how many of them are ready."""
        kept = self._kept("instances") if self.sees_all_instances else None
        if kept is not None:
            return int(kept[0]), int(kept[1])
        rows = resources.instances(self.request, self.region)
        count = rows.aggregate(all=Count("pk"), ready=Count("pk", filter=Q(state=Instance.State.READY)))
        if self.sees_all_instances:
            self._keep("instances", [count["all"], count["ready"]], count["all"])
        return count["all"], count["ready"]

    def ages(self) -> list[int]:
        """How many passwords and keys there are of each age."""
        if (kept := self._kept("ages")) is not None:
            return list(kept)
        now = timezone.now()
        rows = self._seen.secrets(automatic="on").filter(managed__rotated_at__isnull=False)
        counts = [0] * len(AGES)
        for hour, period, count in _by_hour(rows, "managed__rotated_at", "schedule__period"):
            counts[min(int((now - _hour(hour)) / period * 4), 4)] += count
        self._keep("ages", counts, sum(counts))
        return counts

    def _kept(self, name: str) -> Any:
        """What was counted within the last minute, for readers from whom nothing is hidden; or None."""
        return self._all_kept.get(f"overview.{name}.{self.region}") if self.sees_all else None

    @cached_property
    def _all_kept(self) -> dict[str, Any]:
        """All of it, by one question."""
        zone = timezone.get_current_timezone_name()
        names = ("types", "in_sync", "overdue", "instances", "ages", f"runs.{zone}", f"ahead.{zone}")
        return cache.get_many([f"overview.{name}.{self.region}" for name in names])

    def _keep(self, name: str, counted: Any, total: int) -> None:
        """Have what was counted looked up for a minute, if there is much of it."""
        if self.keeps(total):
            cache.set(f"overview.{name}.{self.region}", counted, timeout=60)

    def keeps(self, total: int) -> bool:
        return self.sees_all and total > KEPT_FROM

    def note(self, text: str, total: int) -> str:
        return ", ".join(filter(None, [text, "at most a minute old"])) if self.keeps(total) else text

    def note_of_runs(self, text: str) -> str:
        sees_all = resources.sees_all_runs(self.request, self.region)
        return self.note(text, self.runs.total()) if sees_all else text

    @cached_property
    def runs(self) -> Counter[tuple[str, str]]:
        """The rotations of the last days, by day and outcome."""
        if not resources.sees_all_runs(self.request, self.region):
            return self._count_runs()
        name = f"runs.{timezone.get_current_timezone_name()}"  # a day is the reader's
        if (kept := self._kept(name)) is not None:
            return Counter({(day, outcome): count for day, outcome, count in kept})
        counts = self._count_runs()
        self._keep(name, [[*key, count] for key, count in counts.items()], counts.total())
        return counts

    def _count_runs(self) -> Counter[tuple[str, str]]:
        """As `runs`, now.

        Most have succeeded: all of a day are counted in an index, and the others read and subtracted.
        """
        today = timezone.localdate()
        days = [today - timedelta(days=number) for number in range(DAYS)]
        rows = self._seen.runs(kind="rotate", since=days[-1].isoformat()).order_by()
        usual = [Run.Outcome.SUCCEEDED] if resources.sees_all_runs(self.request, self.region) else []
        # Compared and not truncated: SQLite would truncate by a call a row.
        begun = [When(created_at__gte=run_filters.midnight(day), then=Value(day.isoformat())) for day in days]
        of_day = rows.annotate(day=Case(*begun, output_field=CharField()))
        if usual:
            of_day = of_day.filter(outcome__in=set(Run.Outcome.values) - set(usual) | {""})
        found = of_day.values_list("day", "outcome").annotate(count=Count("*"))
        counts = Counter({(day, outcome): count for day, outcome, count in found})
        if usual:
            others: Counter[str] = Counter()
            for (day, _), count in counts.items():
                others[day] += count
            ranges = [
                (run_filters.midnight(day), run_filters.midnight(day + timedelta(days=1))) for day in days
            ]
            for day, count in zip(days, _in_ranges(rows, "created_at", ranges), strict=True):
                counts[day.isoformat(), usual[0]] = count - others[day.isoformat()]
        return counts

    def ahead(self, days: list[date]) -> Counter[date]:
        """The rotations that these days, which are the reader's, have planned."""
        name = f"ahead.{timezone.get_current_timezone_name()}"
        if (kept := self._kept(name)) is not None:
            return Counter({date.fromisoformat(day): count for day, count in kept})
        counts = self._count_ahead(days) if self._seen.counts_all else self._count_ahead_by_row()
        self._keep(name, [[day.isoformat(), count] for day, count in counts.items()], counts.total())
        return counts

    def _count_ahead(self, days: list[date]) -> Counter[date]:
        """All of them, each day counted in an index."""
        now = timezone.now()
        waiting = Schedule.objects.filter(is_on=True, paused_at__isnull=True, stopped_at__isnull=True)
        ends = [run_filters.midnight(day) for day in [*days, days[0] + timedelta(days=DAYS)]]
        ends = [now, *ends[1:-1], min(ends[-1], now + timedelta(days=DAYS))]
        ranges = list(itertools.pairwise(ends))
        counts = Counter(dict(zip(days, _in_ranges(waiting, "next_at", ranges), strict=True)))
        # The schedule of a secret that is purged is off.
        ending = Secret.objects.kept().filter(deletion_planned_at__isnull=False)
        dates = waiting.filter(secret__in=list(ending.order_by().values_list("pk", flat=True)))
        for at in dates.filter(next_at__gte=ends[0], next_at__lt=ends[-1]).values_list("next_at", flat=True):
            counts[timezone.localtime(at).date()] -= 1
        return counts

    def _count_ahead_by_row(self) -> Counter[date]:
        """Those that the reader may see."""
        now = timezone.now()
        rows = self._seen.secrets(automatic="on").filter(
            schedule__next_at__gte=now, schedule__next_at__lt=now + timedelta(days=DAYS)
        )
        counts: Counter[date] = Counter()
        for hour, count in _by_hour(rows, "schedule__next_at"):
            counts[timezone.localtime(_hour(hour)).date()] += count
        return counts


def _in_ranges(rows: QuerySet[Any], field: str, ranges: list[tuple[datetime, datetime]]) -> list[int]:
    """How many rows there are from each beginning to before its end; each is counted in an index."""
    return prepared.counted(
        lambda begin, end: rows.filter(**{f"{field}__gte": begin, f"{field}__lt": end}), ranges
    )


def _by_hour(rows: QuerySet[Secret], field: str, *others: str) -> Iterable[tuple[Any, ...]]:
    """Count rows by the hour of a moment, cut out of its text: SQLite would truncate it by a call a row."""
    hour = Substr(Cast(field, CharField()), 1, 13)
    grouped: Any = rows.order_by().values_list(hour, *others)
    counted: Iterable[tuple[Any, ...]] = grouped.annotate(Count("pk"))
    return counted


def _hour(text: str) -> datetime:
    return datetime.strptime(text.replace("T", " "), "%Y-%m-%d %H").replace(tzinfo=UTC)
