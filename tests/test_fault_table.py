"""docs/faults.md names every fault and the tests that show it; every such test is named there."""

import re
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
TABLE = CHECKOUT / "docs" / "faults.md"
COUNTS = {"W": 17, "N": 9, "D": 10, "B": 7, "C": 7, "T": 5, "H": 24, "P": 15, "K": 7, "X": 12}
ROW = re.compile(r"^\| (FI-[A-Z]-\d\d) \| (.*) \| (.*) \| (.*) \|$", re.MULTILINE)
NAME = re.compile(r"`(test_\w+)`")
TEST = re.compile(r"^ *def (test_\w+)\(", re.MULTILINE)


@cache
def in_the_files() -> frozenset[str]:
    """Every test function's name, as it stands in the files."""
    # By their lines: each test process reads all of these files, and a syntax tree of each takes seconds.
    texts = (path.read_text() for path in (CHECKOUT / "tests").rglob("test_*.py"))
    return frozenset(name for text in texts for name in TEST.findall(text))


def rows() -> dict[str, tuple[str, str, str]]:
    found = ROW.findall(TABLE.read_text())
    assert len({row[0] for row in found}) == len(found), "a fault stands in two rows"
    return {name: (broken, named, result) for name, broken, named, result in found}


def wanted() -> list[str]:
    counted = [f"FI-{letter}-{n:02}" for letter, count in COUNTS.items() for n in range(1, count + 1)]
    # Cases from practice keep their numbers, and there are gaps between them.
    return counted + sorted(
        {name[5:12].upper().replace("_", "-") for name in in_the_files() if "_fi_r_" in name}
    )


def test_every_fault_has_a_row_and_no_row_is_a_stranger() -> None:
    assert sorted(rows()) == sorted(wanted())


@pytest.mark.parametrize("fault", wanted())
def test_a_fault_is_shown_by_a_test(fault: str) -> None:
    broken, named, result = rows()[fault]
    assert broken.strip()
    assert result.strip()
    named_tests = NAME.findall(named)
    assert set(named_tests) <= in_the_files()
    mine = f"test_{fault.lower().replace('-', '_')}_"
    assert any(name.startswith(mine) for name in named_tests)


def test_every_test_of_a_fault_stands_in_its_row() -> None:
    known = rows()
    for name in in_the_files():
        if match := re.match(r"test_fi_([a-z])_(\d\d)_", name):
            assert name in known[f"FI-{match[1].upper()}-{match[2]}"][1], name
