"""A module that is tried on one store only touches nothing in which stores differ."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
MARK = re.compile(r"^pytestmark = .*\bone_store\b", re.MULTILINE)
#: Transactions that really end, statements of our own, what a database refuses, and who else is there.
DIFFERS = re.compile(
    r"transaction|\bcursor\b|\bconnections?\b|execute|IntegrityError|DatabaseError|OperationalError|vendor|"
    r"Thread|\bfork\b|postgres|sqlite|select_for_update|\.raw\(|\.extra\(|append_only"
)
MARKED = [path for path in sorted(TESTS.rglob("test_*.py")) if MARK.search(path.read_text())]


def test_some_are_marked():
    assert MARKED


@pytest.mark.parametrize("path", MARKED, ids=lambda path: path.stem)
def test_what_is_tried_on_one_store_touches_nothing_in_which_they_differ(path):
    assert DIFFERS.findall(path.read_text()) == []
