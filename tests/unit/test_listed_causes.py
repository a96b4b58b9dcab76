"""Which reasons list several causes, as docs/rotation.md has them: a sentence that guesses has a row."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rotation import reasons

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rotation.md"
HEADING = "## What several causes explain"
#: The words by which a sentence of ours says that it does not know which of several things it is.
HEDGES = re.compile(
    r"(do|does) that\b|look alike|\bmay (not )?(be|have)\b|\bperhaps\b|\bprobably\b|\bmight\b", re.IGNORECASE
)


def rows() -> dict[str, tuple[str, list[str]]]:
    """What was seen and what is listed, by the code of a reason."""
    text = PAGE.read_text().split(HEADING, 1)[1].split("\n## ", 1)[0]
    found = {}
    for line in text.splitlines():
        if line.startswith("| `"):
            code, seen, causes = (cell.strip() for cell in line.strip("|").split("|"))
            found[code.strip("`")] = seen, [cause.strip().strip("`") for cause in causes.split(";")]
    return found


@pytest.mark.parametrize("code", sorted(reasons.ALL))
def test_a_sentence_that_does_not_know_which_of_several_it_is_has_a_row(code: str) -> None:
    if HEDGES.search(reasons.ALL[code].sentence):
        assert code in rows()


@pytest.mark.parametrize("code", sorted(rows()))
def test_each_cause_of_a_row_is_listed_by_the_sentence_and_there_are_several(code: str) -> None:
    seen, causes = rows()[code]
    assert seen
    assert len(causes) > 1
    for cause in causes:
        assert cause in reasons.ALL[code].sentence


def test_a_guess_is_recognized() -> None:
    assert HEDGES.search("The disk may be full.")
    assert HEDGES.search("Probably the network.")
    assert not HEDGES.search("The disk is full.")
