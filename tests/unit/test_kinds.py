"""A kind of credential is a module and its rows in the tables; no other code asks which kind a secret has."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from console.forms.secrets.secrets import Rotate
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.kinds import table as kinds
from secrets_app.models import Secret

ROOT = Path(__file__).parents[2]
NAMES = set(Secret.Kind.names)
VALUES = set(Secret.Kind.values)
MODULES = [
    file
    for package in ("console", "rotation", "secrets_app")
    for file in sorted((ROOT / package).rglob("*.py"))
    if "migrations" not in file.parts
]


def compared(text: str) -> list[str]:
    """The comparisons of a module in which one side is a kind of secret, and the cases that match one."""
    found = []
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Compare():
                if any(is_kind(part) for side in (node.left, *node.comparators) for part in ast.walk(side)):
                    found.append(ast.unparse(node))
            case ast.MatchValue(value=value) if is_kind(value):
                found.append(ast.unparse(value))
    return found


def is_kind(node: ast.AST) -> bool:
    """Whether this names a kind; the text "password" has other meanings in many places, such as a login's."""
    match node:
        case ast.Constant(value="key_pair"):
            return True
        case ast.Attribute(value=owner, attr=name) if name in NAMES:
            return ast.unparse(owner) in {"Secret.Kind", "ManagedAccount.Kind"}
    return False


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_module_asks_which_kind_a_secret_has(file):
    assert compared(file.read_text()) == []


@pytest.mark.parametrize(
    "code",
    [
        "if secret.kind == Secret.Kind.KEY_PAIR: pass",
        "x = a if form.kind in (Secret.Kind.PASSWORD,) else b",
        "match kind:\n    case Secret.Kind.PASSWORD: pass",
    ],
)
def test_such_a_question_is_found(code):
    assert compared(code)


def test_each_kind_has_a_row_in_each_table():
    assert set(kinds.TABLE) == VALUES
    for name in VALUES:
        assert Rotate(kind=name).fields["value"].label.startswith("New ")


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_a_text_that_is_no_value_of_the_kind_is_refused_and_not_repeated(kind):
    with pytest.raises(DomainError) as refused:
        kinds.TABLE[kind].read(Plaintext("no such\nvalue"))
    assert "no such" not in str(refused.value)
