"""Whether this worker was asked to stop, and how it stops without waiting.

The promise: the process ends within `WITHIN` seconds of the request to stop. It starts nothing new from that
moment; a step under way has `FOR_STEPS` to end. The caller's `hand_back` returns the work that is unfinished
by then, and another worker continues it.

The request is a byte that forked processes share: a pool's children see it as soon as their parent does, and
a signal handler can write it without a lock.
"""

from __future__ import annotations

import logging
import mmap
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

FOR_STEPS: Final = 8.0  # seconds from the wish on
WITHIN: Final = 9.0  # ... to the end of the process, even if a thread still hangs
_LOOK_EVERY: Final = 0.2

_wish = mmap.mmap(-1, 1)


def begin() -> None:
    """Ask this process and those that it has forked to stop. Safe in a signal handler."""
    _wish[0] = 1


def is_under_way() -> bool:
    return _wish[0] == 1


def forget() -> None:
    """Withdraw the request to stop."""
    _wish[0] = 0


def watch(hand_back: Callable[[], object], *, ends_last: bool) -> None:
    """Have a thread wait for the wish to stop, call `hand_back` when time is up, and end the process.

    A process that ends in time is left alone. The one that `ends_last` is the parent of a pool: its end kills
    its children, so it first gives them time to hand back their own work.
    """
    threading.Thread(target=_watch, args=(hand_back, ends_last), name="shutdown", daemon=True).start()


def _watch(hand_back: Callable[[], object], ends_last: bool) -> None:
    while not is_under_way():
        time.sleep(_LOOK_EVERY)
    began = time.monotonic()
    time.sleep(FOR_STEPS)
    # In a thread of its own: a store that does not answer may not keep the process either.
    handing = threading.Thread(target=_logged, args=(hand_back,), daemon=True)
    handing.start()
    handing.join(began + WITHIN - time.monotonic())
    if ends_last:
        time.sleep(max(0.0, began + WITHIN - time.monotonic()))
    _end()


def _logged(hand_back: Callable[[], object]) -> None:
    try:
        hand_back()
    except Exception:  # in any case the leases expire
        log.exception("What this worker had under way could not be handed back; its leases run out.")


def _end() -> None:
    """End at once: the threads that hang in a step would keep an orderly exit waiting for them."""
    log.warning("A step did not end within %g s; the worker stops without it.", FOR_STEPS)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)
