"""What every table begins with."""

from __future__ import annotations

import uuid
from typing import Any

from django.db import models
from django.db.models.functions import Now

NOW_ON_SQLITE = "STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f000', 'now')"


def _now_on_sqlite(now: Now, compiler: Any, connection: Any, **given: Any) -> Any:
    """The database's time with six digits after the second, as Django writes each other time there.

    SQLite compares times as texts: one of three digits would be earlier than the same one as a parameter.
    """
    return now.as_sql(compiler, connection, template=NOW_ON_SQLITE, **given)


Now.as_sqlite = _now_on_sqlite  # type: ignore[assignment]


class Identified(models.Model):
    """A row whose name in ciphertexts, URLs and messages is a UUID that never changes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True
