"""Gunicorn's threaded worker, whose threads wait for no client.

The main loop reads each request whole before a thread gets it, and sends what the client of an answer has
not taken yet. A client that sends or reads a byte a second takes a place in a table, and no thread. A request
that is not here in time is answered 408, and an answer that is not taken in time is cut off. When the places
or the memory for them are used up, the address that has the most loses its oldest.

A program that asks again as soon as it has its answer is answered by the same thread, which saves both of
them the way through the main loop. For that moment a thread does wait: while no request waits for one, and
half of the threads at most.

Reads only lengths (`console.process.framing`); gunicorn parses, and serves, what is here.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import ipaddress
import math
import select
import selectors
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from gunicorn import glogging
from gunicorn.http import errors
from gunicorn.workers import gthread

from console.process import framing
from console.process.client_sockets import Wire
from console.settings import REQUEST_SECONDS

PLACES: Final = 500  # of one worker process; the usual limit of open files is 1,024
UNREAD_BYTES: Final = 64 * 1024 * 1024
LINGER_SECONDS: Final = 2.0  # for a client to take a last answer before its own bytes are refused
LOOK_EVERY_SECONDS: Final = 0.5
STAY_SECONDS: Final = 0.02  # that a thread gives a client for its next request


class Log(glogging.Logger):  # type: ignore[misc]
    """Gunicorn's log, without a line for each request: it would hold query strings."""

    def access(self, *_: object) -> None:
        """Do nothing. The base class puts the whole line together before it finds that nothing takes it."""


class State(enum.Enum):
    """What a connection waits for."""

    READING = enum.auto()  # the next request, or the rest of one
    SERVING = enum.auto()  # a thread has it
    ENDING = enum.auto()  # nothing is read any more; the last answer is being sent
    LINGERING = enum.auto()  # the answer is sent; the client may close first


class Connection(gthread.TConn):  # type: ignore[misc]
    """One client: what it has sent and not been given to a thread, and until when it may take its time."""

    sock: Wire

    def __init__(self, cfg: Any, wire: Wire, client: Any, server: Any) -> None:
        super().__init__(cfg, wire, client, server)
        self.data_ready = True  # a thread is asked only then
        self.state = State.READING
        self.since = time.monotonic()
        self.deadline = self.since + REQUEST_SECONDS
        self.has_begun = False  # something of the next request has come
        self.unread = bytearray()
        self.frame: framing.Frame | None = None
        self.watched = 0  # the events that the poller has been asked for
        self.share = share(client[0] if isinstance(client, tuple) else "")


class Worker(gthread.ThreadWorker):  # type: ignore[misc]
    """What `console.process.web` names as its worker class."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.connections: set[Connection] = set()
        self.look_at = 0.0
        self.idle_seconds = self.cfg.keepalive  # which is looked up in a table each time
        self.may_stay = self.cfg.threads // 2
        self.counts = threading.Lock()
        self.queued = 0  # requests that wait for a thread
        self.staying = 0  # threads that wait for a request

    # ---------------------------------------------------------------- what the base class calls

    def accept(self, listener: Any) -> None:
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                self._make_room(lambda _: 1)
            elif error.errno not in {errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK}:
                raise
            return
        wire = Wire(sock, lambda: self.method_queue.defer(self._settle, connection))
        connection = Connection(self.cfg, wire, client, listener.getsockname())
        self.connections.add(connection)
        self.nr_conns = len(self.connections)
        if self.nr_conns >= PLACES:
            self._make_room(lambda _: 1)
        self._settle(connection)

    def enqueue_req(self, conn: Connection) -> None:
        with self.counts:
            self.queued += 1
        super().enqueue_req(conn)

    def handle(self, conn: Connection) -> bool:
        """Answer one request in a thread, and those that come at once behind it."""
        with self.counts:
            self.queued -= 1
        while self._answer(conn):
            if not self._stay(conn):
                return True
        return False

    def _answer(self, conn: Connection) -> bool:
        """Answer the request that is given; whatever it came to is sent in one piece."""
        try:
            return bool(super().handle(conn))
        finally:
            # A client that is gone has nothing to be told, and the main loop sees it.
            with contextlib.suppress(OSError):
                conn.sock.complete()

    def _stay(self, conn: Connection) -> bool:
        """Whether the client's next request came whole, and is given; if not, the main loop goes on."""
        if not self.alive or conn.unread or conn.sock.is_sending:
            return False
        with self.counts:
            if self.queued or self.staying >= self.may_stay:
                return False
            self.staying += 1
        try:
            # What is closed meanwhile has no number; what has its number then is not read from.
            poll = select.poll()
            poll.register(conn.sock.fileno(), select.POLLIN)
            if not poll.poll(STAY_SECONDS * 1000):
                return False
            conn.unread += conn.sock.receive()
            conn.has_begun = bool(conn.unread)
            return conn.has_begun and self._take(conn)
        except (OSError, ValueError, framing.Refused):
            return False
        finally:
            with self.counts:
                self.staying -= 1

    def finish_request(self, conn: Connection, done: Future[bool]) -> None:
        """Take a connection back from its thread."""
        stays = not done.cancelled() and done.exception() is None and done.result()
        if conn not in self.connections:
            return
        conn.state = State.READING if stays else State.ENDING
        self._await(conn)
        self._settle(conn)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that cannot be parsed, or that failed; say why, and nothing of its address.

        An old client of Alibaba Cloud sends the value of a secret in the query, and gunicorn would log it.
        """
        if isinstance(
            exc, errors.InvalidRequestLine | errors.InvalidRequestMethod | errors.InvalidHTTPVersion
        ):
            exc = type(exc)("not shown")
        super().handle_error(None, client, addr, exc)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close the connections whose time is over; with `force`, all of them."""
        now = time.monotonic()
        if now < self.look_at and not force:
            return
        self.look_at = now + LOOK_EVERY_SECONDS
        for conn in list(self.connections):
            if force or conn.sock.is_stalled(now):
                self._drop(conn)
            elif now >= conn.deadline and not conn.sock.is_sending:
                self._overdue(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Before it stops, a worker waits for the requests that a thread is serving, and for little else."""
        for conn in self.connections:
            if conn.state is State.READING:
                conn.deadline = min(conn.deadline, deadline)

    # ---------------------------------------------------------------- one connection

    def _settle(self, conn: Connection) -> None:
        """Do what comes next, and watch for what it waits for."""
        if conn not in self.connections:
            return
        if not conn.sock.is_sending:
            if conn.state is State.READING and conn.unread:
                self._look(conn)
            if conn.state is State.ENDING and not conn.sock.is_sending:
                self._part(conn)
        if conn in self.connections:
            self._watch(conn)

    def _ready(self, conn: Connection, _: object) -> None:
        try:
            if conn.sock.is_sending:
                if conn.sock.flush():
                    self._await(conn)
            elif conn.state in {State.READING, State.LINGERING}:
                self._receive(conn)
            elif conn.state is State.SERVING and conn in self.connections:
                # It sends on before it has its answer, or has gone: looked at again once it is answered.
                self._look_away(conn)
                return
        except BlockingIOError:
            return
        except OSError:
            self._drop(conn)
        self._settle(conn)

    def _receive(self, conn: Connection) -> None:
        more = conn.sock.receive()
        if not more:
            self._drop(conn)
        elif conn.state is State.READING:
            if not conn.has_begun:
                conn.has_begun, conn.deadline = True, time.monotonic() + REQUEST_SECONDS
            conn.unread += more
            if len(conn.unread) > framing.HEAD_LIMIT_BYTES and self._unread() > UNREAD_BYTES:
                self._make_room(lambda connection: len(connection.unread))

    def _await(self, conn: Connection) -> None:
        """Give the client its time for the next request, once the last answer is taken."""
        if conn.state is State.READING and not conn.sock.is_sending:
            idle = self.idle_seconds if self.alive else LINGER_SECONDS
            conn.deadline = time.monotonic() + (REQUEST_SECONDS if conn.has_begun else idle)

    def _look(self, conn: Connection) -> None:
        """Hand the request over if it is whole; refuse it if it will not be."""
        try:
            if self._take(conn):
                self.enqueue_req(conn)
            elif conn.frame is not None and conn.frame.expects_continue:
                conn.frame = framing.Frame(conn.frame.length, False)
                self._say(conn, b"HTTP/1.1 100 Continue\r\n\r\n")
        except framing.Refused as refused:
            self._refuse(conn, refused.status)

    def _take(self, conn: Connection) -> bool:
        """Give a thread the request if it is whole, and say whether it is. Raises `framing.Refused`."""
        while conn.unread.startswith(b"\r\n"):  # RFC 9112, 2.2: a robust server ignores an empty line
            del conn.unread[:2]
        conn.frame = conn.frame or framing.frame(conn.unread)
        if conn.frame is None or len(conn.unread) < conn.frame.length:
            return False
        conn.sock.give(bytes(conn.unread[: conn.frame.length]))
        del conn.unread[: conn.frame.length]
        conn.frame, conn.state, conn.deadline = None, State.SERVING, math.inf
        conn.has_begun = bool(conn.unread)
        return True

    def _overdue(self, conn: Connection) -> None:
        if conn.state is State.READING and conn.unread:
            self._refuse(conn, 408)
            self._settle(conn)
        else:
            self._drop(conn)

    def _refuse(self, conn: Connection, status: int) -> None:
        answer = framing.refusal(status, conn.unread)
        conn.unread.clear()
        conn.state = State.ENDING
        self._say(conn, answer)

    def _say(self, conn: Connection, text: bytes) -> None:
        try:
            conn.sock.keep(text)
        except OSError:
            self._drop(conn)

    def _part(self, conn: Connection) -> None:
        """End our side. To close at once would lose the answer where the client is still sending."""
        conn.state = State.LINGERING
        conn.deadline = time.monotonic() + LINGER_SECONDS
        try:
            conn.sock.end()
        except OSError:
            self._drop(conn)

    def _drop(self, conn: Connection) -> None:
        if conn not in self.connections:
            return
        self.connections.discard(conn)
        self.nr_conns = len(self.connections)
        if conn.watched:
            with contextlib.suppress(OSError, KeyError, ValueError):
                self.poller.unregister(conn.sock)
        conn.sock.abandon()

    def _watch(self, conn: Connection) -> None:
        reads = conn.state in {State.READING, State.LINGERING}
        wanted = selectors.EVENT_WRITE if conn.sock.is_sending else selectors.EVENT_READ if reads else 0
        if wanted == conn.watched:
            return
        # Nearly every client waits for its answer: it is cheaper to be called for one that does not.
        if conn.state is State.SERVING and not wanted and conn.watched == selectors.EVENT_READ:
            return
        self._look_away(conn)
        if wanted:
            self.poller.register(conn.sock, wanted, partial(self._ready, conn))
        conn.watched = wanted

    def _look_away(self, conn: Connection) -> None:
        if conn.watched:
            self.poller.unregister(conn.sock)
            conn.watched = 0

    # ---------------------------------------------------------------- all of them

    def _unread(self) -> int:
        return sum(len(conn.unread) for conn in self.connections)

    def _make_room(self, weight: Callable[[Connection], int]) -> None:
        """Close the oldest connection of the address that holds most, among those that no thread has."""
        waiting = [conn for conn in self.connections if conn.state is not State.SERVING and weight(conn)]
        held: Counter[str] = Counter()
        for conn in waiting:
            held[conn.share] += weight(conn)
        if held:
            most = held.most_common(1)[0][0]
            self._drop(
                min(
                    (connection for connection in waiting if connection.share == most),
                    key=lambda connection: connection.since,
                )
            )


def share(address: str) -> str:
    """Who counts as one: an address, or in IPv6 the network that a single customer is given."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed.ipv4_mapped or ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
