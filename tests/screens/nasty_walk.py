"""Send one nasty text after another to a route, and open every page on which what was kept may stand.

Nothing here names a form, a field or a page: the fields are those that the code asks for while a real request
is answered, the pages those that links lead to. A new one is walked by itself.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from django.db import transaction
from django.http import QueryDict
from django.http.response import HttpResponseBase
from django.test import Client, override_settings
from django.urls import NoReverseMatch, Resolver404, get_resolver, resolve, reverse

from tests import sessions
from tests.screens.routes import READS, SIGN_IN
from tests.screens.routes.calls import Call, Cast
from tests.screens.test_aud_01 import again, browser, content, fresh, since, top, undone

#: What a probe answers where no worker runs; whatever is sent to it.
PROBES = {"healthz"}
#: These end a session or begin a journey to somebody else's server.
NO_PAGES = {"account_logout", "openid_link", "openid_confirm", *SIGN_IN}
LINK = re.compile(r'\b(?:href|hx-get|action)="(/[^"#]*)')
#: So many pages of a kind are opened, beside those of what was sent something.
OF_A_KIND = 6


@contextmanager
def noting() -> Iterator[set[str]]:
    """The names that are asked of what was sent, whatever asks."""
    found: set[str] = set()
    kept = {name: getattr(QueryDict, name) for name in ("get", "getlist", "__getitem__", "__contains__")}

    def instead(name: str) -> Any:
        def ask(self: QueryDict, key: str, *more: Any, **named: Any) -> Any:
            found.add(key)
            return kept[name](self, key, *more, **named)

        return ask

    with pytest.MonkeyPatch.context() as patch:
        for name in kept:
            patch.setattr(QueryDict, name, instead(name))
        yield found


@dataclass
class Way:
    """One request to a route that is a real one, and the browser that sends it."""

    name: str
    call: Call
    client: Client
    given: dict[str, Any]

    def fields(self) -> list[str]:
        """What is read of the form or of the address, beside what a real one holds."""
        with undone(), noting() as found:
            answer = self.send({})
            content(answer)
        if not _is_expected(self, answer):
            raise InTheWay(f"{self.call.method} {self.name} answers {answer.status_code} to a real request")
        return sorted((found | self.given.keys()) - {"csrfmiddlewaretoken"})

    def send(self, sent: dict[str, Any]) -> HttpResponseBase:
        """As no browser would: half characters go as they are."""
        client, url = again(self.client), self.call.url(self.name)
        words = urlencode({**self.given, **sent}, doseq=True, errors="surrogatepass")
        if self.call.method == "post":
            return client.post(url, words, content_type="application/x-www-form-urlencoded")
        return client.get(url + ("&" if "?" in url else "?") + words)


class InTheWay(Exception):
    """What was kept so far leaves no room for the next route."""


@dataclass
class Walk:
    """The routes of one table, one after another. What is taken stays, so that pages show many at once."""

    cast: Cast
    #: What a field is sent, for each of these.
    choose: Callable[[list[str]], dict[str, str]]
    wrong: list[str] = field(default_factory=list)
    walked: set[tuple[str, str, str]] = field(default_factory=set)
    opened: set[str] = field(default_factory=set)
    _kept: list[str] = field(default_factory=list)
    #: What the requests that stay were about, as addresses name it.
    _about: set[str] = field(default_factory=set)

    @override_settings(**sessions.AS_LONG_AS_IT_TAKES)
    def over(self, table: dict[str, Any]) -> None:
        waiting = list(table.items())
        home = browser(self.cast.dot)
        while waiting:
            with undone():
                while waiting:
                    if not self._visits(*waiting[0], home):
                        break
                    del waiting[0]
                if self._kept:
                    self._opens_everything(home)
                self._kept.clear()
                self._about.clear()

    def _visits(self, name: str, make: Any, home: Client) -> bool:
        """One route. False if what is kept stands in its way."""
        point = transaction.savepoint()
        try:
            ways = begin(name, make, self.cast, home)
            asked = [(way, way.fields()) for way in ways]
        except Exception:
            transaction.savepoint_rollback(point)
            if self._kept:
                return False
            raise
        is_kept = [self._sends(way, fields) for way, fields in asked]
        if not any(is_kept) or again(home).get(reverse("sessions")).status_code != 200:
            transaction.savepoint_rollback(point)
        return True

    def _sends(self, way: Way, fields: list[str]) -> bool:
        """Each text alone; then all that were taken in one request, which stays. True if it does."""
        taken = {}
        for one, text in self.choose(fields).items():
            self.walked.add((way.call.method, way.name, one))
            with undone():
                if self._takes(way, {one: text}):
                    taken[one] = text
        if way.call.method != "post" or not taken:
            return False
        point, before = transaction.savepoint(), top()
        if self._takes(way, taken):
            self._about |= {str(event.resource_id) for event in since(before)}
            self._kept.append(_named(way, taken))
            return True
        transaction.savepoint_rollback(point)
        return False

    def _takes(self, way: Way, sent: dict[str, Any]) -> bool:
        """Send a real request with these in it. True if it was taken, False if it was refused."""
        try:
            answer = way.send(sent)
            body = content(answer)
        except Exception as error:  # noqa: BLE001  # named, and the next one is sent
            self.wrong.append(f"{_named(way, sent)}: {_short(error)}")
            return False
        if answer.status_code >= 500 and way.call.answer != 503 and way.name not in PROBES:
            self.wrong.append(f"{_named(way, sent)}: {answer.status_code} {body[:300]!r}")
        return answer.status_code < 400

    def _opens_everything(self, home: Client) -> None:
        """Follow each link from each page that needs to be told nothing."""
        opened: Counter[str] = Counter()
        waiting = list(dict.fromkeys(_beginnings()))
        known = set(waiting)
        for path in waiting:  # grows meanwhile
            name = resolve(path).url_name or ""
            is_needed = name in READS and self._is_about(path)
            if name in NO_PAGES or (opened[name] >= OF_A_KIND and not is_needed):
                continue
            opened[name] += 1
            new = self._links_of(path, name, home) - known
            found = sorted(new, key=lambda link: (not self._is_about(link), link))
            known.update(found)
            waiting += found
        self.opened |= set(opened)

    def _is_about(self, path: str) -> bool:
        return not self._about.isdisjoint(path.split("/"))

    def _links_of(self, path: str, name: str, home: Client) -> set[str]:
        """Open a page."""
        try:
            answer = home.get(path)
            text = content(answer).decode()
        except Exception as error:  # noqa: BLE001  # named, and the next one is opened
            self.wrong.append(f"{path} is not shown: {_short(error)}; {self._kept}")
            return set()
        if answer.status_code >= 500 and name not in PROBES:
            self.wrong.append(f"{path} is not shown: {answer.status_code}; {self._kept}")
        return _links(text)


def begin(name: str, make: Any, cast: Cast, home: Client) -> list[Way]:
    """What a route does, and its form where that is another request. Makes the rows for it."""
    made = make(fresh(cast))
    call = made if isinstance(made, Call) else Call(list(made), method="get")
    client = browser() if name in SIGN_IN else again(home)
    given = (call.before(client) if call.before else None) or call.given
    way = Way(name, call, client, dict(given))
    if call.method == "get":
        return [way]
    return [Way(name, replace(call, method="get"), client, {}), way]


def _is_expected(way: Way, answer: HttpResponseBase) -> bool:
    """Neither refused, nor asked who it is."""
    leads = answer.headers.get("Location", "")
    asks = ("account_login", "account_reauthenticate")
    if way.name not in asks and any(leads.startswith(reverse(one)) for one in asks):
        return way.name in {"account_logout", *SIGN_IN}
    if way.name in PROBES or way.call.method == "get":
        return answer.status_code not in {403, 429}
    return answer.status_code < 400


def _named(way: Way, sent: dict[str, Any]) -> str:
    texts = {name: ascii(text)[:80] for name, text in sent.items()}
    return f"{way.call.method} {way.name} {texts}"


def _short(error: Exception) -> str:
    return f"{type(error).__name__} {ascii(str(error))[:300]}"


def _beginnings() -> Iterator[str]:
    """Every page that needs to be told nothing, or a region."""
    for pattern in get_resolver().url_patterns:
        for arguments in ([], ["all"], ["main"]):
            try:
                yield reverse(pattern.name, args=arguments)
            except NoReverseMatch:
                continue


def _links(text: str) -> set[str]:
    found = {unescape(link).partition("?")[0] for link in LINK.findall(text)}
    return {path for path in found if _is_ours(path)}


@functools.cache  # the same links stand on every page
def _is_ours(path: str) -> bool:
    try:
        return bool(resolve(path))
    except Resolver404:
        return False
