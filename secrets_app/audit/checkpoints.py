"""The only writer of checkpoints: signed statements of how far the chain of events went.

A chain alone does not show that its newest events were cut off, nor that yesterday's database was restored.
So its head is signed from time to time and written to a file, which the owner of the machine's backups
copies elsewhere. A file that cannot be written holds nothing up: what is missing in it is added later.

Each checkpoint stays for ever, so there is none for each event. How far the trail went since stands in a
second file of one line, which is overwritten: an older database is noticed by it too.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Subquery
from django.db.models.functions import Now

from secrets_app import prepared
from secrets_app.audit import audit_keys, chain, gaps
from secrets_app.errors import DomainError
from secrets_app.models import AuditCheckpoint, AuditEvent, AuditHead

log = logging.getLogger(__name__)

LONGEST_LINE = 2_000
END_BYTES = 64 * 1024  # of the file, in which its newest line stands
MOST_UNSIGNED = 1_000  # events, and
LONGEST_UNSIGNED = timedelta(hours=1)  # since the last checkpoint, after which the next one is due
LONGEST_AFTER_CHANGE = timedelta(minutes=1)  # the same, where a credential was changed
CHANGES = ("kms:RotationEnded", "kms:ReconciliationEnded")
_HEAD: prepared.Question[Any] = prepared.Question(
    lambda sequence: AuditHead.objects.annotate(
        now=Now(), agreed=Subquery(AuditEvent.objects.filter(sequence=sequence).order_by().values("mac")[:1])
    )
)


class Malformed(DomainError):
    """A line of an exported file that no checkpoint is on."""

    code = "checkpoints_malformed"


class Contradicted(DomainError):
    """The exported checkpoints go further than this trail, or tell another history: nothing is signed."""

    code = "checkpoints_contradicted"


@dataclass(frozen=True)
class Exported:
    """A checkpoint as a line of the file has it."""

    sequence: int
    mac: str
    at: datetime
    previous: str
    signature: str


def is_due() -> bool:
    """Whether so much was appended since the last checkpoint, or so long ago was it, that the next is due."""
    head = AuditHead.objects.annotate(now=Now()).first()
    last = AuditCheckpoint.objects.last()
    if head is None or not head.sequence:
        return False
    if last is None:
        return True
    age = head.now - last.at
    if not timedelta(0) <= age < LONGEST_UNSIGNED:  # or made under a clock that was wrong
        return head.sequence > last.sequence
    if age >= LONGEST_AFTER_CHANGE and _changed_since(last.sequence):
        return True
    return head.sequence - last.sequence >= MOST_UNSIGNED


def _changed_since(sequence: int) -> bool:
    """Whether a host may have a credential since that a database of that moment does not know."""
    return AuditEvent.objects.filter(action__in=CHANGES, sequence__gt=sequence).exists()


def take() -> AuditCheckpoint | None:
    """Sign the head of the chain; None where nothing was appended since.

    Raises `audit_keys.KeyMissing`, `Contradicted`, or OSError for a file that cannot be read.
    """
    key = audit_keys.signing()
    _refuse_contradicted()
    with transaction.atomic():
        head = AuditHead.objects.select_for_update().annotate(now=Now()).first()
        last = AuditCheckpoint.objects.last()
        if head is None or not head.sequence or (last and last.sequence >= head.sequence):
            return None
        checkpoint = AuditCheckpoint(
            sequence=head.sequence,
            mac=head.mac,
            at=head.now,
            previous=chain.checkpoint_hash(last) if last else chain.GENESIS,
        )
        checkpoint.signature = key.sign(chain.checkpoint_bytes(checkpoint)).hex()
        checkpoint.save(force_insert=True)
    return checkpoint


def head_file() -> Path:
    """The file of one line: the head as it was when it was last noted."""
    return Path(settings.AUDIT_EXPORT_FILE).with_suffix(".head")


def note_head() -> None:
    """Write down, outside the database, how far the trail goes now; what goes wrong is logged.

    Nothing is written where the files go further, or tell another history.
    """
    try:
        known = newest()
        head, agreed = _head_beside(known.sequence if known else 0)
        if head is None or not head.sequence or (known and known.sequence >= head.sequence):
            return
        if known and agreed != known.mac and contradicted():
            return
        point = AuditCheckpoint(sequence=head.sequence, mac=head.mac, at=head.now, previous=chain.GENESIS)
        point.signature = audit_keys.signing().sign(chain.checkpoint_bytes(point)).hex()
        _overwrite(head_file(), line(point) + "\n")
    except (OSError, DatabaseError, audit_keys.KeyMissing) as error:
        log.error("The head of the audit trail is not noted in %s: %s", head_file(), error)


def _head_beside(sequence: int) -> tuple[Any, str | None]:
    """The head with the database's time, and the digest of the event of this number where there is one."""
    for row in _HEAD(sequence):
        return row, row.agreed
    return None, None


def _overwrite(path: Path, text: str) -> None:
    """Exchange the whole file at once: a reader, or a start after a crash, has the one or the other."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def noted() -> Exported | None:
    """Return the head that was noted last and that our key signed. Raises as `newest` does."""
    return _newest_in(head_file())


def newest() -> Exported | None:
    """Return what goes furthest of the exported checkpoints and the noted head; None where there is neither.

    Only what our key signed counts. Raises OSError or `audit_keys.KeyMissing`.
    """
    known = [point for point in (_newest_in(settings.AUDIT_EXPORT_FILE), noted()) if point]
    return max(known, key=lambda point: point.sequence, default=None)


def _newest_in(path: Path) -> Exported | None:
    """Read the end of the file alone. A line that was cut short is passed over."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - END_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return None
    public = audit_keys.public_key()
    for text in reversed(lines):
        try:
            checkpoint = _parsed(text)
        except (ValueError, KeyError, TypeError):
            continue
        if is_ours(checkpoint, public):
            return checkpoint
    return None


def contradicted() -> Exported | None:
    """Return the newest exported checkpoint if this trail lacks its event without an acknowledgement.

    Then an older database was restored. Raises OSError or `audit_keys.KeyMissing`.
    """
    point = newest()
    if point is None:
        return None
    here = AuditEvent.objects.filter(sequence=point.sequence).values_list("mac", flat=True).first()
    if here == point.mac:
        return None
    known = any((gap.exported_to, gap.mac) == (point.sequence, point.mac) for gap in gaps.known())
    return None if known else point


def _refuse_contradicted() -> None:
    if contradicted() is not None:
        raise Contradicted(Contradicted.__doc__)


def is_ours(checkpoint: AuditCheckpoint | Exported, public_key: str) -> bool:
    """Whether this key signed it."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(checkpoint.signature), chain.checkpoint_bytes(checkpoint))
    except (InvalidSignature, ValueError):
        return False
    return True


def export() -> int:
    """Append to the file what it does not have yet; return how many lines.

    Raises OSError, `Malformed` or `Contradicted`.
    """
    # Before: a line of this history would hide that the file knew of another one.
    _refuse_contradicted()
    path = settings.AUDIT_EXPORT_FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        last, count = _end(file), 0
        for row in AuditCheckpoint.objects.filter(sequence__gt=last).iterator(chunk_size=500):
            file.write(line(row) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


def _end(file: TextIO) -> int:
    """Go to the end of the file and return the sequence of its last line. Raises `Malformed`.

    A line that a full disk or a crash cut short is taken off: it is written again.
    """
    raw = file.buffer
    size = raw.seek(0, os.SEEK_END)
    raw.seek(max(0, size - END_BYTES))
    tail = raw.read()
    whole = tail[: tail.rfind(b"\n") + 1]
    if whole != tail:
        raw.truncate(size - len(tail) + len(whole))
    raw.seek(0, os.SEEK_END)
    lines = whole.decode(errors="replace").splitlines()
    if not lines:
        return 0
    try:
        return _parsed(lines[-1]).sequence
    except (ValueError, KeyError, TypeError):
        raise Malformed("The last line is not a checkpoint.") from None


def sign_and_export() -> AuditCheckpoint | None:
    """Take a checkpoint and write the file; what goes wrong is logged and tried again next time."""
    checkpoint = None
    try:
        checkpoint = take()
        export()
    except audit_keys.KeyMissing as error:
        log.error("The audit trail is not signed: %s", error)
    except Contradicted as error:
        log.error("The audit trail is not signed: %s", error)
    except (OSError, Malformed) as error:
        log.error("Checkpoints are not exported to %s: %s", settings.AUDIT_EXPORT_FILE, error)
    return checkpoint


def line(checkpoint: AuditCheckpoint) -> str:
    """A checkpoint as one line of the file."""
    return json.dumps(
        {
            "sequence": checkpoint.sequence,
            "mac": checkpoint.mac,
            "at": chain.moment(checkpoint.at),
            "previous": checkpoint.previous,
            "signature": checkpoint.signature,
        }
    )


def read(path: Path) -> Iterator[Exported]:
    """Yield what a file holds, one line after the other. Raises OSError or `Malformed`."""
    with path.open(encoding="utf-8", errors="replace") as file:
        yield from _lines(file)


def _lines(file: Iterator[str]) -> Iterator[Exported]:
    for number, text in enumerate(file, start=1):
        try:
            yield _parsed(text)
        except (ValueError, KeyError, TypeError):
            raise Malformed(f"Line {number} is not a checkpoint.") from None


def _parsed(text: str) -> Exported:
    fields = json.loads(text[:LONGEST_LINE])
    return Exported(
        sequence=int(fields["sequence"]),
        mac=str(fields["mac"]),
        at=datetime.fromisoformat(fields["at"]),
        previous=str(fields["previous"]),
        signature=str(fields["signature"]),
    )
