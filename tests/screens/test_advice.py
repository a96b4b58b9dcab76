"""Every reason that a run may end or wait with has a next step of its own."""

from __future__ import annotations

import ast
from pathlib import Path

from console import advice
from rotation.connectors import base, words

ROTATION = Path(base.__file__).resolve().parent.parent
#: Where a call names the reason by its place and not as `code=`.
PLACES = {"block": 0, "put_off": 0, "fail": 1, "end": 1, "NotAttached": 1, "_wait_for_a_person": 1}


def reasons() -> set[str]:
    """Every reason that stands in the package's modules as a word."""
    found = set(words._SENTENCES)
    for path in ROTATION.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                found |= set(_named_in(node))
            elif isinstance(node, ast.ClassDef):
                found |= set(_of_class(node))
    return {word for word in found if word}


def _named_in(call: ast.Call) -> list[str]:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    place = PLACES.get(getattr(call.func, "attr", getattr(call.func, "id", "")))
    if place is not None:
        given += call.args[place : place + 1]
    return [str(node.value) for node in given if isinstance(node, ast.Constant)]


def _of_class(node: ast.ClassDef) -> list[str]:
    return [
        str(line.value.value)
        for line in node.body
        if isinstance(line, ast.Assign | ast.AnnAssign)
        and isinstance(line.value, ast.Constant)
        and ast.unparse(line).startswith(("code =", "code:"))
    ]


def test_every_reason_has_advice_of_its_own():
    found = reasons()
    assert {"gave_up", "no_host_key", "host_key_changed", "weak_ssh", "sealed", "locked"} <= found
    assert sorted(found - set(advice.BY_CODE)) == []


def test_no_advice_is_empty_and_each_leads_to_a_page_that_there_is():
    for code, one in advice.BY_CODE.items():
        assert one.text.endswith("."), code
        assert one.target in {"", "instance", "credential", "secret"}, code
