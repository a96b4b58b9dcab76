"""An environment that holds what requirements.lock names and nothing else, made once for each lock.

The tests' own has the development lock, in which a library may stand that the product needs by accident.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
import sys
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
            _must(sys.executable, "-m", "venv", "--clear", str(folder))
            _must(
                str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--require-hashes",
                "--no-deps", "--no-compile", "-r", str(LOCK),
            )  # fmt: skip
            (folder / "whole").touch()
    return folder / "bin" / "python"


def _must(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{command[:4]}: {done.stderr[-2000:]}"
