"""A migration can be taken back: an upgrade that turns out wrong is undone, to the version before."""

from __future__ import annotations

import pytest
from django.db import ConnectionHandler, migrations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ProjectState

from secrets_app.first_migrations import FirstMigration

OURS = {"console", "rotation", "secrets_app"}


def test_every_operation_of_our_migrations_can_be_taken_back():
    found = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    ours = {name: migration for name, migration in found.items() if name[0] in OURS}
    assert {app for app, _ in ours} == OURS
    kept = [
        f"{app}.{name}: {operation.describe()}"
        for (app, name), migration in ours.items()
        for operation in migration.operations
        if not operation.reversible
    ]
    assert kept == []


def test_our_first_migrations_are_made_in_one():
    found = MigrationLoader(None, ignore_no_migrations=True).disk_migrations
    first = [migration for (app, _), migration in found.items() if app in OURS and migration.initial]
    assert first
    assert all(isinstance(one, FirstMigration) for one in first)


def test_a_first_migration_leaves_what_django_s_own_way_leaves(django_db_blocker):
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as patch:
        ours = _tables("secrets_app")
        patch.setattr(FirstMigration, "apply", migrations.Migration.apply)
        assert ours == _tables("secrets_app")
    assert len(ours) > 50


def _tables(app: str) -> list[tuple[str, ...]]:
    """What an empty database holds after the migrations of this app; others change the state alone."""
    given = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    connection = ConnectionHandler({"default": given})["default"]
    graph = MigrationLoader(None, ignore_no_migrations=True).graph
    state = ProjectState()
    for key in graph.forwards_plan(graph.leaf_nodes(app)[0]):
        if key[0] == app:
            with connection.schema_editor() as editor:
                state = graph.nodes[key].apply(state, editor)
        else:
            state = graph.nodes[key].mutate_state(state)
    with connection.cursor() as cursor:
        cursor.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY rowid")
        return list(cursor.fetchall())
