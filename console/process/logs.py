"""Keep one log record one line, even if a host, a browser or an exception put line ends into it.

Text from elsewhere may hold line ends, terminal sequences and marks that turn the reading direction; each is
printed as its escape. A traceback keeps its lines, each behind a margin that no record begins with. It names
files and code, never the values of variables.

A problem that passes without action, such as a database that is away, is one line for each cause and minute,
without a traceback: hundreds of requests meet the same cause. A line of a request carries its id, and a
line of a run the run's.
"""

from __future__ import annotations

import errno
import logging
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any, Final

import structlog
from django.db import InterfaceError, OperationalError

MARGIN: Final = "  | "
ONCE_IN_SECONDS: Final = 60.0
CAUSES_AT_MOST: Final = 200  # remembered; the text of a cause may come from elsewhere
CAUSE_LENGTH: Final = 300

# C0, DEL and C1; LINE and PARAGRAPH SEPARATOR; the bidirectional controls of Unicode's UAX 9.
_UNSAFE: Final = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x200E, 0x200F, 0x061C]
_UNSAFE_RANGES: Final = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_ESCAPES: Final = {code: chr(code).encode("unicode_escape").decode() for code in _UNSAFE + _UNSAFE_RANGES}

# By name: where the broker is embedded nothing else loads these libraries.
_BROKER_ERRORS: Final = frozenset(
    {"redis.exceptions.ConnectionError", "redis.exceptions.TimeoutError", "kombu.exceptions.OperationalError"}
)
# SQLite uses the same class for a mistake in a statement, which is a bug and keeps its traceback.
_MISTAKES: Final = ("no such ", "near ", "table ", "ambiguous ", "incomplete input")
# They say with each try again that the broker, or the collector of traces, is away; the numbers in the line
# differ, its text does not.
_REPEATS_ITSELF: Final = ("celery.", "kombu.", "opentelemetry.")


def one_line(text: str) -> str:
    """The text with everything that could end a line or command a terminal written as its escape."""
    return text.translate(_ESCAPES)


def passing_cause(error: BaseException | None) -> str:
    """Return what is away or full, if this error or its cause passes without action; else an empty string."""
    for each in _chain(error):
        if _passes(each):
            # What says that nothing was done names its reason too: two reasons are two causes.
            why = each.__cause__ if type(each).__module__.startswith("secrets_app.") else None
            return f"{_named(each)} Cause: {_named(why)}" if why else _named(each)
    return ""


def _named(error: BaseException) -> str:
    words = str(error).strip().partition("\n")[0][:CAUSE_LENGTH]
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _passes(error: BaseException) -> bool:
    if isinstance(error, OperationalError | InterfaceError):
        return not str(error).startswith(_MISTAKES)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return True
    return any(f"{kind.__module__}.{kind.__qualname__}" in _BROKER_ERRORS for kind in type(error).__mro__)


class OncePerMinute(logging.Filter):
    """A handler's filter: of problems that pass without action, it lets one a minute through for each cause.

    The next one says how many were left out. Everything else goes through as it is.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._seen: dict[
            str, tuple[float, int]
        ] = {}  # when a cause was last printed, and how often it came since

    def filter(self, record: logging.LogRecord) -> bool:
        cause = passing_cause(record.exc_info[1] if record.exc_info else None)
        if cause:
            record.msg, record.args = f"{_message(record)} ({cause})", None
            record.exc_info = record.exc_text = None
        elif record.levelno >= logging.WARNING and record.name.startswith(_REPEATS_ITSELF):
            if record.exc_info:
                return True
            cause = str(record.msg)
        return not cause or self._is_due(cause, record)

    def _is_due(self, cause: str, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        with self._lock:
            printed_at, left_out = self._seen.get(cause, (float("-inf"), 0))
            if now - printed_at < ONCE_IN_SECONDS:
                self._seen[cause] = (printed_at, left_out + 1)
                return False
            if len(self._seen) >= CAUSES_AT_MOST:
                self._seen.clear()
            self._seen[cause] = (now, 0)
        if left_out:
            record.msg, record.args = f"{_message(record)} [and {left_out} times before this]", None
        return True


class OneLine(logging.Filter):
    """A handler's filter: it lets every record through, made safe once however many handlers there are."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "is_one_line", False):
            return True
        record.is_one_line = True
        record.msg, record.args = one_line(_message(record)) + _request(), None
        if record.exc_info and record.exc_info[1]:
            record.exc_text = _behind_margin("".join(traceback.format_exception(record.exc_info[1])))
        elif record.exc_text:
            record.exc_text = _behind_margin(record.exc_text)
        record.exc_info = None
        if record.stack_info:
            record.stack_info = _behind_margin(record.stack_info)
        return True


def as_json() -> logging.Formatter:
    """One JSON object for each record: time, level, logger, event, and the ids of the request and the run.

    All but ASCII is escaped, so nothing in it can end a line or command a terminal.
    """
    before: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: list[Any] = [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.JSONRenderer(),
    ]
    return structlog.stdlib.ProcessorFormatter(processors=last, foreign_pre_chain=before)


def _request() -> str:
    bound = structlog.contextvars.get_contextvars()
    return "".join(f" {name}={bound[name]}" for name in ("request_id", "run_id") if bound.get(name))


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # Arguments that do not fit: the call's own text still says where to look.
        return f"{record.msg} (its arguments do not fit)"


def _behind_margin(text: str) -> str:
    # Split at LF alone: the other line ends of str.splitlines() must stay within their line, escaped.
    return "\n".join(MARGIN + one_line(line) for line in text.rstrip("\n").split("\n"))
