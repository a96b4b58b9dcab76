"""A client's socket as a thread sees it: one request to read, and an answer that is taken at once.

An answer of up to `WHOLE_BYTES` goes to the kernel in one call, when it is complete: a process that is killed
has sent all of it or nothing, and a proxy tells its client of no half answer. What the client does not take
yet is kept, and sent later by the main loop. A thread waits only while more than `KEPT_BYTES` are kept, and
only as long as the client takes them at a fair rate.
"""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from typing import Final

KEPT_BYTES: Final = 1024 * 1024
WHOLE_BYTES: Final = 256 * 1024  # of an answer, its head with it; any page is smaller
#: How long a client may take for its answer: this, and a second more for so many bytes that it has taken.
ANSWER_SECONDS: Final = 20.0
FAIR_BYTES_PER_SECOND: Final = 16 * 1024
READ_BYTES: Final = 64 * 1024


class Wire:
    """One client's socket. The first part is the main loop's, the second one a thread's.

    A thread that stays for the client's next request receives and gives it itself: the main loop does neither
    while a thread has the connection.
    """

    def __init__(self, sock: socket.socket, wake: Callable[[], None]) -> None:
        """Take the socket; `wake` has the main loop look at it again and is called from a thread."""
        self._socket = sock
        self._socket.setblocking(False)
        self._wake = wake
        self._request = memoryview(b"")
        self._answer = bytearray()  # what a thread has said so far
        self._kept = bytearray()
        self._send_by = 0.0
        self._is_gone = False
        self._changed = threading.Condition()

    # ---------------------------------------------------------------- for the main loop

    def fileno(self) -> int:
        return self._socket.fileno()

    def receive(self) -> bytes:
        """What has come; nothing where the client has gone. Raises `BlockingIOError` where nothing has."""
        return self._socket.recv(READ_BYTES)

    def give(self, request: bytes) -> None:
        """Have the next thread read this request."""
        self._request = memoryview(request)

    @property
    def is_sending(self) -> bool:
        """True while the client has not taken all of its answer."""
        return bool(self._kept)

    def flush(self) -> bool:
        """Send as much as the client takes now, and say whether that was all."""
        with self._changed:
            self._send()
            self._changed.notify_all()
            return not self._kept

    def keep(self, text: bytes) -> None:
        """Have this sent; never waits."""
        with self._changed:
            self._put(text)

    def is_stalled(self, now: float) -> bool:
        """Whether the client takes its answer too slowly to be waited for."""
        return bool(self._kept) and now >= self._send_by

    def end(self) -> None:
        """Say that nothing more comes from here."""
        self._socket.shutdown(socket.SHUT_WR)

    def abandon(self) -> None:
        """Close the socket; a thread that still answers is told so."""
        with self._changed:
            self._is_gone = True
            self._answer.clear()
            self._kept.clear()
            self._socket.close()
            self._changed.notify_all()

    # ---------------------------------------------------------------- for a thread: what gunicorn calls

    def recv(self, size: int) -> bytes:
        """The next bytes of the request; nothing at its end, where a socket would wait for more."""
        taken = bytes(self._request[:size])
        self._request = self._request[size:]
        return taken

    def sendall(self, text: bytes) -> None:
        """Take a part of the answer. Raises `BrokenPipeError` where the client is gone or was given up."""
        with self._changed:
            self._be_there()
            self._answer += text
            is_long = len(self._answer) > WHOLE_BYTES
        if is_long:
            self.complete()

    def complete(self) -> None:
        """Send what was said, or keep it for later. Raises `BrokenPipeError` as `sendall` does."""
        with self._changed:
            if not self._answer:
                return
            text, self._answer = self._answer, bytearray()
            self._put(text)
            is_sent = not self._kept
        if is_sent:
            return
        self._wake()
        with self._changed:
            while len(self._kept) > KEPT_BYTES and not self._is_gone:
                self._changed.wait()
            self._be_there()

    def send(self, text: bytes) -> int:
        """Drop it: gunicorn says nothing but `100 Continue` by this, and the whole body is here."""
        return len(text)

    def setblocking(self, _: bool) -> None:
        """Nothing here blocks."""

    def settimeout(self, _: float | None) -> None:
        """Nothing here blocks."""

    def gettimeout(self) -> float | None:
        return None

    def shutdown(self, _: int) -> None:
        """Drop what is not sent: gunicorn calls this where an answer failed after its head.

        The main loop ends the connection; without an answer, if none of it has left.
        """
        with self._changed:
            self._answer.clear()

    def close(self) -> None:
        """The main loop closes it, once everything is sent."""

    # ---------------------------------------------------------------- with the lock

    def _put(self, text: bytes | bytearray) -> None:
        self._be_there()
        if not self._kept:
            self._send_by = time.monotonic() + ANSWER_SECONDS
        self._kept += text
        self._send()

    def _send(self) -> None:
        while self._kept and not self._is_gone:
            try:
                sent = self._socket.send(self._kept)
            except BlockingIOError:
                return
            del self._kept[:sent]
            self._send_by += sent / FAIR_BYTES_PER_SECOND

    def _be_there(self) -> None:
        if self._is_gone:
            raise BrokenPipeError(errno.EPIPE, "The client is gone.")
