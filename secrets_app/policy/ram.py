"""RAM policies: what a document says, whether it is one, and what follows from several together.

The order of evaluation is RAM's: an explicit Deny, then an Allow, then the implicit Deny. What cannot be
evaluated, since a key is absent or a value malformed, never helps whoever asks: a Deny matches, an Allow
does not. The order of statements and how often one stands there change nothing.

Knows documents and names, and nobody: no Django, no rows. `ram_sql` says the same as a condition on rows.

Source of the language: Alibaba Cloud RAM, "Policy structure and syntax" and "Policy elements"; of the names
of resources: Alibaba Cloud KMS, "Authorization information".
"""

from __future__ import annotations

import enum
import functools
import ipaddress
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import json_source_map

from secrets_app.errors import DomainError

DOCUMENT_LIMIT_BYTES = 20_480
STATEMENT_LIMIT = 100
PATTERN_LIMIT = 700  # characters; an ARN is never longer
DIGIT_LIMIT = 40  # of a number; Python itself refuses 4,300, with an error of another kind

Context = Mapping[str, str]


class Effect(enum.StrEnum):
    """What a statement that matches does."""

    ALLOW = "Allow"
    DENY = "Deny"


@dataclass(frozen=True)
class Problem:
    """What is wrong with a document, where, and what to do."""

    line: int  # from 1
    sentence: str

    def __str__(self) -> str:
        return f"Line {self.line}: {self.sentence}"


class BadDocument(DomainError, ValueError):
    """This is not a policy document; `problems` says why, line by line."""

    code = "policy_document_invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(" ".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(frozen=True)
class Condition:
    """One operator on one key; it holds where one of the values fits (none, for an operator with Not)."""

    operator: str
    key: str
    values: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.key} {self.operator} {' or '.join(value or '(empty)' for value in self.values)}"


@dataclass(frozen=True)
class Statement:
    """One statement of a document, and where it came from."""

    effect: Effect
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()
    source: str = ""  # the policy or grant, as a person knows it
    number: int = 0  # of the statement in its document, from 1

    def concerns(self, action: str) -> bool:
        return _any_fits(self.actions, action)


# A page asks the same of the same statements for each of its rows.
@functools.lru_cache(maxsize=8192)
def _any_fits(patterns: tuple[str, ...], action: str) -> bool:
    return any(matches(pattern, action) for pattern in patterns)


@dataclass(frozen=True)
class Verdict:
    """The decision, and the statement that made it; none where nothing matched."""

    allowed: bool
    statement: Statement | None = None


# ---------------------------------------------------------------- deciding


def decide(statements: Iterable[Statement], action: str, resource: str, context: Context) -> Verdict:
    """Decide from all the statements of one principal together."""
    allow = None
    for statement in statements:
        if not statement.concerns(action):
            continue
        if not any(matches(pattern, resource) for pattern in statement.resources):
            continue
        holds = all_hold(evaluate(condition, context) for condition in statement.conditions)
        if statement.effect == Effect.DENY and holds is not False:
            return Verdict(False, statement)
        if statement.effect == Effect.ALLOW and holds and allow is None:
            allow = statement
    return Verdict(allow is not None, allow)


def carried(
    statements: Iterable[Statement],
    action: str,
    resource: str,
    context: Context,
    *,
    unasked: Collection[str] = (),
) -> tuple[Condition, ...] | None:
    """The conditions under which `action` is allowed here, for somebody else who is to have no more of it.

    Where one Allow that holds has no condition, no Allow's count; else those of all that hold. A Deny that
    does not hold here counts as the opposite of what it lacks. The keys `unasked` have no value yet: an
    Allow is taken to hold and a Deny not to. None where it is denied.
    """
    allowed, kept = [], dict[Condition, None]()
    for statement in statements:
        if not statement.concerns(action) or not any(matches(p, resource) for p in statement.resources):
            continue
        asked = [c for c in statement.conditions if c.key not in unasked]
        if statement.effect == Effect.ALLOW:
            if all_hold(evaluate(condition, context) for condition in asked):
                allowed.append(statement.conditions)
            continue
        lacking = [c for c in asked if evaluate(c, context) is False]
        lacking = lacking or [c for c in statement.conditions if c.key in unasked]
        if not lacking:
            return None
        kept |= dict.fromkeys(opposite for condition in lacking for opposite in opposites(condition))
    if not allowed:
        return None
    if () not in allowed:
        kept |= dict.fromkeys(condition for conditions in allowed for condition in conditions)
    return tuple(kept)


def may_widen(
    statements: Iterable[Statement], action: str, resource: str, before: Context, after: Context
) -> bool:
    """Whether some request is denied with the tags `before` and could be allowed with the tags `after`.

    The contexts hold tags alone. In doubt yes: what is left of each statement once its tags are compared is
    taken to be independent of what is left of any other that asks for something else.
    """
    about = [s for s in statements if s.concerns(action) and any(matches(p, resource) for p in s.resources)]
    had, has = _left(about, Effect.ALLOW, before), _left(about, Effect.ALLOW, after)
    denied, denies = _left(about, Effect.DENY, before), _left(about, Effect.DENY, after)
    if not has or frozenset() in denies:
        return False
    gains = any(not any(old <= new for old in had) for new in has)
    is_freed = any(not any(new <= old for new in denies) for old in denied)
    return gains or is_freed


def _left(statements: Iterable[Statement], effect: Effect, tags: Context) -> set[frozenset[Condition]]:
    """What is left to ask of a request by each statement that holds with these tags."""
    found = set()
    for statement in statements:
        if statement.effect != effect:
            continue
        of_tags = [c for c in statement.conditions if c.key.startswith(TAG_PREFIX)]
        holds = all_hold(evaluate(condition, tags) for condition in of_tags)
        if holds or (holds is None and effect == Effect.DENY):
            found.add(frozenset(statement.conditions) - frozenset(of_tags))
    return found


def all_hold(answers: Iterable[bool | None]) -> bool | None:
    """AND of three-valued answers: one False decides, else one None leaves it open."""
    open_ = False
    for answer in answers:
        if answer is False:
            return False
        open_ = open_ or answer is None
    return None if open_ else True


def matches(pattern: str, text: str) -> bool:
    """Whether `text` fits `pattern`: * stands for any characters, ? for one, and case counts.

    Goes back to the last * only, so that no pattern takes more than len(pattern) * len(text) steps.
    """
    begin, rest = _split(pattern)
    if not rest:
        return text == begin
    if not text.startswith(begin):
        return False
    return rest == "*" or _follow(rest, text[len(begin) :])


@functools.lru_cache(maxsize=8192)
def _split(pattern: str) -> tuple[str, str]:
    """What stands before the first * or ?, and what is left."""
    plain = re.match(r"[^*?]*", pattern)
    end = plain.end() if plain else 0
    return pattern[:end], pattern[end:]


def _follow(pattern: str, text: str) -> bool:
    at = star = -1
    p = t = 0
    while t < len(text):
        if p < len(pattern) and pattern[p] == "*":
            star, at = p, t
            p += 1
        elif p < len(pattern) and pattern[p] in ("?", text[t]):
            p, t = p + 1, t + 1
        elif star >= 0:
            at += 1
            p, t = star + 1, at
        else:
            return False
    return all(character == "*" for character in pattern[p:])


# ---------------------------------------------------------------- conditions


def _text(value: str) -> str:
    return value


def _number(value: str) -> Decimal:
    found = Decimal(value)
    if not found.is_finite():
        raise InvalidOperation
    return found


def _moment(value: str) -> datetime:
    found = datetime.fromisoformat(value)
    if found.tzinfo is None:
        raise ValueError
    return found


def _truth(value: str) -> bool:
    return {"true": True, "false": False}[value.lower()]


def _network(value: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(value.strip(), strict=False)


def _is_within(found: str, wanted: str) -> bool:
    address = ipaddress.ip_address(found)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    network = _network(wanted)
    return address.version == network.version and address in network


@dataclass(frozen=True)
class Operator:
    """How a value of a policy is compared with one of the request."""

    fits: Callable[[str, str], bool]  # (found, wanted); raises where one is malformed
    check: Callable[[str], object]  # raises where a value in a policy is malformed
    takes: str  # the kind of key: string, number, date, bool, ip
    negated: bool = False
    what: str = "text"


def _compare(read: Callable[[str], Any], test: Callable[[Any, Any], bool]) -> Callable[[str, str], bool]:
    return lambda found, wanted: test(read(found), read(wanted))


def _ordered(kind: str, read: Callable[[str], Any], what: str) -> dict[str, Operator]:
    tests: dict[str, Callable[[Any, Any], bool]] = {
        "Equals": lambda a, b: a == b,
        "LessThan": lambda a, b: a < b,
        "LessThanEquals": lambda a, b: a <= b,
        "GreaterThan": lambda a, b: a > b,
        "GreaterThanEquals": lambda a, b: a >= b,
    }
    prefix = {"number": "Numeric", "date": "Date"}[kind]
    made = {
        f"{prefix}{name}": Operator(_compare(read, test), read, kind, what=what)
        for name, test in tests.items()
    }
    made[f"{prefix}NotEquals"] = Operator(
        _compare(read, tests["Equals"]), read, kind, negated=True, what=what
    )
    return made


_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def fold(value: str) -> str:
    """Without regard to case, for A to Z alone: further on, databases do not agree with each other."""
    return value.translate(_LOWER)


OPERATORS: dict[str, Operator] = {
    "StringEquals": Operator(_compare(_text, lambda a, b: a == b), _text, "string"),
    "StringNotEquals": Operator(_compare(_text, lambda a, b: a == b), _text, "string", negated=True),
    "StringEqualsIgnoreCase": Operator(_compare(fold, lambda a, b: a == b), _text, "string"),
    "StringNotEqualsIgnoreCase": Operator(_compare(fold, lambda a, b: a == b), _text, "string", negated=True),
    "StringLike": Operator(lambda found, wanted: matches(wanted, found), _text, "string"),
    "StringNotLike": Operator(lambda found, wanted: matches(wanted, found), _text, "string", negated=True),
    **_ordered("number", _number, "a number"),
    **_ordered("date", _moment, "a time such as 2026-01-31T17:00:00+08:00"),
    "Bool": Operator(_compare(_truth, lambda a, b: a == b), _truth, "bool", what="true or false"),
    "IpAddress": Operator(_is_within, _network, "ip", what="an address or a network such as 10.0.0.0/8"),
    "NotIpAddress": Operator(
        _is_within, _network, "ip", negated=True, what="an address or a network such as 10.0.0.0/8"
    ),
}

TAG_PREFIX = "kms:tag/"
REASON = "kms:Reason"  # what somebody says who reads a value; empty where nothing was said
KEYS = {
    "acs:SourceIp": "ip",
    "acs:CurrentTime": "date",
    "acs:MFAPresent": "bool",
    "acs:SecureTransport": "bool",
    REASON: "string",
}
#: Half a character (a surrogate) has no form in UTF-8; NUL and its like no database takes, or no page shows.
_UNKEEPABLE = re.compile("[\ud800-\udfff\0-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MALFORMED = (ValueError, KeyError, ArithmeticError, TypeError)


def kind_of(key: str) -> str | None:
    """The kind of value that a condition's key has; None where there is no such key."""
    if key.startswith(TAG_PREFIX) and len(key) > len(TAG_PREFIX):
        return "string"
    return KEYS.get(key)


def evaluate(condition: Condition, context: Context) -> bool | None:
    """Whether the condition holds; None where it cannot be evaluated."""
    operator = OPERATORS.get(condition.operator)
    found = context.get(condition.key)
    if operator is None or found is None:
        return None
    try:
        # All of them, so that a malformed one counts wherever it stands.
        fits = any([operator.fits(found, wanted) for wanted in condition.values])  # noqa: C419
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
        found = tuple(Condition(operator, key, tuple(values)) for operator, key, values in rows)
    except (ValueError, TypeError, RecursionError):
        return _NEVER
    words = (word for c in found for word in (c.operator, c.key, *c.values))
    return found if all(isinstance(word, str) for word in words) else _NEVER


_NEVER = (Condition("", "", ()),)


# ---------------------------------------------------------------- reading a document


def read(text: str, *, actions: Iterable[str], source: str = "") -> tuple[Statement, ...]:
    """Return the statements of a document. `actions` are those that exist.

    Raises `BadDocument` with every problem that was found, each with its line.
    """
    return _Reader(text, tuple(actions), source).statements()


def lines_of(text: str, number: int) -> range:
    """The lines, from 1, on which statement `number` of a document stands; none where it has no such one."""
    try:
        entry = json_source_map.calculate(text).get(f"/Statement/{number - 1}")
    except (json_source_map.errors.BaseError, RecursionError, ValueError):
        return range(0)
    return range(entry.value_start.line + 1, entry.value_end.line + 2) if entry else range(0)


class _Reader:
    """One reading of one document; collects problems instead of stopping at the first."""

    def __init__(self, text: str, actions: tuple[str, ...], source: str) -> None:
        self._text, self._actions, self._source = text, actions, source
        self._problems: list[Problem] = []
        self._places: Mapping[str, Any] = {}

    def statements(self) -> tuple[Statement, ...]:
        document = self._parsed()
        made = self._document(document)
        if self._problems:
            raise BadDocument(sorted(self._problems, key=lambda problem: problem.line))
        return made

    def _parsed(self) -> object:
        # Counted even if it is no text in UTF-8, of which the next lines speak.
        if len(self._text.encode(errors="surrogatepass")) > DOCUMENT_LIMIT_BYTES:
            raise BadDocument([Problem(1, f"A document has at most {DOCUMENT_LIMIT_BYTES:,} bytes.")])
        try:
            document = json.loads(
                self._text,
                object_pairs_hook=self._once,
                parse_int=self._number,
                parse_float=self._number,
                parse_constant=self._number,
            )
            self._places = json_source_map.calculate(self._text)
        except json.JSONDecodeError as error:
            raise BadDocument([Problem(error.lineno, f"This is not JSON: {error.msg}.")]) from None
        except RecursionError:
            raise BadDocument([Problem(1, "This is nested too deeply.")]) from None
        # By itself, before anything else is said: a sentence that repeats such a text could not be shown.
        for text in _texts(document):
            if bad := _UNKEEPABLE.search(text):
                line = self._line(json.dumps(text)[1:-1])
                raise BadDocument([Problem(line, f"A text holds U+{ord(bad[0]):04X}, which cannot be kept.")])
        return document

    def _number(self, text: str) -> int | float:
        if len(text) > DIGIT_LIMIT:
            raise BadDocument([Problem(self._line(text), f"A number has at most {DIGIT_LIMIT} characters.")])
        number = int(text) if text.removeprefix("-").isdigit() else float(text)
        if not math.isfinite(number):
            raise BadDocument([Problem(self._line(text), f"{text} is not a number that JSON has.")])
        return number

    def _line(self, text: str) -> int:
        """The line on which this stands first, whatever case its escapes have; 1 if nowhere."""
        return self._text.count("\n", 0, max(self._text.lower().find(text.lower()), 0)) + 1

    def _once(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            line = self._text.count("\n", 0, self._text.rfind(json.dumps(twice, ensure_ascii=False))) + 1
            self._problems.append(Problem(line, f"{_short(twice)} stands here twice; only one would count."))
        return found

    def _say(self, path: str, sentence: str) -> None:
        while path and path not in self._places:  # what is missing has the line of what it is missing from
            path = path.rpartition("/")[0]
        entry = self._places.get(path)
        line = (entry.key_start or entry.value_start).line + 1 if entry else 1
        self._problems.append(Problem(line, sentence))

    def _document(self, document: object) -> tuple[Statement, ...]:
        if not isinstance(document, dict):
            self._say("", 'A document is an object with "Version" and "Statement".')
            return ()
        for name in document.keys() - {"Version", "Statement"}:
            self._say(f"/{name}", f"{_short(name)} is not known here. Use Version and Statement.")
        if document.get("Version") != "1":
            self._say("/Version", 'The version is "1".')
        statements = document.get("Statement")
        if not isinstance(statements, list) or not statements:
            self._say("/Statement", "Statement is a list of at least one statement.")
            return ()
        if len(statements) > STATEMENT_LIMIT:
            self._say("/Statement", f"A document has at most {STATEMENT_LIMIT} statements.")
        made = [self._statement(f"/Statement/{n}", found, n + 1) for n, found in enumerate(statements)]
        return tuple(statement for statement in made if statement)

    def _statement(self, path: str, found: object, number: int) -> Statement | None:
        if not isinstance(found, dict):
            self._say(path, "A statement is an object with Effect, Action and Resource.")
            return None
        for name in found.keys() - {"Effect", "Action", "Resource", "Condition"}:
            self._say(
                f"{path}/{name}",
                f"{_short(name)} is not known here. Use Effect, Action, Resource and Condition.",
            )
        if found.get("Effect") not in set(Effect):
            self._say(f"{path}/Effect", 'Effect is "Allow" or "Deny".')
        before = len(self._problems)
        actions = self._words(f"{path}/Action", found.get("Action"), "Action")
        resources = self._words(f"{path}/Resource", found.get("Resource"), "Resource")
        for place, action in actions:
            if not any(matches(action, known) for known in self._actions):
                self._say(
                    place, f"No action fits {_short(action)}. Names are like kms:GetSecretValue; case counts."
                )
        for place, resource in resources:
            if not _is_resource(resource):
                self._say(place, f"{_short(resource)} is not *, nor acs:kms:region:account:resource.")
        conditions = self._conditions(f"{path}/Condition", found.get("Condition", {}))
        if len(self._problems) > before or found.get("Effect") not in set(Effect):
            return None
        return Statement(
            Effect(found["Effect"]),
            tuple(word for _, word in actions),
            tuple(word for _, word in resources),
            conditions,
            self._source,
            number,
        )

    def _words(self, path: str, found: object, name: str) -> list[tuple[str, str]]:
        if isinstance(found, str) and found:
            placed = [(path, found)]
        elif isinstance(found, list) and found and all(isinstance(word, str) and word for word in found):
            placed = [(f"{path}/{n}", word) for n, word in enumerate(found)]
        else:
            self._say(path, f"{name} is a text or a list of texts, and is not empty.")
            return []
        for place, word in placed:
            if len(word) > PATTERN_LIMIT:
                self._say(place, f"{name} has at most {PATTERN_LIMIT} characters.")
        return placed

    def _conditions(self, path: str, found: object) -> tuple[Condition, ...]:
        if not isinstance(found, dict):
            self._say(path, 'Condition is an object, such as {"Bool": {"acs:MFAPresent": "true"}}.')
            return ()
        made = []
        for name, keys in found.items():
            here = f"{path}/{name}"
            if name not in OPERATORS:
                self._say(here, f"{_short(name)} is no operator. They are {', '.join(OPERATORS)}.")
            elif not isinstance(keys, dict) or not keys:
                self._say(here, "An operator has an object of keys and their values.")
            else:
                made += [self._condition(f"{here}/{k}", name, k, v) for k, v in keys.items()]
        return tuple(condition for condition in made if condition)

    def _condition(self, path: str, name: str, key: str, found: object) -> Condition | None:
        operator, kind = OPERATORS[name], kind_of(key)
        if kind is None:
            self._say(path, f"{_short(key)} is no key. They are {', '.join(KEYS)} and {TAG_PREFIX}NAME.")
            return None
        if kind != operator.takes:
            fitting = [known for known, other in OPERATORS.items() if other.takes == kind]
            self._say(path, f"{name} does not fit {_short(key)}. Use {', '.join(fitting)}.")
            return None
        listed = found if isinstance(found, list) else [found]
        values = [str(v).lower() if isinstance(v, bool) else str(v) for v in listed]
        if not listed or not all(isinstance(v, str | bool | int) for v in listed):
            self._say(path, f"{_short(key)} has a text or a list of texts.")
            return None
        for n, value in enumerate(values):
            try:
                operator.check(value)
            except _MALFORMED:
                place = f"{path}/{n}" if isinstance(found, list) else path
                self._say(place, f"{_short(value)} is not {operator.what}.")
        return Condition(name, key, tuple(values))


def _is_resource(pattern: str) -> bool:
    """Whether some ARN of ours could fit: `*`, or a pattern that begins as ARNs do."""
    if pattern == "*":
        return True
    return re.fullmatch(r"(acs|\*):(kms|\*):[^:]*:[^:]*:[^:]+|acs:\*|acs:kms:\*", pattern) is not None


def _texts(document: object) -> Iterator[str]:
    """Every text and every name in a document."""
    left = [document]
    while left:
        found = left.pop()
        if isinstance(found, str):
            yield found
        elif isinstance(found, dict):
            left += [*found, *found.values()]
        elif isinstance(found, list):
            left += found


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
