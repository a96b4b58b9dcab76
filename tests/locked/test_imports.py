"""What the product imports is declared and locked, and what is locked fits together."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

from tests.locked import environment

ROOT = environment.CHECKOUT
OURS = ("console", "secrets_app", "rotation", "lab")
#: A double for the tests, which nothing that runs in production imports.
DOUBLE = ROOT / "lab" / "windows"
#: Each asks one service by libraries of a lock of its own, which it imports when it is first used.
OPTIONAL = {
    **dict.fromkeys(
        (ROOT / "secrets_app" / "root_keys" / f"{name}.py" for name in ("token", "aws", "alibaba")),
        "root-keys",
    ),
    ROOT / "secrets_app" / "journal" / "objects.py": "root-keys",
    ROOT / "console" / "process" / "traces.py": "traces",
}
#: Part of a library that is declared: an import of it is of no library of its own.
COMES_WITH = {"kombu": "celery", "urllib3": "requests"}


def _name(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


@cache
def _imported() -> dict[str, str]:
    """Each module from outside that product code imports, and a file that does."""
    found: dict[str, str] = {}
    files = [ROOT / "manage.py", *(file for package in OURS for file in (ROOT / package).rglob("*.py"))]
    for file in files:
        if DOUBLE in file.parents or file in OPTIONAL:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in OURS:
                    found[top] = str(file.relative_to(ROOT))
    return found


@cache
def _declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {_name(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in project["dependencies"]}


@cache
def _locked() -> set[str]:
    return {_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", environment.LOCK.read_text(), re.M)}


@cache
def _installed() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def _distributions(module: str) -> set[str]:
    return {_name(name) for name in _installed().get(module, [])}


def test_every_library_that_the_product_imports_is_declared_and_locked():
    assert len(_imported()) > 10
    wrong = {}
    for module, file in _imported().items():
        names = _distributions(module)
        declared = names | {COMES_WITH[name] for name in names if name in COMES_WITH}
        if not declared & _declared() or not names & _locked():
            wrong[module] = file
    assert wrong == {}


def test_what_an_optional_part_imports_is_locked_for_it_and_imported_only_when_it_is_used():
    for file, name in OPTIONAL.items():
        lock = (ROOT / f"requirements-{name}.lock").read_text()
        locked = {_name(name) for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.M)} | _locked()
        tree = ast.parse(file.read_text())
        for node in ast.walk(tree):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for module in modules:
                top = module.partition(".")[0]
                if top not in sys.stdlib_module_names and top not in OURS and top != "__future__":
                    assert _distributions(top) & locked, f"{file.name}: {top}"
                    is_base = _distributions(top) & _locked()
                    assert is_base or node not in tree.body, f"{file.name}: {top} is needed at the start"


def test_every_import_of_the_product_works_with_what_is_locked_alone():
    script = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)"
    done = subprocess.run(
        [environment.python(), "-c", script, *_imported()],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_what_is_locked_is_whole():
    done = subprocess.run(
        [*environment.pip(environment.python()), "check"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "lock",
    [
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-demo.lock",
        "requirements-root-keys.lock",
        "requirements-traces.lock",
    ],
)
def test_a_lock_names_no_host_and_a_hash_for_everything(lock):
    text = Path(ROOT, lock).read_text()
    assert "://" not in text
    assert [block for block in re.split(r"\n(?=\S)", text) if "--hash=sha256:" not in block] == []
