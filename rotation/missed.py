"""Record the dates of schedules that passed without a rotation, each of them once.

Dates that are found together are one row: it ended as it was written, with the outcome missed, and names the
first date, the last one and how many they are. So a downtime makes one row for each secret, however long it
was. With `runs`, `leases` and `cancelling`, the only writer of runs.

The caller holds the schedule in its transaction and moves it on there, so that no date is found twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.models import F
from django.db.models.functions import Now

from rotation import accounts, reasons
from rotation.models import Run
from secrets_app.audit import trail
from secrets_app.models import AuditEvent, Secret
from secrets_app.people import users

MISSED = "kms:RotationMissed"
#: By the state of the rotation that an earlier date started: why the next date found it unfinished.
LATE = {
    Run.State.QUEUED: ("missed_queued", "no worker had taken it up."),
    Run.State.WAITING: ("missed_waiting", "the run says why."),
    Run.State.RUNNING: ("missed_running", "a worker was carrying it through its steps."),
}


def note(secret: Secret, dates: Sequence[datetime], code: str, *names: object) -> None:
    """Record these dates of the secret's schedule, in their order; nothing where there is none."""
    if not dates:
        return
    sentence = reasons.sentence(code, *names)[:500]
    row = Run(
        kind=Run.Kind.ROTATE,
        trigger=Run.Trigger.SCHEDULE,
        secret=secret,
        instance=accounts.needed(secret).instance,
        requested_by=users.system(),
        state=Run.State.ENDED,
        outcome=Run.Outcome.MISSED,
        code=code,
        sentence=sentence,
        date_at=dates[0],
        last_date_at=dates[-1],
        dates=len(dates),
        ended_at=Now(),
    )
    row.save(force_insert=True)
    _tell(secret, row.pk, dates, code)


def serve(run: Run, date: datetime) -> None:
    """Have a rotation that is under way serve this date, which has come; the one that it served is missed.

    So each date has one run at most, and a rotation that waits over many dates serves the last of them. The
    dates that one rotation let pass for one reason are one row.
    """
    assert run.secret is not None
    if run.date_at is not None and run.date_at < date:
        code, otherwise = LATE[Run.State(run.state)]
        since = Run.objects.filter(
            secret=run.secret, outcome=Run.Outcome.MISSED, created_at__gte=run.created_at
        )
        row = since.filter(code=code).order_by("-created_at").first()
        if row is None:
            note(run.secret, [run.date_at], code, run.sentence or otherwise)
        else:
            Run.objects.filter(pk=row.pk).update(
                last_date_at=run.date_at, dates=F("dates") + 1, ended_at=Now()
            )
            _tell(run.secret, row.pk, [run.date_at], code)
    Run.objects.filter(pk=run.pk).update(date_at=date)
    run.date_at = date


def last(secret: Secret) -> Run | None:
    """Return the newest record of dates that this secret missed, if it has not rotated since."""
    account = accounts.of(secret)
    if account is None:
        return None
    rows = Run.objects.filter(secret=secret, outcome=Run.Outcome.MISSED)
    if account.rotated_at:
        rows = rows.filter(last_date_at__gt=account.rotated_at)
    return rows.order_by("-created_at").first()


def _tell(secret: Secret, row: object, dates: Sequence[datetime], code: str) -> None:
    details = {
        "run": str(row),
        "from": dates[0].isoformat(),
        "to": dates[-1].isoformat(),
        "dates": len(dates),
        "code": code,
    }
    trail.record(MISSED, secret, actor=users.system(), outcome=AuditEvent.Outcome.FAILED, details=details)
