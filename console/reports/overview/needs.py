"""What waits for a person: what is in doubt, late, behind or about to be deleted, each with what settles it.

Each part asks through `access`, so it holds only what its reader may list.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import Exists, OuterRef, Q
from django.urls import reverse
from django.utils import timezone

from console.access import resources
from console.forms.rotations.rotations import ACTIVE
from console.lists import addresses, instance_list, paging, secret_rows
from console.presentation import dependant_states, durations, instance_states, run_states, secret_states
from console.presentation.instance_states import HostKeys
from console.presentation.secret_states import Fact
from console.reports import resolving
from console.reports.overview.seen import TROUBLED, Seen
from rotation import accounts
from rotation.engine.work import CHANGES, TELLS
from rotation.models import GRACE, Dependant, HostKey, Instance, ManagedAccount, Run
from secrets_app import prepared
from secrets_app.backups import backups
from secrets_app.models import ChangedRecord, Secret
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action

SHOWN = 8  # of each kind of what needs a person; the list has the others
DELETION_NOTICE = timedelta(days=7)
QUEUED_NOTICE = timedelta(minutes=1)
TRIED = 3  # times that a rotation could not go on, which takes most of a minute
#: What settles what is wrong with a secret.
SETTLES = (
    Action.ROTATE_SECRET,
    Action.RESOLVE_ROTATION,
    Action.REBIND_ACCOUNT,
    Action.RESTORE_SECRET,
    Action.PUT_SECRET_VALUE,
)


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


_CHANGED = prepared.Question(lambda: ChangedRecord.objects.all()[:SHOWN])
_BEHIND = prepared.Question(lambda: Dependant.objects.behind().order_by().values_list("account", flat=True))
#: The rows of these keys, for any reader.
_RUNS: prepared.Several[Run] = prepared.Several(
    lambda keys: Run.objects.filter(pk__in=keys).select_related("secret", "instance").order_by("due_at", "pk")
)
_SECRETS: prepared.Several[Secret] = prepared.Several(
    lambda keys: Secret.objects.filter(pk__in=keys).select_related("managed__instance", "schedule")
)


class Needs:
    """All of it, in one region or in all."""

    def __init__(self, seen: Seen) -> None:
        self.request, self.region = seen.request, seen.region
        self._seen = seen
        self.needs: list[Need] = []
        self.more: list[More] = []
        self.backup = ""  # how old the newest one is, for those who may know
        if resources.may(self.request, Action.VERIFY_AUDIT):
            self._add_changed_records()
            self._add_old_backup()
        self._add_queued()
        ending: list[Need] = []
        if self._seen.may_secrets:
            ending = self._needs_of_secrets()
        if self._seen.may_instances:
            self.needs += self._changed_keys()
        self.needs += ending

    def _add_old_backup(self) -> None:
        late = backups.late()
        if not late and settings.BACKUP_RECIPIENTS and (newest := backups.newest()):
            self.backup = f"The newest backup is {durations.duration(timezone.now() - newest)} old."
        if late:
            fact = Fact("warning", "Backup is late", late, "A worker takes one a day; its log says why not.")
            self.needs.append(Need(fact, "Backup", reverse("settings_about")))

    def _add_changed_records(self) -> None:
        for row in _CHANGED():
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
        queued = _RUNS(keys)
        for run in queued[:SHOWN]:
            about = run.secret.name if run.secret else run.instance.name
            url = addresses.of("run", run.pk, self.region)
            where = f"{run.label} on {run.instance.name}"
            is_queued = run.state == Run.State.QUEUED
            fact = run_states.queued_for_long(run) if is_queued else run_states.trying_again(run)
            self.needs.append(Need(fact, about, url, where))
        if len(queued) > SHOWN:
            self.more.append(More("All runs under way", self._seen.link("rotations", outcome=ACTIVE)))

    def _needs_of_secrets(self) -> list[Need]:
        """Add what is in doubt, behind or overdue; return the deletions that end soon, which come last.

        The keys of all of them are found first, and their rows are read at once: a row with its account,
        its instance and its schedule takes longer to ask for than the keys to find.
        """
        doubtful = self._doubtful_keys()
        failed = Counter(_BEHIND())
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
        rows = _SECRETS(keys)
        secret_rows.ready(self.request, rows, SETTLES)
        return {row.pk: row for row in rows}

    def _doubtful_keys(self) -> dict[str, list[UUID]]:
        """Some secrets of each state that is in trouble."""
        idle = self._seen.secrets(status="enabled").exclude(pk__in=self._seen.rotating)
        counts = self._seen.troubled
        # In no order: sorting all of them to show a few would cost more than the rest of the page.
        return {
            kind: list(idle.filter(managed__credential=kind).order_by().values_list("pk", flat=True)[:SHOWN])
            for kind in TROUBLED
            if counts[kind]
        }

    def _add_more_doubtful(self, shown: int) -> None:
        """The lists of those that are in trouble, if there are more than are shown."""
        counts = self._seen.troubled
        if sum(counts.values()) > shown:
            self.more += [
                More(
                    f"{_counted(counts[kind])} {secret_states.CREDENTIALS[kind].label.lower()}",
                    self._seen.link("secrets", credential=kind, status="enabled"),
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
        rows = self._seen.secrets(status="enabled").filter(~Exists(told), managed__in=accounts)
        return list(rows.order_by("name").values_list("pk", flat=True)[: SHOWN + 1])

    def _add_failed_dependants(self, secrets: list[Secret], failed: Counter[UUID]) -> None:
        for row in secrets[:SHOWN]:
            fact = dependant_states.failed(failed[accounts.needed(row).pk])
            action = self._action(row, "Retry failed items", "secret_dependants_retry", Action.ROTATE_SECRET)
            self.needs.append(self._of_secret(row, fact, action))
        if len(secrets) > SHOWN:
            self.more.append(
                More("More with failed dependants", self._seen.link("secrets", status="enabled"))
            )

    def _overdue_keys(self) -> list[UUID]:
        # Joined, and not the filter's subquery: in the order of dates it is enough to read the first of them.
        rows = self._seen.secrets(status="enabled")
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
            self.more.append(More("All that are overdue", self._seen.link("secrets", automatic="overdue")))

    def _ending_keys(self) -> list[UUID]:
        ending = self._seen.secrets(status="pending_deletion").filter(
            deletion_due_at__lte=timezone.now() + DELETION_NOTICE
        )
        return list(ending.order_by("deletion_due_at", "pk").values_list("pk", flat=True)[: SHOWN + 1])

    def _ending_deletions(self, secrets: list[Secret]) -> list[Need]:
        if len(secrets) > SHOWN:
            self.more.append(
                More("All pending deletions", self._seen.link("secrets", status="pending_deletion"))
            )
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
        return word, addresses.of(route, row.pk, self.region)

    def _instance_of(self, account: ManagedAccount) -> tuple[str, str] | None:
        if not resources.may(self.request, Action.DESCRIBE_INSTANCE, account.instance):
            return None
        return "Open the instance", addresses.of("instance", account.instance.pk, self.region)

    def _of_secret(self, row: Secret, fact: Fact, action: tuple[str, str] | None = None) -> Need:
        account = accounts.of(row)
        fact = fact.told(lambda right: resources.may(self.request, right, row))
        where = f"{account.username} on {account.instance.name}" if account else ""
        return Need(fact, row.name, addresses.of("secret", row.pk, self.region), where, action)

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
                url, action = addresses.of("instance", row.pk, self.region), None
                if resources.may(self.request, Action.APPROVE_HOST_KEY, row):
                    compare = addresses.of("instance_approve", row.pk, self.region)
                    action = ("Open the instance", url) if scan else ("Compare", compare)
                needs.append(Need(fact, row.name, url, row.where, action, is_page=bool(scan)))
        return needs[:SHOWN]


def _present(rows: dict[UUID, Secret], keys: Iterable[UUID]) -> list[Secret]:
    """The rows of these keys, of which one may be gone since it was found."""
    return [rows[key] for key in keys if key in rows]


def _counted(count: int) -> str:
    return f"{count:,}" if count <= paging.COUNT_CAP else f"{paging.COUNT_CAP:,}+"
