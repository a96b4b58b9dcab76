"""The only writer of restores: an older database that was restored, noticed and acknowledged.

The file of exported checkpoints is outside the database. Where the trail does not have what its newest
checkpoint signs, this database is older than the file or has another history: values that were made since are
not here, and what the rows say of a host may be untrue. That is written down once, and stays until a person
acknowledges it. The trail then goes on beyond every number that was ever exported.
"""

from __future__ import annotations

import logging
from itertools import islice

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, Q
from django.db.models.functions import Now

from secrets_app import prepared, regions
from secrets_app.actions import Kind, arn
from secrets_app.audit import audit_keys, checkpoints
from secrets_app.audit import trail as audit
from secrets_app.errors import DomainError
from secrets_app.models import AuditEvent, AuditHead, DatabaseRestore, Principal
from secrets_app.people import users
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action

log = logging.getLogger(__name__)

NOTICE = "kms:NoticeRestore"
VERIFY_ALL = "kms:VerifyAllAccounts"


_UNDER_WAY = prepared.Question(lambda: DatabaseRestore.objects.filter(acknowledged_at=None)[:1])
_AT = prepared.Question(
    lambda sequence: (
        AuditEvent.objects.filter(sequence=sequence)
        .order_by()
        .values_list("mac", Exists(DatabaseRestore.objects.filter(acknowledged_at=None)))
    )
)


class Nothing(DomainError):
    """No restored database waits for this."""

    code = "restore_settled"


class NoReason(DomainError, ValueError):
    """This needs a reason: say in a few words which backup was restored, and why."""

    code = "restore_reason_missing"


def under_way() -> DatabaseRestore | None:
    """Return the restore that is not acknowledged yet, if there is one."""
    return _UNDER_WAY.first()


def newest() -> DatabaseRestore | None:
    """Return the last restore, acknowledged or not."""
    return DatabaseRestore.objects.last()


_UNSETTLED: prepared.Question[DatabaseRestore] = prepared.Question(
    lambda: DatabaseRestore.objects.filter(Q(acknowledged_at=None) | Q(verified_at=None)).reverse()[:1]
)


def unsettled() -> DatabaseRestore | None:
    """Return the restore that still asks something of a person: an acknowledgement, or Verify all."""
    return _UNSETTLED.first()


def is_calm() -> bool:
    """Whether surely no restore waits, and the trail is the one that the exported checkpoints know.

    One question, for what asks often; False only says that more has to be asked.
    """
    point = furthest()
    return point is not None and _AT(point.sequence) == [(point.mac, False)]


def furthest() -> checkpoints.Exported | None:
    """Return the exported checkpoint that goes furthest; None where there is none or it cannot be read."""
    try:
        return checkpoints.newest()
    except (OSError, audit_keys.KeyMissing):
        return None


def may_be_contradicted() -> bool:
    """Whether `notice` has anything to say: it writes then, or logs that nothing could be compared."""
    try:
        return checkpoints.contradicted() is not None
    except (OSError, audit_keys.KeyMissing):
        return True


def notice() -> DatabaseRestore | None:
    """Compare the trail with the file; return the restore that is new to us, with its event.

    A file that cannot be read, or that our key did not sign, says nothing: that is logged.
    """
    try:
        point = checkpoints.contradicted()
    except (OSError, audit_keys.KeyMissing) as error:
        log.error("The audit trail cannot be compared with %s: %s", settings.AUDIT_EXPORT_FILE, error)
        return None
    if point is None:
        return None
    head = AuditHead.objects.first()
    newest = head.sequence if head else 0
    try:
        with transaction.atomic():
            restore = DatabaseRestore.objects.create(
                exported_to=point.sequence, exported_at=point.at, found_to=newest
            )
            details = {"exported_to": point.sequence, "found_to": newest}
            audit.record(
                NOTICE, trail(), actor=users.system(), outcome=AuditEvent.Outcome.FAILED, details=details
            )
    except IntegrityError:
        return None  # another process noticed at the same moment
    log.critical(
        "An older database was restored: it goes to event %s, the exported checkpoints to %s of %s. "
        "Nothing is rotated until a user acknowledges the restore.",
        newest,
        point.sequence,
        point.at,
    )
    return DatabaseRestore.objects.get(pk=restore.pk)


def acknowledge(restore: DatabaseRestore, *, actor: Principal, reason: str) -> None:
    """Let the trail go on from here, and work on hosts with it.

    Raises `decisions.NotAllowed`, `NoReason`, `Nothing` if another user has done it, or OSError where the
    file of exported checkpoints cannot be read: without it the numbers that it knows could be given again.
    """
    decisions.require(actor, Action.ACKNOWLEDGE_RESTORE)
    if not reason.strip():
        raise NoReason(NoReason.__doc__)
    point = checkpoints.newest()
    details = {
        "exported_to": point.sequence if point else restore.exported_to,
        "mac": point.mac if point else "",
        "agrees_to": _agrees_to(),
        "restore": str(restore.pk),
    }
    with transaction.atomic():
        was_open = DatabaseRestore.objects.filter(pk=restore.pk, acknowledged_at=None)
        if not was_open.update(acknowledged_at=Now(), acknowledged_by=actor, reason=reason.strip()[:500]):
            raise Nothing(Nothing.__doc__)
        audit.record(
            Action.ACKNOWLEDGE_RESTORE,
            trail(),
            actor=actor,
            reason=reason.strip(),
            details=details,
            beyond=point.sequence if point else restore.exported_to,
        )
    # At once: the newest line of the file is one that the trail has again.
    transaction.on_commit(checkpoints.sign_and_export)


def ask_to_verify(restore: DatabaseRestore, *, actor: Principal) -> None:
    """Have every account checked for whether its host accepts the current value, again if it was done before.

    Raises `decisions.NotAllowed`.
    """
    decisions.require(actor, Action.ACKNOWLEDGE_RESTORE)
    with transaction.atomic():
        DatabaseRestore.objects.filter(pk=restore.pk).update(
            verify_asked_at=Now(), verify_asked_by=actor, verified_at=None
        )
        audit.record(VERIFY_ALL, trail(), actor=actor, details={"restore": str(restore.pk)})


def note_verified(restore: DatabaseRestore) -> None:
    """Note that every account was asked."""
    DatabaseRestore.objects.filter(pk=restore.pk, verified_at=None).update(verified_at=Now())


def trail() -> str:
    """The ARN of the audit trail, which is what a restore is done to."""
    return arn(Kind.AUDIT, "", account=regions.account().number)


def _agrees_to() -> int:
    """The newest exported checkpoint that this trail has too; 0 for none."""
    agreed = 0
    try:
        rows = checkpoints.read(settings.AUDIT_EXPORT_FILE)
        while points := list(islice(rows, 500)):
            wanted = [point.sequence for point in points]
            here = dict(AuditEvent.objects.filter(sequence__in=wanted).values_list("sequence", "mac"))
            agreed = max(
                [agreed, *(older.sequence for older in points if here.get(older.sequence) == older.mac)]
            )
    except FileNotFoundError:
        return 0
    except checkpoints.Malformed as error:
        log.warning("%s is not read to its end: %s", settings.AUDIT_EXPORT_FILE, error)
    return agreed
