"""Whether the audit trail is whole: every event in its place, unchanged, and none cut off at the end.

Reads row by row in the memory of a few. The chain alone shows a changed field, a missing row, and events
made without the key. Only a checkpoint shows that the newest rows and the head are gone, or that an older
database stands in the place of this one. A restore that was acknowledged is named and is no fault. Changes
nothing.
"""

from __future__ import annotations

import enum
import hmac
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC
from pathlib import Path

from django.conf import settings
from django.db import connection
from django.db.models import TextField
from django.db.models.functions import Cast

from secrets_app.audit import audit_keys, chain, checkpoints, gaps
from secrets_app.models import AuditCheckpoint, AuditEvent, AuditHead

CHUNK = 1_000
#: Every column of an event. A test holds that none is left out.
_READ = (
    "sequence", "at", Cast("actor_id", TextField()), "actor_name", "action", "resource",
    Cast("resource_id", TextField()), "version_id", "outcome", "decision", "reason",
    Cast("details", TextField()), "request_id", "session", "address", "value_mark", "mac",
)  # fmt: skip


class Verdict(enum.IntEnum):
    """Also the exit code of `manage.py audit verify`."""

    WHOLE = 0
    BROKEN = 1
    UNKNOWN = 2  # it could not be checked


@dataclass
class Report:
    """What was found: the first thing wrong, if anything is."""

    verdict: Verdict = Verdict.WHOLE
    sentence: str = ""
    first_bad: int | None = None  # the sequence of an event
    first: int = 1
    events: int = 0
    checkpoints: int = 0  # that were compared with an event
    tail: str = ""  # one sentence: since when nothing vouches for the newest events
    notes: list[str] = field(default_factory=list)


class _Broken(Exception):
    def __init__(self, sentence: str, sequence: int | None = None) -> None:
        super().__init__(sentence)
        self.sequence = sequence


Signed = AuditCheckpoint | checkpoints.Exported


def verify(
    *, file: Path | None = None, newest: int | None = None, progress: Callable[[int], None] | None = None
) -> Report:
    """Check the trail against its chain, its checkpoints, and the checkpoints in `file`.

    Without `file`, the file that this installation exports to is used if it is there. With `newest`, only
    so many of the newest events are read. `told` hears now and then how many were read.
    """
    report = Report()
    try:
        key, public = audit_keys.chaining(), audit_keys.public_key()
        noted = checkpoints.noted()  # before the head, which goes on meanwhile
        head = AuditHead.objects.first()
        if head is not None:
            audit_keys.require(head)
        _check(report, head, key, public, noted, file=file, newest=newest, progress=progress)
    except _Broken as error:
        report.verdict, report.sentence, report.first_bad = Verdict.BROKEN, str(error), error.sequence
    except (audit_keys.KeyMissing, OSError) as error:
        report.verdict, report.sentence = Verdict.UNKNOWN, f"It could not be checked: {error}"
    return report


def _check(
    report: Report,
    head: AuditHead | None,
    key: bytes,
    public: str,
    noted: checkpoints.Exported | None,
    *,
    file: Path | None,
    newest: int | None,
    progress: Callable[[int], None] | None,
) -> None:
    end = head.sequence if head else 0
    report.first = max(1, end - newest + 1) if newest else 1
    known = gaps.known()
    for gap in known:
        report.notes.append(gap.sentence)
        if gap.after < report.first < gap.at:
            report.first = gap.at
    here = _chained(AuditCheckpoint.objects.iterator(chunk_size=CHUNK), public, "The database")
    there: Iterator[Signed] = iter(())
    exported = _export_file(file, report)
    if exported:
        there = _standing(_chained(_read(exported), public, f"The file {exported}", known), known)
    marks = [_Marks(here, "The checkpoint of the database"), _Marks(there, f"The checkpoint in {exported}")]
    own = _standing([noted] if noted else [], known)
    ends = _Marks(own, f"The head noted in {checkpoints.head_file()}")
    last = _walk(report, key, end, [*marks, ends], progress, {gap.at: gap.after for gap in known})
    _compare_end(head, last)
    for mark in (*marks, ends):
        mark.nothing_beyond(end)
    report.checkpoints = sum(mark.compared for mark in marks)
    # Who cuts the events off can cut the table's checkpoints off with them; the file stands elsewhere.
    report.tail = _tail(marks[1 if exported else 0].last, end)


def _walk(
    report: Report,
    key: bytes,
    end: int,
    marks: list[_Marks],
    progress: Callable[[int], None] | None,
    acknowledged: dict[int, int],
) -> int:
    """Read the events in their order; return the last one's sequence. Raises `_Broken`.

    `acknowledged` says of events with a gap before them after which one they come.
    """
    previous, expected = _digest_before(acknowledged.get(report.first, report.first - 1)), report.first
    due: float = 0  # the next event that a checkpoint was made at
    for sequence, mac, encoded in _events(report.first, end):
        if sequence != expected and acknowledged.get(sequence) == expected - 1:
            expected = sequence
        if sequence != expected:
            raise _Broken(_gone(expected, sequence - 1), expected)
        # Through the checkpoints first: what they contradict was changed with the key, or is another history.
        if sequence >= due:
            due = min(mark.agrees(sequence, mac) for mark in marks)
        if not hmac.compare_digest(chain.tied(key, encoded, previous), mac):
            raise _Broken(
                f"Event {sequence} is not as it was written: a field was changed, or it was made "
                "without the key.",
                sequence,
            )
        previous, expected = mac, expected + 1
        report.events += 1
        if progress and not report.events % CHUNK:
            progress(report.events)
    return expected - 1


def _events(first: int, end: int) -> Iterator[tuple[int, str, bytes]]:
    """The number, the digest and the bytes of each event, in their order.

    Plain rows, and ids and details as texts: to make their objects would take as long as the digest.
    """
    is_hex = connection.vendor != "postgresql"  # which writes an id with hyphens
    rows = AuditEvent.objects.filter(sequence__gte=first, sequence__lte=end).order_by("sequence")
    for (
        sequence, at, actor, actor_name, action, resource, resource_id, version_id, outcome, decision, reason,
        details, request_id, session, address, value_mark, mac,
    ) in rows.values_list(*_READ).iterator(chunk_size=CHUNK):  # fmt: skip
        try:
            encoded = chain.encode_texts(
                str(sequence),
                chain.moment(at),
                _id(actor, is_hex=is_hex),
                actor_name,
                action,
                resource,
                _id(resource_id, is_hex=is_hex),
                version_id,
                outcome,
                decision,
                reason,
                chain.canonical(details),
                request_id,
                session,
                chain.packed(address) if address else "",
                value_mark,
            )
        except ValueError:  # what Keyturn has written can be read
            encoded = b""
        yield sequence, mac, encoded


def _id(text: str | None, *, is_hex: bool) -> str:
    if text is None:
        return ""
    return text if is_hex else text.replace("-", "")


def _tail(newest: Signed | None, end: int) -> str:
    """Say what could be cut off without a trace: the events after the newest checkpoint."""
    if not end:
        return ""
    if newest is None:
        return f"Nothing vouches for these events yet: no checkpoint was made of the {end:,}."
    at = newest.at.astimezone(UTC)
    age = f"the newest checkpoint, of event {newest.sequence:,}, was made at {at:%Y-%m-%d %H:%M:%S} UTC"
    if newest.sequence == end:
        return f"A checkpoint vouches for all of them: {age}."
    later = end - newest.sequence
    newer = f"{later:,} newest event{'s' if later > 1 else ''}"
    return f"Nothing vouches for the {newer} yet, which could be cut off without a trace: {age}."


def _digest_before(before: int) -> str:
    """The digest of the event with this number, which the first one that is read follows."""
    if before == 0:
        return chain.GENESIS
    mac = AuditEvent.objects.filter(sequence=before).values_list("mac", flat=True).first()
    if mac is None:
        raise _Broken(_gone(before, before), before)
    return mac


def _compare_end(head: AuditHead | None, last: int) -> None:
    """Nothing stands beyond the head, and the head stands where the events end."""
    top = AuditEvent.objects.order_by("-sequence").values_list("sequence", "mac").first()
    if head is None:
        if top:
            raise _Broken(f"There are {top[0]} events and no head: its row was deleted.")
        return
    if last < head.sequence:
        raise _Broken(_gone(last + 1, head.sequence), last + 1)
    mac = AuditEvent.objects.filter(sequence=head.sequence).values_list("mac", flat=True).first()
    if head.sequence and mac != head.mac:
        raise _Broken("The head is not the digest of the newest event.", head.sequence)
    now = AuditHead.objects.values_list("sequence", flat=True).first() or 0
    if top and top[0] > now:
        raise _Broken(f"Event {now + 1} stands beyond the head: it was not appended by Keyturn.", now + 1)


class _Marks:
    """Checkpoints of one source, in their order beside the events."""

    def __init__(self, rows: Iterator[Signed], name: str) -> None:
        self.rows, self.name, self.compared = rows, name, 0
        self.last: Signed | None = None
        self.next = next(rows, None)

    def _pass(self) -> None:
        self.last, self.next = self.next, next(self.rows, None)

    def agrees(self, sequence: int, mac: str) -> float:
        """Compare an event with the checkpoint made at it, if there is one; return where the next one is.

        Raises `_Broken`.
        """
        while self.next is not None and self.next.sequence < sequence:
            self._pass()
        if self.next is not None and self.next.sequence == sequence:
            if self.next.mac != mac:
                raise _Broken(
                    f"{self.name} of event {sequence} signs another digest: the events up to it were "
                    "rewritten.",
                    sequence,
                )
            self.compared += 1
            self._pass()
        return self.next.sequence if self.next is not None else math.inf

    def nothing_beyond(self, end: int) -> None:
        """Read what is left. Raises `_Broken` for a checkpoint of an event that is not there."""
        while self.next is not None:
            if self.next.sequence > end:
                raise _Broken(
                    f"{self.name} goes to event {self.next.sequence}, the events to {end}: the newest were "
                    "cut off, or an older database was restored.",
                    end + 1,
                )
            self._pass()


def _standing(rows: Iterable[Signed], known: list[gaps.Gap]) -> Iterator[Signed]:
    """Leave out the checkpoints of a history that was replaced, as a user has acknowledged."""
    return (row for row in rows if not any(gap.replaced(row.sequence) for gap in known))


def _chained(
    rows: Iterable[Signed], public: str, where: str, known: Iterable[gaps.Gap] = ()
) -> Iterator[Signed]:
    """Yield checkpoints that are ours and follow one another. Raises `_Broken` at the first that does not.

    Within a history that was replaced, and right after it, they need not follow one another.
    """
    previous, last = chain.GENESIS, 0
    for row in rows:
        if not checkpoints.is_ours(row, public):
            raise _Broken(f"{where} has a checkpoint of event {row.sequence} that our key did not sign.")
        begins_anew = any(
            gap.replaced(row.sequence) or (last <= gap.exported_to < row.sequence) for gap in known
        )
        if (row.previous != previous and not begins_anew) or row.sequence <= last:
            raise _Broken(f"{where} lacks a checkpoint before the one of event {row.sequence}.")
        previous, last = chain.checkpoint_hash(row), row.sequence
        yield row


def _read(path: Path) -> Iterator[checkpoints.Exported]:
    try:
        yield from checkpoints.read(path)
    except checkpoints.Malformed as error:
        raise _Broken(f"{path}: {error}") from None


def _export_file(asked: Path | None, report: Report) -> Path | None:
    """The file to compare with. Raises OSError for one that was asked for and cannot be read."""
    path = asked or settings.AUDIT_EXPORT_FILE
    try:
        path.open("rb").close()
    except FileNotFoundError:
        if asked:
            raise
        report.notes.append(
            f"There are no exported checkpoints at {path}: rows that were cut off together with their "
            "checkpoints would not be seen."
        )
        return None
    return Path(path)


def _gone(first: int, last: int) -> str:
    return f"Event {first} is missing." if first == last else f"Events {first} to {last} are missing."
