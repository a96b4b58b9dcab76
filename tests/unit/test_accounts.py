"""Every reader of a secret's account meets a type that says it may have none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
#: Where an account is asked for; a decision takes it by its name, for it knows no instance and no account.
SEAMS = ["rotation/accounts.py", "secrets_app/policy/deciding.py"]
MODULES = sorted(
    str(path.relative_to(ROOT))
    for room in ("console", "secrets_app", "rotation", "lab")
    for path in (ROOT / room).rglob("*.py")
)
#: `secret.managed.x` in a template is empty and no error: it stands only where an account was asked for.
GUARD = re.compile(r"{% if (?:not )?secret\.managed %}")
#: Dialogs and pages that a secret without an account never comes to: `resources.secret` refuses it.
OF_ACCOUNTS = {"_rotate.html", "_rotate_back.html", "_reconcile.html", "_resolve.html", "_override.html",
               "_accounts.html"}  # fmt: skip


def reads(path: str) -> list[int]:
    """The lines on which a module takes the account from a secret itself."""
    found = []
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Attribute) and node.attr == "managed":
            # Django's own word for a table that it makes.
            found += [] if getattr(node.value, "attr", "") == "_meta" else [node.lineno]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "getattr":
            names = [one.value for one in node.args if isinstance(one, ast.Constant)]
            found += [node.lineno] if "managed" in names else []
    return found


def test_the_account_of_a_secret_is_read_where_there_may_be_none():
    assert [path for path in MODULES if reads(path)] == SEAMS


@pytest.mark.parametrize("path", sorted((ROOT / "templates").rglob("*.html")), ids=lambda path: path.name)
def test_a_template_that_names_the_account_asks_first_whether_there_is_one(path):
    text = path.read_text()
    if re.search(r"(?<!own_login\.)\bsecret\.managed\.", text) and path.name not in OF_ACCOUNTS:
        assert GUARD.search(text)
