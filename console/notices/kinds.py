"""The table of events that people can be told of, and which entries of the audit trail each one is.

An entry may be of several kinds: a rotation that is blocked because the machine is another one is both. Where
a subscription has chosen several of them, it is told of the first in this table.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from rotation.models import Run
from secrets_app.actions import Action
from secrets_app.models import AuditEvent

#: Entries that `conditions` makes: something that no action of a user or program leaves.
OVERDUE = "kms:NoticeOverdueRotation"
VALUE_OVERDUE = "kms:NoticeOverdueValue"
DELETION_DUE = "kms:NoticeDeletionDue"
CHECKPOINT_FAILED = "kms:NoticeMissingCheckpoint"
WORKER_AWAY = "kms:NoticeWorkerAway"
BACKUP_OLD = "kms:NoticeOldBackup"

_DRIFTED: Final = {"changed_outside", "snapshot", "refused_value", "database_older"}
_IDENTITY: Final = {"host_key_changed", "other_machine", "certificate_untrusted", "certificate_name"}
_ENDED: Final = frozenset(Run.ENDED_EVENTS.values())
_ROTATED: Final = Run.ENDED_EVENTS[Run.Kind.ROTATE]
_RIGHTS: Final = {
    Action.CREATE_GRANT, Action.REVOKE_GRANT, Action.ATTACH_POLICY, Action.CREATE_POLICY,
    Action.UPDATE_POLICY, Action.DELETE_POLICY, Action.CREATE_GROUP, Action.UPDATE_GROUP,
    Action.CREATE_ACCESS_KEY, Action.RESET_SIGN_IN, Action.RESET_SECOND_FACTOR,
    Action.SET_SECRET_POLICY, Action.MANAGE_NOTIFICATIONS, "kms:AcceptInvitation",
    "kms:RecoverUser", "kms:AcceptRecord",
}  # fmt: skip


class Severity(enum.StrEnum):
    """How much an event asks of the reader."""

    INFO = "info"
    WARNING = "warning"
    FAILURE = "failure"

    @property
    def label(self) -> str:
        return {"info": "Information", "warning": "Warning", "failure": "Failure"}[self.value]

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True)
class Kind:
    """One kind of event."""

    name: str
    label: str
    severity: Severity
    #: What the subscriber needs beside the right to describe the resource.
    needs: Action
    matches: Callable[[AuditEvent], bool]

    @property
    def is_default(self) -> bool:
        """Whether a new subscription has it: quiet, but for failures."""
        return self.severity == Severity.FAILURE


def _succeeded(*actions: str) -> Callable[[AuditEvent], bool]:
    return lambda event: event.action in actions and event.outcome == AuditEvent.Outcome.SUCCEEDED


def _recorded(*actions: str) -> Callable[[AuditEvent], bool]:
    return lambda event: event.action in actions


def _rotated(outcome: str) -> Callable[[AuditEvent], bool]:
    return lambda event: event.action == _ROTATED and event.details.get("outcome") == outcome


def _has_identity_changed(event: AuditEvent) -> bool:
    return event.action in _ENDED and event.details.get("code") in _IDENTITY


def _has_drifted(event: AuditEvent) -> bool:
    is_check = event.action in {Run.ENDED_EVENTS[Run.Kind.DRIFT], Run.ENDED_EVENTS[Run.Kind.VERIFY]}
    return is_check and event.details.get("code") in _DRIFTED


def _is_planned(event: AuditEvent) -> bool:
    return _succeeded(Action.DELETE_SECRET)(event) and not event.details.get("immediately")


def _is_purged(event: AuditEvent) -> bool:
    is_immediate = _succeeded(Action.DELETE_SECRET)(event) and bool(event.details.get("immediately"))
    return is_immediate or _succeeded("kms:PurgeSecret")(event)


def _is_revealed(event: AuditEvent) -> bool:
    """Shown to a user. A program reads all day long, and its access key stands in the entry."""
    return _succeeded(Action.GET_SECRET_VALUE)(event) and not event.details.get("access_key")


_FAILURE, _WARNING, _INFO = Severity.FAILURE, Severity.WARNING, Severity.INFO
_RUN, _SECRET, _EVENTS = Action.DESCRIBE_RUN, Action.DESCRIBE_SECRET, Action.LIST_EVENTS

ALL: Final = (
    Kind("identity.changed", "Instance identity changed", _FAILURE, _RUN, _has_identity_changed),
    Kind("rotation.failed", "Rotation failed", _FAILURE, _RUN, _rotated(Run.Outcome.FAILED)),
    Kind("rotation.blocked", "Rotation blocked", _FAILURE, _RUN, _rotated(Run.Outcome.BLOCKED)),
    Kind("rotation.missed", "Rotation missed", _FAILURE, _RUN, _recorded("kms:RotationMissed")),
    Kind("rotation.overdue", "Rotation overdue", _FAILURE, _RUN, _recorded(OVERDUE)),
    Kind("value.overdue", "Value overdue", _FAILURE, _SECRET, _recorded(VALUE_OVERDUE)),
    Kind("drift.found", "Drift found", _FAILURE, _RUN, _has_drifted),
    Kind(
        "integrity.changed", "Record changed outside Keyturn", _FAILURE, _EVENTS,
        _recorded("kms:NoticeChange", "kms:NoticeRestore"),
    ),
    Kind(
        "checkpoint.failed", "Audit checkpoint missing", _FAILURE, Action.DESCRIBE_SETTINGS,
        _recorded(CHECKPOINT_FAILED),
    ),
    Kind("backup.old", "Backup is old", _FAILURE, Action.DESCRIBE_SETTINGS, _recorded(BACKUP_OLD)),
    Kind("worker.away", "No worker running", _FAILURE, Action.DESCRIBE_SETTINGS, _recorded(WORKER_AWAY)),
    Kind(
        "key.disabled", "Key disabled", _FAILURE, Action.DESCRIBE_KEY,
        _succeeded(Action.DISABLE_KEY, Action.SCHEDULE_KEY_DELETION),
    ),
    Kind("deletion.due", "Deletion due within 3 days", _WARNING, _SECRET, _recorded(DELETION_DUE)),
    Kind("deletion.planned", "Deletion planned", _WARNING, _SECRET, _is_planned),
    Kind("deletion.purged", "Secret purged", _WARNING, _SECRET, _is_purged),
    Kind("secret.restored", "Secret restored", _INFO, _SECRET, _succeeded(Action.RESTORE_SECRET)),
    Kind("value.revealed", "Value shown to a user", _WARNING, _EVENTS, _is_revealed),
    Kind("rights.changed", "Permissions changed", _WARNING, _EVENTS, _succeeded(*_RIGHTS)),
    Kind("rotation.succeeded", "Rotation succeeded", _INFO, _RUN, _rotated(Run.Outcome.SUCCEEDED)),
)  # fmt: skip
BY_NAME: Final = {kind.name: kind for kind in ALL}
#: What the shape of CloudMonitor can tell: how a rotation ended, and nothing else.
OF_ROTATIONS: Final = frozenset({"rotation.succeeded", "rotation.failed", "rotation.blocked"})
DEFAULT: Final = tuple(kind.name for kind in ALL if kind.is_default)
TEST: Final = "test"


def of(event: AuditEvent) -> list[Kind]:
    """The kinds that this entry of the trail is, in the order of the table; mostly none."""
    return [kind for kind in ALL if kind.matches(event)]


def chosen(event_kinds: Iterable[Kind], names: Iterable[str]) -> Kind | None:
    """The first of these kinds that is among `names`."""
    wanted = set(names)
    return next((kind for kind in event_kinds if kind.name in wanted), None)


def label(name: str) -> str:
    """What users call it."""
    return "Test" if name == TEST else BY_NAME[name].label if name in BY_NAME else name
