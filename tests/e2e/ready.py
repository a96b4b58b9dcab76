"""Sites that were set up before, for tests of what comes after a set-up.

A set-up makes a database, keys and the first administrator, which takes longer than many a test of what comes
then. The product makes it for the first test of a run that asks, and each test has a copy. Set-ups from
nothing stay where they are the subject: the first start of test_up, its second start and the one that is
killed; the set-ups of test_failures; test_account_number; test_restored_database; the journeys of people.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.e2e.served import PEOPLE, Served
from tests.e2e.site import CHECKOUT, Site

#: What decides what a set-up leaves.
CODE = ("console", "rotation", "secrets_app", "templates", "static", "tests")
SQLITE = "sqlite://"


def set_up(site: Site) -> None:
    """Give a site that was not started yet what a set-up leaves, on SQLite."""
    _copy("set-up", lambda made: made.set_up(), site)


def with_people(site: Site) -> str:
    """Give it what a set-up and `PEOPLE` leave; return the id of the secret."""
    return str(_copy("people", _people, site))


def _people(made: Served) -> Any:
    set_up(made)
    return made.inside(PEOPLE)


def _copy(name: str, make: Callable[[Served], Any], site: Site) -> Any:
    """Copy the site of this name to `site`, made first where there is none; return what making it said."""
    folder = Path(os.environ["KEYTURN_TEST_DATA"], "sites", _code(), name)
    with _alone(folder):
        said = folder / "said"
        if not said.exists():
            shutil.rmtree(folder / "site", ignore_errors=True)
            (folder / "site").mkdir()
            made = Served(folder / "site")
            try:
                answer = make(made)
            finally:
                made.end()
            said.write_text(json.dumps(answer))
    shutil.copytree(folder / "site" / "kept", site.folder / "kept")
    shutil.copytree(folder / "site" / "elsewhere", site.root_key.parent)
    database = site.environment.get("KEYTURN_DATABASE_URL", "")
    if database.startswith(SQLITE):
        for file in (site.folder / "kept").glob("keyturn.sqlite3*"):
            shutil.move(file, Path(database.removeprefix(SQLITE)).with_name(file.name))
    return json.loads(said.read_text())


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _code() -> str:
    """Another name for another code, where a folder outlives a run: of a rule broken on purpose, say."""
    seen = hashlib.sha256()
    for package in CODE:
        for path in sorted((CHECKOUT / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                told = path.stat()
                seen.update(f"{path} {told.st_size} {told.st_mtime_ns}\n".encode())
    return seen.hexdigest()
