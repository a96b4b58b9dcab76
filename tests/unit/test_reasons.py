"""Every code that a run may end or wait with has one row, and every row is a code that something gives."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rotation import binding, reasons, wires
from rotation.connectors import base
from rotation.connectors import reasons as common
from rotation.connectors.reasons import Advice, Heard, Reason
from rotation.managed import restored
from secrets_app import keyring
from secrets_app.errors import DomainError
from secrets_app.journal import journal

ROTATION = Path(reasons.__file__).resolve().parent
TABLES = {ROTATION / "reasons.py", *ROTATION.glob("connectors/**/reasons.py")}
MODULES = sorted(path for path in ROTATION.rglob("*.py") if "migrations" not in path.parts)
SCRIPTS = sorted([*ROTATION.rglob("*.sh"), *ROTATION.rglob("*.ps1")])
#: Where a call names the reason by its place and not as `code=`.
PLACES = {
    "block": 0, "put_off": 0, "fail": 1, "end": 1, "close": 1, "_wait": 2, "NotAttached": 1,
    "_wait_for_a_person": 1, "sentence": 0, "let_pass": 0, "unclear": 0, "_unclear": 0, "blocked": 0,
}  # fmt: skip
#: ... and where it names the line of a checklist.
LINES = {"Check": 0, "passed": 0, "warning": 0, "unknown": 0}


def calls() -> Iterator[ast.Call]:
    for path in MODULES:
        yield from (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def _name(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _words(*nodes: ast.expr) -> set[str]:
    return {part.value for node in nodes for part in ast.walk(node) if _is_word(part)}  # type: ignore[attr-defined]


def in_calls() -> set[str]:
    found: set[str] = set()
    for call in calls():
        found |= _words(*(keyword.value for keyword in call.keywords if keyword.arg in {"code", "word"}))
        place = PLACES.get(_name(call))
        if place is not None:
            found |= _words(*call.args[place : place + 1])
    return found


def in_assignments() -> set[str]:
    """What is kept in a variable called `code` before it is given."""
    found: set[str] = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in {"code", "(known, code)"}:
                found |= _words(node.value)
    return found


def lines() -> set[str]:
    """Every name that a line of a checklist is given."""
    found: set[str] = set()
    for call in calls():
        if _name(call) in LINES:
            found |= _words(*call.args[LINES[_name(call)] :][:1])
        if _name(call) in {*LINES, "blocked"}:
            found |= _words(*(keyword.value for keyword in call.keywords if keyword.arg == "name"))
    return found


def _is_word(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and re.fullmatch(r"[a-z_]+", node.value) is not None
    )


def of_classes() -> set[str]:
    """The code of every error class of the package."""
    found: set[str] = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found |= {
                    str(line.value.value)
                    for line in node.body
                    if isinstance(line, ast.Assign | ast.AnnAssign)
                    and isinstance(line.value, ast.Constant)
                    and ast.unparse(line).startswith(("code =", "code:"))
                }
    return found - {""}


def of_the_domain() -> set[str]:
    """The codes of what the domain refuses: those are for whoever asked, and end no run."""
    names = [".".join(path.relative_to(ROTATION.parent).with_suffix("").parts) for path in MODULES]
    for name in names:
        importlib.import_module(name.removesuffix(".__init__"))
    left, found = [DomainError], set()
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.__module__.startswith("rotation") and not issubclass(kind, base.ConnectorError):
            found.add(kind.code)
    return found


def given() -> set[str]:
    kept = (in_assignments() | of_classes()) - of_the_domain()
    return in_calls() | kept | {binding.CODE}


def test_no_code_is_given_that_has_no_reason():
    found = given()
    assert {"gave_up", "no_host_key", "weak_ssh", "sealed", "budget", "key_disabled"} <= found
    assert sorted(found - set(reasons.ALL)) == []


def test_no_reason_is_there_that_nothing_gives():
    texts = [path.read_text() for path in MODULES if path not in TABLES]
    said = {word for text in texts for word in re.findall(r"[\"']([a-z_]+)[\"']", text)}
    said |= {word for path in SCRIPTS for word in re.findall(r"[a-z_]+", path.read_text())}
    assert sorted(set(reasons.ALL) - said) == []


@pytest.mark.parametrize("row", reasons.ALL.values(), ids=lambda row: row.code)
def test_every_reason_has_a_sentence_a_next_step_and_a_label(row):
    assert re.fullmatch(r"[a-z_]{1,40}", row.code)
    assert row.sentence.endswith((".", "{}")), row.sentence
    assert row.advice.text.endswith(".")
    assert row.advice.target in {"", "instance", "credential", "secret"}
    assert row.label


@pytest.mark.parametrize("row", reasons.ALL.values(), ids=lambda row: row.code)
def test_an_advice_says_apart_from_its_words_what_it_asks_of_a_user(row):
    words = {"rebind", "retry"} if row.waits else {"rebind"}
    asked = {word for word in words if re.search(rf"\b{word}\b(?! failed)", row.advice.text, re.IGNORECASE)}
    assert asked == words & {row.advice.asks}


@pytest.mark.parametrize("row", reasons.ALL.values(), ids=lambda row: row.code)
def test_what_a_reason_says_of_a_run_does_not_contradict_itself(row):
    assert row.waits or not row.is_away, "a host that is away comes back"
    assert not (row.waits and row.stops), "it passes by itself or needs a person"
    assert row.of_account or not row.heard & (Heard.ACCOUNT | Heard.KEYS)
    if row.override:
        assert row.override.sentence.endswith(".")
        assert all((row.override.label, row.override.title, row.override.does, row.override.does_not))


def test_a_code_stands_in_one_table_only():
    mine = Reason("disk", "The disk is full.", Advice("Free some space."))
    with pytest.raises(ValueError, match="twice"):
        common.table(mine, mine)
    own = [wire.reasons for wire in wires.TABLE.values() if wire.logs_in_as == wire.name]
    tables = [common.COMMON, *own, reasons.ENGINE]
    assert len(reasons.ALL) == sum(map(len, tables))


ERRORS = [
    *(error for error in base.ConnectorError.__subclasses__() if error.__module__.startswith("rotation.")),
    base.ConnectorError,
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_error_says_what_the_table_says_of_its_code(error):
    assert str(error()) == reasons.sentence(error.code)


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("sealed", keyring.Sealed),
        ("key_disabled", keyring.KeyDisabled),
        ("key_unusable", keyring.KeyUnusable),
        ("restored", restored.Unacknowledged),
        ("journal_away", journal.Away),
    ],
)
def test_what_stops_every_run_is_told_in_the_words_of_its_error(code, error):
    assert error.__doc__.strip() == reasons.sentence(code)


def test_every_line_of_a_checklist_has_a_label():
    names = lines()
    assert {"reachable", "key_file", "control", "snapshot"} <= names
    assert sorted(names - set(reasons.LINES) - set(reasons.ALL)) == []


def test_an_old_code_that_is_in_a_row_still_has_something_to_show():
    assert reasons.advice("was_renamed") == common.GENERAL
    assert reasons.label("was_renamed") == "was renamed"
    assert not reasons.waits("was_renamed")
    assert not reasons.stops("was_renamed")


@pytest.mark.parametrize("code", sorted(reasons.ALL))
def test_an_advice_that_names_an_action_has_it_offered(code):
    """Only these two are offered by their names; every run that did not succeed can be retried."""
    advice = reasons.advice(code)
    named = tuple(
        word.lower().split()[0] for word in ("Reconcile", "Rotate Immediately") if word in advice.text
    )
    assert advice.actions == named
    assert advice.target == "secret" or not advice.actions
