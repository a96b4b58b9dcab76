"""When a session ends: after some minutes without an action of its user, and after twelve hours in any case.

Keeps two times in the session, and nothing else: when it began and when its user was last active. A request
that a page sends automatically never counts as activity, so a browser left open signs itself out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone

from console.sessions import records
from secrets_app.models import User

#: The page adds it to its automatic requests (static/js/session.js). By header and not by URL: a list
#: that refreshes itself has the address of the list that a person opens.
LIVE_HEADER = "X-Keyturn-Live"
LEFT_HEADER = "X-Session-Seconds"
BEGAN_AT = "began_at"
SEEN_AT = "seen_at"
#: One write a minute is enough; a session then ends up to a minute early, never late.
SEEN_EVERY = timedelta(minutes=1)
WARN_SECONDS = 60


class SessionLimits:
    """End what is over before anything reads who is signed in; tell the page how long is left."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # A request without our cookie, such as a health check, must not make us ask for a session.
        if settings.SESSION_COOKIE_NAME in request.COOKIES and isinstance(request.user, User):
            if seconds_left(request.session) <= 0:
                records.ended(request, request.user)
                request.session.flush()
                request.user = AnonymousUser()
            elif LIVE_HEADER not in request.headers:
                _mark_seen(request.session)
        response = self.get_response(request)
        if request.htmx and isinstance(request.user, User):  # type: ignore[attr-defined]
            response[LEFT_HEADER] = str(seconds_left(request.session))
        return response


def sign_in_again() -> HttpResponse:
    """Have the page open sign-in over itself; if a user is signed in, it only gets its new token."""
    return HttpResponse(status=401, headers={"HX-Trigger": json.dumps({"signedOut": {}})})


def seconds_left(session: SessionBase) -> int:
    """How long this session lasts without activity; zero or less if it has expired.

    A session from before these limits has no times yet and begins now.
    """
    now = timezone.now().timestamp()
    idle_end = session.get(SEEN_AT, now) + settings.SESSION_IDLE.total_seconds()
    return int(min(idle_end, _absolute_end(session)) - now)


def is_in_its_last_minute(session: SessionBase) -> bool:
    """True where the absolute end is so near that no action moves it further away."""
    return _absolute_end(session) - timezone.now().timestamp() <= WARN_SECONDS


def _absolute_end(session: SessionBase) -> float:
    began_at: float = session.get(BEGAN_AT, timezone.now().timestamp())
    return began_at + settings.SESSION_COOKIE_AGE


def _mark_seen(session: SessionBase) -> None:
    now = timezone.now().timestamp()
    if BEGAN_AT not in session:
        session[BEGAN_AT] = now
    if now - session.get(SEEN_AT, 0) >= SEEN_EVERY.total_seconds():
        session[SEEN_AT] = now


def _begin(request: HttpRequest, **_: object) -> None:
    # A user who signs in again keeps the content of the session, but starts another twelve hours.
    request.session[BEGAN_AT] = request.session[SEEN_AT] = timezone.now().timestamp()


user_logged_in.connect(_begin, dispatch_uid="console.sessions.expiry")
