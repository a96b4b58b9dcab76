"""What is true now, as numbers: the queue, what is late, the trail, keys, backups, processes.

A question reads what is active, due or late, by an index; none reads the runs of the past. Ages are by the
database's clock where the row is the database's. No label holds a name that a user gave.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count, Min, Q
from django.db.models.functions import Now
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily

from console.models import Delivery, Message
from console.notices import conditions
from console.process import away, health
from rotation.models import ManagedAccount, Run
from secrets_app.backups import backups
from secrets_app.journal import journal
from secrets_app.journal.places import Away
from secrets_app.models import AuditCheckpoint, AuditEvent, AuditHead, ChangedRecord

STATEMENT_SECONDS: Final = 5  # for one question; a reader waits for all of them
QUEUE: Final = "celery"  # Celery's own name of it


def gauge(name: str, says: str, value: float | None = None, *labels: str) -> GaugeMetricFamily:
    """A number of this name after `keyturn_`; with labels, one to add numbers to."""
    return GaugeMetricFamily(f"keyturn_{name}", says, value=value, labels=labels or None)


# ---------------------------------------------------------------- of the database


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Let no question of the block take longer than `STATEMENT_SECONDS`; SQLite ends none."""
    if connection.vendor != "postgresql":
        yield  # a transaction would take the one lock that its writers share
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{STATEMENT_SECONDS}s"])
        yield
        cursor.execute("SELECT set_config('statement_timeout', '0', true)")


def of_database(head: AuditHead | None, now: datetime) -> Iterator[GaugeMetricFamily]:
    """What the database knows, `now` by its clock. Raises DatabaseError or InterfaceError."""
    yield from _runs(now)
    yield from _schedules(now)
    yield from _credentials()
    yield from _audit(head, now)
    yield from _processes()
    waiting = Delivery.objects.filter(state__among=[Delivery.State.WAITING]).order_by().count()
    yield gauge("deliveries_waiting", "Notifications that were not accepted yet.", waiting)
    skew = (timezone.now() - now).total_seconds()
    yield gauge("clock_skew_seconds", "This process' clock less the database's.", skew)


def _runs(now: datetime) -> Iterator[GaugeMetricFamily]:
    active = Run.objects.active().order_by()
    family = gauge("runs_active", "Runs that have not ended, by kind and state.", None, "kind", "state")
    rows = active.values_list("kind", "state").annotate(count=Count("pk"))
    found = {(kind, state): count for kind, state, count in rows}
    for kind in Run.Kind:
        for state in Run.ACTIVE:
            family.add_metric([kind.value, state.value], found.get((kind.value, state.value), 0))
    yield family
    waits = Q(state__in=[Run.State.QUEUED, Run.State.WAITING], due_at__lte=now)
    due = active.filter(waits).aggregate(count=Count("pk"), oldest=Min("due_at"))
    yield gauge("runs_due", "Runs that are due and that no worker has.", due["count"])
    oldest = (now - due["oldest"]).total_seconds() if due["oldest"] else 0
    yield gauge("oldest_due_age_seconds", "How long the oldest of them is due; 0 if none is.", oldest)
    expired = active.filter(state=Run.State.RUNNING, leased_until__lt=now).count()
    yield gauge(
        "leases_expired", "Runs whose worker did not renew its lease, and that no other has.", expired
    )


def _schedules(now: datetime) -> Iterator[GaugeMetricFamily]:
    late = conditions.overdue().order_by().aggregate(count=Count("pk"), oldest=Min("next_at"))
    yield gauge("rotations_overdue", "Schedules whose date has passed without a rotation.", late["count"])
    oldest = (now - late["oldest"]).total_seconds() if late["oldest"] else 0
    yield gauge("oldest_overdue_age_seconds", "How long ago the oldest of them was; 0 if none.", oldest)


def _credentials() -> Iterator[GaugeMetricFamily]:
    family = gauge("credentials", "Managed credentials, by what is known of them.", None, "state")
    rows = ManagedAccount.objects.filter(released_at__isnull=True).order_by()
    found = dict(rows.values_list("credential").annotate(count=Count("pk")))
    for state in ManagedAccount.Credential:
        family.add_metric([state.value], found.get(state.value, 0))
    yield family


def _audit(head: AuditHead | None, now: datetime) -> Iterator[GaugeMetricFamily]:
    sequence = head.sequence if head else 0
    yield gauge("audit_head_sequence", "The number of the newest event of the audit trail.", sequence)
    at = AuditEvent.objects.filter(sequence=sequence).values_list("at", flat=True).first()
    if at:
        yield gauge("audit_head_age_seconds", "How old the newest event is.", (now - at).total_seconds())
    last = AuditCheckpoint.objects.last()
    signed = last.sequence if last else 0
    yield gauge("audit_unsigned_events", "Events since the last checkpoint.", sequence - signed)
    if last:
        age = (now - last.at).total_seconds()
        yield gauge("audit_checkpoint_age_seconds", "How old the last signed checkpoint is.", age)
    changed = ChangedRecord.objects.count()
    yield gauge("records_changed_outside", "Records that were changed outside Keyturn.", changed)


def _processes() -> Iterator[GaugeMetricFamily]:
    family = gauge(
        "heartbeat_age_seconds", "When a process of this kind last showed itself.", None, "process"
    )
    seen = health.seen()
    for process in health.PROCESSES:
        if process in seen:
            family.add_metric([process], seen[process].total_seconds())
    yield family
    running = gauge("process_up", "Whether a process of this kind has shown itself lately.", None, "process")
    for process in health.PROCESSES:
        running.add_metric([process], int(process in seen and seen[process] <= health.STALE_AFTER))
    yield running


# ---------------------------------------------------------------- of the broker and the machine


def of_broker() -> Iterator[GaugeMetricFamily]:
    """How many messages wait. Raises DatabaseError or InterfaceError where the broker is a table."""
    depth: int | None
    if settings.BROKER_URL.startswith("embedded"):
        depth = Message.objects.filter(claimed_at__isnull=True).order_by().count()
    else:
        depth = _redis_depth()
    yield gauge("broker_up", "Whether the message broker answers.", int(depth is not None))
    if depth is not None:
        yield gauge("queue_depth", "Messages that no worker has taken.", depth)


def _redis_depth() -> int | None:
    import redis  # see `away`

    seconds = away.BROKER_SECONDS
    broker = redis.Redis.from_url(settings.BROKER_URL, socket_connect_timeout=seconds, socket_timeout=seconds)
    try:
        with broker:
            return int(broker.llen(QUEUE))
    except (redis.RedisError, OSError):
        return None


def of_machine() -> Iterator[GaugeMetricFamily]:
    """Backups, the journal and the disk: known without the database."""
    yield gauge("backup_configured", "Whether Keyturn takes backups.", int(bool(settings.BACKUP_RECIPIENTS)))
    with contextlib.suppress(OSError):
        if newest := backups.newest():
            age = (timezone.now() - newest).total_seconds()
            yield gauge("backup_age_seconds", "How old the newest backup is.", age)
    yield from _journal()
    with contextlib.suppress(OSError):
        free = shutil.disk_usage(settings.DATA_DIR).free
        yield gauge("data_free_bytes", "Free space of the data folder.", free)


def _journal() -> Iterator[GaugeMetricFamily]:
    place = journal.place()
    yield gauge("journal_configured", "Whether a credential journal is kept.", int(place is not None))
    if place is None:
        return
    problem = journal.problem()
    yield gauge("journal_up", "Whether the credential journal can be written.", int(not problem))
    at = None
    with contextlib.suppress(Away):
        at = place.written().at
    if at is not None:
        age = (timezone.now() - at).total_seconds()
        yield gauge("journal_age_seconds", "When the credential journal was last written.", age)


def head() -> tuple[AuditHead | None, datetime]:
    """The end of the audit trail, and the database's time. Raises DatabaseError or InterfaceError."""
    row = AuditHead.objects.annotate(now=Now()).first()
    return (row, row.now) if row else (None, timezone.now())
