"""What is tried on one store only touches nothing in which stores differ.

A module is marked where every statement that its tests send, by its text without values, is sent to
PostgreSQL by tests that are not marked: those of other modules, and those of its own with the mark
`both_stores`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
MARK = re.compile(r"^pytestmark = .*\bone_store\b", re.MULTILINE)
#: Transactions that really end, statements of our own, what a database refuses, and who else is there.
DIFFERS = re.compile(
    r"transaction|\bcursor\b|\bconnections?\b|execute|IntegrityError|DatabaseError|OperationalError|vendor|"
    r"Thread|\bfork\b|postgres|sqlite|select_for_update|\.raw\(|\.extra\(|append_only"
)


def marked() -> Iterator[tuple[str, str]]:
    """The name and the text of every module, and of every test by itself, that has the mark."""
    for path in sorted(TESTS.rglob("test_*.py")):
        text = path.read_text()
        if MARK.search(text):
            yield path.stem, "".join(_of_one_store(text))
        elif "mark.one_store" in text and path != Path(__file__):
            for part in ast.parse(text).body:
                marks = [ast.unparse(one) for one in getattr(part, "decorator_list", [])]
                if "pytest.mark.one_store" in marks:
                    yield f"{path.stem}-{part.name}", ast.get_source_segment(text, part) or ""  # type: ignore[attr-defined]


def _of_one_store(text: str) -> Iterator[str]:
    """The parts of a marked module, but for its imports and the tests that run on both even so."""
    lines = text.splitlines(keepends=True)
    for part in ast.parse(text).body:
        marks = [ast.unparse(one) for one in getattr(part, "decorator_list", [])]
        if not isinstance(part, ast.Import | ast.ImportFrom) and "pytest.mark.both_stores" not in marks:
            # As `ast.get_source_segment`, which splits the whole text for each part.
            yield "".join(lines[part.lineno - 1 : part.end_lineno])


MARKED = dict(marked())


def test_some_are_marked():
    assert "test_binding" in MARKED
    assert any(name.startswith("test_keyring-test_cry_03") for name in MARKED)


@pytest.mark.parametrize("name", MARKED)
def test_what_is_tried_on_one_store_touches_nothing_in_which_they_differ(name):
    assert DIFFERS.findall(MARKED[name]) == []
