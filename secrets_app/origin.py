"""Where the work that is going on came from: one request, one task or one command.

It is bound once, at the outermost place, and read by everything below: events name it, conditions of policies
are compared with it, rights are read once for it. With it stands what was allowed in it, for the event that
follows. A block inside another one sees nothing of the outer one, and what was kept is gone with its block,
also where a copy of its context lives on: no decision reaches an event of other work.

Who acts is not part of it: every function of the domain is handed its actor, and a second source could
disagree.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar, cast
from uuid import UUID

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Origin:
    """The known facts. A fact that is None is unknown, and a condition that needs it does not hold."""

    request_id: str = ""
    address: str | None = None  # an IP address
    session: str = ""  # a hash of the session key
    is_secure: bool | None = None  # it came over TLS
    is_mfa: bool | None = None  # its session has a second factor
    #: When a request came: its decisions are of this one moment, so that a list and its rows agree. Work that
    #: lasts has no such moment, and its rights are read for each decision.
    at: datetime | None = None
    #: What signed it, and the program that says it sent it; for the details of each event. No secret.
    signed: Mapping[str, str] = field(default_factory=dict)


NOWHERE = Origin()


@dataclass
class _Work:
    """An origin, and what is kept as long as its block."""

    origin: Origin
    allowed: dict[tuple[UUID, str, str], str] = field(default_factory=dict)
    kept: dict[type, Any] = field(default_factory=dict)
    is_over: bool = False


_work: ContextVar[_Work | None] = ContextVar("work", default=None)


@contextmanager
def bind(
    *,
    request_id: str = "",
    address: str | None = None,
    session: str = "",
    is_secure: bool | None = None,
    is_mfa: bool | None = None,
    at: datetime | None = None,
    signed: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """What happens inside the block came from there."""
    plain = _plain_address(address)
    facts = Origin(request_id, plain, session, is_secure=is_secure, is_mfa=is_mfa, at=at, signed=signed or {})
    work = _Work(facts)
    try:
        with _as(work):
            yield
    finally:
        work.is_over = True


@contextmanager
def supposing(*, is_mfa: bool) -> Iterator[None]:
    """Inside the block, decide as if the session had a second factor, or had none; with the same rights."""
    work = _current()
    supposed = _Work(replace(current(), is_mfa=is_mfa), kept=work.kept if work else {})
    try:
        with _as(supposed):
            yield
    finally:
        supposed.is_over = True


@contextmanager
def _as(work: _Work) -> Iterator[None]:
    token = _work.set(work)
    try:
        yield
    finally:
        _work.reset(token)


def _current() -> _Work | None:
    work = _work.get()
    return None if work is None or work.is_over else work


def current() -> Origin:
    """The origin of the current work; NOWHERE if it was not set."""
    work = _current()
    return work.origin if work else NOWHERE


def kept(kind: type[Kept]) -> Kept | None:
    """What is kept for this request, empty the first time; None for work that is no request."""
    work = _current()
    if work is None or work.origin.at is None:
        return None
    if kind not in work.kept:
        work.kept[kind] = kind()
    return cast(Kept, work.kept[kind])


# ---------------------------------------------------------------- what was allowed


def note_allowed(actor: UUID, action: str, resource: str, because: str) -> None:
    """Keep what allowed this, for the event that follows from it."""
    work = _current()
    if work is not None:
        work.allowed[(actor, str(action), resource)] = because


def forget_allowed() -> None:
    """Keep nothing of that any longer: rights were changed."""
    work = _current()
    if work is not None:
        work.allowed.clear()


def allowed_by(actor: UUID, action: str, resource: str) -> str:
    """What allowed this here on the resource, or on the container that it was made in; or empty."""
    work = _current()
    if work is None:
        return ""
    container = resource.partition("/")[0]
    decision = work.allowed.get((actor, str(action), resource))
    return decision or work.allowed.get((actor, str(action), container)) or ""


def _plain_address(address: str | None) -> str | None:
    """An address in the form that both databases store; None for a text that is no address."""
    try:
        return str(ipaddress.ip_address((address or "").partition("%")[0]))
    except ValueError:
        return None
