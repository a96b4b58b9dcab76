"""A client that sends or reads a byte a second keeps nobody else from the console, and is cut off.

A real gunicorn with the product's settings. Its time for a request is two seconds here, and not twenty.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from console.process import client_sockets, connections, framing
from tests.waiting import wait_for
from tests.web_process import Web

CHECKOUT = Path(__file__).resolve().parents[1]
CROWD = 100
HEAD = b"POST /form HTTP/1.1\r\nHost: localhost\r\n"


class Echo:
    """gunicorn with one worker of two threads, before an application of the tests."""

    def __init__(self, log: Path, **environment: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        number = self._listener.fileno()
        words = ["-m", "gunicorn", "-c", "python:tests.echo_web", "-b", f"fd://{number}"]
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, *words], cwd=CHECKOUT, stdout=file, stderr=file, pass_fds=(number,),
                env=os.environ | {"KEYTURN_REQUEST_SECONDS": "2"} | environment,
            )  # fmt: skip

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._listener.close()


@pytest.fixture
def started(tmp_path) -> Iterator[Callable[..., Echo]]:
    """Return what starts a server; every one ends with the test."""
    made: list[Echo] = []

    def start(**environment: str) -> Echo:
        made.append(Echo(tmp_path / "log", **environment))
        answered = wait_for(lambda: ask(made[-1].port), "the server")
        assert answered == b"GET / 0\n"
        return made[-1]

    yield start
    for one in made:
        one.end()


@pytest.fixture
def echo(started):
    return started()


def ask(port: int, path: str = "/") -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
        return answer.read()


def connect(port: int, text: bytes = b"") -> socket.socket:
    found = socket.create_connection(("127.0.0.1", port), timeout=60)
    found.sendall(text)
    return found


def rest(client: socket.socket) -> bytes:
    """All that still comes, until the server closes."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while more := client.recv(65536):
            found += more
    return found


class Drippers:
    """So many clients, each of which sends a byte now and then until it is answered or cut off."""

    def __init__(self, port: int, text: bytes, count: int = CROWD) -> None:
        self.clients = [connect(port, text) for _ in range(count)]
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._drip, daemon=True)
        self._thread.start()

    def _drip(self) -> None:
        until = time.monotonic() + 60
        while not self._is_over.wait(0.3) and time.monotonic() < until:
            for client in self.clients:
                with contextlib.suppress(OSError):
                    client.send(b"x")

    def answers(self) -> list[bytes]:
        return [rest(client) for client in self.clients]

    def end(self) -> None:
        self._is_over.set()
        self._thread.join(10)
        for client in self.clients:
            client.close()


@pytest.fixture
def crowd(echo) -> Iterator[Callable[[bytes], Drippers]]:
    made: list[Drippers] = []

    def drip(text: bytes) -> Drippers:
        made.append(Drippers(echo.port, text))
        return made[-1]

    yield drip
    for one in made:
        one.end()


# ---------------------------------------------------------------- slow to send


@pytest.mark.parametrize(
    "text", [b"GET / HTTP/1.1\r\nX-Slow: ", HEAD + b"Content-Length: 5000\r\n\r\n"], ids=["head", "body"]
)
def test_a_hundred_that_drip_hold_no_thread_and_are_answered_408(echo, crowd, text):
    dripping = crowd(text)
    assert ask(echo.port) == b"GET / 0\n"  # two threads, and a hundred that have not finished
    for answer in dripping.answers():
        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert b"Connection: close\r\n" in answer


@pytest.mark.django_db(transaction=True)
def test_the_sign_in_page_answers_while_a_hundred_drip(dot, tmp_path, monkeypatch):
    monkeypatch.setenv("KEYTURN_REQUEST_SECONDS", "5")
    web = Web(tmp_path / "log")
    try:
        web.wait()
        dripping = Drippers(web.port, b"GET /sign-in/ HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
        try:
            assert b"<h1>Sign in</h1>" in ask(web.port, "/sign-in/")
            answers = dripping.answers()
        finally:
            dripping.end()
    finally:
        web.end()
    assert {answer.partition(b"\r\n")[0] for answer in answers} == {b"HTTP/1.1 408 Request Timeout"}


def test_who_says_nothing_is_let_go_without_a_word(echo):
    assert rest(connect(echo.port)) == b""


def test_empty_lines_gain_no_time(echo):
    dripping = connect(echo.port)
    over = threading.Event()

    def drip() -> None:
        with contextlib.suppress(OSError):
            while not over.wait(0.2):
                dripping.send(b"\r\n")

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    assert rest(dripping) == b""
    over.set()
    thread.join(10)


def test_an_idle_connection_that_was_answered_is_let_go(started):
    echo = started(ECHO_KEEPALIVE="1")
    kept = connect(echo.port, b"GET /one HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert rest(kept).endswith(b"GET /one 0\n")


# ---------------------------------------------------------------- slow to read


def test_who_does_not_read_a_short_answer_holds_no_thread(echo):
    held = []
    for _ in range(8):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", echo.port))
        client.sendall(b"GET /long/15 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        held.append(client)
    assert ask(echo.port) == b"GET / 0\n"
    for client in held:
        client.close()


def test_who_does_not_take_a_long_answer_is_cut_off_and_its_thread_is_free(tmp_path, monkeypatch):
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(client_sockets, "ANSWER_SECONDS", 0.2)
    held = client_sockets.Wire(ours, lambda: None)
    told = []

    def answer() -> None:
        try:
            held.sendall(b"x" * (client_sockets.KEPT_BYTES * 8))
        except BrokenPipeError as error:
            told.append(error)

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    wait_for(lambda: held.is_sending, "an answer that is kept")
    assert thread.is_alive()
    # A byte now and then is not enough.
    wait_for(lambda: theirs.recv(1) and held.is_stalled(time.monotonic()), "the end of its time", 30)
    held.abandon()
    thread.join(30)
    assert len(told) == 1
    theirs.close()


def test_who_reads_at_a_fair_rate_is_given_the_time_for_it():
    ours, theirs = socket.socketpair()
    held = client_sockets.Wire(ours, lambda: None)
    held.keep(b"x" * (client_sockets.KEPT_BYTES * 8))
    before = held._send_by
    taken = len(theirs.recv(65536))
    wait_for(lambda: not held.flush() and held._send_by > before, "room for more")
    assert taken
    assert not held.is_stalled(before)
    held.abandon()
    theirs.close()


def test_an_answer_leaves_in_one_piece_so_that_a_killed_process_has_sent_all_of_it_or_nothing():
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    held = client_sockets.Wire(ours, lambda: None)
    for part in (b"head ", b"body"):
        held.sendall(part)
        with pytest.raises(BlockingIOError):
            theirs.recv(100)
    held.complete()
    assert theirs.recv(100) == b"head body"
    held.abandon()
    theirs.close()


def test_an_answer_that_fails_after_its_head_is_none(echo):
    assert rest(connect(echo.port, b"GET /breaks HTTP/1.1\r\nHost: localhost\r\n\r\n")) == b""


def test_a_long_answer_comes_whole(echo):
    assert len(ask(echo.port, "/long/200")) == 200 * 65536


# ---------------------------------------------------------------- too much, too many


def test_a_body_that_is_too_long_is_refused_before_it_is_sent(echo):
    asked = connect(echo.port, HEAD + b"Content-Length: 900000000\r\n\r\n" + b"x" * 100_000)
    assert rest(asked).startswith(b"HTTP/1.1 413 Content Too Large\r\n")


def test_too_many_headers_are_refused(echo):
    many = b"".join(b"X-%d: 1\r\n" % number for number in range(200))
    assert rest(connect(echo.port, HEAD + many + b"\r\n")).startswith(b"HTTP/1.1 431 ")
    long = b"X: " + b"y" * framing.HEAD_LIMIT_BYTES
    assert rest(connect(echo.port, HEAD + long)).startswith(b"HTTP/1.1 431 ")


def test_requests_behind_one_another_are_answered_in_turn(echo):
    two = (
        HEAD
        + b"Content-Length: 3\r\n\r\nabc"
        + b"GET /two HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    for cut in (len(two), 10, len(HEAD) + 20, len(two) - 5):
        client = connect(echo.port, two[:cut])
        client.sendall(two[cut:])
        found = rest(client)
        assert re.findall(rb"(?:POST|GET) /\w+ \d+", found) == [b"POST /form 3", b"GET /two 0"]


def test_a_body_of_chunks_hides_no_second_request(echo):
    hidden = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n"
    found = rest(
        connect(echo.port, HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + hidden)
    )
    assert found.startswith(b"HTTP/1.1 411 ")
    assert b"hidden" not in found


def test_who_waits_to_be_told_to_go_on_is_told(echo):
    client = connect(
        echo.port, HEAD + b"Expect: 100-continue\r\nConnection: close\r\nContent-Length: 3\r\n\r\n"
    )
    assert client.recv(1000).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
    client.sendall(b"abc")
    assert rest(client).endswith(b"POST /form 3\n")


def test_a_server_that_stops_finishes_what_it_answers_and_waits_for_no_dripper(echo):
    dripping = Drippers(echo.port, b"GET / HTTP/1.1\r\nX-Slow: ", count=5)
    asked = connect(echo.port, b"GET /long/30 HTTP/1.1\r\nHost: localhost\r\n\r\n")
    found = asked.recv(10)
    echo.process.terminate()
    found += rest(asked)
    assert len(found.partition(b"\r\n\r\n")[2]) == 30 * 65536
    assert echo.process.wait(60) == 0
    dripping.end()


# ---------------------------------------------------------------- who asks again at once

LONG = {"ECHO_STAY": "3600"}  # so that nothing here depends on how fast the machine is


class Asking:
    """A client that asks again and again on one connection."""

    def __init__(self, port: int) -> None:
        self.socket = connect(port)

    def send(self, path: str) -> None:
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    def answer(self) -> bytes:
        found = b""
        while not found.endswith(b" 0\n"):
            more = self.socket.recv(65536)
            assert more, found
            found += more
        return found.partition(b"\r\n\r\n")[2]

    def ask(self, path: str) -> bytes:
        self.send(path)
        return self.answer()

    def has_answer(self) -> bool:
        return bool(select.select([self.socket], [], [], 0.1)[0])


def keeps_a_thread(echo: Echo, client: Asking) -> bool:
    """Whether a thread waits for this client's next request, now that it has asked."""
    client.ask("/one")
    time.sleep(0.05)  # a request that comes before it does so keeps it from it
    return ask(echo.port, "/staying") == b"GET /staying/1 0\n"


@pytest.fixture
def asking(started) -> Iterator[Callable[[], Asking]]:
    """Return what connects a client; a thread waits for the next request of the first one."""
    echo, made = started(**LONG), list[Asking]()

    def start() -> Asking:
        made.append(Asking(echo.port))
        if len(made) == 1:
            wait_for(lambda: keeps_a_thread(echo, made[0]), "a thread that stays")
        return made[-1]

    yield start
    for client in made:
        client.socket.close()


def test_who_asks_again_keeps_its_thread_and_the_others_have_theirs(asking):
    first, second, third = asking(), asking(), asking()
    others = {second.ask("/thread"), third.ask("/thread"), second.ask("/thread")}
    assert len(others) == 1
    assert first.ask("/thread") not in others


def test_who_waits_for_a_thread_comes_before_who_has_one(asking):
    first, second, third = asking(), asking(), asking()
    second.send("/waits")  # both threads are taken now
    third.send("/go")
    wait_for(lambda: first.ask("/two") and third.has_answer(), "a thread for the third")
    assert third.answer() == b"GET /go 0\n"
    assert second.answer() == b"GET /waits 0\n"


def test_who_has_a_thread_and_sends_half_a_request_has_none(asking):
    first, second = asking(), asking()
    first.socket.sendall(b"GET /half HTTP/1.1\r\n")
    second.send("/waits")
    assert asking().ask("/go") == b"GET /go 0\n"
    assert second.answer() == b"GET /waits 0\n"
    assert rest(first.socket).startswith(b"HTTP/1.1 408 ")


def test_who_has_a_thread_and_is_gone_has_none(asking):
    first, second = asking(), asking()
    first.socket.close()
    second.send("/waits")
    assert asking().ask("/go") == b"GET /go 0\n"
    assert second.answer() == b"GET /waits 0\n"


def test_who_has_a_thread_and_asks_what_is_refused_is_told(asking):
    client = asking()
    client.socket.sendall(HEAD + b"Content-Length: 99999999\r\n\r\n")
    assert rest(client.socket).startswith(b"HTTP/1.1 413 ")


# ---------------------------------------------------------------- whose place goes


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("", ""),
    ],
)
def test_a_network_of_one_customer_counts_as_one(address, expected):
    assert connections.share(address) == expected


class _Many(connections.Worker):
    """A worker that serves nothing: only whose place goes is asked."""

    def __init__(self) -> None:
        self.connections = set()
        self.nr_conns = 0


def test_a_crowd_from_one_address_takes_no_place_of_another(started):
    echo = started(ECHO_PLACES="30", KEYTURN_REQUEST_SECONDS="60")
    elsewhere = socket.create_connection(("127.0.0.1", echo.port), 60, source_address=("127.0.0.2", 0))
    elsewhere.sendall(b"GET /begun HTTP/1.1\r\n")
    dripping = Drippers(echo.port, b"GET / HTTP/1.1\r\nX-Slow: ")
    elsewhere.sendall(b"Host: localhost\r\nConnection: close\r\n\r\n")
    assert rest(elsewhere).endswith(b"GET /begun 0\n")
    dripping.end()


def test_the_oldest_of_the_address_that_has_most_makes_room():
    worker = _Many()
    ends = []
    for number, address in enumerate(["10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.2", "10.0.0.3"]):
        ours, theirs = socket.socketpair()
        found = connections.Connection(None, client_sockets.Wire(ours, lambda: None), (address, 1), None)
        found.since = float(number)
        worker.connections.add(found)
        ends.append(theirs)
    served = next(one for one in worker.connections if one.since == 1.0)
    served.state = connections.State.SERVING
    worker._make_room(lambda _: 1)
    assert sorted(one.since for one in worker.connections) == [0.0, 1.0, 3.0, 4.0]
    for one in list(worker.connections):
        one.sock.abandon()
    for end in ends:
        end.close()
