"""A migration can be taken back: an upgrade that turns out wrong is undone, to the version before."""

from __future__ import annotations

from django.db.migrations.loader import MigrationLoader

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
