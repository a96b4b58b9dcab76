"""The Celery tasks. A task takes ids, calls one domain function and decides nothing.

A message only wakes a worker: `sweep` sends a lost message again, and a message that arrives twice finds the
run taken.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from celery import shared_task
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError as BrokerError

from rotation import cancelling, chores, leases, runs, schedules, shutdown, wires
from rotation.bulk import bulk_actions
from rotation.engine import engine
from rotation.inventory import management
from rotation.managed import credential_state, deletion, restored
from rotation.models import BulkAction, Run, Schedule
from secrets_app import keyring
from secrets_app.audit import checkpoints, refusals, trail
from secrets_app.backups import backups
from secrets_app.errors import DomainError
from secrets_app.integrity import restores, seal_check
from secrets_app.keys import key_states, rewraps
from secrets_app.people import users
from secrets_app.secrets import lifecycle, replicas

# What is called here goes to this application's broker; without it, to Celery's default one.
import_string(settings.TASK_APPLICATION)

log = logging.getLogger(__name__)

BATCH = 1000
TOGETHER = 250  # in one transaction, which keeps others from writing: SQLite has one writer
AWAY_SECONDS = 10.0  # without another try, after the broker did not answer
DRIFT_TICK = timedelta(minutes=1)  # at least, between two calls of `start_drift_checks`
SCRUBBED_FOR = timedelta(minutes=10)  # after a purge: once each time, in case another process was reading


def worker_name() -> str:
    """This host, process and thread, as the evidence of a step names them."""
    return f"{_process_name()}/{threading.get_ident() % 10**6}"


def _process_name() -> str:
    return f"{socket.gethostname()}/{os.getpid()}"


@shared_task
def advance(run_id: str) -> None:
    """Carry a run as far as it goes now, after those that are urgent; wake what waited for it."""
    if keyring.is_sealed():
        return  # the run stays where it is; the sweep finds it when the root key is back
    is_takeable, has_urgent = leases.first(UUID(run_id))
    # A message means that a worker is free, not that it is this run's turn: the rows say which goes first.
    while has_urgent and (urgent := leases.urgent()) and str(urgent) != run_id and _carry(urgent):
        pass
    if is_takeable:
        _carry(UUID(run_id))


def _carry(run_id: UUID) -> bool:
    """Do what can be done for one run; False where there was nothing to take up."""
    with structlog.contextvars.bound_contextvars(run_id=str(run_id)):
        run = engine.advance(run_id, worker=worker_name(), connect=wires.connect, scanner=wires.Scanner())
    if run:
        checkpoints.note_head()  # an older database is noticed then, even without a new checkpoint
    if shutdown.is_under_way():
        send(advance, str(run_id))  # handed back, or never begun: for another worker
    if not run:
        return False
    for following in leases.behind(run.instance_id):
        if following != run_id:
            send(advance, str(following))
    if run.campaign and (bulk_id := bulk_actions.behind(run_id)):
        send(carry_bulk, str(bulk_id))  # the next of its rows has room now
    return True


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class _Broker:
    """What this process knows of the broker."""

    away_until = float("-inf")


def send(task: Any, *ids: str) -> None:
    """Have a worker do `task` soon. A broker that does not answer is no error, and delays only this call.

    The row is the job: the sweep finds it when the broker is back. After a failed try this process sends
    nothing for some seconds, because each try may take long.
    """
    if time.monotonic() < _Broker.away_until:
        return
    try:
        task.apply_async(ids, retry=False)
    except (BrokerError, OSError) as error:
        _Broker.away_until = time.monotonic() + AWAY_SECONDS
        log.warning(
            "The broker does not answer (%s); the sweep finds what was to be sent.",
            type(error).__name__,
        )


def wake(run: Run) -> None:
    """Have a worker take up `run` once the transaction that made it has committed."""
    transaction.on_commit(lambda: send(advance, str(run.pk)))


def wake_bulk(bulk: BulkAction) -> None:
    """Have a worker take up a bulk action, once the transaction that made it has committed."""
    transaction.on_commit(lambda: send(carry_bulk, str(bulk.pk)))


@shared_task
def tick() -> None:
    """Do the periodic work that is due; a piece that fails stops no other, and is tried again soon."""
    work = settings.PERIODIC_WORK
    for name in chores.due({name: every for name, (_, every) in work.items()}):
        task, every = work[name]
        if not chores.claim(name, every):
            continue
        try:
            import_string(task)()
        except Exception:
            seconds = chores.again_after(every).total_seconds()
            log.exception("Periodic work failed and is tried again in %d s: %s.", seconds, name)
            if not connection.is_usable():
                raise  # the store is away, for all of it
        else:
            chores.done(name, every)


@shared_task
def keep_replicas() -> None:
    """Bring the copies of secrets in other regions into step with their primaries."""
    replicas.catch_up()


@shared_task
def start_due() -> None:
    """Start a rotation for every schedule whose time has come; an error in one does not stop the others.

    Starts none while a restored database waits to be acknowledged: the schedules stay due.
    """
    if restored.look():
        return
    due, started = schedules.due(BATCH), list[UUID]()
    for first in range(0, len(due), TOGETHER):
        started += _start_all(due[first : first + TOGETHER])
    for run_id in leases.line_up(started):
        send(advance, str(run_id))


def _start_all(due: list[Schedule]) -> list[UUID]:
    """Start these together and return the new runs. If that fails, start each half separately."""
    try:
        fresh, others = _start_together(due)
    except Exception:
        if not connection.is_usable():
            raise  # the store is away, for all of them
        if len(due) > 1:
            middle = len(due) // 2
            return _start_all(due[:middle]) + _start_all(due[middle:])
        fresh, others = [], due
    for schedule in others:
        _start_alone(schedule)
    return fresh


def _start_together(due: list[Schedule]) -> tuple[list[UUID], list[Schedule]]:
    """Start the rotations that nothing prevents; return their runs, and the schedules to start one by one."""
    actor = users.system()  # made by the first one that asks, who then holds no secret that another waits for
    # Together: a beat that dies between the two would have moved the date and rotated nothing.
    with transaction.atomic(), trail.at_the_end():
        idle = runs.without_any([schedule.secret_id for schedule in due])
        fire = schedules.claim_all([schedule for schedule in due if schedule.secret_id in idle])
        wanted = [schedule.secret for schedule, _ in fire]
        dates = {schedule.secret_id: date for schedule, date in fire}
        new_runs = runs.start_all(wanted, actor=actor, trigger=Run.Trigger.SCHEDULE, dates=dates)
    return [run.pk for run in new_runs], [schedule for schedule in due if schedule.secret_id not in idle]


def _start_alone(schedule: Schedule) -> None:
    try:
        actor = users.system()
        with transaction.atomic():
            if date := schedules.claim(schedule):
                wake(runs.start(schedule.secret, actor=actor, trigger=Run.Trigger.SCHEDULE, date=date))
    except runs.NotRotatable:
        log.info("secret %s is being deleted; its schedule does not fire", schedule.secret_id)
    except Exception:
        log.exception("The schedule of secret %s could not fire; it is tried again.", schedule.secret_id)
        if not connection.is_usable():
            raise  # the store is away, for all of them


@shared_task
def look_for_restore() -> None:
    """Notice an older database that was restored, and go on with asking every account's host after one."""
    if keyring.is_sealed():
        return
    restored.look()
    restore = restores.unsettled()
    if restore is None or restore.verify_asked_at is None or restored.settle(restore):
        return
    with transaction.atomic():
        for run in restored.verify_some(restore, BATCH):
            wake(run)


@shared_task
def start_drift_checks() -> None:
    """Start the drift checks that belong into this part of the day."""
    for account in credential_state.due_for_drift_check(DRIFT_TICK):
        try:
            with transaction.atomic():
                if credential_state.claim_drift_check(account):
                    wake(runs.drift(account.secret, actor=users.system(), trigger=Run.Trigger.SCHEDULE))
        except runs.NotRotatable:
            log.info("secret %s is being deleted; it is not looked at", account.secret_id)


@shared_task
def check_seals() -> None:
    """Notice records that were changed outside Keyturn."""
    if not keyring.is_sealed() and (count := seal_check.check()):
        log.warning("%d records were changed outside Keyturn: manage.py audit verify names them.", count)


@shared_task
def purge_due() -> None:
    """Destroy the values of secrets whose time to be restored is over."""
    for secret in lifecycle.due_for_purge(BATCH):
        try:
            deletion.purge_if_due(secret)
        except cancelling.TooLate as error:
            log.warning("secret %s is not purged yet: %s", secret.pk, error)
        except lifecycle.NotEnabled:
            log.info("secret %s was restored or purged meanwhile", secret.pk)
    since = timezone.now() - SCRUBBED_FOR
    if lifecycle.was_purged_since(since) or management.was_deleted_since(since):
        transaction.on_commit(keyring.scrub)


@shared_task
def record_refusals() -> None:
    """Write down how often the same was refused, for the minutes that are over."""
    if not keyring.is_sealed():
        refusals.record_counted(BATCH)


@shared_task
def sign_audit_trail() -> None:
    """Sign how far the audit trail goes, and write that to its file."""
    if not keyring.is_sealed():
        checkpoints.sign_and_export()


@shared_task
def sign_long_tail() -> None:
    """Sign the audit trail where much was appended since the last checkpoint, or long ago; note its head."""
    if keyring.is_sealed():
        return
    if checkpoints.is_due():
        checkpoints.sign_and_export()
    checkpoints.note_head()


@shared_task
def look_after_keys() -> None:
    """Give old keys a new version, and destroy what was planned to be destroyed."""
    if keyring.is_sealed():
        return
    key_states.rotate_due()
    if key_states.destroy_due():
        transaction.on_commit(keyring.scrub)


@shared_task
def back_up() -> None:
    """Take the backup of the day, where it is due and a recipient is set."""
    try:
        backups.take_due(program=settings.PRODUCT_VERSION)
    except (OSError, DomainError) as error:
        log.error("No backup was taken: %s", error)


@shared_task
def rewrap(rewrap_id: str) -> None:
    """Carry a rewrap by one batch, and come back for the next."""
    if not keyring.is_sealed() and rewraps.carry(UUID(rewrap_id)):
        send(rewrap, rewrap_id)


@shared_task
def carry_bulk(bulk_id: str) -> None:
    """Do some rows of a bulk action, and come back for the next.

    None while a restored database waits to be acknowledged: it may have an action that was done long ago.
    """
    if keyring.is_sealed() or restored.look():
        return
    if bulk_actions.carry(UUID(bulk_id), wake=wake):
        send(carry_bulk, bulk_id)


@shared_task
def sweep() -> None:
    """Wake a worker for every run, rewrap and bulk action that is due and not under way."""
    bulk_actions.settle()
    for bulk_id in bulk_actions.due():
        send(carry_bulk, str(bulk_id))
    for key_rewrap in rewraps.due():
        send(rewrap, str(key_rewrap.pk))
    leases.hand_back_orphans(socket.gethostname(), _is_alive)  # they are due then
    for run_id in leases.due(BATCH):
        send(advance, str(run_id))


def take_back() -> None:
    """Have a worker go on with each run whose worker was a process of this host that has died.

    So too with each one in which this process lost the database.
    """
    for run_id in leases.hand_back_left():
        send(advance, str(run_id))
    for run_id in leases.hand_back_orphans(socket.gethostname(), _is_alive):
        send(advance, str(run_id))


def hand_back() -> None:
    """Have other workers go on with what this process, which is about to end, still has under way."""
    for run_id in leases.hand_back_own(_process_name()):
        send(advance, str(run_id))
