"""Wake the embedded broker's consumers at once: each has a named pipe in the data folder, its bell.

A bell is only a hint: the message stands in its row, and a consumer that is not woken soon polls. So
a problem with a pipe is no error: nothing is lost, and no message waits for longer than one such interval.
The pipes carry no content. Their folder is for its owner only, as everything in the data folder is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import stat
import threading
import time
import uuid
from pathlib import Path
from typing import Final

from django.conf import settings

FOLDER: Final = "bells"
UNFINISHED_SECONDS: Final = 60.0  # a bell that is being hung for longer has lost its process
_RING: Final = b"."


def folder() -> Path:
    return Path(settings.DATA_DIR, FOLDER)


def ring() -> None:
    """Wake every consumer that shares this data folder; take away the pipes of those that are gone."""
    with contextlib.suppress(OSError), os.scandir(folder()) as entries:
        for entry in entries:
            if not entry.name.startswith("."):
                _ring_one(entry)


def _ring_one(entry: os.DirEntry[str]) -> None:
    with contextlib.suppress(OSError):
        if not stat.S_ISFIFO(entry.stat(follow_symlinks=False).st_mode):
            return
        try:
            end = os.open(entry.path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no process has it open to read: its consumer has died
                os.unlink(entry.path)
            return
        try:
            os.write(end, _RING)  # a full pipe: its reader has not read earlier rings yet, and will
        finally:
            os.close(end)


class Bell:
    """The pipe of one consumer, there for others as soon as it can be heard."""

    def __init__(self) -> None:
        """Make the pipe. Raises OSError where the data folder takes none."""
        place = folder()
        place.mkdir(mode=0o700, exist_ok=True)
        place.chmod(0o700)
        _sweep(place)
        self._path = place / f"{os.getpid()}-{uuid.uuid4().hex}"
        # Under its name only once it is open: a pipe without a reader is removed as a dead consumer's.
        hidden = place / f".{self._path.name}"
        os.mkfifo(hidden, 0o600)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self._reader = os.open(hidden, os.O_RDONLY | flags)
        # Its own writing end: without one the pipe would be at its end, and always ready, between two rings.
        self._writer = os.open(hidden, os.O_WRONLY | flags)
        hidden.rename(self._path)
        # Of one thread, that a signal may interrupt in here.
        self._lock = threading.RLock()
        self._is_open = True

    def ring(self) -> None:
        """Wake this consumer alone, from another of its threads."""
        with self._lock, contextlib.suppress(OSError):
            if self._is_open:  # or the number could be another file's by now
                os.write(self._writer, _RING)

    def clear(self) -> None:
        """Forget earlier rings. A query after this sees the messages that they announced, or newer ones."""
        with contextlib.suppress(OSError):
            while os.read(self._reader, 4096):
                pass

    def wait(self, seconds: float) -> None:
        """Return when it rings, or has rung since it was cleared, and after so many seconds in any case."""
        poll = select.poll()
        poll.register(self._reader, select.POLLIN)
        poll.poll(seconds * 1000)

    def close(self) -> None:
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
            os.close(self._reader)
            os.close(self._writer)
        with contextlib.suppress(OSError):
            self._path.unlink()


def _sweep(place: Path) -> None:
    """Take away what consumers have left that died while they made theirs."""
    for left in place.glob(".*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > UNFINISHED_SECONDS:
                left.unlink()
