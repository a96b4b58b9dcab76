"""The first question of a call, on a connection that may have been cut since the last one.

Django asks the database at each request whether it still answers, before anything else is asked. A call
begins with a question that changes nothing, so the answer to that shows it as well: where the connection was
cut, the question is asked again on a new one.
"""

from __future__ import annotations

from django.db import DatabaseError, connection

from secrets_app.people import access_keys


def opened(key_id: str) -> access_keys.Opened | None:
    """As `access_keys.opened`. Nothing was asked in this call before."""
    connection.health_check_done = True  # type: ignore[attr-defined]
    try:
        return access_keys.opened(key_id)
    except DatabaseError:
        if connection.in_atomic_block or connection.is_usable():
            raise
    connection.close()
    return access_keys.opened(key_id)
