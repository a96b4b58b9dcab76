"""Name the test files that a change can have broken: `python -m tests.changed` prints them, a line for each.

A test file is broken by what it imports, directly or not; by all of the product where it asks for pages or
starts processes; by the folders and documents that it reads. What nobody can tell from that, such as a lock
or a setting of pytest, breaks everything. It may name too many; tests/unit/test_changed.py holds that it
names every test that notices a break.
"""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("console", "lab", "rotation", "secrets_app")
#: Words of a test file, or of one that it imports, that has the whole product run: pages, or processes.
RUNS_ALL = re.compile(
    r"\bClient\b|\bclient\.(get|post)\(|\breverse\(|manage\.py|load_command_class|tests\.command_lines|gunicorn|celery_worker|\bconsole\.(urls|wsgi|celery)\b"
)
READS_FOLDERS = re.compile(r"\br?glob\(|iterdir\(")
DATABASE = re.compile(r"django_db|transactional_db|open_keyring")


def files() -> Iterable[Path]:
    """The changed files, relative: since the branch left origin/main, or since the commit before."""
    base = _git("merge-base", "HEAD", "origin/main") or _git("rev-parse", "HEAD~")
    if base == _git("rev-parse", "HEAD"):
        base = _git("rev-parse", "HEAD~")
    names = (
        _git("diff", "--name-only", "--no-renames", base),
        _git("ls-files", "--others", "--exclude-standard"),
    )
    return [Path(name) for name in "\n".join(names).split("\n") if name]


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def broken(changed: Iterable[Path]) -> list[str]:
    """Every test file that one of these changes can have broken, in order."""
    modules: set[str] = set()
    words: set[str] = set()
    product = False
    for file in changed:
        room = file.parts[0]
        if file.suffix == ".md" or room == "docs":
            words.add(file.name)
        elif room in ("templates", "static"):
            words.add(room)
            product = True
        elif room in ROOMS or (room == "tests" and len(file.parts) > 1):
            product |= room in ROOMS
            found = _named(file)
            if not found:
                return sorted(_tests().values())
            modules |= found
        else:
            return sorted(_tests().values())
    return sorted(
        file
        for name, file in _tests().items()
        if _needs(name) & modules
        or (product and (_runs_all(name) or _reads_folders(name)))
        or any(word in _text(other) for word in words for other in _mine(name))
        or (words and _reads_folders(name))
    )


def _named(file: Path) -> set[str]:
    """The modules that a file is, or that read it: those of the nearest package."""
    name = _name(file)
    if file.suffix == ".py":
        return {name} if name in _modules() else set()
    for folder in file.parents:
        if found := {other for other, path in _modules().items() if path.parent == ROOT / folder}:
            return found
    return set()


def _name(file: Path) -> str:
    return ".".join(file.with_suffix("").parts).removesuffix(".__init__")


@cache
def _modules() -> dict[str, Path]:
    paths = (path for room in (*ROOMS, "tests") for path in (ROOT / room).rglob("*.py"))
    return {_name(path.relative_to(ROOT)): path for path in paths}


@cache
def _tests() -> dict[str, str]:
    found = {name: path for name, path in _modules().items() if path.name.startswith("test_")}
    return {name: str(path.relative_to(ROOT)) for name, path in found.items() if name.startswith("tests.")}


@cache
def _text(name: str) -> str:
    return _modules()[name].read_text()


@cache
def _imports(name: str) -> frozenset[str]:
    """The modules of ours that this one imports; of a test those in strings too, such as plug-ins."""
    found: set[str] = set()
    is_test = name.startswith("tests.")
    for node in ast.walk(ast.parse(_text(name))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
        elif is_test and isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value, node.value.rpartition(".")[0]}
    return frozenset(found & _modules().keys() - {name})


@cache
def _mine(name: str) -> frozenset[str]:
    """A test module and what it imports of the tests."""
    return frozenset(other for other in _closure(frozenset({name})) if other.startswith("tests."))


@cache
def _closure(names: frozenset[str]) -> frozenset[str]:
    found, waiting = set(names), list(names)
    while waiting:
        new = _imports(waiting.pop()) - found
        found |= new
        waiting += new
    return frozenset(found)


@cache
def _runs_all(name: str) -> bool:
    """Told by the test file, its conftest and what these name themselves: the next ones serve others too."""
    near = {name} | {other for other in _imports(name) if other.startswith("tests.")}
    return any(RUNS_ALL.search(_text(other)) for other in near)


@cache
def _reads_folders(name: str) -> bool:
    return bool(READS_FOLDERS.search(_text(name)))


@cache
def _needs(name: str) -> frozenset[str]:
    """Every module that the tests of this one run, as far as it can be read from the text."""
    parts = name.split(".")
    conftests = {".".join((*parts[:n], "conftest")) for n in range(1, len(parts))} & _modules().keys()
    if _runs_all(name):
        product = {other for other in _modules() if other.split(".")[0] in ROOMS}
        return _closure(frozenset({name, *conftests, "tests.settings", *product}))
    if DATABASE.search("".join(_text(other) for other in _mine(name))):
        apps = {other for other in _modules() if re.search(r"\.(models|apps|migrations)\b", other)}
        return _closure(frozenset({name, *conftests, *apps}))
    return _closure(frozenset({name})) | conftests | {"tests.settings", "console.settings"}


if __name__ == "__main__":
    print("\n".join(broken(files())))
