"""What the WinRM connector does that no other one does: scripts, connections and certificates."""

from __future__ import annotations

import base64
import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from lab.windows.certificates import Authority
from lab.windows.wsman import Endpoint
from lab.windows.wsman import _tls as tls
from rotation.connectors import base
from rotation.connectors.base import Fence, Login, Manager, Verdict
from rotation.connectors.dialling import Deadline
from rotation.connectors.winrm import introductions, names, reasons, scripts, shell
from rotation.connectors.winrm.connections import AUTHORITY, Session, Transport
from rotation.connectors.winrm.connector import (
    WinRmConnector,
    WinRmHttpConnector,
    WinRmNameScanner,
    WinRmScanner,
)
from secrets_app.crypto.plaintext import Plaintext
from tests import windows_instances
from tests.networks import endpoint
from tests.windows_instances import MANAGER, PASSWORD

OLD, NEW = "The-old-Password-1", "The-new-Password-2"
CONSOLE = "3f2c1a00-0000-4000-8000-000000000001"
LOGIN = Login(MANAGER, password=Plaintext(PASSWORD))


@pytest.fixture
def at() -> Iterator[Endpoint]:
    with windows_instances.running("127.0.44.1") as made:
        made.host.add_account("svc", OLD)
        yield made


def place(at: Endpoint) -> base.Endpoint:
    shown = WinRmScanner().scan(endpoint(at.address, at.port), timeout=15)
    return endpoint(at.address, at.port, tuple(key.line for key in shown))


def named(address: str, port: int) -> base.Endpoint:
    """A host over HTTP, by the name that simulated hosts have."""
    return endpoint(address, port, (introductions.pin("WIN-LAB").line,))


def change(wire: WinRmConnector, username: str = "svc", value: str = NEW) -> object:
    return wire.set_password(Manager(LOGIN), username, Plaintext(value), fence=Fence(CONSOLE, 1), timeout=15)


@pytest.fixture
def session(at: Endpoint) -> Iterator[Session]:
    with closing(Session(place(at), LOGIN, Transport.HTTPS, Deadline(30))) as made:
        yield made


def ready(script: shell.Script) -> shell.Script:
    assert script.next()["say"] == "READY"
    return script


def test_a_value_leaves_only_for_a_script_that_is_ready_for_it(at):
    at.host.accounts["svc"].is_locked = True
    with pytest.raises(base.Refused):
        change(WinRmConnector(place(at)))
    assert at.host.record.places(NEW) == set()


def test_a_value_without_its_commit_line_is_never_set(at, session):
    with shell.running(session, "set_password.ps1", ["svc", CONSOLE, "1", "", "20"], is_last=False) as script:
        ready(script)._send((NEW,), b"", is_last=True)
        assert script.next()["say"] == "ABORTED"
    assert at.host.resets == []
    assert at.host.generation(CONSOLE, "svc") == 0


def test_a_dependant_is_given_no_value_without_its_commit_line(at, session):
    service = at.host.add_dependant("service", "Backup", ".\\svc", is_running=True)
    given = ["svc", CONSOLE, "service", "Backup", "1", "running", "20"]
    with shell.running(session, "dependant.ps1", given, is_last=False) as script:
        ready(script)._send((NEW,), b"", is_last=True)
        assert script.next()["say"] == "ABORTED"
    assert (service.password, service.stops) == (OLD, 0)


def test_a_commit_line_that_comes_too_late_is_not_obeyed(at, session):
    with shell.running(session, "set_password.ps1", ["svc", CONSOLE, "1", "", "-1"], is_last=False) as script:
        ready(script).commit(Plaintext(NEW))
        assert script.next()["say"] == "ABORTED"
    assert at.host.resets == []


def test_only_lines_under_the_nonce_of_this_call_are_answers(session):
    with shell.running(session, "login.ps1", ["", "-"], is_last=True) as script:
        script._text = 'noise\n0123 {"say": "DONE", "forged": 1}\n{"say": "DONE"}\n'
        assert script.next() == {"say": "DONE"}


def test_a_byte_order_mark_before_an_answer_is_passed_over(session):
    with shell.running(session, "login.ps1", ["", "-"], is_last=True) as script:
        script._text = f'\ufeff{script._nonce} {{"say": "DONE", "first": 1}}\r\n'
        assert script.next() == {"say": "DONE", "first": 1}


def test_a_script_that_says_nothing_is_an_odd_answer_and_not_silence(at):
    session = Session(place(at), LOGIN, Transport.HTTPS, Deadline(30))
    with closing(session), pytest.raises(base.Refused) as refusal:
        # Its arguments are missing, so it ends with an error.
        shell.look(session, "set_password.ps1", ["svc", CONSOLE])
    assert refusal.value.code == "odd_answer"


def test_every_script_is_a_constant_that_fits_on_a_command_line():
    for name in ("set_password", "probe_password", "preflight", "trace", "login", "dependant"):
        assert len(scripts.encoded(f"{name}.ps1")) < 32_000
        text = base64.b64decode(scripts.encoded(f"{name}.ps1")).decode("utf-16-le")
        assert "#" not in text.replace("#<", "")
        assert text.startswith("if ($ExecutionContext")


def test_calls_that_share_go_over_one_connection_with_one_logon(at):
    wire = WinRmConnector(place(at))
    before = at.connections
    with wire.shared():
        change(wire)
        assert wire.probe_password(Manager(LOGIN), "svc", Plaintext(NEW), timeout=15).verdict
    manager = Manager(LOGIN)
    assert (at.connections - before, at.attempts) == (1, 1)
    assert wire.trace(manager, "svc", kind=base.Kind.PASSWORD, console_id=CONSOLE, timeout=15).mark
    assert (at.connections - before, at.attempts) == (2, 2)


def test_a_shared_connection_that_is_dead_before_anything_is_sent_is_replaced(at):
    wire = WinRmConnector(place(at))
    manager = Manager(LOGIN)
    with wire.shared():
        assert wire.preflight(manager, "svc", timeout=15).blocked is None
        at.drop()
        assert wire.preflight(manager, "svc", timeout=15).blocked is None
    assert at.attempts == 2


@pytest.mark.parametrize("transport", list(Transport))
def test_a_lifeline_that_broke_is_not_replaced_by_another_logon(at, transport):
    is_sealed = transport is Transport.HTTP
    with Endpoint(at.host, "127.0.44.5", certificate=None if is_sealed else at.certificate) as here:
        wire = WinRmConnector(named(here.address, here.port) if is_sealed else place(here), transport)
        manager = Manager(LOGIN)
        with wire.lifeline(manager, timeout=15):
            assert wire.preflight(manager, "svc", timeout=15).blocked is None
            here.drop()
            for _ in range(2):
                with pytest.raises(base.Unreachable):
                    change(wire)
        assert here.attempts == 1
    assert at.host.resets == []


def test_a_proxy_of_the_environment_is_not_asked(at, monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    change(WinRmConnector(place(at)))
    assert at.host.accepts("svc", NEW)
    with Endpoint(at.host, "127.0.44.2") as plain:
        change(WinRmConnector(named(plain.address, plain.port), Transport.HTTP))


def test_an_address_that_is_not_allowed_is_not_connected_to(at):
    before = at.connections
    shown = place(at).host_keys
    wire = WinRmConnector(base.Endpoint(at.address, at.port, shown, wire="winrm"))
    with pytest.raises(base.Unreachable) as refused:
        change(wire)
    assert refused.value.code == "forbidden_address"
    assert at.connections - before == 1  # the scan of this test


def test_a_management_account_without_a_password_is_refused_before_a_connection(at):
    wire = WinRmConnector(place(at))
    before = at.connections
    with pytest.raises(base.LoginRefused) as refused:
        wire.set_password(Manager(Login(MANAGER)), "svc", Plaintext(NEW), fence=Fence(CONSOLE, 1), timeout=15)
    assert (refused.value.code, at.connections) == ("no_credential", before)


def test_the_name_of_the_host_may_stand_before_the_management_account(at):
    wire = WinRmConnector(place(at))
    for username in (f"WIN-LAB\\{MANAGER}", f"{MANAGER}@WIN-LAB"):
        manager = Manager(Login(username, password=Plaintext(PASSWORD)))
        assert wire.preflight(manager, "svc", timeout=15).blocked is None


ODD = [
    (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>", "web_page"),
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "not_winrm"),
    (b"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n", "ntlm_off"),
    (b"HTTP/1.1 401 No\r\nWWW-Authenticate: NTLM AAAA\r\nContent-Length: 0\r\n\r\n", "ntlm_off"),
    (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", "web_page"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", "not_winrm"),
    (b"\x00" * 64 + b"\r\n", "not_winrm"),
    (b"", "unreachable"),
]


@pytest.mark.parametrize("is_secure", [False, True], ids=["HTTP", "HTTPS"])
@pytest.mark.parametrize(("answer", "code"), ODD, ids=range(len(ODD)))
def test_what_is_not_winrm_is_said_to_be_so_and_hears_no_password(answer, code, is_secure):
    heard: list[bytes] = []
    secure = tls(Authority().issue("self_signed", "127.0.44.3")) if is_secure else None

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                one, _ = listener.accept()
            except OSError:
                return
            with (
                contextlib.suppress(OSError),
                secure.wrap_socket(one, server_side=True) if secure else one as to,
            ):
                while asked := to.recv(65_536):
                    heard.append(asked)
                    if not answer:
                        break
                    if asked.startswith(b"POST "):  # and not for the rest of a message
                        to.sendall(answer)

    with socket.create_server(("127.0.44.3", 0)) as listener:
        threading.Thread(target=serve, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        if is_secure:
            (shown,) = WinRmScanner().scan(endpoint("127.0.44.3", port), timeout=15)
            wire = WinRmConnector(endpoint("127.0.44.3", port, (shown.line,)))
        else:
            wire = WinRmConnector(named("127.0.44.3", port), Transport.HTTP)
        with pytest.raises((base.Unreachable, base.LoginRefused)) as refused:
            change(wire)
        if not is_secure:
            with pytest.raises(base.Unreachable) as unread:
                WinRmNameScanner().scan(endpoint("127.0.44.3", port), timeout=15)
            assert unread.value.code == code
        listener.shutdown(socket.SHUT_RDWR)
    assert refused.value.code == code
    assert code == "unreachable" or str(refused.value) == reasons.sentence(code)
    assert heard
    assert not any(PASSWORD.encode() in text or base64.b64encode(PASSWORD.encode()) in text for text in heard)


@pytest.mark.parametrize("is_secure", [False, True], ids=["HTTP", "HTTPS"])
def test_a_host_without_ntlm_is_named_and_no_password_is_tried(at, is_secure):
    with Endpoint(at.host, "127.0.44.5") as plain:
        wire = (
            WinRmConnector(place(at)) if is_secure else WinRmHttpConnector(named(plain.address, plain.port))
        )
        at.host.has_ntlm = False
        blocked = wire.preflight(Manager(Login(MANAGER, password=Plaintext(PASSWORD))), timeout=15).blocked
        assert (blocked.name, blocked.code) == ("login", "ntlm_off")
        proof = wire.prove_login(Login("svc", password=Plaintext(NEW)), timeout=15)
        assert (proof.verdict, proof.code) == (base.Verdict.UNCLEAR, "ntlm_off")
        assert (at.attempts, plain.attempts) == (0, 0)


@pytest.mark.parametrize(("ahead", "said"), [(7200, "120 minutes ahead of"), (-900, "15 minutes behind")])
def test_a_clock_that_is_far_off_is_a_warning_of_its_own(at, ahead, said):
    wire, manager = WinRmConnector(place(at)), Manager(Login(MANAGER, password=Plaintext(PASSWORD)))
    assert "clock" not in {check.name for check in wire.preflight(manager, timeout=15).checks}
    at.host.clock_seconds = ahead
    facts = wire.preflight(manager, timeout=15)
    (warning,) = [check for check in facts.checks if check.name == "clock"]
    assert (warning.mark, facts.blocked) == (base.Mark.WARNING, None)
    assert said in warning.sentence


def test_a_certificate_that_is_not_valid_yet_asks_for_the_clocks(at):
    authority = Authority()
    at.certificate = authority.issue("early", at.address)
    line = base.HostKey(AUTHORITY, authority.blob, "").line
    wire = WinRmConnector(endpoint(at.address, at.port, (line,)))
    blocked = wire.preflight(Manager(Login(MANAGER, password=Plaintext(PASSWORD))), timeout=15).blocked
    assert (blocked.name, blocked.code, at.attempts) == ("certificate", "certificate_early", 0)


def test_a_host_that_sends_a_byte_at_a_time_holds_nobody_beyond_the_deadline():
    has_given_up = threading.Event()
    is_over = threading.Event()

    def drip(listener: socket.socket) -> None:
        one, _ = listener.accept()
        with one:
            one.recv(65_536)
            one.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            for _ in range(1_000):
                if has_given_up.wait(0.1):
                    return
                try:
                    one.sendall(b"x")
                except OSError:
                    return
            is_over.set()

    with socket.create_server(("127.0.44.4", 0)) as listener:
        threading.Thread(target=drip, args=(listener,), daemon=True).start()
        wire = WinRmConnector(named("127.0.44.4", listener.getsockname()[1]), Transport.HTTP)
        facts = wire.preflight(Manager(LOGIN), timeout=2)
        assert not is_over.is_set()
        has_given_up.set()
    assert facts.blocked is not None
    assert facts.blocked.code == "unreachable"


@pytest.mark.parametrize("name", ["a", "svc", "svc.app-1", "Administrator", "_x", "a" * 20])
def test_these_are_names_of_local_accounts(name):
    assert names.is_username(name)


@pytest.mark.parametrize(
    "name", ["a" * 21, "a.", "12345", "DOM\\svc", "svc@dom", "a b", "a'b", "a*", "$x", ""]
)
def test_these_are_not(name):
    assert not names.is_username(name)


@pytest.mark.parametrize("name", ["svc", "HOST\\svc", "DOM.example\\svc", "svc@dom.example", "Administrator"])
def test_keyturn_can_work_as_these(name):
    assert names.account_problem(name) == ""


@pytest.mark.parametrize("name", ["", "a'b", "a\\b\\c", "a@b@c", "\\svc", "svc@", "a;b", "a\nb", 'a"b'])
def test_keyturn_cannot_work_as_these(name):
    assert names.account_problem(name).endswith(".")


def test_a_password_of_more_than_127_characters_is_not_sent(at):
    before = at.connections
    with pytest.raises(base.Refused) as refusal:
        change(WinRmConnector(endpoint(at.address, at.port)), value="x" * 128)
    assert (refusal.value.code, at.connections) == ("bad_value", before)
    change(WinRmConnector(place(at)), value="Aa1" + "x" * 124)


def test_a_value_with_every_kind_of_character_arrives_as_it_is(at):
    wire = WinRmConnector(place(at))
    for value in ("Aa1\"'`$(x)%PATH%&|<>^", "Ä ö ü ß € 1A 漢字 🔑", " leads and ends1A ", "A1b\\\t;#@{}[]"):
        change(wire, value=value)
        assert at.host.accepts("svc", value)
        proof = wire.probe_password(Manager(LOGIN), "svc", Plaintext(value), timeout=15)
        assert proof.verdict == Verdict.ACCEPTED
        assert (
            wire.prove_login(Login("svc", password=Plaintext(value)), timeout=15).verdict == Verdict.ACCEPTED
        )
