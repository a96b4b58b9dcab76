"""Named places in the engine where a test may stop, break or kill a worker.

They are compiled in, since a fault can only be shown where the real code has it, and inert: nothing
can be armed unless the settings allow it, and only the tests' settings do.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings

_armed: dict[str, Callable[[], None]] = {}


def reach(name: str) -> None:
    """Say that the engine has come to `name`; does nothing unless a test armed it."""
    if _armed and name in _armed:
        _armed[name]()


def arm(name: str, action: Callable[[], None]) -> None:
    """Run `action` whenever `name` is reached. Raises RuntimeError outside tests."""
    if not settings.FAILPOINTS_ALLOWED:
        raise RuntimeError("Failpoints cannot be armed with these settings.")
    _armed[name] = action


def disarm() -> None:
    """Make every failpoint inert again."""
    _armed.clear()
