"""Django's test client takes the name of a session for its cookie. Here they are two: importing this says so.

And what a test reads in the sessions that are kept, whose contents belong to their rows.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.core import signing
from django.core.signing import JSONSerializer
from django.http import HttpRequest
from django.test.client import ClientMixin

from console.sessions.store import SessionStore


def _session(client: Any) -> SessionStore:
    cookie = client.cookies.get(settings.SESSION_COOKIE_NAME)
    if cookie:
        return SessionStore.opened_by(cookie.value)
    store = SessionStore()
    store.save()
    client.cookies[settings.SESSION_COOKIE_NAME] = store.cookie
    return store


_set_login_cookies = ClientMixin._set_login_cookies


def _set_cookie(client: Any, request: HttpRequest) -> None:
    _set_login_cookies(client, request)
    client.cookies[settings.SESSION_COOKIE_NAME] = request.session.cookie


ClientMixin.session = property(_session)
ClientMixin._set_login_cookies = _set_cookie


def kept_sessions() -> list[dict[str, Any]]:
    """What every session holds; one that does not open would hide something, and is an error."""
    return [
        signing.loads(row.session_data, salt=SessionStore(row.session_key)._salt(), serializer=JSONSerializer)
        for row in Session.objects.all()
    ]
