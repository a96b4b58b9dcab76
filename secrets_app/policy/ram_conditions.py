"""Conditions of a RAM statement: their keys, operators, types, and what each says of a request.

Source of the language: Alibaba Cloud RAM, "Policy elements".
"""

from __future__ import annotations

import functools
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from secrets_app.policy.ram_patterns import matches

DIGIT_LIMIT = 40  # of a number; Python itself refuses 4,300, with an error of another kind


Context = Mapping[str, str]


@dataclass(frozen=True)
class Condition:
    """One operator on one key; it holds where one of the values fits (none, for an operator with Not)."""

    operator: str
    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key} {self.operator} {' or '.join(value or '(empty)' for value in self.values)}"


def all_hold(answers: Iterable[bool | None]) -> bool | None:
    """AND of three-valued answers: one False decides, else one None leaves it open."""
    open_ = False
    for answer in answers:
        if answer is False:
            return False
        open_ = open_ or answer is None
    return None if open_ else True


def _text(value: str) -> str:
    return value


def _number(value: str) -> Decimal:
    number = Decimal(value)
    if not number.is_finite():
        raise InvalidOperation
    return number


def _moment(value: str) -> datetime:
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError
    return moment


def _truth(value: str) -> bool:
    return {"true": True, "false": False}[value.lower()]


def _network(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(value.strip(), strict=False)


def _is_within(asked: str, wanted: str) -> bool:
    address = ipaddress.ip_address(asked)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    network = _network(wanted)
    return address.version == network.version and address in network


@dataclass(frozen=True)
class Operator:
    """How a value of a policy is compared with one of the request."""

    fits: Callable[[str, str], bool]  # (asked, wanted); raises if one is malformed
    check: Callable[[str], object]  # raises where a value in a policy is malformed
    takes: str  # the kind of key: string, number, date, bool, ip
    negated: bool = False
    what: str = "text"


def _compare(read: Callable[[str], Any], test: Callable[[Any, Any], bool]) -> Callable[[str, str], bool]:
    return lambda asked, wanted: test(read(asked), read(wanted))


def _ordered(kind: str, read: Callable[[str], Any], what: str) -> dict[str, Operator]:
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "Equals": lambda a, b: a == b,
        "LessThan": lambda a, b: a < b,
        "LessThanEquals": lambda a, b: a <= b,
        "GreaterThan": lambda a, b: a > b,
        "GreaterThanEquals": lambda a, b: a >= b,
    }
    prefix = {"number": "Numeric", "date": "Date"}[kind]
    operators = {
        f"{prefix}{name}": Operator(_compare(read, test), read, kind, what=what)
        for name, test in tests.items()
    }
    operators[f"{prefix}NotEquals"] = Operator(
        _compare(read, tests["Equals"]), read, kind, negated=True, what=what
    )
    return operators


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def fold(value: str) -> str:
    """Without regard to case, for A to Z alone: further on, databases do not agree with each other."""
    return value.translate(_LOWER)


OPERATORS: dict[str, Operator] = {
    "StringEquals": Operator(_compare(_text, lambda a, b: a == b), _text, "string"),
    "StringNotEquals": Operator(_compare(_text, lambda a, b: a == b), _text, "string", negated=True),
    "StringEqualsIgnoreCase": Operator(_compare(fold, lambda a, b: a == b), _text, "string"),
    "StringNotEqualsIgnoreCase": Operator(_compare(fold, lambda a, b: a == b), _text, "string", negated=True),
    "StringLike": Operator(lambda asked, wanted: matches(wanted, asked), _text, "string"),
    "StringNotLike": Operator(lambda asked, wanted: matches(wanted, asked), _text, "string", negated=True),
    **_ordered("number", _number, "a number"),
    **_ordered("date", _moment, "a time such as 2026-01-31T17:00:00+08:00"),
    "Bool": Operator(_compare(_truth, lambda a, b: a == b), _truth, "bool", what="true or false"),
    "IpAddress": Operator(_is_within, _network, "ip", what="an address or a network such as 10.0.0.0/8"),
    "NotIpAddress": Operator(
        _is_within, _network, "ip", negated=True, what="an address or a network such as 10.0.0.0/8"
    ),
}


TAG_PREFIX = "kms:tag/"


REASON = "kms:Reason"  # the reason that a reader of a value gives; empty if none was given


OS_TYPE = "kms:OSType"  # of the instance that the resource is, or belongs to


#: What an instance's operating system is called in a condition, by how its row has it.
OS_TYPES = {"linux": "Linux", "windows": "Windows"}


KEYS = {
    "acs:SourceIp": "ip",
    "acs:CurrentTime": "date",
    "acs:MFAPresent": "bool",
    "acs:SecureTransport": "bool",
    REASON: "string",
    OS_TYPE: "string",
}


_MALFORMED = (ValueError, KeyError, ArithmeticError, TypeError)


def kind_of(key: str) -> str | None:
    """The kind of value that a condition's key has; None where there is no such key."""
    if key.startswith(TAG_PREFIX) and len(key) > len(TAG_PREFIX):
        return "string"
    return KEYS.get(key)


def evaluate(condition: Condition, context: Context) -> bool | None:
    """Whether the condition holds; None where it cannot be evaluated."""
    operator = OPERATORS.get(condition.operator)
    asked = context.get(condition.key)
    if operator is None or asked is None:
        return None
    try:
        # All of them, so that a malformed one counts in any position.
        fits = any([operator.fits(asked, wanted) for wanted in condition.values])  # noqa: C419
    except _MALFORMED:
        return None
    return fits != operator.negated


def opposites(condition: Condition) -> tuple[Condition, ...]:
    """The conditions that hold together where this one does not, and are open where this one is."""
    operator, key, values = condition.operator, condition.key, condition.values
    if operator == "Bool":
        return tuple(Condition("Bool", key, (str(not _truth(value)).lower(),)) for value in values)
    if operator in _TURNED:
        return (Condition(_TURNED[operator], key, values),)
    # Of several values one is enough to be below; not to be below takes all of them.
    kind, comparison = re.fullmatch("(Numeric|Date)(.+)", operator).groups()  # type: ignore[union-attr]
    return tuple(Condition(kind + _REVERSED[comparison], key, (value,)) for value in values)


_PAIRS = [
    ("StringEquals", "StringNotEquals"),
    ("StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase"),
    ("StringLike", "StringNotLike"),
    ("NumericEquals", "NumericNotEquals"),
    ("DateEquals", "DateNotEquals"),
    ("IpAddress", "NotIpAddress"),
]


_TURNED = dict(_PAIRS) | {b: a for a, b in _PAIRS}


_REVERSED = {
    "LessThan": "GreaterThanEquals",
    "LessThanEquals": "GreaterThan",
    "GreaterThan": "LessThanEquals",
    "GreaterThanEquals": "LessThan",
}


def written(conditions: Iterable[Condition]) -> str:
    """Conditions as text, the same for the same ones in any order; empty for none."""
    rows = sorted([c.operator, c.key, list(c.values)] for c in set(conditions))
    return json.dumps(rows) if rows else ""


@functools.lru_cache(maxsize=512)
def conditions(text: str) -> tuple[Condition, ...]:
    """Return what `written` wrote. What it did not write can never be evaluated, so it allows nothing."""
    try:
        rows = json.loads(text) if text else []
        read = tuple(Condition(operator, key, tuple(values)) for operator, key, values in rows)
    except (ValueError, TypeError, RecursionError):
        return _NEVER
    words = (word for c in read for word in (c.operator, c.key, *c.values))
    return read if all(isinstance(word, str) for word in words) else _NEVER


_NEVER = (Condition("", "", ()),)
