"""Sessions as they are kept: under a keyed hash of the cookie, with contents that belong to this row alone.

`session_key` is the name of the row, as everywhere: the list of sessions and allauth's table have that, and
it opens nothing. The cookie is known to the browser and, for the time of a request, to the middleware here.
A reader of the database or of a copy of it can use no session. A writer of it can plant none:
neither the name that a cookie leads to nor the signature of the contents can be made without Django's key,
and contents that are copied into another row do not open.
"""

from __future__ import annotations

import re
import secrets
from typing import Any, cast

from django.conf import settings
from django.contrib.sessions.backends import db
from django.contrib.sessions.middleware import SessionMiddleware
from django.contrib.sessions.models import Session
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.utils import timezone

from secrets_app import keyed, prepared

_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_NAME_LENGTH = 40  # of the column, and of allauth's; 160 bits
_NAMED: prepared.Question[Session] = prepared.Question(lambda name: Session.objects.filter(session_key=name))


class Name(str):
    """The name of a row; with the cookie that leads to it, if this request sent or made that.

    On the name and not beside it: allauth makes a new store of the name alone in the middle of a request.
    """

    cookie: str = ""

    @classmethod
    def behind(cls, cookie: str) -> Name:
        """The name of the row that this cookie leads to."""
        name = cls(keyed.digest("session", cookie)[:_NAME_LENGTH])
        name.cookie = cookie
        return name


class SessionStore(db.SessionStore):
    """Django's sessions in the database; what the browser gets is `cookie`, and never `session_key`."""

    @classmethod
    def opened_by(cls, cookie: str | None) -> SessionStore:
        """The session that this cookie leads to; a new one if it leads nowhere."""
        return cls(Name.behind(cookie) if cookie and _COOKIE.fullmatch(cookie) else None)

    @property
    def cookie(self) -> str:
        """What opens this session; empty if only its name is known."""
        return getattr(self.session_key, "cookie", "")

    def _get_new_session_key(self) -> str:
        return Name.behind(secrets.token_urlsafe(32))

    def _get_session_from_db(self) -> Session | None:
        """Django's, which is asked with each request, by SQL that is made once."""
        found = _NAMED.first(str(self.session_key))
        if found is not None and found.expire_date > timezone.now():
            return found
        self._session_key = None
        return None

    def encode(self, session_dict: dict[str, Any]) -> str:
        return signing.dumps(session_dict, salt=self._salt(), serializer=self.serializer, compress=True)

    def decode(self, session_data: bytes | str) -> dict[str, Any]:
        text = session_data if isinstance(session_data, str) else session_data.decode()
        try:
            content: dict[str, Any] = signing.loads(text, salt=self._salt(), serializer=self.serializer)
        except (signing.BadSignature, ValueError):
            return {}
        return content

    def _salt(self) -> str:
        return f"keyturn session of {self.session_key}"


class Sessions(SessionMiddleware):
    """Django's, with the cookie and the name of the row told apart."""

    def process_request(self, request: HttpRequest) -> None:
        request.session = SessionStore.opened_by(request.COOKIES.get(settings.SESSION_COOKIE_NAME))

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response = super().process_response(request, response)
        sent = response.cookies.get(settings.SESSION_COOKIE_NAME)
        if sent is not None and sent.value:
            response.cookies[settings.SESSION_COOKIE_NAME] = cast(SessionStore, request.session).cookie
        return response
