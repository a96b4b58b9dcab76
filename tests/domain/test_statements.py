"""How much a rotation asks of its database: counted, never timed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from rotation import tasks, wires
from rotation.connectors.memory.connector import MemoryConnector, MemoryHost
from rotation.models import Run
from secrets_app.audit import checkpoints
from secrets_app.crypto import key_pairs
from secrets_app.models import Secret
from tests import factories
from tests.domain.rig import OLD, drive, rotate, simulated_host

pytestmark = pytest.mark.django_db(transaction=True)
WRITES = ("INSERT", "UPDATE", "DELETE")


class Counted:
    """What this thread asked of the database, as `bench --only throughput` counts it of workers."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.commits = 0

    def __call__(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        text = str(sql)
        if not text.startswith("BEGIN"):
            self.statements.append(text)
            self.commits += text.startswith(WRITES) and not connection.in_atomic_block
        return execute(sql, params, many, context)


@contextmanager
def counting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    counted, commit = Counted(), connection._commit  # type: ignore[attr-defined]

    def commits() -> None:
        counted.commits += 1
        commit()

    with connection.execute_wrapper(counted), monkeypatch.context() as patch:
        patch.setattr(connection, "_commit", commits)
        yield counted


def password() -> tuple[Secret, MemoryHost]:
    return factories.secret(initial=OLD), simulated_host()


def key_pair() -> tuple[Secret, MemoryHost]:
    pair, host = key_pairs.generate("ed25519"), simulated_host()
    host.accounts["svc"].keys = [pair.public_key]
    old = pair.private_key.reveal()
    return factories.secret(kind="key_pair", initial=old, key_algorithm="ed25519"), host


@pytest.mark.parametrize(
    ("kind", "statements", "commits"), [(password, 35, 5), (key_pair, 47, 7)], ids=["password", "key pair"]
)
def test_a_rotation_makes_few_statements_and_commits(monkeypatch, kind, statements, commits):
    secret, host = kind()
    factories.settle(secret)
    monkeypatch.setattr(wires, "connect", lambda endpoint: MemoryConnector(host))
    # The first asks more, as the first of a day; the SQL is made in it, and the file of the trail's head.
    for _ in range(2):
        assert drive(rotate(secret), host).outcome == "succeeded"
        checkpoints.note_head()
    assert checkpoints.noted() is not None
    run = rotate(secret)
    Run.objects.filter(pk=run.pk).update(due_at=Now())
    with counting(monkeypatch) as counted:
        tasks.advance(str(run.pk))
    run.refresh_from_db()
    assert run.outcome == "succeeded", run.sentence
    most = statements + connection.features.has_select_for_update  # a row of the region is locked there
    assert len(counted.statements) <= most, "\n".join(counted.statements)
    assert counted.commits <= commits
    assert not [text for text in counted.statements if text.startswith("SAVEPOINT")]
