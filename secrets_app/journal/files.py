"""The journal in a file on another disk.

The file is made by a command and never by a rotation: where its disk is not mounted there is no file, and
none is made in the place where it should be. A line that a full disk cut is taken back; one that a crash cut
is ended before the next one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from secrets_app.journal.places import Away, Written

SCHEME = "file:"


class FileJournal:
    """One file, which several processes may append to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def make(self) -> None:
        try:
            os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            _sync(self.path.parent)
        except OSError as error:
            raise Away(f"{self.path}: {error.strerror}") from None

    def append(self, line: bytes) -> None:
        with self._opened() as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                line = b"\n" + line  # a crash has cut the line before
            try:
                rest = line
                while rest:
                    rest = rest[os.write(descriptor, rest) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, size)
                raise

    def check(self) -> None:
        with self._opened():
            pass

    def lines(self) -> Iterator[bytes]:
        try:
            with self.path.open("rb") as file:
                yield from file
        except OSError as error:
            raise Away(f"{self.path}: {error.strerror}") from None

    def written(self) -> Written:
        try:
            status = self.path.stat()
        except OSError as error:
            raise Away(f"{self.path}: {error.strerror}") from None
        return Written(status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Open the file that is there; whatever fails with it says why."""
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            raise Away(
                f"The credential journal {self.path} is not there. Mount its disk, or run: journal init."
            ) from None
        except OSError as error:
            raise Away(f"The credential journal {self.path} cannot be written ({error.strerror}).") from None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
