"""Sessions of a walk that undoes each request: none of them tells the session that it is in use."""

from __future__ import annotations

from datetime import timedelta

#: Who has just signed in stays so for as long as a slow machine takes. A stale sign-in is older still.
AS_LONG_AS_IT_TAKES = {
    "SESSION_IDLE": timedelta(hours=12),
    "ACCOUNT_REAUTHENTICATION_TIMEOUT": timedelta(hours=8).total_seconds(),
}
STALE = timedelta(hours=10)
