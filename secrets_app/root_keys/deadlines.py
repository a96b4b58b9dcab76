"""A provider that may be slow or away, asked in a thread of its own: no caller waits beyond a deadline.

A call into a hardware module's library cannot be cut short, and a server that sends a byte a second keeps
each socket's timeout. What has not answered in time is left to end by itself; how many such calls may be open
at once is limited. Material that was opened is remembered for a few seconds: reads of values come by hundreds
in a second, and a hardware module answers some dozens. A key that is gone is noticed within the same time.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from secrets_app.root_keys import RootKey

_T = TypeVar("_T")

SECONDS: Final = 5.0
REMEMBERED_SECONDS: Final = 5.0  # as often as `keyring` looks whether the key is still there
REMEMBERED_AT_MOST: Final = 256
OPEN_CALLS: Final = 16


class Bounded:
    """A provider that keeps the contract of `RootKey`, and never longer than `seconds`."""

    def __init__(self, inner: RootKey, unavailable: type[Exception], *, seconds: float = SECONDS) -> None:
        self._inner, self._unavailable, self._seconds = inner, unavailable, seconds
        self._free = threading.BoundedSemaphore(OPEN_CALLS)
        self._opened: dict[bytes, tuple[float, bytes]] = {}

    def __str__(self) -> str:
        return str(self._inner)

    def key_id(self) -> bytes:
        return self._in_time(self._inner.key_id)

    def wrap(self, material: bytes) -> bytes:
        return self._in_time(lambda: self._inner.wrap(material))

    def unwrap(self, wrapped: bytes) -> bytes:
        mark = hashlib.sha256(wrapped).digest()
        until, opened = self._opened.get(mark, (0.0, b""))
        if time.monotonic() < until:
            return opened
        opened = self._in_time(lambda: self._inner.unwrap(wrapped))
        if len(self._opened) >= REMEMBERED_AT_MOST:
            self._opened.clear()
        self._opened[mark] = (time.monotonic() + REMEMBERED_SECONDS, opened)
        return opened

    def make(self) -> bool:
        return self._in_time(self._inner.make)

    def forget(self) -> None:
        self._opened.clear()
        self._inner.forget()

    def _in_time(self, ask: Callable[[], _T]) -> _T:
        late = self._unavailable(f"{self} did not answer within {self._seconds:g} seconds.")
        if not self._free.acquire(timeout=self._seconds):
            raise late
        answers: SimpleQueue[tuple[_T | None, BaseException | None]] = SimpleQueue()

        def asking() -> None:
            try:
                answers.put((ask(), None))
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                answers.put((None, error))
            finally:
                self._free.release()

        # A daemon: one that hangs in a library does not keep the process from ending.
        threading.Thread(target=asking, name="root key", daemon=True).start()
        try:
            answer, error = answers.get(timeout=self._seconds)
        except Empty:
            raise late from None
        if error is not None:
            raise error
        return answer  # type: ignore[return-value]
