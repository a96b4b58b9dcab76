"""Logins by Kerberos: a real key distribution center, real tickets, a simulated host that accepts them."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from lab.windows.certificates import Authority
from lab.windows.hosts import WindowsHost
from lab.windows.wsman import Endpoint
from rotation import runs
from rotation.connectors import base
from rotation.connectors.base import Fence, Login, Manager, Verdict
from rotation.connectors.winrm import gssapi, introductions
from rotation.connectors.winrm.connector import WinRmConnector, WinRmHttpConnector, WinRmScanner
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import factories, kerberos, lab_instances, windows_instances
from tests.command_lines import run
from tests.kerberos import ACCOUNT, PASSWORD, Realm
from tests.networks import endpoint

OLD, NEW = "The-old-Password-1", "The-new-Password-2"
CONSOLE = "3f2c1a00-0000-4000-8000-000000000001"


def manager(account: str = ACCOUNT, password: str = PASSWORD) -> Manager:
    return Manager(Login(account, password=Plaintext(password), by_kerberos=True))


@pytest.fixture
def realm(tmp_path, monkeypatch) -> Iterator[Realm]:
    with kerberos.realm(tmp_path, monkeypatch) as made:
        yield made


@contextmanager
def running(realm: Realm, *, is_http: bool = False) -> Iterator[Endpoint]:
    """A host of the domain without NTLM, so that nothing else than Kerberos lets anybody in."""
    host = WindowsHost()
    host.has_ntlm, host.keytab, host.domain_admins = False, realm.keytab, {ACCOUNT}
    host.add_account("svc", OLD)
    certificate = None if is_http else Authority().issue("self_signed", "127.0.0.1")
    with Endpoint(host, "127.0.0.1", certificate=certificate) as at:
        yield at
        assert host.record.of("unsupported") == []


@pytest.fixture
def at(realm) -> Iterator[Endpoint]:
    with running(realm) as made:
        yield made


def wire(at: Endpoint, address: str = "localhost") -> WinRmConnector:
    """A connector to the host by its name in the domain."""
    if at.certificate is None:
        pins = (introductions.pin("WIN-LAB").line,)
        return WinRmHttpConnector(endpoint(address, at.port, pins))
    shown = WinRmScanner().scan(endpoint("127.0.0.1", at.port), timeout=15)
    return WinRmConnector(endpoint(address, at.port, tuple(key.line for key in shown)))


def look(wire: WinRmConnector, by: Manager | None = None, *, timeout: float = 60) -> str:
    """Look at the host; return what was in the way, or nothing."""
    blocked = wire.preflight(by or manager(), timeout=timeout).blocked
    return blocked.code if blocked else ""


# -- the sad half: each its own reason, and the host heard nothing of the account


@pytest.mark.parametrize(
    ("by", "code"),
    [
        (manager(password="wrong"), "kerberos_password"),
        (manager("nobody@LAB.TEST"), "kerberos_unknown"),
        (manager("keyturn@ELSEWHERE.TEST"), "kerberos_realm"),
    ],
)
def test_an_account_that_the_domain_refuses_is_never_shown_to_the_host(at, by, code):
    assert look(wire(at), by) == code
    assert (at.attempts, at.requests) == (0, [])


def test_a_locked_account_of_the_domain_is_said_to_be_so(realm, at):
    realm.administer(f"modify_principal -allow_tix {ACCOUNT}")
    assert look(wire(at)) == "kerberos_account"


def test_a_password_that_has_expired_in_the_domain_is_the_accounts_matter(realm, at):
    realm.administer(f"modify_principal -pwexpire yesterday {ACCOUNT}")
    assert look(wire(at)) == "kerberos_account"


def test_a_host_that_the_domain_has_no_service_of_is_not_logged_on_to(realm, at):
    realm.administer(f"delete_principal -force {kerberos.SERVICE}")
    assert look(wire(at)) == "kerberos_service"
    assert at.attempts == 0


def test_a_host_with_another_key_than_the_domain_knows_takes_no_ticket(realm, at):
    realm.administer(f"change_password -randkey {kerberos.SERVICE}")
    assert look(wire(at)) == "kerberos_service"
    assert (at.attempts, at.requests) == (1, [])


def test_a_key_distribution_center_that_is_away_is_waited_for(realm, at):
    realm.stop()
    facts = wire(at).preflight(manager(), timeout=60)
    assert facts.blocked.code == "kdc_away"
    with pytest.raises(base.Unreachable):
        wire(at).trace(manager(), "svc", kind=base.Kind.PASSWORD, console_id=CONSOLE, timeout=60)
    assert at.attempts == 0


def test_a_key_distribution_center_that_stays_silent_does_not_hold_a_call_beyond_its_time(realm, at):
    connect = wire(at)
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
        socket.create_server(("127.0.0.1", 0)) as tcp,
    ):
        silent.bind(tcp.getsockname())
        realm.configure(port=tcp.getsockname()[1])
        assert look(connect, timeout=1) == "kdc_away"


def test_a_library_that_does_not_come_back_holds_no_call_beyond_its_time(at, monkeypatch):
    is_over = threading.Event()

    def hang(self: gssapi.Initiator, token: bytes = b"") -> bytes:
        is_over.wait(30)
        return b"late"

    monkeypatch.setattr(gssapi.Initiator, "step", hang)
    try:
        assert look(wire(at), timeout=1) == "kdc_away"
    finally:
        is_over.set()
    assert at.attempts == 0


def test_a_clock_that_is_too_far_off_has_a_sentence_of_its_own(realm, at):
    realm.stop()
    realm.configure(skew=-1)  # no time at all is near enough to this one's
    realm.start()
    realm.configure()
    assert look(wire(at)) == "kerberos_clock"


def test_an_answer_of_the_domain_from_another_time_is_not_taken_for_a_wrong_password(realm, at):
    realm.configure(skew=-1)
    assert look(wire(at)) == "kerberos_clock"


def test_a_host_that_is_registered_by_an_address_is_refused_before_the_domain_is_asked(realm, at):
    realm.stop()
    assert look(wire(at, "127.0.0.1")) == "kerberos_address"


def test_a_machine_without_the_library_is_told_which_package_it_needs(at, monkeypatch):
    gssapi._library.cache_clear()
    monkeypatch.setattr(gssapi, "_FILE", "libkeyturn_none.so.2")
    try:
        blocked = wire(at).preflight(manager(), timeout=60).blocked
    finally:
        gssapi._library.cache_clear()
    assert blocked.code == "kerberos_missing"
    assert at.attempts == 0


@pytest.mark.parametrize("is_http", [False, True])
def test_nothing_falls_back_to_ntlm_where_kerberos_is_not_taken(realm, is_http):
    with running(realm, is_http=is_http) as at:
        at.host.has_ntlm, at.host.keytab = True, ""
        at.host.add_account("keyturn", PASSWORD, is_admin=True)
        assert look(wire(at)) in ("kerberos_off", "login_refused")
        assert at.host.logons == []


@pytest.mark.parametrize("is_http", [False, True])
def test_a_host_that_does_not_show_itself_in_return_is_told_nothing(realm, is_http):
    with running(realm, is_http=is_http) as at:
        at.host.hides_itself = True
        assert look(wire(at)) == "kerberos_unproven"
        assert at.requests == []


def test_a_ticket_for_another_connection_is_refused(realm, at):
    """What a host in between would pass on: the ticket names the certificate of its connection."""
    at.host.named_certificate = Authority().issue("self_signed", "127.0.0.1").der
    assert look(wire(at)) == "kerberos_failed"
    assert at.requests == []
    at.host.named_certificate = b""
    assert look(wire(at)) == ""


def test_an_account_of_the_domain_without_rights_is_named_as_that(at):
    at.host.domain_admins = set()
    assert look(wire(at)) == "not_administrator"


def test_a_certificate_that_changed_ends_it_before_the_domain_is_asked(realm, at):
    realm.stop()
    pinned = endpoint("localhost", at.port, ("x509 AAAA",))
    assert look(WinRmConnector(pinned)) == "certificate_changed"


# -- and what works


@pytest.mark.parametrize("is_http", [False, True])
def test_a_password_is_set_tried_and_proven_with_an_account_of_the_domain(realm, is_http):
    with running(realm, is_http=is_http) as at:
        connect = wire(at)
        assert look(connect) == ""
        proof = connect.set_password(manager(), "svc", Plaintext(NEW), fence=Fence(CONSOLE, 1), timeout=60)
        assert proof.verdict == Verdict.ACCEPTED
        assert at.host.accepts("svc", NEW)
        found = connect.probe_password(manager(), "svc", Plaintext(OLD), timeout=60)
        assert found.verdict == Verdict.REJECTED
        assert ACCOUNT in at.host.record.of("event 4624")
        assert at.host.record.places(PASSWORD) == set()


def test_over_http_every_message_is_sealed(realm):
    with running(realm, is_http=True) as at:
        heard = bytearray()
        with ExitStack() as ending:
            port = ending.enter_context(relayed(at.port, heard))
            pins = (introductions.pin("WIN-LAB").line,)
            connect = WinRmHttpConnector(endpoint("localhost", port, pins))
            connect.set_password(manager(), "svc", Plaintext(NEW), fence=Fence(CONSOLE, 1), timeout=60)
        assert at.host.accepts("svc", NEW)
        assert b"HTTP-SPNEGO-session-encrypted" in heard
        assert b"soap-envelope" not in heard
        assert b"EncodedCommand" not in heard


def test_a_ticket_that_expires_in_a_long_run_is_replaced_by_the_next_call(at):
    connect = wire(at)
    with connect.shared():
        by = manager()
        assert look(connect, by) == ""
        at.host.forgets_logons = True
        with pytest.raises(base.Unreachable) as expired:
            connect.trace(by, "svc", kind=base.Kind.PASSWORD, console_id=CONSOLE, timeout=60)
        assert expired.value.code == "kerberos_expired"
        at.host.forgets_logons = False
        connect.trace(by, "svc", kind=base.Kind.PASSWORD, console_id=CONSOLE, timeout=60)
    assert at.attempts == 2


def test_no_ticket_and_no_password_is_left_in_a_file(realm, at):
    before = set(os.listdir(realm.folder))
    assert look(wire(at)) == ""
    assert set(os.listdir(realm.folder)) - before == set()
    for file in realm.folder.iterdir():
        if file.is_file():
            assert PASSWORD.encode() not in file.read_bytes(), file.name


@pytest.mark.django_db(transaction=True)
def test_a_rotation_goes_by_kerberos_from_its_first_step_to_its_last(at):
    login = factories.credential(password=Plaintext(PASSWORD), wire="winrm-kerberos", username=ACCOUNT)
    instance = factories.instance(
        address="localhost", port=at.port, wire="winrm", os="windows", keys=[], credential=login
    )
    lab_instances.pin(instance, WinRmScanner().scan(endpoint("127.0.0.1", at.port), timeout=30))
    secret = factories.secret(instance=instance, initial=OLD)
    factories.settle(secret)
    ended = windows_instances.advance(runs.start(secret, actor=factories.administrator()))
    assert ended.outcome == "succeeded", f"{ended.code}: {ended.sentence}"
    value = versions.value(Secret.objects.get(pk=secret.pk).labelled("current")).password.reveal()
    assert at.host.accepts("svc", value)
    assert "own check" in ended.sentence  # since the host takes no NTLM, by which local accounts log in
    assert {user for user, code in at.host.logons if code == 0} <= {"svc"}


@pytest.mark.django_db
def test_a_real_windows_is_compared_by_kerberos_too(realm, at, tmp_path):
    file = tmp_path / "found.json"
    at.host.has_ntlm = True
    at.host.add_account("local", OLD, is_admin=True)
    at.host.add_account("spare", OLD)
    (shown,) = WinRmScanner().scan(endpoint("127.0.0.1", at.port), timeout=30)
    line = f"confirm_windows localhost --port {at.port} --login local --account spare --kerberos {ACCOUNT}"
    line += f" --output {file} --fingerprint {shown.fingerprint}"
    with Endpoint(at.host, "127.0.0.1") as http:
        ended = run(f"{line} --http-port {http.port}", given=f"{OLD}\n{PASSWORD}", asks_for_json=False)
    assert ended.exit == 0, ended.shown
    calls = {row["call"]: row["found"] for row in json.loads(file.read_text())}
    assert calls["log on by Kerberos over HTTP"] == "in order"
    assert calls["log on by Kerberos with a wrong password"] == "blocked: kerberos_password"
    assert PASSWORD not in ended.shown + file.read_text()


@contextmanager
def relayed(port: int, heard: bytearray) -> Iterator[int]:
    """A way to the host that keeps all that goes over it."""

    def carry(source: socket.socket, target: socket.socket) -> None:
        while True:
            try:
                more = source.recv(65536)
                heard.extend(more)
                target.sendall(more)
            except OSError:
                return
            if not more:
                target.close()
                return

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            host = socket.create_connection(("127.0.0.1", port))
            for pair in ((client, host), (host, client)):
                threading.Thread(target=carry, args=pair, daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
