"""Waiting for what others do: never for longer than so long, and what did not come is named."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE = 180.0  # seconds; long, for a machine that does much else
LOOK_EVERY = 0.1  # seconds
T = TypeVar("T")


def wait_for(condition: Callable[[], T], what: str = "what was to come", seconds: float = PATIENCE) -> T:
    """Return the first answer of `condition` that is true. Raises AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(LOOK_EVERY)
    return answer
