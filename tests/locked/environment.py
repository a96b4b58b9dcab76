"""An environment that holds what requirements.lock names and nothing else, made once for each lock.

The tests' own has the development lock, in which a library may stand that the product needs by accident.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LOCK = CHECKOUT / "requirements.lock"


def python() -> Path:
    """Return the environment's Python, after making it where that is due."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keyturn-locked"
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()[:16]
    folder = cache / wanted
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # The mark is made last, so an interrupted set-up is never taken for a whole one.
        if not (folder / "whole").exists():
            _must(sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder))
            install = ("install", "--quiet", "--require-hashes", "--no-deps", "--no-compile", "-r", str(LOCK))
            _must(*pip(folder / "bin" / "python"), *install)
            (folder / "whole").touch()
    return folder / "bin" / "python"


def helped(checkout: Path, given: dict[str, str], commands: Sequence[str]) -> dict[str, tuple[int, str]]:
    """Ask each command for `--help`, in `checkout` and with the environment `given`.

    Return the status of each, and what it said on standard error.
    """
    script = Path(__file__).with_name("forks.py").read_text()
    done = subprocess.run(
        [python(), "-c", script, *commands],
        cwd=checkout, env=given, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return {command: (status, said) for command, (status, said) in json.loads(done.stdout).items()}


def pip(python: Path) -> tuple[str, ...]:
    """Return how the pip of the tests' own environment is asked to work on another one, which has none."""
    return (sys.executable, "-m", "pip", "--disable-pip-version-check", f"--python={python}")


def _must(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{command[:4]}: {done.stderr[-2000:]}"
