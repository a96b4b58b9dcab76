"""How many rows the database expects a question to find, by its statistics and without looking.

For a choice between two ways to find the same rows, of which one is quicker for many. No user is told it.
"""

from __future__ import annotations

import json
from typing import Any

from django.db import connection
from django.db.models import QuerySet

SURELY = 2  # times as many as a limit are expected: statistics are not exact


def number(rows: QuerySet[Any, Any]) -> int:
    """How many rows are expected; 0 on SQLite, which does not say it."""
    if connection.vendor != "postgresql":
        return 0
    return int(json.loads(rows.explain(format="json"))[0]["Plan"]["Plan Rows"])
