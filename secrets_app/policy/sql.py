"""The same policies as a condition on rows, so that a list shows exactly what one may see one by one.

`condition` answers for every row at once what `ram_statements.decide` answers for one. What depends on the
request alone is decided here; names and tags are left to the database.

An ARN is a prefix that a region gives and a name that the row has. A pattern is followed through the prefix
in Python, and what is left of it is compared with the name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.db.models import CharField, Exists, Lookup, Q, QuerySet

from secrets_app.policy import ram_conditions, ram_statements

NONE = Q(pk__in=[])
ALL = Q(pk__isnull=False)
_WILD = frozenset("*?")


@CharField.register_lookup
class Fits(Lookup):
    """`name__fits=("web/*", "db-1")`: any of these, * and ? as `ram_patterns.matches` has them; case counts.

    One lookup: a long policy has fifty patterns, and to put fifty lookups together takes Django longer than
    the database takes to answer.
    """

    lookup_name = "fits"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        # A backslash escapes unless another character is named.
        return self._any(compiler, connection, "LIKE", _like)

    def as_sqlite(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        # LIKE folds case there and GLOB does not; a [ begins a set of characters.
        return self._any(compiler, connection, "GLOB", lambda pattern: pattern.replace("[", "[[]"))

    def _any(
        self, compiler: Any, connection: Any, operator: str, written: Callable[[str], str]
    ) -> tuple[str, tuple[Any, ...]]:
        left, parameters = self.process_lhs(compiler, connection)
        parts, values = [], []
        for pattern in self.rhs:
            is_wild = not _WILD.isdisjoint(pattern)
            parts.append(f"{left} {operator} %s" if is_wild else f"{left} = %s")
            values += [*parameters, written(pattern) if is_wild else pattern]
        return f"({' OR '.join(parts)})", tuple(values)


def _like(pattern: str) -> str:
    escaped = pattern.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


@CharField.register_lookup
class Folded(Lookup):
    """`value__folded="prod"`: equal as `ram_conditions.fold` has it; the right side is folded already."""

    lookup_name = "folded"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, parameters = self.process_lhs(compiler, connection)
        return f'LOWER({left} COLLATE "C") = %s', (*parameters, self.rhs)

    def as_sqlite(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        left, parameters = self.process_lhs(compiler, connection)
        return f"LOWER({left}) = %s", (*parameters, self.rhs)


@dataclass(frozen=True)
class Rows:
    """How one kind of resource is kept: the ARN's prefix by region, and the field that ends it."""

    prefixes: Mapping[UUID, str]  # region -> "acs:kms:cn-hangzhou:1234:secret/"
    name: str  # "name", "instance_id"
    region: str = "region"
    #: A row's tags under the name of one, with `value`; none where this kind has no tags.
    tags: Callable[[str], QuerySet[Any]] | None = None
    #: The rows of instances with one of these operating systems; none where this kind belongs to no instance.
    os: Callable[[Collection[str]], Q] | None = None


def condition(
    statements: Iterable[ram_statements.Statement],
    action: str,
    context: ram_conditions.Context,
    rows: Rows,
    *,
    granted: Q = NONE,
    refused: Q = NONE,
) -> Q:
    """The rows on which `action` is allowed.

    `granted` are those that a grant or their own policy allows, unless denied; `refused` those that their own
    policy denies.
    """
    allowed, denied = [granted], [refused]
    for statement in _merged(statements, action):
        fits = holding(statement, context, rows)
        if fits is not None:
            part = _both(_named(statement.resources, rows), fits)
            (denied if statement.effect == ram_statements.Effect.DENY else allowed).append(part)
    if any(part is ALL for part in allowed) and len(denied) == 1 and refused is NONE:
        return ALL  # itself, so that a caller may leave it out
    return reduce(or_, allowed) & ~reduce(or_, denied)


def _merged(statements: Iterable[ram_statements.Statement], action: str) -> list[ram_statements.Statement]:
    """The statements about `action`, as few: those that differ in their resources only are one.

    Each condition then stands in the query once, and is asked of a row only whose name fits.
    """
    merged: dict[tuple[ram_statements.Effect, tuple[ram_conditions.Condition, ...]], dict[str, None]] = {}
    for statement in statements:
        if statement.concerns(action):
            resources = merged.setdefault((statement.effect, statement.conditions), {})
            resources |= dict.fromkeys(statement.resources)
    return [
        ram_statements.Statement(effect, (action,), tuple(resources), conditions)
        for (effect, conditions), resources in merged.items()
    ]


def _both(a: Q, b: Q) -> Q:
    return b if a is ALL else a if b is ALL else a & b


def allows_under(
    conditions: tuple[ram_conditions.Condition, ...], context: ram_conditions.Context, rows: Rows
) -> Q | None:
    """The rows on which an Allow with these conditions holds; None for none."""
    return holding(
        ram_statements.Statement(ram_statements.Effect.ALLOW, ("*",), ("*",), conditions), context, rows
    )


def holding(statement: ram_statements.Statement, context: ram_conditions.Context, rows: Rows) -> Q | None:
    """The rows on which the statement's conditions hold; None for none."""
    is_deny = statement.effect == ram_statements.Effect.DENY
    left = ALL
    for wanted in statement.conditions:
        if wanted.key.startswith(ram_conditions.TAG_PREFIX) and rows.tags is not None:
            left = _both(left, _tagged(wanted, rows.tags, is_deny=is_deny))
            continue
        if wanted.key == ram_conditions.OS_TYPE and rows.os is not None:
            left = _both(left, _on_system(wanted, rows.os, is_deny=is_deny))
            continue
        answer = ram_conditions.evaluate(wanted, context)
        if answer is False or (answer is None and not is_deny):
            return None
    return left


def _tagged(wanted: ram_conditions.Condition, tags: Callable[[str], QuerySet[Any]], *, is_deny: bool) -> Q:
    """A tag that is not there cannot be compared: a Deny holds then, an Allow does not."""
    operator = ram_conditions.OPERATORS[wanted.operator]
    here = tags(wanted.key.removeprefix(ram_conditions.TAG_PREFIX))
    test = reduce(or_, (_compared(wanted.operator, value) for value in wanted.values))
    holds = Q(Exists(here.exclude(test) if operator.negated else here.filter(test)))
    return holds | ~Q(Exists(here)) if is_deny else holds


def _on_system(
    wanted: ram_conditions.Condition, rows_on: Callable[[Collection[str]], Q], *, is_deny: bool
) -> Q:
    """There are few systems, so each is compared here. A row without an instance is as one without a tag."""
    systems = ram_conditions.OS_TYPES
    answers = {
        os: ram_conditions.evaluate(wanted, {ram_conditions.OS_TYPE: label}) for os, label in systems.items()
    }
    holds = rows_on([os for os, answer in answers.items() if answer])
    return holds | ~rows_on([*systems]) if is_deny else holds


def _compared(operator: str, value: str) -> Q:
    if "Like" in operator:
        return Q(value__fits=(value,))
    return Q(value__folded=ram_conditions.fold(value)) if "IgnoreCase" in operator else Q(value=value)


def _named(patterns: Iterable[str], rows: Rows) -> Q:
    """The rows whose ARN fits one of the patterns."""
    regions: dict[frozenset[str], list[UUID]] = {}
    patterns = tuple(patterns)
    for region, prefix in rows.prefixes.items():
        left = frozenset(rest for pattern in patterns for rest in residuals(pattern, prefix))
        if left:
            regions.setdefault(left, []).append(region)
    rows_named = NONE
    for left, where in regions.items():
        here = ALL if len(where) == len(rows.prefixes) else Q(**{f"{rows.region}__in": where})
        named = ALL if "*" in left else Q(**{f"{rows.name}__fits": tuple(sorted(left))})
        rows_named = _both(here, named) if rows_named is NONE else rows_named | _both(here, named)
    return rows_named


@lru_cache(maxsize=8192)  # each list asks the same of each of its statements, in each region
def residuals(pattern: str, prefix: str) -> frozenset[str]:
    """What may be left of `pattern` once it has taken in the whole of `prefix`.

    No name has a colon in it, so what still waits for one fits none.
    """
    places = _with_stars(pattern, {0})
    for character in prefix:
        places = _with_stars(pattern, set(_after(pattern, places, character)))
    left = frozenset(pattern[place:] for place in places if ":" not in pattern[place:])
    return frozenset("*") if "*" in left else left


def _after(pattern: str, places: Iterable[int], character: str) -> Iterable[int]:
    for place in places:
        if place < len(pattern):
            if pattern[place] == "*":
                yield place
            elif pattern[place] in ("?", character):
                yield place + 1


def _with_stars(pattern: str, places: set[int]) -> set[int]:
    """A * may also stand for nothing."""
    reached = set(places)
    for place in places:
        while place < len(pattern) and pattern[place] == "*":
            place += 1
            reached.add(place)
    return reached
