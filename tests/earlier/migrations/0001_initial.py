"""The first migration of console, without the last column of the list preferences."""

from copy import deepcopy
from importlib import import_module

from django.db import migrations

_FIRST = import_module("console.migrations.0001_initial").Migration


def _without_the_column() -> list[object]:
    operations = deepcopy(_FIRST.operations)
    [table] = [one for one in operations if getattr(one, "name", "") == "ListPreference"]
    fields = [field for field in table.fields if field[0] != "is_compact"]
    assert len(fields) == len(table.fields) - 1
    table.fields = fields
    return operations


class Migration(migrations.Migration):
    initial = True
    dependencies = _FIRST.dependencies
    operations = _without_the_column()
