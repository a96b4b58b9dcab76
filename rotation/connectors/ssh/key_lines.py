"""Whether the options of a key's lines permit a login from here. Reads findings and makes no connection.

Source of every rule: sshd(8), AUTHORIZED_KEYS FILE FORMAT, and PATTERNS in ssh_config(5). A line counts as
closed only if its options certainly forbid the login. If that is uncertain, for example because sshd may
resolve a name, the line counts as open and a login decides.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from rotation.connectors.base import Check
from rotation.connectors.ssh.findings import Findings, blocked, passed, warning

_PERMISSIONS = frozenset(("agent-forwarding", "port-forwarding", "pty", "user-rc", "x11-forwarding"))
_FLAGS = frozenset(("cert-authority", "no-touch-required", "restrict", "verify-required"))
_ONCE = frozenset(("command", "from", "principals", "tunnel"))
_OFTEN = frozenset(("environment", "expiry-time", "permitlisten", "permitopen"))
_OPTIONS = _PERMISSIONS | {f"no-{option}" for option in _PERMISSIONS} | _FLAGS | _ONCE | _OFTEN
_WHOLE_CHARACTERS = 250  # of a value: what is longer was cut on the host
_LATEST = 253_402_300_799  # seconds since 1970 that are still a date of four digits in each year

#: How each option is called in a sentence, by the reason that it is.
_NAMES = {
    "key_authority": "cert-authority, principals=",
    "key_expired": "expiry-time",
    "key_from": "from=",
    "key_line": "an option that sshd does not know",
    "strict_modes": "StrictModes",
}


@dataclass(frozen=True)
class Line:
    """The options of one line of a key, as far as they are told."""

    options: tuple[str, ...]
    sources: str
    until: str
    is_loose: bool  # others may write to its file


@dataclass(frozen=True)
class Here:
    """From where and when a login would come, in the host's own words."""

    address: str
    local: str  # YYYYMMDDHHMMSS, by the host's clock and zone
    utc: str
    resolves: bool


def lines(findings: Findings) -> list[Line]:
    """Every line of the key that was asked for."""
    columns = zip(
        *map(findings.every, ("key_loose", "key_options", "key_from", "key_until")),
        strict=False,
    )
    return [Line(tuple(filter(None, o.split(","))), f, u, loose == "yes") for loose, o, f, u in columns]


def hindrances(findings: Findings, address: str) -> list[str]:
    """For each line the code of what keeps a login from here out, or nothing."""
    here = Here(address, findings.first("now_local"), _utc(findings), findings.first("use_dns") != "no")
    return [_against(line, here) for line in lines(findings)]


def _utc(findings: Findings) -> str:
    """The host's time in UTC, from the seconds that it counts since 1970; empty where it does not say."""
    seconds = findings.number("now_seconds")
    if seconds is None or seconds > _LATEST:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%d%H%M%S")


def closed(findings: Findings, address: str) -> str:
    """The code of what keeps a login out where no line lets one in; empty where one may."""
    codes = hindrances(findings, address)
    return codes[0] if codes and all(codes) else ""


def checks(findings: Findings, address: str) -> Iterator[Check]:
    """The line `key_lines` of the checklist, where the account's key stands in a file."""
    codes = hindrances(findings, address)
    if code := closed(findings, address):
        yield blocked(code, name="key_lines")
    elif seen := sorted({_NAMES[code] for code in codes if code}):
        shut = sum(map(bool, codes))
        yield warning(
            "key_lines",
            f"The key stands on {len(codes)} lines, and {shut} of them cannot be tested from here "
            f"({', '.join(seen)}). Each line gets one with the new key and the same options.",
        )
    elif findings.first("key_stands") == "no":
        yield warning(
            "key_lines",
            "The current key stands in no file that sshd reads. The new key gets the options of an earlier "
            "one that is back there, or else none.",
        )
    elif codes:
        yield passed("key_lines", _sentence(len(codes)))


def _sentence(count: int) -> str:
    if count == 1:
        return "The key stands on one line; the new key gets the same options."
    return f"The key stands on {count} lines; each gets one with the new key and the same options."


def _against(line: Line, here: Here) -> str:
    if line.is_loose:
        return "strict_modes"
    if not _OPTIONS.issuperset(line.options) or any(line.options.count(o) > 1 for o in _ONCE):
        return "key_line"
    # sshd refuses a key whose line names principals and is no authority's.
    if not {"cert-authority", "principals"}.isdisjoint(line.options):
        return "key_authority"
    if "expiry-time" in line.options and _is_over(line.until, here):
        return "key_expired"
    if "from" in line.options and not _may_come_from(line.sources, here):
        return "key_from"
    return ""


def _is_over(until: str, here: Here) -> bool:
    """YYYYMMDD[Z] or YYYYMMDDHHMM[SS][Z]: the host's own zone, or UTC with a Z."""
    digits = until[:-1] if until[-1:] in "Zz" else until
    now = here.utc if until != digits else here.local
    known = re.fullmatch(r"[0-9]{8}|[0-9]{12}|[0-9]{14}", digits) and re.fullmatch(r"[0-9]{14}", now)
    return known is not None and digits.ljust(14, "0") < now


def _may_come_from(sources: str, here: Here) -> bool:
    """Whether a login from here may pass; a negated pattern that fits overrides all other patterns."""
    if not here.address or len(sources) >= _WHOLE_CHARACTERS:
        return True
    may = False
    for pattern in sources.split(","):
        forbids, pattern = pattern.startswith("!"), pattern.removeprefix("!")
        fits = _fits(pattern, here.address)
        if forbids and fits:
            return False
        # With UseDNS a pattern may be a name, and the host's name for our address is not known here.
        may = may or (not forbids and (fits or (here.resolves and _is_name(pattern))))
    return may


def _fits(pattern: str, address: str) -> bool:
    if "/" in pattern:
        try:
            return ipaddress.ip_address(address) in ipaddress.ip_network(pattern, strict=False)
        except ValueError:
            return False
    expression = re.escape(pattern.lower()).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(expression, address.lower()) is not None


def _is_name(pattern: str) -> bool:
    return not re.fullmatch(r"[0-9a-fA-F.:/*?]*", pattern)
