"""`docs/plaintext.md` holds every function that opens a value, takes its text, or makes a login of it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.test_architecture import MODULES, ROOT, within

TABLE = ROOT / "docs" / "plaintext.md"
#: Calls by these names open something, take its text, or make a login of it.
OPENING = {"reveal", "open_", "unwrap", "as_json", "own_manager", "Login", "Manager"}
#: ... and `value` of these.
OPENERS = {"versions", "binding", "work", "self"}
#: `x.encode()` is the text of a `Plaintext` where x is called so.
HELD = re.compile(r"password|credential|private|secret|value|\bnew$|\bself$|\bother$|\bfirst$|\bsecond$")


def opens(call: ast.Call) -> bool:
    """Whether this call has to do with a plaintext."""
    called = call.func
    if isinstance(called, ast.Name):
        return called.id in OPENING | {"value"}
    if not isinstance(called, ast.Attribute):
        return False
    owner = called.value
    last = {ast.Name: "id", ast.Attribute: "attr"}.get(type(owner), "")
    of = getattr(owner, last) if last else ""
    if called.attr == "value":
        return isinstance(owner, ast.Name) and of in OPENERS
    if called.attr == "encode":
        return bool(HELD.search(of))
    return called.attr in OPENING


def functions(text: str, module: str) -> Iterator[str]:
    """The functions of a module in which a plaintext is opened, by their full names."""

    def walk(node: ast.AST, place: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Call) and opens(child):
                yield place
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            yield from walk(child, f"{place}.{child.name}" if named else place)

    return walk(ast.parse(text), module)


def in_code() -> set[str]:
    kept = {name: path for name, path in MODULES.items() if not within(name, "lab")}
    return {found for name, path in kept.items() for found in functions(path.read_text(), name)}


def in_table() -> list[str]:
    rows = [line for line in TABLE.read_text().splitlines() if line.startswith("| `")]
    return [row.split("`")[1] for row in rows]


def test_every_way_of_a_plaintext_stands_in_the_table():
    assert sorted(in_code() - set(in_table())) == []


def test_the_table_names_each_way_once_and_none_that_is_gone():
    assert sorted(in_table()) == sorted(in_code())


def test_a_value_of_a_secret_is_opened_for_a_host_at_one_place():
    """Nobody else calls the function that opens a version without asking where it goes."""
    callers = set()
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "versions.value":
                callers.add(name)
    # The journal's replay only asks whether a value opens.
    assert callers == {"rotation.binding", "rotation.runs", "secrets_app.journal.replay"}


def test_a_new_way_is_found():
    for line in (
        "x = versions.value(v)",
        "y = text.reveal()",
        "z = base.Login('svc', password)",
        "w = held.password.encode()",
        "u = keyring.open_(sealed)",
    ):
        text = f"class A:\n    def hole(self):\n        {line}\n"
        assert list(functions(text, "planted")) == ["planted.A.hole"], line
