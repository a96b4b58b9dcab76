"""Django's test client takes the name of a session for its cookie. Here they are two: importing this says so.

And what a test reads in the sessions that are kept, whose contents belong to their rows. And the event of a
sign-in without a password, which is put there again where it was written before: what a test makes after it
begins with the same trail then, and is put there too. And an answer's `context` is that of its page: Django's
client copies the context of each part that a page includes, too, fifty in a list.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from django.conf import settings
from django.contrib.sessions.models import Session
from django.core import signing
from django.core.signing import JSONSerializer
from django.http import HttpRequest
from django.template import Context, Template
from django.test import utils
from django.test.client import ClientMixin
from django.test.signals import template_rendered

from console.sessions import records
from console.sessions.store import SessionStore
from secrets_app import origin
from secrets_app.audit import trail
from secrets_app.models import User
from tests import snapshots


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


#: Set while a test signs somebody in without a password.
_arranges: ContextVar[bool] = ContextVar("arranges", default=False)


class _Trail:
    """The trail as `records` sees it. An event of a sign-in from nowhere holds nothing of its session."""

    def record(self, action: str, resource: str, **given: Any) -> None:
        if not _arranges.get() or origin.current() != origin.NOWHERE:
            trail.record(action, resource, **given)
            return
        actor = given["actor"]
        about = (str(action), resource, actor.pk, actor.name, given["resource_id"], repr(given["details"]))
        snapshots.put_or_make(about, lambda: trail.record(action, resource, **given))

    def __getattr__(self, name: str) -> Any:
        return getattr(trail, name)


_force_login = ClientMixin.force_login


def _signs_in(client: Any, user: User, backend: str | None = None) -> None:
    """As Django's, with all that the product does at a sign-in."""
    token = _arranges.set(True)
    try:
        _force_login(client, user, backend)
    finally:
        _arranges.reset(token)


def _render(template: Template, context: Context) -> str:
    """As Django's for tests, which tells of each part of a page as of the page."""
    if context.template is template:
        template_rendered.send(sender=template, template=template, context=context)
    return template.nodelist.render(context)


utils.instrumented_test_render = _render  # before pytest-django puts it into `Template`
records.trail = _Trail()
ClientMixin.force_login = _signs_in
ClientMixin.session = property(_session)
ClientMixin._set_login_cookies = _set_cookie


def kept_sessions() -> list[dict[str, Any]]:
    """What every session holds; one that does not open would hide something, and is an error."""
    return [
        signing.loads(row.session_data, salt=SessionStore(row.session_key)._salt(), serializer=JSONSerializer)
        for row in Session.objects.all()
    ]
