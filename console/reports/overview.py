"""What the overview counts, in a number of queries that does not grow with what is counted.

Each part asks through `access`, so it holds only what its reader may list. Every number has a link to
the list that it counts, made of that list's own filter.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any
from uuid import UUID

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
from console.presentation import dependant_states, durations, instance_states, run_states, secret_states
from console.presentation.instance_states import HostKeys
from console.presentation.secret_states import Fact
from console.reports import resolving
from console.reports.charts import Bar, Chart, Series
from rotation import accounts
from rotation.engine.work import CHANGES, TELLS
from rotation.models import GRACE, Dependant, HostKey, Instance, ManagedAccount, Run, Schedule
from secrets_app.backups import backups
from secrets_app.models import ChangedRecord, Secret
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action

Credential = ManagedAccount.Credential

DAYS = 30
SHOWN = 8  # of each kind of what needs a person; the list has the others
DELETION_NOTICE = timedelta(days=7)
KEPT_FROM = 10_000  # secrets; the ages of fewer are counted as quickly as they are looked up
QUEUED_NOTICE = timedelta(minutes=1)
TRIED = 3  # times that a rotation could not go on, which takes most of a minute
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
    is_page: bool = False  # what settles it is no dialog and a page


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
        self.counts_all = self.sees_all and region in {resources.ALL_REGIONS, *_the_only_region()}
        self.needs: list[Need] = []
        self.more: list[More] = []
        self.backup = ""  # how old the newest one is, for those who may know
        if resources.may(request, Action.VERIFY_AUDIT):
            self._add_changed_records()
            self._add_old_backup()
        self._add_queued()
        ending: list[Need] = []
        if self.may_secrets:
            ending = self._needs_of_secrets()
        if self.may_instances:
            self.needs += self._changed_keys()
        self.needs += ending

    # ---------------------------------------------------------------- rows

    @cached_property
    def _every_secret(self) -> QuerySet[Secret]:
        return resources.secrets(self.request, self.region)

    def _secrets(self, **chosen: str) -> QuerySet[Secret]:
        """The rows of the list of secrets under this filter, and nothing beside them."""
        return secret_filters.narrowed(self._every_secret, _of_secrets(**chosen))

    def _runs(self, **chosen: str) -> QuerySet[Run]:
        return run_filters.narrowed(resources.runs(self.request, self.region), _of_runs(**chosen))

    @cached_property
    def _rotating(self) -> list[UUID]:
        return secret_rows.rotating()

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
        """Runs that no worker has taken up for longer than it usually takes, or that try again and again."""
        since = timezone.now() - QUEUED_NOTICE
        # Those that are active, by which their index is told, and of these the queued ones.
        active = resources.runs(self.request, self.region).filter(state__among=Run.ACTIVE)
        late = Q(state=Run.State.QUEUED, due_at__lte=since)
        trying = Q(state=Run.State.WAITING, waits__gte=TRIED, kind__in=CHANGES)
        rows = active.filter(late | trying).order_by("due_at", "pk")
        keys = list(rows.values_list("pk", flat=True)[: SHOWN + 1])
        wide = Run.objects.filter(pk__in=keys).select_related("secret", "instance")
        queued = list(wide.order_by("due_at", "pk")) if keys else []
        for run in queued[:SHOWN]:
            about = run.secret.name if run.secret else run.instance.name
            url = reverse("run", args=[self.region, run.pk])
            where = f"{run.label} on {run.instance.name}"
            is_queued = run.state == Run.State.QUEUED
            fact = run_states.queued_for_long(run) if is_queued else run_states.trying_again(run)
            self.needs.append(Need(fact, about, url, where))
        if len(queued) > SHOWN:
            self.more.append(More("All runs under way", self._link("rotations", outcome=ACTIVE)))

    def _needs_of_secrets(self) -> list[Need]:
        """Add what is in doubt, behind or overdue; return the deletions that end soon, which come last.

        The keys of all of them are found first, and their rows are read at once: a row with its account,
        its instance and its schedule takes longer to ask for than the keys to find.
        """
        doubtful = self._doubtful_keys()
        failed = Counter(Dependant.objects.behind().order_by().values_list("account", flat=True))
        behind = self._behind_keys(list(failed)) if failed else []
        overdue, ending = self._overdue_keys(), self._ending_keys()
        keys = {*itertools.chain(*doubtful.values()), *behind, *overdue, *ending}
        rows = self._read(keys)
        for of_kind in doubtful.values():
            of_kind.sort(key=lambda key: rows[key].name if key in rows else "")
        self._add_doubtful(_present(rows, itertools.chain(*doubtful.values())))
        self._add_failed_dependants(_present(rows, behind), failed)
        self._add_more_doubtful(sum(map(len, doubtful.values())))
        self._add_overdue(_present(rows, overdue))
        return self._ending_deletions(_present(rows, ending))

    def _read(self, keys: set[UUID]) -> dict[UUID, Secret]:
        """The rows of these secrets, which were found among those that the reader may list."""
        wide = Secret.objects.filter(pk__in=keys).select_related("managed__instance", "schedule")
        rows = list(wide) if keys else []
        secret_rows.ready(self.request, rows, SETTLES)
        return {row.pk: row for row in rows}

    def _doubtful_keys(self) -> dict[str, list[UUID]]:
        """Some secrets of each state that is in trouble."""
        idle = self._secrets(status="enabled").exclude(pk__in=self._rotating)
        counts = self._troubled
        # In no order: sorting all of them to show a few would cost more than the rest of the page.
        return {
            kind: list(idle.filter(managed__credential=kind).order_by().values_list("pk", flat=True)[:SHOWN])
            for kind in TROUBLED
            if counts[kind]
        }

    @property
    def _troubled(self) -> Counter[str]:
        """How many idle secrets, whose credential is in trouble, there are in each state."""
        return self._counted_troubled[0]

    @cached_property
    def _counted_troubled(self) -> tuple[Counter[str], int | None]:
        """As `_troubled`, and how many idle ones have drifted, if that was counted along with them."""
        if not self.sees_all:  # as far as a list says it: each has to be asked about
            idle = self._secrets(status="enabled").exclude(pk__in=self._rotating)
            of_each = {kind: idle.filter(managed__credential=kind).order_by() for kind in TROUBLED}
            return Counter({kind: rows[: COUNT_CAP + 1].count() for kind, rows in of_each.items()}), None
        # All accounts are counted in an index, and the few that rotate or are to be deleted are subtracted.
        kept = ManagedAccount.objects.filter(released_at__isnull=True, credential__in=TROUBLED).order_by()
        if not self.counts_all:
            kept = kept.filter(secret__region__code=self.region)
        counts: Counter[str] = Counter()
        drifted = 0
        for kind, code, count in kept.values_list("credential", "credential_code").annotate(count=Count("*")):
            counts[kind] += count
            drifted += count if _is_drifted(kind, code) else 0
        if not counts:
            return counts, drifted
        facts = ("secret", "credential", "credential_code")
        rotating = list(kept.filter(secret__in=self._rotating).values_list(*facts))
        planned = {"secret__purged_at__isnull": True, "secret__deletion_planned_at__isnull": False}
        ending = list(kept.filter(**planned).values_list(*facts))
        counts.subtract(kind for _, kind, _ in {*rotating, *ending})
        return counts, drifted - sum(_is_drifted(kind, code) for _, kind, code in rotating)

    def _add_more_doubtful(self, shown: int) -> None:
        """The lists of those that are in trouble, if there are more than are shown."""
        counts = self._troubled
        if sum(counts.values()) > shown:
            self.more += [
                More(
                    f"{_counted(counts[kind])} {secret_states.CREDENTIALS[kind].label.lower()}",
                    self._link("secrets", credential=kind, status="enabled"),
                )
                for kind in TROUBLED
                if counts[kind]
            ]

    def _add_doubtful(self, rows: list[Secret]) -> None:
        unresolved = resolving.resolvable(rows)
        for row in rows:
            account, is_page = accounts.of(row), False
            if secret_states.is_on_other_machine(account):
                action = self._action(row, "Rebind", "secret_rebind", Action.REBIND_ACCOUNT)
            elif account and secret_states.is_about_identity(account):
                # To rotate would meet the same key again.
                action, is_page = self._instance_of(account), True
            elif row.pk in unresolved and resources.may(self.request, Action.RESOLVE_ROTATION, row):
                action = self._action(row, "Resolve", "secret_resolve", Action.RESOLVE_ROTATION)
            elif secret_states.is_drifted(account):
                action = self._action(row, "Reconcile", "secret_reconcile", Action.ROTATE_SECRET)
            else:
                action = self._action(row, "Rotate Immediately", "secret_rotate", Action.ROTATE_SECRET)
            need = self._of_secret(row, secret_states.credential(account, is_rotating=False), action)
            self.needs.append(replace(need, is_page=is_page))

    def _behind_keys(self, accounts: list[UUID]) -> list[UUID]:
        """Secrets whose value is in order, and not with all that runs as their account."""
        told = Run.objects.active().filter(secret=OuterRef("pk"), kind__in=TELLS)
        rows = self._secrets(status="enabled").filter(~Exists(told), managed__in=accounts)
        return list(rows.order_by("name").values_list("pk", flat=True)[: SHOWN + 1])

    def _add_failed_dependants(self, secrets: list[Secret], failed: Counter[UUID]) -> None:
        for row in secrets[:SHOWN]:
            fact = dependant_states.failed(failed[accounts.needed(row).pk])
            action = self._action(row, "Retry failed items", "secret_dependants_retry", Action.ROTATE_SECRET)
            self.needs.append(self._of_secret(row, fact, action))
        if len(secrets) > SHOWN:
            self.more.append(More("More with failed dependants", self._link("secrets", status="enabled")))

    def _overdue_keys(self) -> list[UUID]:
        # Joined, and not the filter's subquery: in the order of dates it is enough to read the first of them.
        rows = self._secrets(status="enabled")
        rotating = rows.filter(
            schedule__is_on=True,
            schedule__paused_at__isnull=True,
            schedule__stopped_at__isnull=True,
            schedule__next_at__lt=timezone.now() - GRACE,
        )
        reminded = rows.filter(reminder_due_at__lt=timezone.now())
        dates = [
            (at, key)
            for due, field in ((rotating, "schedule__next_at"), (reminded, "reminder_due_at"))
            for at, key in due.order_by(field, "pk").values_list(field, "pk")[: SHOWN + 1]
        ]
        return [key for _, key in sorted(dates)[: SHOWN + 1]]

    def _add_overdue(self, overdue: list[Secret]) -> None:
        for row in overdue[:SHOWN]:
            action = (
                self._action(row, "Edit value", "secret_put_value", Action.PUT_SECRET_VALUE)
                if row.is_generic
                else self._action(row, "Rotate Immediately", "secret_rotate", Action.ROTATE_SECRET)
            )
            self.needs.append(self._of_secret(row, secret_states.automatic(row), action))
        if len(overdue) > SHOWN:
            self.more.append(More("All that are overdue", self._link("secrets", automatic="overdue")))

    def _ending_keys(self) -> list[UUID]:
        ending = self._secrets(status="pending_deletion").filter(
            deletion_due_at__lte=timezone.now() + DELETION_NOTICE
        )
        return list(ending.order_by("deletion_due_at", "pk").values_list("pk", flat=True)[: SHOWN + 1])

    def _ending_deletions(self, secrets: list[Secret]) -> list[Need]:
        if len(secrets) > SHOWN:
            self.more.append(More("All pending deletions", self._link("secrets", status="pending_deletion")))
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

    def _instance_of(self, account: ManagedAccount) -> tuple[str, str] | None:
        if not resources.may(self.request, Action.DESCRIBE_INSTANCE, account.instance):
            return None
        return "Open the instance", reverse("instance", args=[self.region, account.instance.pk])

    def _of_secret(self, row: Secret, fact: Fact, action: tuple[str, str] | None = None) -> Need:
        account = accounts.of(row)
        fact = fact.told(lambda right: resources.may(self.request, right, row))
        where = f"{account.username} on {account.instance.name}" if account else ""
        return Need(fact, row.name, reverse("secret", args=[self.region, row.pk]), where, action)

    def _changed_keys(self) -> list[Need]:
        """Instances that show another key than the approved one, out of those where that is possible."""
        keys = HostKey.objects.filter(instance=OuterRef("pk"), state=HostKey.State.APPROVED)
        seen = resources.instances(self.request, self.region).filter(Exists(keys))
        shown = HostKey.objects.filter(state=HostKey.State.SEEN).order_by().values("instance")
        # Apart, each by its index: for both together the instances would be read one by one. Of the blocked
        # ones those are read whole whose last checks were about what they show.
        blocked = seen.filter(state=Instance.State.BLOCKED).order_by("-last_contact_at", "pk")
        found = [
            pk
            for pk, checks in blocked.values_list("pk", "checks")[: SHOWN * 4]
            if instance_states.met_another(checks)
        ]
        newest = seen.filter(pk__in=shown).order_by("-last_contact_at", "pk")
        found += newest.values_list("pk", flat=True)[: SHOWN * 4]
        if not found:
            return []
        rows = instance_list.with_scan(Instance.objects.filter(pk__in=found))
        known_regions = {region.pk: region for region in decisions.every_region()}
        needs = []
        for row in rows.order_by("name"):
            row.region = known_regions[row.region_id]
            row.account = row.region.account
            known = HostKeys(row, list(row.host_keys.all()), row.scanned_at)  # type: ignore[attr-defined]
            if known.is_changed:
                # A login that met another one has not read it: a scan does.
                scan = "" if known.waiting else f"Scan its {row.shown.one} first. "
                fact = Fact(
                    "danger",
                    f"{row.shown.one.capitalize()} changed",
                    known.badge.sentence,
                    f"{scan}Nothing is sent to it before you approve it.",
                )
                url, action = reverse("instance", args=[self.region, row.pk]), None
                if resources.may(self.request, Action.APPROVE_HOST_KEY, row):
                    compare = reverse("instance_approve", args=[self.region, row.pk])
                    action = ("Open the instance", url) if scan else ("Compare", compare)
                needs.append(Need(fact, row.name, url, row.where, action, is_page=bool(scan)))
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
        in_sync, overdue = self._in_sync(), self._counted_overdue(every)
        # A generic secret has no instance to be in sync with.
        share = f"{in_sync / managed:.0%} of all" if managed else ""
        yield Figure("Secrets", every, self._link("secrets"), self._note("", every))
        yield Figure("In sync", in_sync, self._link("secrets", credential="in_sync"), share)
        drifted = self._counted_troubled[1]
        if drifted is None:
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
            self._note("", every),
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

    def _counted_overdue(self, every: int) -> int:
        if (kept := self._kept("overdue")) is not None:
            return int(kept)
        count = self._secrets(automatic="overdue").count()
        self._keep("overdue", count, every)
        return count

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
        busy = rows.filter(pk__in=self._rotating).count()
        if self.counts_all:  # an account is released as its secret is purged
            kept = ManagedAccount.objects.filter(released_at__isnull=True, credential=Credential.IN_SYNC)
            return kept.aggregate(count=Count("*"))["count"] - busy  # type: ignore[no-any-return]
        return rows.count() - busy

    def _figures_of_instances(self) -> Iterator[Figure]:
        if not self.may_instances:
            return
        every, ready = self._counted_instances()
        is_kept = self._sees_all_instances and self._keeps(every)
        link = self._link("instances", status=Instance.State.READY.value)
        note = f"of {every:,}"
        yield Figure("Instances ready", ready, link, self._note(note, every) if is_kept else note)

    @cached_property
    def _sees_all_instances(self) -> bool:
        return resources.sees_all_instances(self.request, resources.ALL_REGIONS)

    def _counted_instances(self) -> tuple[int, int]:
        """How many there are, and how many of them are ready."""
        kept = self._kept("instances") if self._sees_all_instances else None
        if kept is not None:
            return int(kept[0]), int(kept[1])
        rows = resources.instances(self.request, self.region)
        count = rows.aggregate(all=Count("pk"), ready=Count("pk", filter=Q(state=Instance.State.READY)))
        if self._sees_all_instances:
            self._keep("instances", [count["all"], count["ready"]], count["all"])
        return count["all"], count["ready"]

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
        return self._all_kept.get(f"overview.{name}.{self.region}") if self.sees_all else None

    @cached_property
    def _all_kept(self) -> dict[str, Any]:
        """All of it, by one question."""
        zone = timezone.get_current_timezone_name()
        names = ("types", "in_sync", "overdue", "instances", "ages", f"runs.{zone}", f"ahead.{zone}")
        return cache.get_many([f"overview.{name}.{self.region}" for name in names])

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


def _present(rows: dict[UUID, Secret], keys: Iterable[UUID]) -> list[Secret]:
    """The rows of these keys, of which one may be gone since it was found."""
    return [rows[key] for key in keys if key in rows]


def _is_drifted(credential: str, code: str) -> bool:
    return credential == Credential.OUT_OF_SYNC and code in secret_states.DRIFTED


def _the_only_region() -> list[str]:
    """The region, if there is one only: it has all that there is."""
    codes = [region.code for region in decisions.every_region()]
    return codes if len(codes) == 1 else []


@lru_cache(maxsize=64)
def _of_secrets(**chosen: str) -> dict[str, Any]:
    """What the list of secrets makes of these filters; a form takes longer to make than the rows to count."""
    return SecretFilters(chosen, keys=()).chosen()


@lru_cache(maxsize=64)
def _of_runs(**chosen: str) -> dict[str, Any]:
    return RunFilters(chosen).chosen()


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
