"""Keep one log record one line, whatever a host, a browser or an exception put into it.

Text from elsewhere may hold line ends, terminal sequences and marks that turn the reading direction; each is
printed as its escape. A traceback keeps its lines, each behind a margin that no record begins with. It names
files and code, never the values of variables.
"""

from __future__ import annotations

import logging
import traceback
from typing import Final

MARGIN: Final = "  | "

# C0, DEL and C1; LINE and PARAGRAPH SEPARATOR; the bidirectional controls of Unicode's UAX 9.
_UNSAFE: Final = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0x200E, 0x200F, 0x061C]
_UNSAFE_RANGES: Final = [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_ESCAPES: Final = {code: chr(code).encode("unicode_escape").decode() for code in _UNSAFE + _UNSAFE_RANGES}


def one_line(text: str) -> str:
    """The text with everything that could end a line or command a terminal written as its escape."""
    return text.translate(_ESCAPES)


class OneLine(logging.Filter):
    """A handler's filter: it lets every record through, made safe once however many handlers there are."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "is_one_line", False):
            return True
        record.is_one_line = True
        record.msg, record.args = one_line(_message(record)), None
        if record.exc_info and record.exc_info[1]:
            record.exc_text = _behind_margin("".join(traceback.format_exception(record.exc_info[1])))
        elif record.exc_text:
            record.exc_text = _behind_margin(record.exc_text)
        record.exc_info = None
        if record.stack_info:
            record.stack_info = _behind_margin(record.stack_info)
        return True


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # Arguments that do not fit: the call's own text still says where to look.
        return f"{record.msg} (its arguments do not fit)"


def _behind_margin(text: str) -> str:
    # Split at LF alone: the other line ends of str.splitlines() must stay within their line, escaped.
    return "\n".join(MARGIN + one_line(line) for line in text.rstrip("\n").split("\n"))
