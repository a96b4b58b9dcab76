"""What the overview counts, in a number of queries that does not grow with what is counted.

Each part asks through `access`, so it holds only what its reader may list. Every number has a link to
the list that it counts, made of that list's own filter.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any

from django.conf import settings
from django.core.cache import cache
from django.db.models import Case, CharField, Count, Exists, OuterRef, Q, QuerySet, Value, When
from django.db.models.functions import Cast, Substr
from django.urls import reverse
from django.utils import timezone

from console.access import resources
from console.forms.rotations.rotations import ACTIVE
from console.forms.rotations.rotations import Filters as RunFilters
from console.forms.secrets.secrets import Filters as SecretFilters
from console.http import OperatorRequest
from console.lists import instance_list, run_filters, secret_filters, secret_rows
from console.lists.paging import COUNT_CAP
from console.presentation import dependant_states, durations, run_states, secret_states
from console.presentation.instance_states import HostKeys
from console.presentation.secret_states import Fact
from console.reports import resolving
from console.reports.charts import Bar, Chart, Series
from rotation import accounts
from rotation.engine.work import TELLS
from rotation.models import GRACE, Dependant, HostKey, Instance, ManagedAccount, Run, Schedule
from secrets_app.backups import backups
from secrets_app.models import ChangedRecord, Secret
from secrets_app.policy.decisions import Action

Credential = ManagedAccount.Credential

DAYS = 30
SHOWN = 8  # of each kind of what needs a person; the list has the others
DELETION_NOTICE = timedelta(days=7)
KEPT_FROM = 10_000  # secrets; the ages of fewer are counted as quickly as they are looked up
QUEUED_NOTICE = timedelta(minutes=1)
#: In the order of what is worse.
TROUBLED = (Credential.OUT_OF_SYNC, Credential.BLOCKED, Credential.UNVERIFIED, Credential.UNREACHABLE)
#: What settles what is wrong with a secret.
SETTLES = (
    Action.ROTATE_SECRET,
    Action.RESOLVE_ROTATION,
    Action.REBIND_ACCOUNT,
    Action.RESTORE_SECRET,
    Action.PUT_SECRET_VALUE,
)
AGES = ("to 25%", "to 50%", "to 75%", "to 100%", "longer")


@dataclass(frozen=True)
class Need:
    """One thing that waits for a person."""

    fact: Fact
    name: str
    url: str
    where: str = ""
    action: tuple[str, str] | None = None  # the dialog that settles it: its word and its address


@dataclass(frozen=True)
class More:
    """How many there are beside those that are shown, and the list of them all."""

    text: str
    url: str


@dataclass(frozen=True)
class Figure:
    """A number, and the list that it counts."""

    label: str
    count: int
    url: str
    note: str = ""
    tone: str = ""


class Overview:
    """Everything that the page shows of one region, or of all."""

    def __init__(self, request: OperatorRequest, region: str) -> None:
        self.request, self.region = request, region
        self.may_secrets = resources.may(request, Action.LIST_SECRETS)
        self.may_instances = resources.may(request, Action.LIST_INSTANCES)
        #: Of a reader from whom nothing is hidden, rows are counted in an index and no right is asked about.
        self.sees_all = resources.sees_all_secrets(request)
        self.counts_all = region == resources.ALL_REGIONS and self.sees_all
        self.needs: list[Need] = []
        self.more: list[More] = []
        self.backup = ""  # how old the newest one is, for those who may know
        if resources.may(request, Action.VERIFY_AUDIT):
            self._add_changed_records()
            self._add_old_backup()
        self._add_queued()
        if self.may_secrets:
            self._needs_of_secrets()
        if self.may_instances:
            self.needs += self._changed_keys()
        if self.may_secrets:
            self.needs += self._ending_deletions()

    # ---------------------------------------------------------------- rows

    def _secrets(self, **chosen: str) -> QuerySet[Secret]:
        """The rows of the list of secrets under this filter, and nothing beside them."""
        return secret_filters.narrowed(
            resources.secrets(self.request, self.region), SecretFilters(chosen, keys=()).chosen()
        )

    def _runs(self, **chosen: str) -> QuerySet[Run]:
        return run_filters.narrowed(resources.runs(self.request, self.region), RunFilters(chosen).chosen())

    def _link(self, name: str, **chosen: str) -> str:
        return reverse(name, args=[self.region], query=chosen or None)

    # ---------------------------------------------------------------- what needs a person

    def _add_old_backup(self) -> None:
        late = backups.late()
        if not late and settings.BACKUP_RECIPIENTS and (newest := backups.newest()):
            self.backup = f"The newest backup is {durations.duration(timezone.now() - newest)} old."
        if late:
            fact = Fact("warning", "Backup is late", late, "A worker takes one a day; its log says why not.")
            self.needs.append(Need(fact, "Backup", reverse("settings_about")))

    def _add_changed_records(self) -> None:
        for row in ChangedRecord.objects.all()[:SHOWN]:
            fact = Fact(
                "danger",
                "Changed outside Keyturn",
                row.sentence,
                "It counts for nothing until it was compared and accepted (manage.py audit accept).",
            )
            self.needs.append(Need(fact, row.name, reverse("audit")))

    def _add_queued(self) -> None:
        """Runs that no worker has taken up for longer than it usually takes."""
        since = timezone.now() - QUEUED_NOTICE
        rows = self._runs(outcome=ACTIVE).filter(state=Run.State.QUEUED, due_at__lte=since)
        queued = list(rows.select_related("secret", "instance").order_by("due_at", "pk")[: SHOWN + 1])
        for run in queued[:SHOWN]:
            about = run.secret.name if run.secret else run.instance.name
            url = reverse("run", args=[self.region, run.pk])
            where = f"{run.label} on {run.instance.name}"
            self.needs.append(Need(run_states.queued_for_long(run), about, url, where))
        if len(queued) > SHOWN:
            self.more.append(More("All runs under way", self._link("rotations", outcome=ACTIVE)))

    def _needs_of_secrets(self) -> None:
        troubled = self._secrets(status="enabled").filter(managed__credential__in=TROUBLED)
        idle = troubled.exclude(Exists(Run.objects.active().filter(secret=OuterRef("pk"), kind="rotate")))
        counts = self._count_troubled(idle)
        rows = [row for kind in TROUBLED if counts[kind] for row in self._some(idle, kind)]
        self._add_doubtful(rows)
        self._add_failed_dependants()
        left = sum(counts.values()) - len(rows)
        if left > 0:
            self.more += [
                More(
                    f"{_counted(counts[kind])} {secret_states.CREDENTIALS[kind].label.lower()}",
                    self._link("secrets", credential=kind, status="enabled"),
                )
                for kind in TROUBLED
                if counts[kind]
            ]
        self._add_overdue()

    def _count_troubled(self, idle: QuerySet[Secret]) -> Counter[str]:
        """How many of these secrets, whose credential is in trouble, there are in each state."""
        if not self.counts_all:  # as far as a list says it: each has to be asked about
            of_each = {kind: idle.filter(managed__credential=kind).order_by() for kind in TROUBLED}
            return Counter({kind: rows[: COUNT_CAP + 1].count() for kind, rows in of_each.items()})
        # All accounts are counted in an index, and the few that rotate or are to be deleted are subtracted.
        kept = ManagedAccount.objects.filter(released_at__isnull=True, credential__in=TROUBLED).order_by()
        counts = Counter(dict(kept.values_list("credential").annotate(count=Count("*"))))
        if counts:
            ending = Secret.objects.kept().filter(deletion_planned_at__isnull=False).order_by()
            others = {*secret_rows.rotating(), *ending.values_list("pk", flat=True)}
            left_out = kept.filter(secret__in=others).values_list("credential").annotate(count=Count("*"))
            counts.subtract(dict(left_out))
        return counts

    def _add_doubtful(self, rows: list[Secret]) -> None:
        secret_rows.ready(self.request, rows, SETTLES)
        unresolved = resolving.resolvable(rows)
        for row in rows:
            account = accounts.of(row)
            if secret_states.is_on_other_machine(account):
                action = self._action(row, "Rebind", "secret_rebind", Action.REBIND_ACCOUNT)
            elif row.pk in unresolved and resources.may(self.request, Action.RESOLVE_ROTATION, row):
                action = self._action(row, "Resolve", "secret_resolve", Action.RESOLVE_ROTATION)
            elif secret_states.is_drifted(account):
                action = self._action(row, "Reconcile", "secret_reconcile", Action.ROTATE_SECRET)
            else:
                action = self._action(row, "Rotate Immediately", "secret_rotate", Action.ROTATE_SECRET)
            self.needs.append(
                self._of_secret(row, secret_states.credential(account, is_rotating=False), action)
            )

    def _add_failed_dependants(self) -> None:
        """Secrets whose value is in order, and not with all that runs as their account."""
        failed = Counter(Dependant.objects.behind().order_by().values_list("account", flat=True))
        if not failed:
            return
        told = Run.objects.active().filter(secret=OuterRef("pk"), kind__in=TELLS)
        rows = self._secrets(status="enabled").filter(~Exists(told), managed__in=list(failed))
        secrets = list(rows.select_related("managed__instance").order_by("name")[: SHOWN + 1])
        secret_rows.ready(self.request, secrets, SETTLES)
        for row in secrets[:SHOWN]:
            fact = dependant_states.failed(failed[accounts.needed(row).pk])
            action = self._action(row, "Retry failed items", "secret_dependants_retry", Action.ROTATE_SECRET)
            self.needs.append(self._of_secret(row, fact, action))
        if len(secrets) > SHOWN:
            self.more.append(More("More with failed dependants", self._link("secrets", status="enabled")))

    def _some(self, rows: QuerySet[Secret], kind: str) -> QuerySet[Secret]:
        # In no order: sorting all of them to show a few would cost more than the rest of the page.
        keys = rows.filter(managed__credential=kind).order_by().values_list("pk", flat=True)[:SHOWN]
        return Secret.objects.filter(pk__in=list(keys)).select_related("managed__instance").order_by("name")

    def _add_overdue(self) -> None:
        # Joined, and not the filter's subquery: in the order of dates it is enough to read the first of them.
        rows = self._secrets(status="enabled").select_related("managed__instance", "schedule")
        rotating = rows.filter(
            schedule__is_on=True,
            schedule__paused_at__isnull=True,
            schedule__stopped_at__isnull=True,
            schedule__next_at__lt=timezone.now() - GRACE,
        )
        reminded = rows.filter(reminder_due_at__lt=timezone.now())
        first = [
            *rotating.order_by("schedule__next_at", "pk")[: SHOWN + 1],
            *reminded.order_by("reminder_due_at", "pk")[: SHOWN + 1],
        ]
        by_date = sorted(first, key=lambda row: (row.reminder_due_at or row.schedule.next_at, row.pk))
        overdue = by_date[: SHOWN + 1]
        secret_rows.ready(self.request, overdue, SETTLES)
        for row in overdue[:SHOWN]:
            action = (
                self._action(row, "Edit value", "secret_put_value", Action.PUT_SECRET_VALUE)
                if row.is_generic
                else self._action(row, "Rotate Immediately", "secret_rotate", Action.ROTATE_SECRET)
            )
            self.needs.append(self._of_secret(row, secret_states.automatic(row), action))
        if len(overdue) > SHOWN:
            self.more.append(More("All that are overdue", self._link("secrets", automatic="overdue")))

    def _ending_deletions(self) -> list[Need]:
        rows = self._secrets(status="pending_deletion").select_related("managed__instance")
        ending = rows.filter(deletion_due_at__lte=timezone.now() + DELETION_NOTICE).order_by(
            "deletion_due_at", "pk"
        )
        secrets = list(ending[: SHOWN + 1])
        if len(secrets) > SHOWN:
            self.more.append(More("All pending deletions", self._link("secrets", status="pending_deletion")))
        secret_rows.ready(self.request, secrets, SETTLES)
        return [
            self._of_secret(
                row,
                secret_states.status(row),
                self._action(row, "Restore Secret", "secret_restore", Action.RESTORE_SECRET),
            )
            for row in secrets[:SHOWN]
        ]

    def _action(self, row: Secret, word: str, route: str, right: Action) -> tuple[str, str] | None:
        """The dialog that settles what is wrong with this secret, for those who may do it."""
        if not resources.may(self.request, right, row):
            return None
        return word, reverse(route, args=[self.region, row.pk])

    def _of_secret(self, row: Secret, fact: Fact, action: tuple[str, str] | None = None) -> Need:
        account = accounts.of(row)
        fact = fact.told(lambda right: resources.may(self.request, right, row))
        where = f"{account.username} on {account.instance.name}" if account else ""
        return Need(fact, row.name, reverse("secret", args=[self.region, row.pk]), where, action)

    def _changed_keys(self) -> list[Need]:
        """Instances that show another key than the approved one, out of those where that is possible."""
        keys = HostKey.objects.filter(instance=OuterRef("pk"))
        seen = resources.instances(self.request, self.region)
        possible = seen.filter(
            Exists(keys.filter(state=HostKey.State.APPROVED)),
            Exists(keys.filter(state=HostKey.State.SEEN)) | Q(state=Instance.State.BLOCKED),
        )
        newest = list(possible.order_by("-last_contact_at").values_list("pk", flat=True)[: SHOWN * 4])
        rows = instance_list.with_figures(seen, resources.seen_secrets(self.request))
        needs = []
        for row in rows.filter(pk__in=newest).select_related("region__account", "account").order_by("name"):
            known = HostKeys(row, list(row.host_keys.all()), row.scanned_at)  # type: ignore[attr-defined]
            if known.is_changed:
                fact = Fact(
                    "danger",
                    f"{row.shown.one.capitalize()} changed",
                    known.badge.sentence,
                    "Nothing is sent to it before you approve it.",
                )
                url, action = reverse("instance", args=[self.region, row.pk]), None
                if resources.may(self.request, Action.APPROVE_HOST_KEY, row):
                    action = ("Compare", reverse("instance_approve", args=[self.region, row.pk]))
                needs.append(Need(fact, row.name, url, row.where, action))
        return needs[:SHOWN]

    # ---------------------------------------------------------------- figures

    @property
    def figures(self) -> list[Figure]:
        return [*self._figures_of_secrets(), *self._figures_of_instances(), *self._figures_of_runs()]

    def _figures_of_secrets(self) -> Iterator[Figure]:
        if not self.may_secrets:
            return
        counts = self._counted_types()
        every = sum(counts.values())
        managed = every - counts.get(Secret.Type.GENERIC, 0)
        in_sync, overdue = self._in_sync(), self._secrets(automatic="overdue").count()
        # A generic secret has no instance to be in sync with.
        share = f"{in_sync / managed:.0%} of all" if managed else ""
        yield Figure("Secrets", every, self._link("secrets"), self._note("", every))
        yield Figure("In sync", in_sync, self._link("secrets", credential="in_sync"), share)
        drifted = self._secrets(credential="drifted").count()
        yield Figure(
            "Drifted",
            drifted,
            self._link("secrets", credential="drifted"),
            tone="danger" if drifted else "",
        )
        yield Figure(
            "Overdue",
            overdue,
            self._link("secrets", automatic="overdue"),
            tone="danger" if overdue else "",
        )

    def _counted_types(self) -> dict[str, int]:
        """How many secrets there are of each type."""
        if (kept := self._kept("types")) is not None:
            return dict(kept)
        # An index by type is all that is read; that `created_at` is there is said for it.
        types = self._secrets().filter(created_at__isnull=False).order_by().values_list("type")
        counts: dict[str, int] = dict(types.annotate(count=Count("*")))
        self._keep("types", counts, sum(counts.values()))
        return counts

    def _in_sync(self) -> int:
        """The count of the list's own filter; the few that rotate are subtracted, not asked of each row."""
        if (kept := self._kept("in_sync")) is not None:
            return int(kept)
        count = self._counted_in_sync()
        self._keep("in_sync", count, count)
        return count

    def _counted_in_sync(self) -> int:
        rows = self._secrets().filter(managed__credential=Credential.IN_SYNC)
        # Their keys and not a query in the query, for which SQLite would ask about each secret.
        busy = rows.filter(pk__in=secret_rows.rotating()).count()
        if self.counts_all:  # an account is released as its secret is purged
            kept = ManagedAccount.objects.filter(released_at__isnull=True, credential=Credential.IN_SYNC)
            return kept.aggregate(count=Count("*"))["count"] - busy  # type: ignore[no-any-return]
        return rows.count() - busy

    def _figures_of_instances(self) -> Iterator[Figure]:
        if not self.may_instances:
            return
        rows = resources.instances(self.request, self.region)
        count = rows.aggregate(all=Count("pk"), ready=Count("pk", filter=Q(state=Instance.State.READY)))
        link = self._link("instances", status=Instance.State.READY.value)
        yield Figure("Instances ready", count["ready"], link, f"of {count['all']:,}")

    def _figures_of_runs(self) -> Iterator[Figure]:
        chosen = {"kind": "rotate", "since": (timezone.localdate() - timedelta(days=DAYS - 1)).isoformat()}
        counts, link = self._counted_runs, self._link("rotations", **chosen)
        missed = sum(count for (_, outcome), count in counts.items() if outcome == Run.Outcome.MISSED)
        note = self._note_of_runs(f"{missed:,} missed" if missed else "")
        yield Figure(f"Rotations, {DAYS} days", counts.total(), link, note)

    def _counted_ages(self) -> list[int]:
        """How many passwords and keys there are of each age."""
        if (kept := self._kept("ages")) is not None:
            return list(kept)
        now = timezone.now()
        rows = self._secrets(automatic="on").filter(managed__rotated_at__isnull=False)
        counts = [0] * len(AGES)
        for hour, period, count in _by_hour(rows, "managed__rotated_at", "schedule__period"):
            counts[min(int((now - _hour(hour)) / period * 4), 4)] += count
        self._keep("ages", counts, sum(counts))
        return counts

    def _kept(self, name: str) -> Any:
        """What was counted within the last minute, for readers from whom nothing is hidden; or None."""
        return cache.get(f"overview.{name}.{self.region}") if self.sees_all else None

    def _keep(self, name: str, counted: Any, total: int) -> None:
        """Have what was counted looked up for a minute, if there is much of it."""
        if self._keeps(total):
            cache.set(f"overview.{name}.{self.region}", counted, timeout=60)

    def _keeps(self, total: int) -> bool:
        return self.sees_all and total > KEPT_FROM

    def _note(self, text: str, total: int) -> str:
        return ", ".join(filter(None, [text, "at most a minute old"])) if self._keeps(total) else text

    def _note_of_runs(self, text: str) -> str:
        sees_all = resources.sees_all_runs(self.request, self.region)
        return self._note(text, self._counted_runs.total()) if sees_all else text

    # ---------------------------------------------------------------- pictures

    @property
    def charts(self) -> list[Chart]:
        return [self._per_day(), *([self._ahead(), self._ages()] if self.may_secrets else [])]

    @cached_property
    def _counted_runs(self) -> Counter[tuple[str, str]]:
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
        """As `_counted_runs`, now.

        Most have succeeded: all of a day are counted in an index, and the others read and subtracted.
        """
        today = timezone.localdate()
        days = [today - timedelta(days=number) for number in range(DAYS)]
        rows = self._runs(kind="rotate", since=days[-1].isoformat()).order_by()
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

    def _per_day(self) -> Chart:
        first = timezone.localdate() - timedelta(days=DAYS - 1)
        days = [first + timedelta(days=number) for number in range(DAYS)]
        counts = self._counted_runs
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
            link = self._link("rotations", kind="rotate", since=day.isoformat(), until=day.isoformat())
            bars.append(Bar(day.isoformat(), tuple(parts), link))
        note = self._note_of_runs(f"The last {DAYS} days")
        return Chart("Rotations per day", "Day", tuple(series), tuple(bars), note)

    def _ahead(self) -> Chart:
        days = [timezone.localdate() + timedelta(days=number) for number in range(DAYS)]
        counts = self._counted_ahead(days)
        bars = tuple(Bar(day.isoformat(), (counts[day],)) for day in days)
        note = self._note(f"The next {DAYS} days", counts.total())
        empty = f"No automatic rotation in the next {DAYS} days."
        return Chart("What rotates next", "Day", (Series("Rotations", "busy"),), bars, note, empty)

    def _counted_ahead(self, days: list[date]) -> Counter[date]:
        """The rotations that these days, which are the reader's, have planned."""
        name = f"ahead.{timezone.get_current_timezone_name()}"
        if (kept := self._kept(name)) is not None:
            return Counter({date.fromisoformat(day): count for day, count in kept})
        counts = self._count_ahead(days) if self.counts_all else self._count_ahead_by_row()
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
        rows = self._secrets(automatic="on").filter(
            schedule__next_at__gte=now, schedule__next_at__lt=now + timedelta(days=DAYS)
        )
        counts: Counter[date] = Counter()
        for hour, count in _by_hour(rows, "schedule__next_at"):
            counts[timezone.localtime(_hour(hour)).date()] += count
        return counts

    def _ages(self) -> Chart:
        counts = self._counted_ages()
        note = self._note("Automatic ones", sum(counts))
        bars = tuple(
            Bar(name, (count, 0) if number < 4 else (0, count))
            for number, (name, count) in enumerate(zip(AGES, counts, strict=True))
        )
        series = (Series("Within its period", "ok"), Series("Older", "danger"))
        return Chart("Age against the period", "Age", series, bars, note)


def _counted(count: int) -> str:
    return f"{count:,}" if count <= COUNT_CAP else f"{COUNT_CAP:,}+"


def _in_ranges(rows: QuerySet[Any], field: str, ranges: list[tuple[datetime, datetime]]) -> list[int]:
    """How many rows there are from each beginning to before its end; each is counted in an index."""
    counts = dict.fromkeys(range(len(ranges)), 0)
    parts = [
        rows.order_by()
        .filter(**{f"{field}__gte": begin, f"{field}__lt": end})
        .values(number=Value(number))
        .annotate(count=Count("*"))
        for number, (begin, end) in enumerate(ranges)
    ]
    for part in parts[0].union(*parts[1:], all=True):
        counts[part["number"]] = part["count"]
    return [*counts.values()]


def _by_hour(rows: QuerySet[Secret], field: str, *others: str) -> Iterable[tuple[Any, ...]]:
    """Count rows by the hour of a moment, cut out of its text: SQLite would truncate it by a call a row."""
    hour = Substr(Cast(field, CharField()), 1, 13)
    grouped: Any = rows.order_by().values_list(hour, *others)
    counted: Iterable[tuple[Any, ...]] = grouped.annotate(Count("pk"))
    return counted


def _hour(text: str) -> datetime:
    return datetime.strptime(text.replace("T", " "), "%Y-%m-%d %H").replace(tzinfo=UTC)
