"""The PowerShell scripts that run on a host.

A script is a constant of this package: nothing is ever formatted into it, so its text may be read in the
host's process list and event logs. All that it is about, and every value, reaches it on standard input.
"""

from __future__ import annotations

import base64
import functools
from importlib import resources


def _text(name: str) -> str:
    lines = resources.files(__package__).joinpath(name).read_text(encoding="utf-8").splitlines()
    return "\n".join(line.strip() for line in lines if line.strip() and not line.strip().startswith("#"))


@functools.cache
def encoded(name: str) -> str:
    """Return one script, with what every script has before it, as `-EncodedCommand` takes it."""
    script = f"{_text('common.ps1')}\n{_text(name)}\n"
    return base64.b64encode(script.encode("utf-16-le")).decode()
