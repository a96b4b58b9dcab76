"""Write rows as they are read, as CSV or as JSON Lines: a list of any length in the memory of a few rows.

Times are in UTC, in the form of ISO 8601, not in the reader's time zone: a file outlives its page.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

CHUNK_ROWS = 500
#: With one of these first a spreadsheet takes a cell for a formula and runs it (CWE-1236).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")

Row = TypeVar("Row", bound=Model)
Cells = Mapping[str, object]


class _Line:
    """What csv.writer writes to: it hands back each line and keeps none."""

    def write(self, text: str) -> str:
        return text


def cell(content: object) -> str:
    """Return `content` as a cell that a spreadsheet shows and never runs."""
    text = "" if content is None else content.isoformat() if isinstance(content, datetime) else str(content)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def as_csv(lines: Iterable[Cells], names: Iterable[str]) -> Iterator[str]:
    """Yield a header and a line for each row."""
    writer: Any = csv.writer(_Line())
    yield writer.writerow(list(names))
    for line in lines:
        yield writer.writerow([cell(content) for content in line.values()])


def as_json_lines(lines: Iterable[Cells]) -> Iterator[str]:
    """Yield one JSON object a line."""
    for line in lines:
        yield json.dumps(line, default=_plain, ensure_ascii=False) + "\n"


def _plain(content: object) -> str:
    return content.isoformat() if isinstance(content, datetime) else str(content)


def utc(moment: datetime | None) -> datetime | None:
    """The same moment in UTC, to the second."""
    return moment.astimezone(UTC).replace(microsecond=0) if moment else None


def said(chosen: object) -> str:
    """A filter as the audit trail keeps it."""
    return (", ".join(map(str, chosen)) if isinstance(chosen, list) else str(chosen))[:200]


def stream(
    rows: QuerySet[Row], cells: Callable[[Row], Cells], names: Iterable[str], *, name: str, form: str
) -> StreamingHttpResponse:
    """Answer with a file of `rows`, each as `cells` says; `form` is `csv` or `jsonl`."""
    lines = (cells(row) for row in rows.iterator(chunk_size=CHUNK_ROWS))
    is_csv = form == "csv"
    return file_of(
        as_csv(lines, names) if is_csv else as_json_lines(lines),
        kind="text/csv; charset=utf-8" if is_csv else "application/jsonl; charset=utf-8",
        name=name,
        ending=form,
    )


def csv_of(lines: Iterable[Cells], names: Iterable[str], *, name: str) -> StreamingHttpResponse:
    """Answer with a file of these lines as CSV."""
    return file_of(as_csv(lines, names), kind="text/csv; charset=utf-8", name=name, ending="csv")


def file_of(content: Iterable[str], *, kind: str, name: str, ending: str) -> StreamingHttpResponse:
    """Answer with a file of this content type, named after what it is and when it was made."""
    response = StreamingHttpResponse(content, content_type=kind)
    stamp = timezone.now().astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    response["Content-Disposition"] = f'attachment; filename="keyturn-{name}-{stamp}.{ending}"'
    return response
