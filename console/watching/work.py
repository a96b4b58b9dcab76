"""Checks of the work: processes, queue, schedules, audit trail, backups, journal."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db.models import Count, Min
from django.db.models.functions import Now
from django.utils import timezone

from console.notices import conditions
from console.presentation import durations
from console.process import away, health
from console.watching import gauges
from console.watching.findings import Said, ok, problem, unknown, warning
from rotation.models import Run
from secrets_app.audit import audit_keys
from secrets_app.backups import backups
from secrets_app.integrity import restores
from secrets_app.journal import journal
from secrets_app.journal.places import Away
from secrets_app.models import AuditCheckpoint, ChangedRecord

LATE: Final = timedelta(minutes=1)  # of a run that is due
VERY_LATE: Final = timedelta(minutes=10)
MANY_MESSAGES: Final = 1_000
#: Clocks of the journal's disk and of the database may differ by so much.
CLOCKS: Final = timedelta(minutes=2)


def worker() -> Said:
    return _process("worker", away.WORKER.advice)


def beat() -> Said:
    return _process("beat", away.BEAT.advice)


def _process(name: str, advice: str) -> Said:
    ago = health.seen().get(name)
    if ago is None:
        return problem("Not running: not seen since Keyturn started.", advice)
    if ago > health.STALE_AFTER:
        return problem(f"Not running: last seen {durations.duration(ago)} ago.", advice)
    return ok(f"Running: seen {durations.duration(ago)} ago.")


def queue() -> Said:
    """How many runs are due that no worker has, and for how long the oldest one is."""
    due = Run.objects.active().filter(state__in=[Run.State.QUEUED, Run.State.WAITING], due_at__lte=Now())
    counted = due.order_by().aggregate(count=Count("pk"), oldest=Min("due_at"))
    if not counted["count"]:
        return ok("No run waits for a worker.")
    waits = max(gauges.head()[1] - counted["oldest"], timedelta(0))  # by the database's clock
    sentence = f"{_count(counted['count'], 'run')} due; the oldest for {durations.duration(waits)}."
    advice = (
        "See whether workers run. If all of them are busy, raise KEYTURN_WORKERS or KEYTURN_WORKER_THREADS."
    )
    if waits >= VERY_LATE:
        return problem(sentence, advice)
    return warning(sentence, advice) if waits >= LATE else ok(sentence)


def messages() -> Said:
    """How many messages no worker has taken: a long queue is one that no worker reads."""
    depth = next((family for family in gauges.of_broker() if family.name == "keyturn_queue_depth"), None)
    if depth is None:
        return unknown("Not checked: the broker does not answer.", "Start the broker, then check again.")
    count = int(depth.samples[0].value)
    if count >= MANY_MESSAGES:
        return warning(f"{_count(count, 'message')} waiting.", "See whether workers run, and read their log.")
    return ok(f"{_count(count, 'message')} waiting." if count else "No message waits.")


def schedules() -> Said:
    late = conditions.overdue().order_by().aggregate(count=Count("pk"), oldest=Min("next_at"))
    if not late["count"]:
        return ok("No rotation is overdue.")
    since = durations.duration(timezone.now() - late["oldest"])
    return problem(
        f"{_count(late['count'], 'rotation')} overdue; the oldest for {since}.",
        "Open the list of secrets, Automatic rotation, Overdue: each says why.",
    )


def trail() -> Said:
    """Whether the audit trail is signed and exported, and agrees with what was exported."""
    if restores.under_way() is not None:
        return problem(
            "An older database was restored and is not acknowledged: nothing is rotated.",
            "An administrator does that by the banner that every page has.",
        )
    if because := conditions.checkpoint_problem():
        words = {"not_signed": "not signed", "not_exported": "not exported"}[because]
        return problem(
            f"The audit trail is {words}.",
            "Read the log of the workers: it names the key, or the file of KEYTURN_AUDIT_EXPORT_FILE.",
        )
    audit_keys.public_key()  # raises for a key that is gone
    last = AuditCheckpoint.objects.last()
    if last is None:
        return warning("No checkpoint is signed yet.", "A worker signs the first one when it starts.")
    return ok(f"The last checkpoint is {durations.duration(timezone.now() - last.at)} old.")


def records() -> Said:
    count = ChangedRecord.objects.count()
    if count:
        return problem(
            f"{_count(count, 'record')} changed outside Keyturn.",
            "Run manage.py audit verify: it names each. Compare it, then accept it or restore it.",
        )
    return ok("No record that decides was changed outside Keyturn.")


def backup() -> Said:
    if not settings.BACKUP_RECIPIENTS:
        return warning("Keyturn takes no backups.", "Set KEYTURN_BACKUP_RECIPIENTS for one a day.")
    at = backups.newest()
    if late := backups.late():
        return problem(late, f"Read the log of the workers; see that {settings.BACKUP_FOLDER} has space.")
    if at is None:
        return unknown("The newest backup is not known.", "Check again.")
    return ok(f"The newest backup is {durations.duration(timezone.now() - at)} old.")


def credential_journal() -> Said:
    """Whether the journal can be written, and was written for the newest rotation."""
    place = journal.place()
    if place is None:
        return warning(
            "No credential journal is kept: after a restore, newer values are lost.",
            "Set KEYTURN_JOURNAL to a file on another disk, a PostgreSQL or a bucket; then run journal init.",
        )
    try:
        place.check()
        written = place.written().at
    except Away as error:
        return problem(str(error), "Rotations wait, unless KEYTURN_JOURNAL_REQUIRED is false.")
    told = Run.objects.filter(kind=Run.Kind.ROTATE, attempts__gt=0, started_at__isnull=False)
    newest = told.order_by("-created_at").values_list("started_at", flat=True).first()
    if newest and (written is None or newest > written + CLOCKS):
        return problem(
            "The journal was last written before the newest rotation began.",
            f"See whether {place} is where the workers write to: they may be on another machine.",
        )
    if written is None:
        return ok("It can be written; it has no line yet.")
    return ok(f"It can be written; last written {durations.duration(timezone.now() - written)} ago.")


def _count(number: int, noun: str) -> str:
    """`1 run is`, `2 runs are`."""
    return f"{number:,} {noun} is" if number == 1 else f"{number:,} {noun}s are"
