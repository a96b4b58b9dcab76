"""The open sessions of a person: where each was opened and when it was last used; and how to end them.

allauth keeps a row for each sign-in. Ending one deletes the session itself, so the next request with its
cookie is a stranger's. What was ended, and by whom, is recorded with it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import import_module

from allauth.usersessions.models import UserSession
from django.conf import settings
from django.db import transaction

from console.sessions import expiry
from secrets_app.audit import trail
from secrets_app.models import Principal, User
from secrets_app.people import second_factors

ENDED = "kms:EndSessions"
_BROWSERS = (("Edg/", "Edge"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)


@dataclass(frozen=True)
class Open:
    """One open session, without what opens it."""

    pk: int
    address: str
    browser: str
    since: datetime
    seen_at: datetime
    is_this: bool


def open_of(user: User, *, this: str | None = None) -> list[Open]:
    """This person's sessions that are not over, the newest first; `this` is the key of the one that asks."""
    sessions = []
    for row in UserSession.objects.filter(user=user).order_by("-created_at"):
        store = import_module(settings.SESSION_ENGINE).SessionStore(row.session_key)
        if str(store.get("_auth_user_id", "")) != str(user.pk) or expiry.seconds_left(store) <= 0:
            continue
        seen_at = datetime.fromtimestamp(store.get(expiry.SEEN_AT, row.last_seen_at.timestamp()), UTC)
        is_this = row.session_key == this
        sessions.append(Open(row.pk, row.ip, _browser(row.user_agent), row.created_at, seen_at, is_this))
    return sessions


def end(user: User, ids: Iterable[int], *, actor: Principal, reason: str = "") -> int:
    """End these sessions of this person; return how many there were."""
    wanted = set(ids)
    with transaction.atomic():
        # Not `pk__in`: the database fails on a number that no column could hold.
        rows = [row for row in UserSession.objects.filter(user=user) if row.pk in wanted]
        for row in rows:
            row.end()
        if rows:
            who = second_factors.person(user)
            trail.record(ENDED, who, actor=actor, reason=reason, details={"sessions": len(rows)})
    return len(rows)


def end_all(user: User, *, actor: Principal, reason: str = "", but: str | None = None) -> int:
    """End every session of this person, but the one with the key `but`."""
    rows = UserSession.objects.filter(user=user).exclude(session_key=but or "")
    return end(user, rows.values_list("pk", flat=True), actor=actor, reason=reason)


def _browser(agent: str) -> str:
    """`Firefox on Linux`; the words are ours, because a browser can send any text."""
    browser = next((name for mark, name in _BROWSERS if mark in agent), "")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    if browser and system:
        return f"{browser} on {system}"
    return browser or system or "Unknown browser"
