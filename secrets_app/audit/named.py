"""What events name: the actions that are in the trail, found in an index and without reading the events."""

from __future__ import annotations

from typing import Final

from django.db import connection

#: From each action to the next one: as many looks into the index as there are actions, and not events.
_ACTIONS: Final = """
WITH RECURSIVE named(action) AS (
    SELECT MIN(action) FROM secrets_app_auditevent
    UNION ALL
    SELECT (SELECT MIN(action) FROM secrets_app_auditevent WHERE action > named.action)
    FROM named WHERE named.action IS NOT NULL
)
SELECT action FROM named WHERE action IS NOT NULL
"""


def actions() -> list[str]:
    """Return each action that an event has, in no certain order."""
    with connection.cursor() as cursor:
        cursor.execute(_ACTIONS)
        return [row[0] for row in cursor.fetchall()]
