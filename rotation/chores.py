"""The only writer of chores: when each piece of periodic work is due.

The rows are the schedule. Beat only ticks, so frequent restarts of beat postpone nothing, and of many ticks
at once a single one claims each chore. If a worker dies during a chore, or fails, another one retries after
two of its periods, within `AGAIN_WITHIN`: the look for runs left behind by dead workers is a chore too, and
dies with them. So two workers may do one chore at once. Knows names and periods, and nothing of the work.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import reduce
from operator import or_

from django.db.models import F, Q
from django.db.models.functions import Now

from rotation.models import Chore

#: The least and the most after which a claimed chore that was not reported as done is due again.
LONG_ENOUGH, AGAIN_WITHIN = timedelta(seconds=10), timedelta(minutes=1)
SLACK = timedelta(seconds=2)  # the nearest tick counts: the one after it would be some seconds late each time


def due(work: Mapping[str, timedelta]) -> list[str]:
    """Return the names in `work` that are due by the database's clock; a name without a row is due."""
    known = set(Chore.objects.values_list("name", flat=True))
    if missing := [Chore(name=name) for name in work if name not in known]:
        Chore.objects.bulk_create(missing, ignore_conflicts=True)
    wanted = reduce(or_, (_is_due(name, every) for name, every in work.items()))
    ready = set(Chore.objects.filter(wanted).values_list("name", flat=True))
    return [name for name in work if name in ready]


def claim(name: str, every: timedelta) -> bool:
    """Put a due chore off for as long as it may take; True for the one caller that does it now."""
    ready = Chore.objects.filter(_is_due(name, every))
    return bool(ready.update(due_at=Now() + again_after(every), claimed_at=Now()))


def again_after(every: timedelta) -> timedelta:
    """Return after how long a chore of this period is tried again if it was not reported as done."""
    return min(AGAIN_WITHIN, max(2 * every, LONG_ENOUGH))


def _is_due(name: str, every: timedelta) -> Q:
    # A date further ahead than its own period was written under a clock that was wrong.
    wrong = Q(due_at__gt=Now() + max(every, AGAIN_WITHIN) + SLACK)
    return Q(name=name) & (Q(due_at__lte=Now() + SLACK) | wrong)


def done(name: str, every: timedelta) -> None:
    """Note that a claimed chore was done: it is due again so long after it was begun."""
    Chore.objects.filter(name=name).update(due_at=F("claimed_at") + every, last_run_at=Now())
