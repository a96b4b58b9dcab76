"""The names of events: what the code records is what the documentation lists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from secrets_app.actions import Action
from secrets_app.policy import ram_conditions

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"kms:[A-Z]\w+")
#: Who writes an event, each with its name first.
WRITERS = {"audit.record", "refusals.note"}


def nodes() -> Iterator[tuple[Path, ast.AST]]:
    for package in ("console", "rotation", "secrets_app"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                yield path, node


def test_every_event_that_is_no_action_is_listed_in_the_documentation_and_no_other():
    found = {
        node.value
        for path, node in nodes()
        if path.name != "actions.py" and isinstance(node, ast.Constant) and isinstance(node.value, str)
        if NAME.fullmatch(node.value)
    }
    text = (ROOT / "docs" / "audit.md").read_text()
    listed = re.findall(r"^\| `(kms:\w+)` \|", text, re.M)
    assert len(listed) == len(set(listed))
    conditions = {ram_conditions.REASON, ram_conditions.OS_TYPE}  # a key of a condition looks like one
    no_events = {action.value for action in Action} | conditions
    assert set(listed) == found - no_events


def test_no_event_has_a_name_that_is_put_together():
    made_up = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path, node in nodes()
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in WRITERS
        and not isinstance(node.args[0], ast.Constant | ast.Name | ast.Attribute | ast.Subscript)
    ]
    assert made_up == []
