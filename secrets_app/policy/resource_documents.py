"""Policies of one secret, in the language of AWS: who they speak of, and what follows for one principal.

A document is read against the secret that it stands on: its resources are that secret, so they are checked
when it is stored, and not asked again. A user or machine that it names is found then too and kept by its id,
so that one of the same name that comes later is not the one that was meant.

Sources: AWS Identity and Access Management User Guide, "IAM JSON policy elements reference"; AWS Secrets
Manager User Guide, "Resource-based policies".
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from uuid import UUID

from secrets_app.actions import AWS_DECIDED_BY, Action
from secrets_app.policy import ram_conditions
from secrets_app.policy.ram_documents import BadDocument, Problem, Reader
from secrets_app.policy.ram_patterns import matches
from secrets_app.policy.ram_statements import Effect, Statement

SOURCE = "the resource policy of this secret"
_EVERYONE = "*"
_AWS_KEYS = {
    "aws:SourceIp": "acs:SourceIp",
    "aws:CurrentTime": "acs:CurrentTime",
    "aws:MultiFactorAuthPresent": "acs:MFAPresent",
    "aws:SecureTransport": "acs:SecureTransport",
}
_AWS_TAGS = ("aws:ResourceTag/", "secretsmanager:ResourceTag/")
_NAMED = re.compile(r"(?:arn:aws:iam|acs:ram)::(\d*):user/([A-Za-z0-9._@+=,-]{1,80})")
_ROOT = re.compile(r"(?:(?:arn:aws:iam|acs:ram)::)?(\d{12}|\d{16})(?::root|:\*)?")


class UnknownPrincipal(BadDocument):
    """The document names a principal that is no user and no application of this account."""

    code = "policy_principal_unknown"


@dataclass(frozen=True)
class Spoken:
    """One statement, and of whom it speaks."""

    statement: Statement
    is_of_everyone: bool
    #: All of the account: AWS leaves the rest to their own policies, so an Allow gives them nothing.
    is_of_account: bool
    principals: frozenset[UUID]

    def speaks_of(self, principal: UUID) -> bool:
        if principal in self.principals or self.is_of_everyone:
            return True
        return self.is_of_account and self.statement.effect == Effect.DENY


def read(
    text: str,
    *,
    resources: Collection[str] | None,
    accounts: Collection[str],
    find: Callable[[str], UUID | None],
) -> dict[str, str]:
    """Return the principals that a document names, by what it calls them, with their ids.

    `resources` are the names of its secret (None: of any), `accounts` the numbers of the account; `find`
    returns the id of the user or machine of a name. Raises `BadDocument`, or `UnknownPrincipal` if nothing
    else is wrong.
    """
    reader = _Reader(text, tuple(Action), SOURCE)
    named, problems = {}, []
    for place, name in reader.names(resources=resources):
        found = _NAMED.fullmatch(name)
        principal = find(found[2]) if found and found[1] in accounts else None
        root = _ROOT.fullmatch(name)
        if principal is not None:
            named[name] = str(principal)
        elif name != _EVERYONE and not (root and root[1] in accounts):
            problems.append(reader.problem(place, f"{name[:60]} is no user or application of this account."))
    if problems:
        raise UnknownPrincipal(sorted(problems, key=lambda problem: problem.line))
    return named


def stored(text: str, principals: dict[str, str]) -> str:
    """How a document is kept: with the ids of the principals that it names."""
    return json.dumps({"document": text, "principals": principals}, sort_keys=True)


def document(kept: str | None) -> str:
    """The document of what `stored` returned; empty for none."""
    return str(json.loads(kept)["document"]) if kept else ""


def named(kept: str | None) -> list[UUID]:
    """The principals that what `stored` returned names."""
    return [UUID(number) for number in json.loads(kept)["principals"].values()] if kept else []


def is_public(text: str) -> bool:
    """Whether an Allow speaks of all users, under whichever condition. Raises `BadDocument`."""
    reader = _Reader(text, tuple(Action), SOURCE)
    return any(one.effect == Effect.ALLOW and _EVERYONE in names for one, names in reader.each())


@functools.lru_cache(maxsize=4096)
def compiled(kept: str) -> tuple[Spoken, ...]:
    """The statements of what `stored` returned; what cannot be read denies everything to all users."""
    try:
        row = json.loads(kept)
        principals = {name: UUID(number) for name, number in row["principals"].items()}
        reader = _Reader(row["document"], tuple(Action), SOURCE)
        return tuple(
            Spoken(
                statement=replace(one, resources=("*",)),  # checked when it was stored
                is_of_everyone=_EVERYONE in names,
                is_of_account=any(_ROOT.fullmatch(name) for name in names),
                principals=frozenset(principals[name] for name in names if name in principals),
            )
            for one, names in reader.each()
        )
    except (BadDocument, ValueError, KeyError, TypeError, AttributeError):
        closed = Statement(Effect.DENY, ("*",), ("*",), source=f"{SOURCE}, which is unreadable")
        return (Spoken(closed, is_of_everyone=True, is_of_account=False, principals=frozenset()),)


@functools.lru_cache(maxsize=8192)
def about(kept: str, principal: UUID) -> tuple[Statement, ...]:
    """The statements of what `stored` returned that speak of this principal."""
    return tuple(one.statement for one in compiled(kept) if one.speaks_of(principal))


# ---------------------------------------------------------------- reading


class _Reader(Reader):
    """A document whose statements name principals, and resources in the service's way."""

    VERSIONS = frozenset({"2012-10-17", "2008-10-17", "1"})
    MEMBERS = frozenset({"Version", "Id", "Statement"})
    OF_A_STATEMENT = frozenset({"Sid", "Effect", "Principal", "Action", "Resource", "Condition"})
    NEEDS_VERSION = False
    ALLOWS_ONE = True

    def __init__(self, text: str, actions: tuple[str, ...], source: str) -> None:
        super().__init__(text, actions, source)
        self._principals: dict[int, list[tuple[str, str]]] = {}
        self._resources: Collection[str] | None = None

    def names(self, *, resources: Collection[str] | None) -> list[tuple[str, str]]:
        """All principals that it names, each with its place; its resources have to be among these."""
        self._resources = resources
        self.statements()
        return [name for names in self._principals.values() for name in names]

    def each(self) -> list[tuple[Statement, list[str]]]:
        """Each statement with the principals that it names."""
        return [(one, [name for _, name in self._principals[one.number]]) for one in self.statements()]

    def problem(self, path: str, sentence: str) -> Problem:
        return Problem(self.line_of(path), sentence)

    def read_more(self, path: str, entry: dict[str, object], number: int) -> None:
        named = entry.get("Principal")
        if isinstance(named, str):
            if named != _EVERYONE:
                self.say(f"{path}/Principal", 'Principal is "*", or an object such as {"AWS": "..."}.')
                return
            self._principals[number] = [(f"{path}/Principal", named)]
            return
        if not isinstance(named, dict) or not named:
            self.say(f"{path}/Principal", 'Principal is "*", or an object such as {"AWS": "..."}.')
            return
        found: list[tuple[str, str]] = []
        for kind, names in named.items():
            if kind not in {"AWS", "RAM"}:
                self.say(f"{path}/Principal/{kind}", "Principals are those of AWS, or of RAM.")
                continue
            found += self.words(f"{path}/Principal/{kind}", names, "Principal")
        self._principals[number] = found

    def check_resource(self, place: str, pattern: str) -> None:
        if pattern == "*" or self._resources is None:
            return
        if not any(matches(pattern, name) for name in self._resources):
            self.say(place, f"{pattern[:60]} is not this secret.")

    def own_names(self, place: str, word: str, effect: object) -> list[str]:
        """As for other documents; to allow an operation that another action decides adds nothing to that."""
        if effect == Effect.ALLOW and word in AWS_DECIDED_BY:
            return []
        return super().own_names(place, word, effect)

    def key_of(self, key: str) -> str:
        for prefix in _AWS_TAGS:
            if key.startswith(prefix):
                return ram_conditions.TAG_PREFIX + key.removeprefix(prefix)
        return _AWS_KEYS.get(key, key)
