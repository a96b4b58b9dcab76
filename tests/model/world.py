"""One secret, its simulated host, and what must be true of the two at every instant.

What a rule of the machine does goes through here, so that the truth is looked at between any two steps of
any worker: what the host accepts is read from the host, never asked.
"""

from __future__ import annotations

import contextlib
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from unittest import mock
from uuid import UUID

from django.db import connection, models, transaction
from django.db.models.functions import Now
from django.db.models.sql import UpdateQuery

from rotation.connectors import base
from rotation.connectors.memory.connector import MemoryAccount, MemoryHost
from rotation.engine import failpoints
from rotation.models import Instance, ManagedAccount, Run, Schedule, Step
from secrets_app.models import AuditEvent, Label, Principal, Secret, SecretVersion
from secrets_app.secrets import versions
from tests.model.workers import Plan, Worker, count_queries, open_savepoints, watch

Credential = ManagedAccount.Credential
STRANGER = "AAAAC3NzaC1lZDI1NTE5AAAAIF1Uf1uWbJUKZ0aSLz2dmZL7OnpBKq4pfsxNY1AuGfOu"
FAULTS = (
    "unreachable", "host_key_changed", "refuses_login", "runs_forced_command", "is_busy", "drops_before_set",
    "half_line", "drops_after_set", "lies", "accepts_anything", "no_checker", "ignores_new_keys",
    "keeps_keys", "drops_logins",
)  # fmt: skip
#: With these a host gives no answer that is worth anything.
SILENCES = (
    "unreachable", "host_key_changed", "refuses_login", "runs_forced_command", "is_busy", "accepts_anything",
    "no_checker",
)  # fmt: skip
PROBLEMS = ("locked", "expired", "must_change")


@dataclass(frozen=True)
class RunRow:
    """A run as the database has it."""

    pk: Any
    kind: str
    state: str
    outcome: str
    truth: str
    version: Any
    attempts: int
    generation: int
    lease: int

    @property
    def is_active(self) -> bool:
        return self.state in Run.ACTIVE


class Reader:
    """Asks the same questions thousands of times: each is compiled once, and its rows come as they are."""

    def __init__(self, secret: Secret) -> None:
        self.secret_pk = secret.pk
        mine = {"secret_id": secret.pk}
        columns = ("pk", "kind", "state", "outcome", "truth", "version", "attempts", "generation", "lease")
        self._labels = self._compiled(Label.objects.filter(**mine).values_list("role", "version_id"))
        self._stored = self._compiled(
            SecretVersion.objects.filter(sealed__isnull=False, **mine).values_list("pk")
        )
        self._runs = self._compiled(Run.objects.filter(**mine).order_by().values_list(*columns))
        self._account = self._compiled(
            ManagedAccount.objects.filter(**mine).values_list("credential", "generation")
        )
        self._tables = [
            self._compiled(rows.order_by("pk").values_list())
            for rows in (
                Run.objects.filter(**mine),
                Step.objects.filter(run__secret_id=secret.pk),
                Label.objects.filter(**mine),
                SecretVersion.objects.filter(**mine),
                ManagedAccount.objects.filter(**mine),
                Schedule.objects.filter(**mine),
                Instance.objects.filter(pk=secret.managed.instance_id),
                AuditEvent.objects.all(),
            )
        ]

        past, long_ago = Now() - timedelta(seconds=1), Now() - timedelta(hours=1)
        self._clocks = [
            self._compiled_update(rows, **times)
            for rows, times in (
                (Run.objects.filter(state__in=Run.ACTIVE, **mine), {"due_at": past}),
                (Run.objects.filter(state=Run.State.RUNNING, **mine), {"leased_until": past}),
                (SecretVersion.objects.filter(refused_at__isnull=False, **mine), {"refused_at": long_ago}),
                (Instance.objects.filter(pk=secret.managed.instance_id), {"control_at": long_ago}),
                (
                    Step.objects.filter(state=Step.State.BROKEN, run__secret_id=secret.pk),
                    {"started_at": long_ago},
                ),
            )
        ]

    def _compiled_update(self, rows: models.QuerySet[Any], **times: Any) -> tuple[str, tuple[Any, ...]]:
        query = rows.query.chain(UpdateQuery)  # type: ignore[type-var]
        query.add_update_values(times)
        return query.get_compiler(connection=connection).as_sql()

    def _compiled(self, rows: models.QuerySet[Any]) -> Callable[[], list[tuple[Any, ...]]]:
        sql, parameters = rows.query.sql_with_params()

        def ask() -> list[tuple[Any, ...]]:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return cursor.fetchall()

        return ask

    def labels(self) -> list[tuple[str, Any]]:
        return self._labels()  # type: ignore[return-value]

    def stored(self) -> list[Any]:
        return [row[0] for row in self._stored()]

    def runs(self) -> dict[Any, RunRow]:
        return {row[0]: RunRow(*row) for row in self._runs()}

    def is_cleaning(self, run_id: Any) -> bool:
        running = Step.objects.filter(run_id=run_id, name=Step.Name.CLEAN, state=Step.State.RUNNING)
        return running.exists()

    def account(self) -> tuple[str, int]:
        return self._account()[0]  # type: ignore[return-value]

    def let_time_pass(self) -> None:
        """Every wait is over, every lease has run out, and the last failed login is long ago."""
        with connection.cursor() as cursor:
            for clock in self._clocks:
                cursor.execute(*clock)

    def everything(self) -> list[Any]:
        """All that a worker may write."""
        return [table() for table in self._tables]


def raw(pk: Any) -> Any:
    """A primary key as `Reader` returns it."""
    return SecretVersion._meta.pk.get_db_prep_value(pk, connection)


def outermost(depth: int) -> Any:
    """Have a transaction that makes no savepoint make one, where it would be the whole one outside a test.

    What fails in it is then undone as there, and by nothing else: here it lies within the test's own.
    """
    enter = transaction.Atomic.__enter__

    def entered(atomic: transaction.Atomic) -> None:
        if not atomic.savepoint and open_savepoints() == depth:
            atomic.savepoint = True
        enter(atomic)

    return mock.patch.object(transaction.Atomic, "__enter__", entered)


class World:
    """A secret and its host, inside a transaction that is rolled back by `close`."""

    def __init__(
        self, secret: Secret, actor: Principal, first: str, reader: Reader, *, is_known: bool
    ) -> None:
        self._savepoint = transaction.atomic()
        self._savepoint.__enter__()
        self._counting = connection.execute_wrapper(count_queries)
        self._counting.__enter__()
        self._depth = open_savepoints()
        self._outermost = outermost(self._depth)
        self._outermost.start()
        self.secret, self.reader = secret, reader
        self.is_key_pair = secret.kind == Secret.Kind.KEY_PAIR
        self.actor = actor
        self.host = MemoryHost()
        self.host.accounts["other"] = MemoryAccount("somebody-else's", keys=["ssh-ed25519 " + STRANGER])
        account = self.host.accounts["svc"] = MemoryAccount("a-stranger's-password")
        account.keys = ["ssh-ed25519 " + STRANGER]
        if is_known and self.is_key_pair:
            account.keys.append(first)
        elif is_known:
            account.password = first
        self.is_proven = is_known  # from here on nothing may be lost
        self.is_disturbed = not is_known  # somebody else changed the host, and nobody has looked since
        self.workers: list[Worker] = []
        self.late: list[tuple[Worker, Callable[[], None]]] = []
        self.snapshots: list[tuple[MemoryAccount, bool]] = []
        self.tests_that_may_fail = 0
        self._numbers = 0
        self._opened: dict[Any, str] = {}
        self._never_shown: set[str] = set()
        watch(self)

    def close(self) -> None:
        failpoints.disarm()
        for worker in self.workers:
            worker.end()
        self._outermost.stop()
        self._counting.__exit__(None, None, None)
        transaction.set_rollback(True)
        self._savepoint.__exit__(None, None, None)

    # ---------------------------------------------------------------- what is stored, what is true

    def stored(self) -> dict[Any, str]:
        """What each version that still has its value would log in with: a password, or a public key."""
        alive = self.reader.stored()
        if any(pk not in self._opened for pk in alive):
            for version in SecretVersion.objects.filter(secret=self.secret).select_related("sealed"):
                if version.sealed and raw(version.pk) not in self._opened:
                    held = versions.value(version)
                    text = held.credential.reveal()
                    self._opened[raw(version.pk)] = text if held.password else held.public_key
                    self._never_shown.add(text if held.password else text.splitlines()[2])
        return {pk: self._opened[pk] for pk in alive}

    def accepts(self, value: str) -> bool:
        account = self.host.accounts["svc"]
        if self.is_key_pair:
            return (value in account.keys and value not in self.host.ignored_keys) or (
                value in self.host.kept_keys
            )
        return account.password == value

    def has(self, value: str) -> bool:
        """Whether the account's files hold it, whatever else lets somebody in."""
        account = self.host.accounts["svc"]
        return value in account.keys if self.is_key_pair else account.password == value

    def unsettled(self) -> str:
        """The pending value that the host was told and has, or nothing."""
        pk = self.labels().get(Label.Role.PENDING)
        if pk is None or not self.has(value := self.stored()[pk]):
            return ""
        return value if SecretVersion.objects.filter(pk=pk, offered_at__isnull=False).exists() else ""

    def labels(self) -> dict[str, Any]:
        return dict(self.reader.labels())

    def run_row(self, worker: Worker) -> RunRow:
        return self.reader.runs()[raw(worker.run_id)]

    def current_pk(self) -> Any:
        return self.labels().get(Label.Role.CURRENT)

    def accepts_label(self, role: str) -> bool:
        pk = self.labels().get(role)
        return pk is not None and self.accepts(self.stored()[pk])

    def active(self) -> RunRow | None:
        return next((run for run in self.reader.runs().values() if run.is_active), None)

    # ---------------------------------------------------------------- what a worker does to the host

    def no_transaction_is_open(self) -> None:
        """What was written before a host is talked to is committed."""
        assert open_savepoints() == self._depth, "a host is talked to inside a transaction"

    def is_about_to_hear(self, worker: Worker, value: str) -> None:
        run = self.run_row(worker)
        assert run.outcome != Run.Outcome.CANCELLED, "a run that was cancelled sends"
        if not value:
            return
        pending = SecretVersion.objects.filter(labels__role=Label.Role.PENDING, secret=self.secret).first()
        if not worker.was_overtaken and run.kind == Run.Kind.ROTATE:
            assert pending is not None, "a value is sent that is not pending"
            assert pending.offered_at, "a value is sent before that is written down"
            assert self.stored()[raw(pending.pk)] == value, "another value than the pending one is sent"
            assert run.generation == self.secret_generation(), "a value is sent under an old number"
            asked = worker.host_had != value or not self.has(value)
            assert asked, "a value that the host has already is sent again"

    def secret_generation(self) -> int:
        return self.reader.account()[1]

    def change(self, worker: Worker, apply: Callable[[], None]) -> None:
        """Let the host hear of a change, perhaps of a worker that nobody waits for any more."""
        before = self.accepts_label(Label.Role.CURRENT)
        account = copy.deepcopy(self.host.accounts["svc"])
        is_answered = False
        try:
            apply()
            is_answered = True
        finally:
            changed = self.host.accounts["svc"]
            is_changed = (account.password, account.keys) != (changed.password, changed.keys)
            # The old value may be tried once now, by a run that goes on after a broken session too.
            self.tests_that_may_fail += is_answered or is_changed
            if is_changed:
                if worker.was_overtaken:
                    newer = before and self.current_pk() != worker.began_with
                    assert not newer or self.accepts_label(Label.Role.CURRENT), "an old attempt won"
                    self.is_disturbed = True
                self.is_recoverable()
            assert (account.problem, account.runs_commands) == (changed.problem, changed.runs_commands)

    def is_left(self, worker: Worker) -> None:
        """Nobody may hear of this worker again: if it tried the old password, another one tries it too."""
        if self.reader.is_cleaning(worker.run_id):
            self.tests_that_may_fail += 1

    def is_recoverable(self) -> None:
        """I1, and for keys I5: the current one is accepted as long as nobody else meddles."""
        if not self.is_proven:
            return
        assert any(self.accepts(value) for value in self.stored().values()), "the credential is lost"
        if self.is_key_pair and not self.is_disturbed and self.current_pk():
            assert self.accepts_label(Label.Role.CURRENT), "the current key went too early"

    def take_snapshot(self) -> None:
        self.snapshots.append((copy.deepcopy(self.host.accounts["svc"]), self.is_proven))

    def restore_snapshot(self, place: int) -> None:
        """Have the account as it was once, its problem apart; what was proven since is not true of it."""
        account, self.is_proven = self.snapshots[place]
        problem = self.host.accounts["svc"].problem
        self.host.accounts["svc"] = copy.deepcopy(account)
        self.host.accounts["svc"].problem = problem
        self.host.kept_keys.clear()
        self.is_disturbed = True
        for worker in self.workers:
            worker.began_with = self.current_pk()  # the host forgot the newer number
            worker.host_had = ""
        for worker, _ in self.late:
            worker.began_with = self.current_pk()

    # ---------------------------------------------------------------- workers

    def advance(self, run: RunRow, plan: Plan) -> None:
        self._numbers += 1
        worker = Worker(self, UUID(str(run.pk)), self._numbers, plan)
        self._go_on(worker)
        if not worker.dead:
            self.workers.append(worker)

    def resume(self, worker: Worker) -> None:
        overtaken = worker.was_overtaken
        before = self.reader.everything() if overtaken else []
        self._go_on(worker)
        if worker.dead:
            self.workers.remove(worker)
        if overtaken:
            assert self.reader.everything() == before, "a worker that was overtaken wrote something"

    def apply_late(self, place: int) -> None:
        worker, apply = self.late.pop(place)
        worker.lease = -1  # whoever sent it is long gone
        with contextlib.suppress(base.ConnectorError):  # nobody is there to hear the answer
            self.change(worker, apply)

    def _go_on(self, worker: Worker) -> None:
        was_active = self.run_row(worker).is_active
        before = self.labels()
        worker.switch()
        self.is_recoverable()
        run = self.run_row(worker)
        after = self.labels()
        if (old := before.get(Label.Role.CURRENT)) != after.get(Label.Role.CURRENT) and old:
            assert after.get(Label.Role.PREVIOUS) == old, "the value before is not kept as previous"
        if was_active and not run.is_active:
            self._ended(run)

    # ---------------------------------------------------------------- what is claimed, and what is true

    def _ended(self, run: RunRow) -> None:
        """I2: what the end of a run says, the host does."""
        current = self.accepts_label(Label.Role.CURRENT)
        if run.outcome == Run.Outcome.SUCCEEDED:
            assert current, "a success, and the host refuses the current value"
        if run.kind == Run.Kind.ROTATE and run.outcome == Run.Outcome.SUCCEEDED:
            assert run.version == self.current_pk(), "a success of another version"
            self._old_keys_are_gone()
        if run.outcome == Run.Outcome.SUCCEEDED:
            self.is_proven, self.is_disturbed = True, False
        self._serves_what_works(run, is_served=current)
        if self.is_disturbed and not run.attempts:
            return  # nobody has asked the host in this run
        new = self.accepts(self.stored().get(run.version, "\0"))
        if run.truth == Run.Truth.OLD:
            assert current, "'the old value works', and it does not"
        elif run.truth == Run.Truth.NEW:
            assert new, "'the new value works', and it does not"
        elif run.truth == Run.Truth.NEITHER:
            assert not new | current, "'neither value works', and one does"

    def _serves_what_works(self, run: RunRow, *, is_served: bool) -> None:
        """I10: of a host that can be asked, the current password is the one that it accepts."""
        if self.is_key_pair or self.is_disturbed or not self._can_be_asked():
            return
        is_told = run.truth in {Run.Truth.UNKNOWN, Run.Truth.NEITHER}
        assert is_served or is_told, "the host accepts another value than the current one, and nobody says so"

    def _can_be_asked(self) -> bool:
        is_silent = any(getattr(self.host, fault) for fault in SILENCES)
        return not is_silent and not self.host.accounts["svc"].problem

    def _old_keys_are_gone(self) -> None:
        if not self.is_key_pair:
            return
        mine = self.stored()
        current = mine[self.labels()[Label.Role.CURRENT]]
        removed = SecretVersion.objects.filter(secret=self.secret, removed_at__isnull=False)
        for version in removed:
            assert version.public_key == current or self.is_disturbed or not self.accepts(version.public_key)

    def is_consistent(self) -> None:
        """What holds between any two rules."""
        labels = self.reader.labels()
        assert len(labels) == len({role for role, _ in labels}), "two versions have one label"
        stored = self.stored()
        assert all(pk in stored for _, pk in labels), "a version with a label has no value"
        is_active = sum(run.is_active for run in self.reader.runs().values())
        assert is_active <= 1
        assert self.host.accounts["other"].password == "somebody-else's"
        assert self.host.accounts["other"].keys == ["ssh-ed25519 " + STRANGER]
        assert "ssh-ed25519 " + STRANGER in self.host.accounts["svc"].keys, "a stranger's key is gone"
        assert self.host.failed_logins <= self.tests_that_may_fail, "a login failed that no change called for"
        told = self.reader.account()[0]
        if not is_active and not self.is_disturbed:
            if told == Credential.IN_SYNC:
                assert self.accepts_label(Label.Role.CURRENT), "in sync, and it is not"
            elif told == Credential.OUT_OF_SYNC:
                assert not self.accepts_label(Label.Role.CURRENT), "out of sync, and it is in sync"

    def says_no_value(self) -> None:
        """I8: no row that a worker writes has a value in it, as it is or as JSON has it."""
        self.stored()
        columns = (str(column) for table in self.reader.everything() for row in table for column in row)
        text = "\n".join(columns)
        for value in self._never_shown:
            assert value not in text
            assert json.dumps(value)[1:-1] not in text
