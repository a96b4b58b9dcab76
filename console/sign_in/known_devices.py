"""Browsers in which a user has signed in before: their attempts are counted separately.

Five wrong passwords from anywhere lock that name for five minutes in browsers that are not known. A browser
in which a user has signed in keeps a cookie that names the user; it gives no access, and attempts with it are
counted separately. So a remote attacker cannot lock users out of their own browser, and a stolen cookie
allows five guesses in five minutes, until the password changes.

Nothing is stored here: the cookie is a keyed hash over the person, the password that they have, and the day.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterator
from typing import Final

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone

from secrets_app import keyed
from secrets_app.models import User

COOKIE: Final = "keyturn_device"
KEPT_DAYS: Final = 90
#: Persons of one browser; the one who came longest ago is forgotten first.
MOST: Final = 5
_PURPOSE = "known device"
_ENTRY = re.compile(r"([0-9a-f]{32})-([0-9]{1,6})-([0-9a-f]{64})")
_SIGNED_IN = "_keyturn_signed_in"


def name_of(request: HttpRequest, username: str) -> str:
    """The name under which this browser's tries as this person are counted; empty where it is not known."""
    entries = list(_entries(request))
    if not entries and not isinstance(request.user, User):
        return ""
    user = User.objects.filter(username__iexact=username.strip()).first()
    if user is None:
        return ""
    for number, day, mark in entries:
        if _is_recent(day) and keyed.fits(mark, _PURPOSE, *_parts(user, number, day)):
            return f"{user.pk} {number}"
    # A signed-in user who re-authenticates is known by the session.
    if request.user == user:
        return f"{user.pk} {keyed.digest(_PURPOSE, 'session', request.session.session_key or '')}"
    return ""


class Remember:
    """Give the browser its cookie with the answer to a sign-in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        user = getattr(request, _SIGNED_IN, None)
        if user is not None and request.user == user:
            response.set_cookie(
                COOKIE,
                ".".join(_with(request, user)),
                max_age=KEPT_DAYS * 24 * 3600,
                path="/",
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Strict",
            )
        return response


def _signed_in(request: HttpRequest, user: User, **_: object) -> None:
    setattr(request, _SIGNED_IN, user)


def _with(request: HttpRequest, user: User) -> list[str]:
    """What the browser holds, with this user first, renewed."""
    number, day = secrets.token_hex(16), str(_today())
    others = [
        "-".join(entry)
        for entry in _entries(request)
        if not keyed.fits(entry[2], _PURPOSE, *_parts(user, entry[0], entry[1]))
    ]
    return ["-".join([number, day, keyed.digest(_PURPOSE, *_parts(user, number, day))]), *others][:MOST]


def _entries(request: HttpRequest) -> Iterator[tuple[str, str, str]]:
    for text in request.COOKIES.get(COOKIE, "").split(".")[:MOST]:
        if entry := _ENTRY.fullmatch(text):
            yield entry[1], entry[2], entry[3]


def _parts(user: User, number: str, day: str) -> list[str]:
    return [str(user.pk), user.password, number, day]


def _today() -> int:
    return int(timezone.now().timestamp()) // 86400


def _is_recent(day: str) -> bool:
    return 0 <= _today() - int(day) <= KEPT_DAYS


user_logged_in.connect(_signed_in, dispatch_uid="console.sign_in.known_devices")
