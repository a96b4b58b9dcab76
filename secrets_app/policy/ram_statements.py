"""What follows from several RAM statements together.

The order of evaluation is RAM's: an explicit Deny, then an Allow, then the implicit Deny. What cannot be
evaluated, since a key is absent or a value malformed, never helps the principal: a Deny matches, an Allow
does not. The order of statements and how often one stands there change nothing.

Knows documents and names only: no Django, no rows. `sql` says the same as a condition on rows.

Source of the language: Alibaba Cloud RAM, "Policy structure and syntax".
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from secrets_app.policy.ram_conditions import TAG_PREFIX, Condition, Context, all_hold, evaluate, opposites
from secrets_app.policy.ram_patterns import matches


class Effect(enum.StrEnum):
    """What a statement that matches does."""

    ALLOW = "Allow"
    DENY = "Deny"


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
    """The conditions under which `action` is allowed here, for a principal that must not get more of it.

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
    left = set()
    for statement in statements:
        if statement.effect != effect:
            continue
        of_tags = [c for c in statement.conditions if c.key.startswith(TAG_PREFIX)]
        holds = all_hold(evaluate(condition, tags) for condition in of_tags)
        if holds or (holds is None and effect == Effect.DENY):
            left.add(frozenset(statement.conditions) - frozenset(of_tags))
    return left
