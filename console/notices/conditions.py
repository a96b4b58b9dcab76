"""Record what no action leaves in the audit trail: something that should have happened and did not.

Each is recorded once, so that it is told once. The only writer of noted conditions.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from console.models import NotedCondition
from console.notices import kinds
from console.process import health
from rotation.models import Schedule
from rotation.models.schedules import GRACE
from secrets_app import actions, regions
from secrets_app.audit import audit_keys, checkpoints, trail
from secrets_app.backups import backups
from secrets_app.models import AuditCheckpoint, AuditEvent, Secret
from secrets_app.people import users

AT_ONCE: Final = 200  # the others are found a minute later
SOON: Final = timedelta(days=3)
KEPT_FOR: Final = timedelta(days=400)  # longer than a schedule's longest period
UNSIGNED_FOR: Final = timedelta(hours=2)  # twice the time after which the next checkpoint is due
UNEXPORTED_FOR: Final = timedelta(minutes=10)
WORKER_AWAY_FOR: Final = timedelta(minutes=1)
BACKUP_LATE_FOR: Final = timedelta(minutes=30)  # three times what it takes until one is tried again


def look() -> int:
    """Record every condition that began since the last look; return how many."""
    count = sum(map(_note_overdue, _overdue())) + sum(map(_note_due, _due_for_purge()))
    count += sum(map(_note_old, _old()))
    if problem := checkpoint_problem():
        count += _note_of_installation(kinds.CHECKPOINT_FAILED, {"because": problem})
    if is_backup_old():
        count += _note_of_installation(kinds.BACKUP_OLD, {"newest": _newest_backup()})
    NotedCondition.objects.filter(noted_at__lt=timezone.now() - KEPT_FOR).delete()
    return count


def is_worker_away() -> bool:
    """Whether the worker that ran since the start has not shown itself for a minute."""
    seen = health.seen().get("worker")
    return seen is not None and seen >= WORKER_AWAY_FOR


def note_worker_away() -> bool:
    """Record that no worker has shown itself for a minute; True where that is new. For beat to ask."""
    if is_worker_away():
        return bool(_note(_WORKER, kinds.WORKER_AWAY, _settings(), {}))
    NotedCondition.objects.filter(name=_WORKER).delete()
    return False


_WORKER: Final = "worker"


def is_backup_old() -> bool:
    """Whether the backup of the day is missing for longer than a running worker needs to take it."""
    if not backups.late():
        NotedCondition.objects.filter(name=_LATE_BACKUP).delete()
        return False
    late = NotedCondition.objects.get_or_create(name=_LATE_BACKUP)[0]
    late.refresh_from_db()  # the database's time
    return timezone.now() - late.noted_at > BACKUP_LATE_FOR


_LATE_BACKUP: Final = "backup"


def _newest_backup() -> str:
    """When it was taken; the empty text where there is none, or its folder cannot be read."""
    try:
        at = backups.newest()
    except OSError:
        return ""
    return at.isoformat() if at else ""


def checkpoint_problem() -> str:
    """What is wrong with signing and exporting the audit trail, as one word; empty where nothing is."""
    last = AuditCheckpoint.objects.last()
    now = timezone.now()
    if checkpoints.is_due() and (last is None or now - last.at > UNSIGNED_FOR):
        first = AuditEvent.objects.order_by("sequence").first()
        return "not_signed" if last or (first and now - first.at > UNSIGNED_FOR) else ""
    if last is None or now - last.at < UNEXPORTED_FOR:
        return ""
    try:
        exported = checkpoints.newest()
    except (OSError, audit_keys.KeyMissing):
        return "not_exported"
    return "not_exported" if exported is None or exported.sequence < last.sequence else ""


def overdue() -> QuerySet[Schedule]:
    """The schedules whose date has passed and that neither run nor wait for a user."""
    rows = Schedule.objects.filter(is_on=True, paused_at__isnull=True, stopped_at__isnull=True)
    return rows.filter(next_at__lt=timezone.now() - GRACE, secret__deletion_planned_at__isnull=True)


def _overdue() -> list[Schedule]:
    noted = NotedCondition.objects.filter(name__startswith="overdue:").values_list("name", flat=True)
    known = set(noted)
    rows = overdue().select_related("secret__account", "secret__region").order_by("next_at")
    return [row for row in rows[: len(known) + AT_ONCE] if _overdue_name(row) not in known][:AT_ONCE]


def _overdue_name(row: Schedule) -> str:
    return f"overdue:{row.secret_id}:{row.next_at:%Y%m%dT%H%M%S}"


def _note_overdue(row: Schedule) -> int:
    since = row.next_at.isoformat() if row.next_at else ""
    return _note(_overdue_name(row), kinds.OVERDUE, row.secret, {"since": since})


def _old() -> list[Secret]:
    """The secrets whose value should have been replaced by now, as their reminders say."""
    known = set(NotedCondition.objects.filter(name__startswith="value:").values_list("name", flat=True))
    rows = Secret.objects.filter(
        purged_at__isnull=True, deletion_planned_at__isnull=True, reminder_due_at__lt=timezone.now()
    )
    rows = rows.select_related("account", "region").order_by("reminder_due_at", "pk")
    return [row for row in rows[: len(known) + AT_ONCE] if _old_name(row) not in known][:AT_ONCE]


def _old_name(secret: Secret) -> str:
    """Another one after each further period of the reminder in which the value was not replaced."""
    due, period = secret.reminder_due_at, timedelta(days=max(1, secret.reminder_days))
    assert due is not None
    return f"value:{secret.pk}:{due:%Y%m%dT%H%M%S}:{(timezone.now() - due) // period}"


def _note_old(secret: Secret) -> int:
    since = secret.reminder_due_at.isoformat() if secret.reminder_due_at else ""
    return _note(_old_name(secret), kinds.VALUE_OVERDUE, secret, {"since": since})


def _due_for_purge() -> list[Secret]:
    rows = Secret.objects.filter(
        purged_at__isnull=True, deletion_due_at__gt=timezone.now(), deletion_due_at__lte=timezone.now() + SOON
    )
    known = set(NotedCondition.objects.filter(name__startswith="due:").values_list("name", flat=True))
    rows = rows.select_related("account", "region").order_by("deletion_due_at")
    return [row for row in rows[: len(known) + AT_ONCE] if _due_name(row) not in known][:AT_ONCE]


def _due_name(secret: Secret) -> str:
    return f"due:{secret.pk}:{secret.deletion_due_at:%Y%m%dT%H%M%S}"


def _note_due(secret: Secret) -> int:
    due = secret.deletion_due_at.isoformat() if secret.deletion_due_at else ""
    return _note(_due_name(secret), kinds.DELETION_DUE, secret, {"due": due})


def _settings() -> str:
    return actions.arn(actions.Kind.SETTINGS, "", account=regions.account().number)


def _note_of_installation(action: str, details: Mapping[str, object]) -> int:
    """Once a day as long as it lasts."""
    return _note(f"{action}:{timezone.now():%Y%m%d}", action, _settings(), details)


def _note(name: str, action: str, about: Secret | str, details: Mapping[str, object]) -> int:
    """Record it with the note that it was: both or neither."""
    with transaction.atomic():
        is_new = NotedCondition.objects.get_or_create(name=name)[1]
        if is_new:
            failed = AuditEvent.Outcome.FAILED
            trail.record(action, about, actor=users.system(), outcome=failed, details=details)
    return int(is_new)
