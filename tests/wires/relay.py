"""A TCP relay between a test and a host, which can do to a connection what networks do.

Traffic is encrypted, so a fault is aimed by direction, by count of bytes, or by the moment at which the
test itself sees that something has happened on the host.
"""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable

_UPWARD = "to the host"
_DOWNWARD = "from the host"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: closing sends RST


class Relay:
    """Listens on a loopback port and forwards to a host. Faults are attributes and apply at once."""

    def __init__(self, address: str, port: int) -> None:
        self._target = (address, port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address, self.port = self._listener.getsockname()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._ended = threading.Event()

        self._frozen: set[socket.socket] = set()
        self.paused = threading.Event()  # while set, nothing moves in either direction
        self.drops_replies = False  # what the host says from now on is swallowed
        self.bytes_a_second: int | None = None  # each direction
        self.delay_seconds = 0.0  # before each chunk
        self.cut_after_sent: int | None = None  # bytes to the host; what is over is not forwarded
        self.cut_after_received: int | None = None  # bytes from the host
        self.resets = True  # a cut is a reset; else an orderly end
        self.on_sent: Callable[[int], None] = lambda total: (
            None
        )  # with each chunk to the host, before it goes

        self.sent = 0  # bytes to the host, of all connections
        self.received = 0
        self.connections = 0
        self.stalls: Callable[[], float] = lambda: 0.0  # seconds, drawn for each chunk
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> "Relay":
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """End every open connection, both ways."""
        pairs, self._pairs = self._pairs, []
        for end in (end for pair in pairs for end in pair):
            with contextlib.suppress(OSError):
                if self.resets:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                end.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                end.close()

    def freeze(self) -> None:
        """Let nothing move any more on the connections that are open; new ones go through."""
        self._frozen.update(end for pair in self._pairs for end in pair)

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
                host = socket.create_connection(self._target, timeout=10)
            except OSError:
                continue
            host.settimeout(None)
            self.connections += 1
            self._pairs.append((client, host))
            threading.Thread(target=self._carry, args=(client, host, _UPWARD), daemon=True).start()
            threading.Thread(target=self._carry, args=(host, client, _DOWNWARD), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        ending = socket.SHUT_RDWR  # a reset of the one side is the end of the other
        with contextlib.suppress(OSError):
            while chunk := source.recv(1 if self.bytes_a_second else 16384):
                self._wait(len(chunk), source)
                if direction == _UPWARD:
                    self.on_sent(self.sent + len(chunk))
                allowed = self._allowed(len(chunk), direction)
                if direction == _DOWNWARD and self.drops_replies:
                    continue
                target.sendall(chunk[:allowed])
                if allowed < len(chunk):
                    return self.cut()
            ending = socket.SHUT_WR
        with contextlib.suppress(OSError):
            target.shutdown(ending)
        return None

    def _wait(self, size: int, source: socket.socket) -> None:
        if pause := self.delay_seconds + self.stalls():
            time.sleep(pause)
        if self.bytes_a_second:
            self._ended.wait(size / self.bytes_a_second)
        while (self.paused.is_set() or source in self._frozen) and not self._ended.is_set():
            time.sleep(0.01)

    def _allowed(self, size: int, direction: str) -> int:
        """Count a chunk, and return how much of it may pass before the cut."""
        if direction == _UPWARD:
            self.sent += size
            over = self.sent - self.cut_after_sent if self.cut_after_sent is not None else 0
        else:
            self.received += size
            over = self.received - self.cut_after_received if self.cut_after_received is not None else 0
        return max(0, size - max(0, over))
