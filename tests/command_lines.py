"""Keyturn's commands as a script runs them: a command line, standard input, and what comes back."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

from django.core.management import CommandError, call_command

from rotation import tasks

TYPED = "Typed-at-a-terminal-1"


@dataclass
class Ended:
    """How a command ended, and all that it said."""

    exit: int
    said: dict[str, Any]
    shown: str


def run(line: str, *, given: str | None = None, asks_for_json: bool = True) -> Ended:
    """Run `line` with `given` on standard input; without it, that is a terminal."""
    words = [*line.split(), *(["--json"] if asks_for_json else [])]
    stdout, stderr = io.StringIO(), io.StringIO()
    piped = io.TextIOWrapper(io.BytesIO((TYPED if given is None else given).encode()))
    ended = 0
    with (
        mock.patch.object(sys, "stdin", piped),
        mock.patch.object(piped, "isatty", return_value=given is None),
    ):
        try:
            call_command(words[0], *words[1:], stdout=stdout, stderr=stderr)
        except SystemExit as exit_:
            ended = int(exit_.code or 0)
        except CommandError as error:
            ended = error.returncode
            stderr.write(str(error))
    text = stdout.getvalue()
    said = json.loads(text) if asks_for_json and text else {}
    return Ended(ended, said, text + stderr.getvalue())


def with_a_worker() -> Any:
    """Inside the block, what is sent to a worker is done at once, here."""
    return mock.patch.object(tasks, "send", lambda task, *ids: task.run(*ids))
