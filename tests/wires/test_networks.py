"""Nothing is dialled but an address that was judged; every way to a host goes through the same door."""

from __future__ import annotations

import ast
import errno
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

import rotation
from rotation.connectors import dialling
from rotation.connectors.base import ConnectorError, Endpoint, Fence, Kind, Login, Manager, Unreachable
from rotation.connectors.networks import EVERYWHERE, Networks
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from secrets_app.crypto.plaintext import Plaintext
from tests.networks import endpoint

MANAGER = Manager(Login("keyturn", Plaintext("a-password-1")))
FENCE = Fence("0" * 32, 1)
PINNED = ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",)
KEY = PINNED[0]
NEW = Plaintext("another-password-2")


def in_one_connection(place: Endpoint) -> object:
    connector = SshConnector(place)
    with connector.shared():
        return connector.preflight(MANAGER, "svc", timeout=5).blocked


CALLS: dict[str, Callable[[Endpoint], object]] = {
    "scan": lambda place: SshScanner().scan(place, timeout=5),
    "preflight": lambda place: SshConnector(place).preflight(MANAGER, "svc", timeout=5).blocked,
    "set_password": lambda place: SshConnector(place).set_password(
        MANAGER, "svc", NEW, fence=FENCE, timeout=5
    ),
    "probe_password": lambda place: SshConnector(place).probe_password(MANAGER, "svc", NEW, timeout=5),
    "add_key": lambda place: SshConnector(place).add_key(
        MANAGER, "svc", KEY, like="", fence=FENCE, timeout=5
    ),
    "remove_key": lambda place: SshConnector(place).remove_key(MANAGER, "svc", KEY, fence=FENCE, timeout=5),
    "probe_key": lambda place: SshConnector(place).probe_key(MANAGER, "svc", KEY, timeout=5),
    "trace": lambda place: SshConnector(place).trace(
        MANAGER, "svc", kind=Kind.PASSWORD, console_id="0" * 32, timeout=5
    ),
    "end_sessions": lambda place: SshConnector(place).end_sessions(MANAGER, "svc", timeout=5),
    "lifeline": lambda place: SshConnector(place).lifeline(MANAGER, timeout=5).__enter__(),
    "shared": in_one_connection,
    "prove_login": lambda place: SshConnector(place).prove_login(MANAGER.login, timeout=5),
}


class Listener:
    """Counts who comes; says `greeting` and hangs up."""

    def __init__(self, address: str, port: int = 0, greeting: bytes = b"") -> None:
        self._socket = socket.create_server((address, port))
        self.port: int = self._socket.getsockname()[1]
        self.calls = 0
        self._greeting = greeting
        threading.Thread(target=self._answer, daemon=True).start()

    def _answer(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            self.calls += 1
            with client:
                client.sendall(self._greeting)

    def close(self) -> None:
        self._socket.close()


@contextmanager
def listening(*addresses: str, greeting: bytes = b"") -> Iterator[list[Listener]]:
    """One listener for each address, all on the same port."""
    listeners: list[Listener] = []
    while not listeners:
        try:
            listeners = [Listener(addresses[0], greeting=greeting)]
            listeners += [Listener(address, listeners[0].port, greeting) for address in addresses[1:]]
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            # Free at the first address, and another test's at the second one: try another port.
            while listeners:
                listeners.pop().close()
    try:
        yield listeners
    finally:
        for listener in listeners:
            listener.close()


def test_every_call_of_a_connector_is_in_the_list():
    public = {name for name in vars(SshConnector) if not name.startswith("_")}
    assert set(CALLS) == public | {"scan"}


@pytest.mark.parametrize("call", CALLS)
def test_no_call_dials_an_address_that_is_not_allowed(call):
    with listening("127.0.0.1") as (door,):
        for text in ("127.0.0.1", "localhost", "127.1", "::ffff:127.0.0.1"):
            try:
                said = CALLS[call](Endpoint(text, door.port, PINNED, wire="ssh"))
            except ConnectorError as error:
                said = error
            assert getattr(said, "code", "") == "forbidden_address", (text, said)
        assert door.calls == 0
        # The same door is found where it is allowed: it is the rule that kept us out.
        with pytest.raises(Unreachable):
            SshScanner().scan(endpoint("127.0.0.1", door.port), timeout=5)
        assert door.calls == 1


def test_a_name_that_means_another_machine_a_moment_later_leads_nowhere_new(monkeypatch):
    places = Networks(allowed=(*EVERYWHERE, ip_network("127.64.0.0/10")))
    with listening("127.64.3.4", "127.0.0.1") as (good, bad):
        answers = iter(["127.64.3.4", "127.0.0.1", "127.0.0.1"])
        asked: list[str] = []

        def resolve(host: str, port: int, deadline: object) -> list[object]:
            asked.append(host)
            place = (next(answers), port)
            return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", place)]

        monkeypatch.setattr(dialling, "_addresses", resolve)
        host = Endpoint("rebinds.example", good.port, PINNED, networks=places, wire="ssh")
        with pytest.raises(Unreachable) as first:
            SshConnector(host).prove_login(MANAGER.login, timeout=5)
        with pytest.raises(Unreachable) as second:
            SshConnector(host).prove_login(MANAGER.login, timeout=5)
    assert (first.value.code, second.value.code) == ("unreachable", "forbidden_address")
    assert (good.calls, bad.calls) == (1, 0)
    assert asked == ["rebinds.example"] * 2  # once for each connection


def test_of_several_addresses_only_those_that_are_allowed_are_dialled(monkeypatch):
    places = Networks(allowed=(*EVERYWHERE, ip_network("127.64.0.0/10")))
    with listening("127.64.3.4", "127.0.0.1") as (good, bad):
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, good.port))
            for address in ("127.0.0.1", "127.64.3.4")
        ]
        monkeypatch.setattr(dialling, "_addresses", lambda *_: found)
        with pytest.raises(Unreachable):
            SshScanner().scan(Endpoint("two.example", good.port, networks=places, wire="ssh"), timeout=5)
    assert (good.calls, bad.calls) == (1, 0)


def test_no_host_is_at_the_port_of_our_own_database():
    with listening("127.64.3.4") as (door,):
        ours = Networks(
            allowed=(*EVERYWHERE, ip_network("127.0.0.0/8")), services=(("localhost", door.port),)
        )
        with pytest.raises(Unreachable) as refused:
            SshScanner().scan(Endpoint("127.64.3.4", door.port, networks=ours, wire="ssh"), timeout=5)
    assert refused.value.code == "forbidden_address"
    assert door.calls == 0


@pytest.mark.parametrize("greeting", [b"", b"220 mail ESMTP\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_a_closed_port_and_one_without_ssh_give_one_answer(greeting):
    def answers(port: int) -> list[tuple[str, str]]:
        told = []
        for call in ("scan", "prove_login", "trace"):
            with pytest.raises(Unreachable) as error:
                CALLS[call](endpoint("127.0.0.1", port, PINNED))
            told.append((error.value.code, str(error.value)))
        check = SshConnector(endpoint("127.0.0.1", port, PINNED)).preflight(MANAGER, timeout=5).blocked
        return [*told, (check.code, check.sentence)]

    with listening("127.0.0.1", greeting=greeting) as (door,):
        open_ = answers(door.port)
    assert answers(door.port) == open_
    assert len(set(open_)) == 1


def test_one_module_alone_opens_connections_to_hosts():
    dialling = {"connect", "connect_ex", "create_connection"}
    found = set()
    package = Path(rotation.__file__).parent
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr in dialling:
                found.add(f"{path.relative_to(package)}: {ast.unparse(node)}")
    # These choose the connector by the table of wires, and the simulated hosts are no hosts.
    found -= {
        "engine/work.py: self.connect",
        "tasks.py: wires.connect",
        "wires.py: of(endpoint.wire).connect",
        "wires.py: TABLE[wire].connect",
        "wires.py: self.speak().connect",
    }
    dialled = {name for name in found if not name.startswith("connectors/memory/")}
    assert dialled == {"connectors/dialling.py: plain.connect"}


def test_whoever_makes_a_place_says_where_it_may_be():
    """Every other one is made from it, so that no way to a host forgets the networks of the settings."""
    root = Path(rotation.__file__).parent.parent
    bare = []
    for path in [*(root / "rotation").rglob("*.py"), *(root / "console").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            # What the lab's simulated Windows listens at is no place to go to.
            if called.split(".")[-1] in {"Endpoint", "Peer"} and called != "wsman.Endpoint":
                given = {keyword.arg for keyword in node.keywords}
                bare += [f"{path.name}:{node.lineno}"] if "networks" not in given else []
    assert bare == []
