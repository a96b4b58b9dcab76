"""Ask a host for the facts that a rotation needs, and turn the answers into a checklist.

Everything that comes from the host is capped and stripped of what cannot be printed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Final

from rotation.connectors.base import (
    MOST_DEPENDANTS,
    Check,
    ConnectorError,
    Dependant,
    Facts,
    HostKeyChanged,
    Identity,
    LoginRefused,
    Manager,
    Mark,
    Refused,
    Unreachable,
)
from rotation.connectors.reasons import COMMON
from rotation.connectors.winrm import answers, names, reasons
from rotation.connectors.winrm.shell import Said

#: What is looked for, in words of a sentence, and what a host that does not list it lacks or refuses.
_KINDS: Final = {
    "service": ("service", "Services could not be asked for on the instance."),
    "task": (
        "scheduled task",
        "Scheduled tasks could not be asked for: the instance has no commands for them, or refused.",
    ),
    "pool": ("IIS application pool", "IIS is installed, and its application pools could not be asked for."),
}
_TRUSTED: Final = {
    Identity.CERTIFICATE: "The instance's certificate is approved, or signed by the approved authority.",
    Identity.NAME: "The instance calls itself by the approved computer name.",
}
_ACCOUNTS = 100
_CLOCK_SECONDS = 300  # what Kerberos lets two clocks differ (RFC 4120 1.6)


def facts(
    said: Said,
    manager: Manager,
    username: str,
    allowed: Collection[str],
    identity: Identity,
    ahead_seconds: float | None,
) -> Facts:
    """Make the checklist of what the script found. Raises `Refused` for an answer that it does not give."""
    if said["say"] != "END":
        raise answers.refused("odd_answer")
    checks = [*_ways_in(manager, identity), *_clock(ahead_seconds), *_host_checks(said)]
    if username:
        checks += [replace(check, of_account=True) for check in _account_checks(said, username, allowed)]
        if manager.login.username.rpartition("\\")[2].partition("@")[0].lower() == username.lower():
            checks.append(Check("own_account", Mark.WARNING, COMMON["own_account"].sentence, of_account=True))
    account = said.get("account")
    dependants, more, unasked = _dependants(said) if username else ((), 0, frozenset[str]())
    return Facts(
        checks=tuple(checks),
        generation=number(said.get("generation")) or 0,
        machine_id=_text(said.get("machine"))[:64],
        os_name=_text(said.get("os"))[:120],
        accounts=tuple(a for a in _texts(said.get("accounts"))[:_ACCOUNTS] if names.is_username(a)),
        password_login=not isinstance(account, dict) or account.get("problem") != "no_network_logon",
        dependants=dependants,
        more_dependants=more,
        unasked=unasked,
    )


def failed(error: ConnectorError) -> Check:
    """The line for the reason why the host could not be examined."""
    name = "command"
    match error:
        case Unreachable():
            name = "reachable"
        case HostKeyChanged():
            name = Identity.NAME if error.code == Identity.NAME.changed else Identity.CERTIFICATE
        case LoginRefused():
            name = "login"
        case Refused(code="not_administrator"):
            name = "administrator"
        case Refused(code="constrained" | "no_powershell"):
            name = "powershell"
    return blocked(error.code, name=name, sentence=str(error))


def blocked(code: str, *, name: str = "", sentence: str = "") -> Check:
    """A line that forbids a rotation, for the reason that this word names."""
    return Check(name or code, Mark.BLOCKED, sentence or reasons.sentence(code), code)


def number(value: object) -> int | None:
    """A number of the host's that can be one; None for anything else."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return value if is_number and 0 <= value < 1 << 62 else None  # type: ignore[operator, return-value]


def _ways_in(manager: Manager, identity: Identity) -> Iterator[Check]:
    yield Check("reachable", Mark.PASSED, "The instance answers on its WinRM port.")
    yield Check(identity, Mark.PASSED, _TRUSTED[identity])
    yield Check("login", Mark.PASSED, f"{manager.login.username} is logged in.")


def _clock(ahead_seconds: float | None) -> Iterator[Check]:
    if ahead_seconds is None or abs(ahead_seconds) <= _CLOCK_SECONDS:
        return
    minutes = round(abs(ahead_seconds) / 60)
    way = "ahead of" if ahead_seconds > 0 else "behind"
    yield Check(
        "clock",
        Mark.WARNING,
        f"The instance's clock is {minutes:,} minutes {way} Keyturn's. Logins of domains fail beyond five "
        "minutes, and so may the dates of certificates. Correct the clock that is wrong.",
    )


def _host_checks(said: Said) -> Iterator[Check]:
    if said.get("admin") is True:
        yield Check("administrator", Mark.PASSED, "The management account is an administrator there.")
    else:
        yield blocked("not_administrator", name="administrator")
    version = number(said.get("version"))
    if said.get("setter") is True:
        yield Check("powershell", Mark.PASSED, f"Windows PowerShell {version} sets passwords there.")
    else:
        yield Check(
            "powershell",
            Mark.PASSED,
            f"Windows PowerShell {version} has no commands for local accounts; passwords are set by ADSI.",
        )
    if said.get("controller") is True:
        yield blocked("domain_controller", name="local")


def _account_checks(said: Said, username: str, allowed: Collection[str]) -> Iterator[Check]:
    account = said.get("account")
    if not isinstance(account, dict):
        raise answers.refused("odd_answer")
    problem = answers.problem(account.get("problem"))
    if problem == "domain_controller":
        return  # said of the host
    yield from _problem(problem, username, allowed)
    if problem == "no_such_user":
        return
    if said.get("foreign") is True:
        yield _let_pass("foreign_console", allowed)
    yield _rules(account)
    yield from _dependant_checks(*_dependants(said))


def _problem(problem: str, username: str, allowed: Collection[str]) -> Iterator[Check]:
    if problem:
        yield _let_pass(problem, allowed)
    else:
        yield Check("account", Mark.PASSED, f"{username} is a local account, enabled and not locked.")


def _let_pass(code: str, allowed: Collection[str]) -> Check:
    override = reasons.ALL[code].override
    if code in allowed and override is not None:
        return Check(code, Mark.WARNING, override.sentence, code)
    return blocked(code)


def _rules(account: Said) -> Check:
    length, threshold = number(account.get("length")), number(account.get("threshold"))
    window = number(account.get("window"))
    if length is None or threshold is None or window is None:
        return Check("password_rules", Mark.UNKNOWN, "The instance did not tell its password rules.")
    locks = (
        f"{threshold} wrong passwords within {window // 60} minutes lock the account"
        if threshold
        else "wrong passwords do not lock the account"
    )
    never = " The password never expires." if account.get("never") is True else ""
    sentence = f"Passwords have at least {length} characters there; {locks}.{never}"
    return Check("password_rules", Mark.PASSED, sentence)


def _dependants(said: Said) -> tuple[tuple[Dependant, ...], int, frozenset[str]]:
    """What runs as the account, how many more there are, and the kinds that could not be asked for."""
    listed = said.get("dependants")
    rows = [row for row in listed if isinstance(row, dict)] if isinstance(listed, list) else []
    found = sorted(
        (
            Dependant(kind, name, row.get("runs") is True)
            for row in rows
            if names.is_dependant(kind := str(row.get("kind")), name := str(row.get("name")))
        ),
        key=lambda one: (names.DEPENDANTS.index(one.kind), one.name.lower()),
    )
    shown = tuple(found[:MOST_DEPENDANTS])
    more = max(number(said.get("number")) or 0, len(found)) - len(shown)
    return shown, more, frozenset(_texts(said.get("unasked"))) & set(_KINDS)


def _dependant_checks(found: Sequence[Dependant], more: int, unasked: Collection[str]) -> Iterator[Check]:
    """What runs as the account keeps its password, and fails at its next start after a rotation."""
    for kind, (what, unknown) in _KINDS.items():
        if kind in unasked:
            yield Check("dependants", Mark.UNKNOWN, unknown)
        if shown := [one for one in found if one.kind == kind]:
            plural = "s" if len(shown) > 1 else ""
            yield Check(
                "dependants",
                Mark.WARNING,
                f"{len(shown)} {what}{plural} on the instance run{'' if plural else 's'} as this account and "
                f"must be given each new password: {', '.join(one.name for one in shown)}.",
                keys=tuple(one.key for one in shown),
            )
    if more:
        yield Check("dependants", Mark.WARNING, f"{more} more run as this account; they are not listed.")
    if not found and not unasked:
        sentence = "No service, scheduled task or application pool runs as this account."
        yield Check("dependants", Mark.PASSED, sentence)


def _text(value: object) -> str:
    return "".join(c for c in value[:128] if c.isprintable()) if isinstance(value, str) else ""


def _texts(value: object) -> list[str]:
    return [_text(item) for item in value if _text(item)] if isinstance(value, list) else []
