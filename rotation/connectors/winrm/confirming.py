"""Walk every call of the connector on one Windows host, and each fault that a call can provoke there.

What the host answers is compared with what was assumed.

For a host that no one has confirmed yet, and an account on it that nothing needs. The account's password is
changed, a service is given it where one is named, and every change leaves a number. Only codes and words of
this table are told, never a value and never a text of the host.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from winrm.exceptions import WinRMOperationTimeoutError

from rotation.connectors.base import (
    ConnectorError,
    Dependant,
    Endpoint,
    Facts,
    Fence,
    HostKey,
    Kind,
    Login,
    Manager,
    Proof,
)
from rotation.connectors.dialling import Deadline
from rotation.connectors.winrm import introductions
from rotation.connectors.winrm.connections import AUTHORITY, Session, Transport
from rotation.connectors.winrm.connector import (
    WinRmConnector,
    WinRmHttpConnector,
    WinRmNameScanner,
    WinRmScanner,
)
from secrets_app.crypto.plaintext import Plaintext

CONSOLE: Final = "00000000-0000-4000-8000-00000000c0f1"  # of no installation, so its numbers disturb none
TIMEOUT: Final = 60.0
#: No rule of Windows takes it, where it has rules at all.
_WEAK: Final = "a"
#: The name of no service.
NO_SERVICE: Final = "Keyturn.NoSuchService"
_OTHER_CERTIFICATE: Final = "x509 AAAA"
#: The name of no computer, in base64 as it is pinned.
_OTHER_NAME: Final = f"{introductions.NAME} {base64.b64encode(b'KEYTURN-NONE').decode()}"
_OTHER_CONSOLE: Final = "00000000-0000-4000-8000-00000000c0f2"
_MOST_SHELLS = 60


@dataclass(frozen=True)
class Finding:
    """One call: what was assumed of a Windows host, and what this one answers."""

    call: str
    assumed: str
    found: str

    @property
    def is_as_assumed(self) -> bool:
        return self.found == self.assumed


@dataclass(frozen=True)
class Values:
    """Passwords for the account, which keep its rules, and one that is never set."""

    first: Plaintext
    second: Plaintext
    third: Plaintext
    wrong: Plaintext


Calls = tuple[tuple[str, str, Callable[[], object]], ...]


@dataclass(frozen=True)
class Place:
    """Where the host is, and what of it a user has chosen to try."""

    at: Endpoint
    login: Login
    account: str
    http_port: int = 0  # where it takes HTTP too; 0 for not to try it
    service: str = ""  # that runs as the account and that nothing needs; empty for not to try one
    domain: Login | None = None  # an account of a domain that is an administrator here, to try Kerberos


def walk(place: Place, values: Values, generation: int) -> Iterator[Finding]:
    """Make each call once and yield what was found; at most four wrong passwords are tried.

    `generation` is higher than that of any walk before, so that the host takes the changes.
    """
    for call, assumed, ask in (
        *_calls(place, values, generation),
        *(_http_calls(place) if place.http_port else ()),
        *(_kerberos_calls(place, place.domain, values, generation) if place.domain else ()),
    ):
        yield Finding(call, assumed, _told(ask))


def _calls(place: Place, values: Values, generation: int) -> Calls:
    at, login, account = place.at, place.login, place.account
    wire, manager = WinRmConnector(at), Manager(login)
    elsewhere = WinRmConnector(replace(at, host_keys=(_OTHER_CERTIFICATE,)))
    untrusted = WinRmConnector(replace(at, host_keys=(HostKey(AUTHORITY, _an_authority(), "").line,)))
    stranger = Manager(Login(login.username, password=values.wrong))

    def change(value: Plaintext, number: int, *, console: str = CONSOLE) -> Proof | None:
        fence = Fence(console, generation + number)
        return wire.set_password(manager, account, value, fence=fence, timeout=TIMEOUT)

    def probe(value: Plaintext) -> Proof:
        return wire.probe_password(manager, account, value, timeout=TIMEOUT)

    def log_in(value: Plaintext) -> Proof:
        return wire.prove_login(Login(account, password=value), timeout=TIMEOUT)

    def look(username: str = "") -> Facts:
        return wire.preflight(manager, username, timeout=TIMEOUT, console_id=CONSOLE)

    def in_a_lifeline() -> Proof | None:
        with wire.lifeline(manager, timeout=TIMEOUT):
            return change(values.third, 4)

    def shared() -> Proof:
        with wire.shared():
            look(account)
            return probe(values.third)

    def traced() -> str:
        found = wire.trace(manager, account, kind=Kind.PASSWORD, console_id=CONSOLE, timeout=TIMEOUT)
        is_last = found.generation == generation + 4
        return f"{'a mark' if found.mark else 'no mark'}, {'the last' if is_last else 'another'} number"

    def update(service: str, number: int = 4) -> str:
        one, fence = Dependant("service", service, is_running=True), Fence(CONSOLE, generation + number)
        done = wire.update_dependant(
            manager, account, values.third, one, fence=fence, restarts=True, timeout=TIMEOUT
        )
        return "updated and restarted" if done.restarted else f"updated: {done.code}"

    def listed() -> str:
        names = [one.name.lower() for one in look(account).dependants if one.kind == "service"]
        return "that service alone" if names == [place.service.lower()] else f"{len(names)} services"

    runs_as_it: Calls = (
        ("ask what runs as the account", "that service alone", listed),
        ("update that service in an older attempt", "refused: stale", lambda: update(place.service, 3)),
        ("update that service, and restart it", "updated and restarted", lambda: update(place.service)),
    )
    nothing_runs: Calls = (
        ("ask what runs as the account", "every kind, and none", lambda: _dependants(look(account))),
    )
    return (
        ("scan the certificate", "the approved one", lambda: _scanned(at)),
        ("connect where another certificate is approved", "blocked: certificate_changed",
         lambda: elsewhere.preflight(manager, timeout=TIMEOUT)),
        ("connect where another authority is approved", "blocked: certificate_untrusted",
         lambda: untrusted.preflight(manager, timeout=TIMEOUT)),
        ("look at the host", "in order", look),
        ("read who the host is", "an id and a name", lambda: _identity(look())),
        ("look at the account", "in order", lambda: look(account)),
        ("look at an account that is not there", "blocked: no_such_user", lambda: look(account + "-0")),
        ("set a password", "accepted", lambda: change(values.first, 1)),
        ("try it on the host", "accepted", lambda: probe(values.first)),
        ("log on with it", "accepted", lambda: log_in(values.first)),
        ("set a password in an older attempt", "refused: stale", lambda: change(values.second, 0)),
        ("set a password that the rules refuse", "refused: policy", lambda: change(Plaintext(_WEAK), 2)),
        ("try another one on the host", "rejected", lambda: probe(values.wrong)),
        ("log on with another one", "rejected", lambda: log_in(values.wrong)),
        ("set the next password", "accepted", lambda: change(values.second, 3)),
        ("log on with the one before", "rejected", lambda: log_in(values.first)),
        ("set a password over a kept connection", "accepted", in_a_lifeline),
        ("make two calls over one connection", "accepted", shared),
        ("read the marks", "a mark, the last number", traced),
        ("set a password for another console", "refused: foreign_console",
         lambda: change(values.second, 5, console=_OTHER_CONSOLE)),
        *(runs_as_it if place.service else nothing_runs),
        ("update a service that is not there", "refused: dependant_gone", lambda: update(NO_SERVICE)),
        ("open more shells than are allowed", "refused: shells_full", lambda: _shells(at, login)),
        ("look at the host once they are closed", "in order", look),
        ("log on as the management account with a wrong password", "blocked: login_refused",
         lambda: WinRmConnector(at).preflight(stranger, timeout=TIMEOUT)),
    )  # fmt: skip


def _http_calls(place: Place) -> Calls:
    """The same host without TLS: what is pinned is its name, and each message is sealed."""
    at, manager = replace(place.at, port=place.http_port, host_keys=()), Manager(place.login)

    def named() -> str:
        (key,) = WinRmNameScanner().scan(at, timeout=TIMEOUT)
        return "a name" if key.fingerprint else "no name"

    def look(pin: str) -> Facts:
        return WinRmHttpConnector(replace(at, host_keys=(pin,))).preflight(manager, timeout=TIMEOUT)

    def approved() -> Facts:
        return look(WinRmNameScanner().scan(at, timeout=TIMEOUT)[0].line)

    return (
        ("read the computer's name over HTTP", "a name", named),
        ("connect where another name is approved", "blocked: name_changed", lambda: look(_OTHER_NAME)),
        ("look at the host over HTTP", "in order", approved),
    )


def _kerberos_calls(place: Place, login: Login, values: Values, generation: int) -> Calls:
    """The same host with an account of its domain; the domain is told one wrong password."""
    at, wire, manager = place.at, WinRmConnector(place.at), Manager(login)
    account, _, realm = login.username.partition("@")

    def look(by: Login) -> Facts:
        return wire.preflight(Manager(by), timeout=TIMEOUT)

    def change() -> Proof | None:
        fence = Fence(CONSOLE, generation + 6)
        return wire.set_password(manager, place.account, values.first, fence=fence, timeout=TIMEOUT)

    def over_http() -> Facts:
        over = replace(at, port=place.http_port, host_keys=())
        (key,) = WinRmNameScanner().scan(over, timeout=TIMEOUT)
        return WinRmHttpConnector(replace(over, host_keys=(key.line,))).preflight(manager, timeout=TIMEOUT)

    sealed: Calls = (("log on by Kerberos over HTTP", "in order", over_http),)
    return (
        ("log on by Kerberos", "in order", lambda: look(login)),
        ("set a password with a login by Kerberos", "accepted", change),
        *(sealed if place.http_port else ()),
        ("log on by Kerberos with a wrong password", "blocked: kerberos_password",
         lambda: look(replace(login, password=values.wrong))),
        ("log on by Kerberos as an account that is not there", "blocked: kerberos_unknown",
         lambda: look(replace(login, username=f"{account}-0@{realm}"))),
    )  # fmt: skip


def _shells(at: Endpoint, login: Login) -> str:
    """Open shells until the host refuses one, and close them again."""
    session = Session(at, login, Transport.HTTPS, Deadline(TIMEOUT))
    with contextlib.closing(session):
        made: list[str] = []
        try:
            while len(made) < _MOST_SHELLS:
                made.append(session.ask(session.protocol.open_shell, idle_timeout="PT60S"))
        finally:
            session.allow(Deadline(TIMEOUT))
            for shell in made:
                with contextlib.suppress(ConnectorError, WinRMOperationTimeoutError):
                    session.ask(session.protocol.close_shell, shell, close_session=False)
    return f"{len(made)} shells, and none refused"


def _an_authority() -> str:
    """Return the certificate of an authority that has signed nothing, in DER and base64."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "None")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return base64.b64encode(made.public_bytes(Encoding.DER)).decode()


def _told(ask: Callable[[], object]) -> str:
    """Return the answer of a call in a word, and its code where it has one."""
    try:
        answer = ask()
    except ConnectorError as error:
        return f"refused: {error.code}"
    if isinstance(answer, Facts):
        return f"blocked: {answer.blocked.code}" if answer.blocked else "in order"
    if isinstance(answer, Proof):
        verdict = answer.verdict.name.lower()
        return verdict if verdict != "unclear" else f"unclear: {answer.code}"
    return answer if isinstance(answer, str) else "set, and not tried"


def _dependants(facts: Facts) -> str:
    """What was asked about an account that nothing needs; IIS counts as asked where there is none."""
    asked = f"not {', '.join(sorted(facts.unasked))}" if facts.unasked else "every kind"
    return f"{asked}, and {len(facts.dependants) or 'none'}"


def _scanned(at: Endpoint) -> str:
    shown = {key.line for key in WinRmScanner().scan(replace(at, host_keys=()), timeout=TIMEOUT)}
    return "the approved one" if shown.issuperset(at.host_keys) else "another one"


def _identity(facts: Facts) -> str:
    return f"{'an id' if facts.machine_id else 'no id'} and {'a name' if facts.os_name else 'no name'}"
