"""The only writer of checkpoints: signed statements of how far the chain of events went.

A chain alone does not show that its newest events were cut off, nor that yesterday's database was put back.
So its head is signed from time to time and written to a file, which whoever keeps the machine's backups
copies elsewhere. A file that cannot be written holds nothing up: what is missing in it is added later.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now

from secrets_app import audit_keys, chain
from secrets_app.models import AuditCheckpoint, AuditHead

log = logging.getLogger(__name__)

LONGEST_LINE = 2_000
MOST_UNSIGNED = 1_000  # events, and
LONGEST_UNSIGNED = timedelta(hours=1)  # since the last checkpoint, after which the next one is due


class Malformed(Exception):
    """A line of an exported file that no checkpoint is on."""


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
    is_old = not timedelta(0) <= head.now - last.at < LONGEST_UNSIGNED  # or made under a clock that was wrong
    return head.sequence - last.sequence >= (1 if is_old else MOST_UNSIGNED)


def take() -> AuditCheckpoint | None:
    """Sign the head of the chain; None where nothing was appended since. Raises `audit_keys.KeyMissing`."""
    key = audit_keys.signing()
    with transaction.atomic():
        head = AuditHead.objects.select_for_update().annotate(now=Now()).first()
        last = AuditCheckpoint.objects.last()
        if head is None or not head.sequence or (last and last.sequence >= head.sequence):
            return None
        made = AuditCheckpoint(
            sequence=head.sequence,
            mac=head.mac,
            at=head.now,
            previous=chain.checkpoint_hash(last) if last else chain.GENESIS,
        )
        made.signature = key.sign(chain.checkpoint_bytes(made)).hex()
        made.save(force_insert=True)
    return made


def is_ours(checkpoint: AuditCheckpoint | Exported, public_key: str) -> bool:
    """Whether this key signed it."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(checkpoint.signature), chain.checkpoint_bytes(checkpoint))
    except (InvalidSignature, ValueError):
        return False
    return True


def export() -> int:
    """Append to the file what it does not have yet; return how many lines. Raises OSError or `Malformed`."""
    path = settings.AUDIT_EXPORT_FILE
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        last = 0
        for known in _lines(file):
            last = known.sequence
        count = 0
        for row in AuditCheckpoint.objects.filter(sequence__gt=last).iterator(chunk_size=500):
            file.write(line(row) + "\n")
            count += 1
        file.flush()
        os.fsync(file.fileno())
    return count


def sign_and_export() -> AuditCheckpoint | None:
    """Take a checkpoint and write the file; what goes wrong is logged and tried again next time."""
    made = None
    try:
        made = take()
        export()
    except audit_keys.KeyMissing as error:
        log.error("The audit trail is not signed: %s", error)
    except (OSError, Malformed) as error:
        log.error("Checkpoints are not exported to %s: %s", settings.AUDIT_EXPORT_FILE, error)
    return made


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
            fields = json.loads(text[:LONGEST_LINE])
            yield Exported(
                sequence=int(fields["sequence"]),
                mac=str(fields["mac"]),
                at=datetime.fromisoformat(fields["at"]),
                previous=str(fields["previous"]),
                signature=str(fields["signature"]),
            )
        except (ValueError, KeyError, TypeError):
            raise Malformed(f"Line {number} is not a checkpoint.") from None
