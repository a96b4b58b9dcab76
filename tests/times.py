"""Times of rows whose order a test is about: the database's clock may give several of them the same one."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Model
from django.db.models.functions import Now

from secrets_app.models import Account


def in_turn(*rows: Model, by: str = "created_at") -> None:
    """Have the rows follow each other by a second; the last of them was written a second ago."""
    for number, row in enumerate(rows):
        at = Now() - timedelta(seconds=len(rows) - number)
        type(row)._base_manager.filter(pk=row.pk).update(**{by: at})


def tick() -> None:
    """Return when the database's clock shows another time; for rows that nothing may change, as events."""
    clock = Account.objects.values_list(Now(), flat=True)
    began = clock.get()
    while clock.get() == began:
        pass
