"""Read a RAM policy document: whether it is one, every problem it has, and its statements.

Source of the language: Alibaba Cloud RAM, "Policy structure and syntax"; of the names of resources:
Alibaba Cloud KMS, "Authorization information".
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import json_source_map

from secrets_app.actions import AWS_DECIDED_BY, AWS_NAMES
from secrets_app.errors import DomainError
from secrets_app.policy.ram_conditions import (
    _MALFORMED,
    DIGIT_LIMIT,
    KEYS,
    OPERATORS,
    TAG_PREFIX,
    Condition,
    kind_of,
)
from secrets_app.policy.ram_patterns import PATTERN_LIMIT, matches
from secrets_app.policy.ram_statements import Effect, Statement

DOCUMENT_LIMIT_BYTES = 20_480
_AWS = "secretsmanager:"

STATEMENT_LIMIT = 100


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


#: Half a character (a surrogate) has no form in UTF-8; NUL and its like no database takes, or no page shows.
_UNKEEPABLE = re.compile("[\ud800-\udfff\0-\x08\x0b\x0c\x0e-\x1f\x7f]")


def read(text: str, *, actions: Iterable[str], source: str = "") -> tuple[Statement, ...]:
    """Return the statements of a document. `actions` are those that exist.

    Raises `BadDocument` with every problem that was found, each with its line.
    """
    return Reader(text, tuple(actions), source).statements()


def lines_of(text: str, number: int) -> range:
    """The lines, from 1, on which statement `number` of a document stands; none where it has no such one."""
    try:
        entry = json_source_map.calculate(text).get(f"/Statement/{number - 1}")
    except (json_source_map.errors.BaseError, RecursionError, ValueError):
        return range(0)
    return range(entry.value_start.line + 1, entry.value_end.line + 2) if entry else range(0)


class Reader:
    """One reading of one document; collects problems instead of stopping at the first."""

    VERSIONS: frozenset[str] = frozenset({"1"})
    MEMBERS: frozenset[str] = frozenset({"Version", "Statement"})
    OF_A_STATEMENT: frozenset[str] = frozenset({"Effect", "Action", "Resource", "Condition"})
    NEEDS_VERSION = True
    ALLOWS_ONE = False  # a statement that stands in no list

    def __init__(self, text: str, actions: tuple[str, ...], source: str) -> None:
        self._text, self._actions, self._source = text, actions, source
        self._problems: list[Problem] = []
        self._places: Mapping[str, Any] = {}

    def statements(self) -> tuple[Statement, ...]:
        document = self._parsed()
        statements = self._document(document)
        if self._problems:
            raise BadDocument(sorted(self._problems, key=lambda problem: problem.line))
        return statements

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
        # Alone and before any other check: a sentence that repeats such a text could not be shown.
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
        """The first line on which this stands, with escapes in either case; 1 if there is none."""
        return self._text.count("\n", 0, max(self._text.lower().find(text.lower()), 0)) + 1

    def _once(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        entries = dict(pairs)
        if len(entries) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            line = self._text.count("\n", 0, self._text.rfind(json.dumps(twice, ensure_ascii=False))) + 1
            self._problems.append(Problem(line, f"{_short(twice)} stands here twice; only one would count."))
        return entries

    def say(self, path: str, sentence: str) -> None:
        self._problems.append(Problem(self.line_of(path), sentence))

    def line_of(self, path: str) -> int:
        """The line of this part of the document, from 1."""
        while path and path not in self._places:  # what is missing has the line of what it is missing from
            path = path.rpartition("/")[0]
        entry = self._places.get(path)
        return (entry.key_start or entry.value_start).line + 1 if entry else 1

    def read_more(self, path: str, entry: dict[str, object], number: int) -> None:
        """Read the rest of a statement, where this kind of document has more."""

    def check_resource(self, place: str, pattern: str) -> None:
        """Say so if this is no name of a resource."""
        if not _is_resource(pattern):
            self.say(place, f"{_short(pattern)} is not *, nor acs:kms:region:account:resource.")

    def key_of(self, key: str) -> str:
        """What a condition's key is called here."""
        return key

    def _document(self, document: object) -> tuple[Statement, ...]:
        if not isinstance(document, dict):
            self.say("", 'A document is an object with "Version" and "Statement".')
            return ()
        for name in document.keys() - self.MEMBERS:
            self.say(f"/{name}", f"{_short(name)} is not known here. Use Version and Statement.")
        if (self.NEEDS_VERSION or "Version" in document) and document.get("Version") not in self.VERSIONS:
            self.say("/Version", f"The version is {' or '.join(map(json.dumps, sorted(self.VERSIONS)))}.")
        statements = document.get("Statement")
        if self.ALLOWS_ONE and isinstance(statements, dict):
            read_one = self._statement("/Statement", statements, 1)
            return (read_one,) if read_one else ()
        if not isinstance(statements, list) or not statements:
            self.say("/Statement", "Statement is a list of at least one statement.")
            return ()
        if len(statements) > STATEMENT_LIMIT:
            self.say("/Statement", f"A document has at most {STATEMENT_LIMIT} statements.")
        read = [self._statement(f"/Statement/{n}", entry, n + 1) for n, entry in enumerate(statements)]
        return tuple(statement for statement in read if statement)

    def _statement(self, path: str, entry: object, number: int) -> Statement | None:
        if not isinstance(entry, dict):
            self.say(path, "A statement is an object with Effect, Action and Resource.")
            return None
        for name in entry.keys() - self.OF_A_STATEMENT:
            self.say(
                f"{path}/{name}",
                f"{_short(name)} is not known here. Use Effect, Action, Resource and Condition.",
            )
        if entry.get("Effect") not in set(Effect):
            self.say(f"{path}/Effect", 'Effect is "Allow" or "Deny".')
        before = len(self._problems)
        actions = self.words(f"{path}/Action", entry.get("Action"), "Action")
        resources = self.words(f"{path}/Resource", entry.get("Resource"), "Resource")
        effect = entry.get("Effect")
        names = [name for place, word in actions for name in self.own_names(place, word, effect)]
        for place, resource in resources:
            self.check_resource(place, resource)
        self.read_more(path, entry, number)
        conditions = self._conditions(f"{path}/Condition", entry.get("Condition", {}))
        if len(self._problems) > before or entry.get("Effect") not in set(Effect):
            return None
        return Statement(
            Effect(entry["Effect"]),
            tuple(names),
            tuple(word for _, word in resources),
            conditions,
            self._source,
            number,
        )

    def own_names(self, place: str, word: str, effect: object) -> list[str]:
        """What this word of a document is called here: itself, or the actions that AWS's names stand for.

        A Deny of several is one of what decides them too; else a change would be possible that it speaks of.
        """
        if not word.startswith(_AWS):
            if not any(matches(word, known) for known in self._actions):
                said = f"No action fits {_short(word)}. Names are like kms:GetSecretValue; case counts."
                self.say(place, said)
            return [word]
        found = [str(action) for name, action in AWS_NAMES.items() if matches(word, name)]
        deciding = [action for name, action in AWS_DECIDED_BY.items() if matches(word, name)]
        if not found:
            said = f"Here {deciding[0]} decides this: name that." if deciding else "Keyturn has none of it."
            self.say(place, f"No action fits {_short(word)}. {said}")
        elif effect == Effect.DENY:
            found += [str(action) for action in deciding if not action.is_read]
        return found

    def words(self, path: str, value: object, name: str) -> list[tuple[str, str]]:
        if isinstance(value, str) and value:
            placed = [(path, value)]
        elif isinstance(value, list) and value and all(isinstance(word, str) and word for word in value):
            placed = [(f"{path}/{n}", word) for n, word in enumerate(value)]
        else:
            self.say(path, f"{name} is a text or a list of texts, and is not empty.")
            return []
        for place, word in placed:
            if len(word) > PATTERN_LIMIT:
                self.say(place, f"{name} has at most {PATTERN_LIMIT} characters.")
        return placed

    def _conditions(self, path: str, entries: object) -> tuple[Condition, ...]:
        if not isinstance(entries, dict):
            self.say(path, 'Condition is an object, such as {"Bool": {"acs:MFAPresent": "true"}}.')
            return ()
        conditions = []
        for name, keys in entries.items():
            here = f"{path}/{name}"
            if name not in OPERATORS:
                self.say(here, f"{_short(name)} is no operator. They are {', '.join(OPERATORS)}.")
            elif not isinstance(keys, dict) or not keys:
                self.say(here, "An operator has an object of keys and their values.")
            else:
                conditions += [
                    self._condition(f"{here}/{k}", name, self.key_of(k), v) for k, v in keys.items()
                ]
        return tuple(condition for condition in conditions if condition)

    def _condition(self, path: str, name: str, key: str, value: object) -> Condition | None:
        operator, kind = OPERATORS[name], kind_of(key)
        if kind is None:
            self.say(path, f"{_short(key)} is no key. They are {', '.join(KEYS)} and {TAG_PREFIX}NAME.")
            return None
        if kind != operator.takes:
            fitting = [known for known, other in OPERATORS.items() if other.takes == kind]
            self.say(path, f"{name} does not fit {_short(key)}. Use {', '.join(fitting)}.")
            return None
        listed = value if isinstance(value, list) else [value]
        values = [str(v).lower() if isinstance(v, bool) else str(v) for v in listed]
        if not listed or not all(isinstance(v, str | bool | int) for v in listed):
            self.say(path, f"{_short(key)} has a text or a list of texts.")
            return None
        for n, text in enumerate(values):
            try:
                operator.check(text)
            except _MALFORMED:
                place = f"{path}/{n}" if isinstance(value, list) else path
                self.say(place, f"{_short(text)} is not {operator.what}.")
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
        item = left.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            left += [*item, *item.values()]
        elif isinstance(item, list):
            left += item


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
