"""The first migration of an app, whose tables are all new, as Django applies it but with fewer models made.

With each table that a migration adds, Django makes new classes for every model that is related to that table.
For our tables these were 1,600, and most of the processor time of a set-up. Here Django makes each class when
all tables are known. The statements are the same, in the same order.
"""

from __future__ import annotations

import itertools

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState


class FirstMigration(migrations.Migration):
    """A migration that begins with new tables."""

    def apply(
        self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor, collect_sql: bool = False
    ) -> ProjectState:
        """Make the new tables in one, then the rest as Django does it; `sqlmigrate` is Django's alone."""
        if collect_sql or not schema_editor.atomic_migration:
            return super().apply(project_state, schema_editor, collect_sql)
        new = list(itertools.takewhile(lambda one: isinstance(one, migrations.CreateModel), self.operations))
        project_state.__dict__.pop("apps", None)  # cached; it would be brought up to date after each of them
        for operation in new:
            operation.state_forwards(self.app_label, project_state)
        for operation in new:
            operation.database_forwards(self.app_label, schema_editor, project_state, project_state)
        rest = migrations.Migration(self.name, self.app_label)
        rest.operations = self.operations[len(new) :]  # type: ignore[misc]  # as Django's own constructor does
        return rest.apply(project_state, schema_editor)
