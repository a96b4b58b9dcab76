"""Walk every call of the connector on one Windows host, and compare what it answers with what was assumed.

For a host that no one has confirmed yet, and an account on it that nothing needs. The account's password is
changed; nothing else on the host but the number that every change leaves. Only codes and words of this table
are told, never a value and never a text of the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from rotation.connectors.base import (
    ConnectorError,
    Dependant,
    Endpoint,
    Facts,
    Fence,
    Kind,
    Login,
    Manager,
    Proof,
)
from rotation.connectors.winrm.connector import WinRmConnector, WinRmScanner
from secrets_app.crypto.plaintext import Plaintext

CONSOLE: Final = "00000000-0000-4000-8000-00000000c0f1"  # of no installation, so its numbers disturb none
TIMEOUT: Final = 60.0
#: No rule of Windows takes it, where it has rules at all.
_WEAK: Final = "a"
#: The name of no service.
NO_SERVICE: Final = "Keyturn.NoSuchService"
_OTHER_CERTIFICATE: Final = "x509 AAAA"


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


def walk(at: Endpoint, login: Login, account: str, values: Values, generation: int) -> Iterator[Finding]:
    """Make each call once and yield what was found; at most four wrong passwords are tried.

    `generation` is higher than that of any walk before, so that the host takes the changes.
    """
    wire, manager = WinRmConnector(at), Manager(login)
    elsewhere = WinRmConnector(replace(at, host_keys=(_OTHER_CERTIFICATE,)))
    stranger = Manager(Login(login.username, password=values.wrong))

    def change(value: Plaintext, number: int) -> Proof | None:
        fence = Fence(CONSOLE, generation + number)
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

    def update() -> str:
        nothing, fence = Dependant("service", NO_SERVICE), Fence(CONSOLE, generation + 4)
        wire.update_dependant(
            manager, account, values.third, nothing, fence=fence, restarts=False, timeout=TIMEOUT
        )
        return "updated"

    calls: tuple[tuple[str, str, Callable[[], object]], ...] = (
        ("scan the certificate", "the approved one", lambda: _scanned(at)),
        ("connect where another certificate is approved", "blocked: host_key_changed",
         lambda: elsewhere.preflight(manager, timeout=TIMEOUT)),
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
        ("ask what runs as the account", "every kind, and none", lambda: _dependants(look(account))),
        ("update a service that is not there", "refused: dependant_gone", update),
        ("log on as the management account with a wrong password", "blocked: login_refused",
         lambda: WinRmConnector(at).preflight(stranger, timeout=TIMEOUT)),
    )  # fmt: skip
    for call, assumed, ask in calls:
        yield Finding(call, assumed, _told(ask))


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
