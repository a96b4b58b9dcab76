"""How a process begins: its files are private, and a wrong environment ends it with a sentence, status 2."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import NoReturn

from django.core.exceptions import ImproperlyConfigured

NOT_CONFIGURED = 2


def keep_private() -> None:
    """Have only this process' owner read what it makes, SQLite's journal beside the database included."""
    os.umask(0o077)


def give_up(error: ImproperlyConfigured) -> NoReturn:
    """Print the sentence, and end. A supervisor that starts the process again changes nothing about it."""
    sys.stderr.write(f"keyturn: {error}\n")
    sys.stderr.flush()
    raise SystemExit(NOT_CONFIGURED)


def watch() -> None:
    """Have this process exit so that it is not started again if its settings are wrong."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, ImproperlyConfigured):
            give_up(error)
        if sentence := _of_database(error):
            give_up(ImproperlyConfigured(sentence))
        before(kind, error, trace)

    sys.excepthook = hook


def _of_database(error: BaseException) -> str:
    """What is wrong with the database, if that is what ends this process; else the empty string."""
    from console.process import databases, logs  # loaded only by a process that ends

    trouble = databases.trouble(error)
    if trouble == databases.Trouble.AWAY and not logs.passing_cause(error):
        return ""  # SQLite's class for a mistake in a statement, which keeps its traceback
    return _DATABASE_SENTENCES[trouble.value] if trouble else ""


_DATABASE_SENTENCES = {
    "away": "the database does not answer: check that it runs, and KEYTURN_DATABASE_URL.",
    "read-only": "the database takes no changes: it is a standby, or was set to read-only.",
    "full": "the database's disk is full.",
    "busy": "the database is busy: another process has kept it locked for too long.",
    "crowded": "the database has no connection left.",
    "slow": "the database is too slow: it did not answer in time.",
    "untrusted": "the database's certificate is not accepted: it has expired, is for another name, or is "
    "signed by an authority that this machine does not know.",
    "not set up": "the database is not set up: run manage.py setup.",
}


def writable_folder(*folders: Path) -> str:
    """Return the first of `folders` that files can be made in, and name each that cannot; end if none can."""
    for folder in folders:
        if os.access(folder, os.W_OK | os.X_OK):
            return str(folder)
        sys.stderr.write(f"keyturn: {folder} is not a folder that this process may write in.\n")
    named = " or ".join(map(str, folders))
    give_up(
        ImproperlyConfigured(
            f"the web server keeps its workers' signs of life in {named}: mount a tmpfs there."
        )
    )
