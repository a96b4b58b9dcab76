"""Follow, as one person, every link from the home page, and press every button that a page offers.

Nothing here names a page: what is opened is what pages lead to. A button is pressed with what its form holds
before anything is typed, and what that did is undone.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

from django.test import Client, override_settings
from django.urls import Resolver404, resolve

from secrets_app.models import User
from tests import markup, sessions
from tests.screens.test_aud_01 import browser, content, undone

#: They have no end tag.
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
#: Their text is a label of something to press, or is never read.
LABELS, UNREAD = {"a", "button", "summary"}, {"template", "script", "style", "option", "title", "svg"}
HOME = "/"
#: They end the session that asks, or lead to another server.
LAST = {"account_logout", "openid_link", "openid_confirm", "openid_sign_in"}
#: They say how the machine is; that no worker runs is no error of a page.
PROBES = {"healthz", "readyz"}
#: Parts of an address that make another page of it, by their values.
TELLING = {"tab", "status", "result"}
#: Pages that explain the console, or show what was written at some time.
TEXTS = {"help", "help_chapter", "audit", "audit_event"}
#: How a step begins that its reader may not take.
OTHERS = "For users who may "
FORM = "application/x-www-form-urlencoded"
#: How a sentence names an action, and the label by which a page offers it.
ACTIONS = {
    **{
        rf"\b{label}\b": label
        for label in (
            "Rotate Immediately", "Reconcile", "Rebind", "Retry", "Restore Secret", "Plan Deletion Secret",
            "Get secret value", "Rotate back to this value", "Override and rotate",
            "Test connection", "Create Secret", "Register Instance", "Approve host key", "Verify all",
            "Acknowledge", "Reset sign-in", "Reset second factor", "New version",
        )
    },
    r"\b(then|and|or) retry\b": "Retry",
    r"\b(then|and|or) rotate\b|\bRotate (it|once)\b": "Rotate Immediately",
    r"\bcheck for drift\b": "Check for drift",
}  # fmt: skip


@dataclass
class Form:
    """What is sent by a button of it, before anything is typed."""

    method: str
    action: str
    identity: str = ""
    given: list[tuple[str, str]] = field(default_factory=list)
    #: Each button: where it sends to, its own name and value, and its label.
    buttons: list[tuple[str, list[tuple[str, str]], str]] = field(default_factory=list)


class Page(markup.Reader):
    """What a page or a part of one leads to, what can be pressed, and what it says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.is_whole = "<html" in text
        self.links: list[tuple[str, str]] = []
        self.loads: list[str] = []
        self.forms: list[Form] = []
        self.ids: set[str] = set()
        self.tags: Counter[str] = Counter()
        self.labels: set[str] = set()
        self.said: list[str] = []
        self.menus: list[str] = []  # of rows, which a script reads from these addresses
        self.leads_on = False
        self.leads_to: list[str] = []
        self._open: list[tuple[str, dict[str, str]]] = []
        # Of what is open: templates, what is a label, and what is never read.
        self._templates = self._labels = self._unread = 0
        self._label: list[str] = []
        self._form: Form | None = None
        self._select: tuple[Form | None, str, bool] = (None, "", False)
        self.feed(text)
        self.close()

    def begins(self, tag, attrs):
        given = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self._open.append((tag, given))
            self._count(tag, 1)
        if self._templates:
            return
        self.tags[tag] += 1
        if "id" in given:
            self.ids.add(given["id"])
        if "data-more" in given:
            self.menus.append(f"{self._row.partition('?')[0]}menu/")
        if "hx-get" in given:
            self.loads.append(given["hx-get"])
        if tag == "form":
            self._form = Form(
                given.get("method", "get").lower(), given.get("action", ""), given.get("id", "")
            )
            self.forms.append(self._form)
        if tag in LABELS:
            self._label = []
            if given.get("aria-label"):
                self.labels.add(given["aria-label"])
        self._field(tag, given)

    def _field(self, tag, given):
        form = self._form
        if given.get("form"):
            form = next((one for one in self.forms if one.identity == given["form"]), None)
        name, kind = given.get("name", ""), given.get("type", "")
        if tag == "select":
            self._select = (form, name, False)
        elif tag == "option" and self._select[0] and self._select[1]:
            form, name, has_one = self._select
            if not has_one or "selected" in given:
                if has_one:
                    form.given.pop()
                form.given.append((name, given.get("value", "")))
                self._select = (form, name, True)
        elif tag == "input" and form and name and "disabled" not in given:
            if kind not in {"checkbox", "radio", "submit", "file"} or (
                kind in {"checkbox", "radio"} and "checked" in given
            ):
                form.given.append((name, given.get("value", "on")))
        elif tag == "button" and form and kind != "button" and "disabled" not in given:
            own = [(name, given.get("value", ""))] if name else []
            form.buttons.append((given.get("formaction") or given.get("hx-post") or form.action, own, ""))

    def handle_endtag(self, tag):
        if tag in LABELS and not self._templates:
            label = " ".join("".join(self._label).split())
            self.labels.add(label)
            if tag == "a":
                self._link(next(given for name, given in reversed(self._open) if name == "a"), label)
            elif tag == "button" and self._form and self._form.buttons:
                where, own, _ = self._form.buttons[-1]
                self._form.buttons[-1] = (where, own, label)
        while self._open:
            name, _ = self._open.pop()
            self._count(name, -1)
            if name == tag:
                break
        if tag == "form":
            self._form = None
        if tag in {"p", "li", "td", "dd", "dt", "h1", "h2", "h3", "div", "label"}:
            self.said.append("\n")

    def _count(self, tag, more):
        self._templates += more * (tag == "template")
        self._labels += more * (tag in LABELS)
        self._unread += more * (tag in UNREAD)

    def _link(self, given, label):
        if "href" not in given:
            return
        self.links.append((given["href"], label))
        if "data-copies" in given:
            self._row = given["href"]
        self.leads_on = self.leads_on or not given["href"].startswith("#")

    def handle_data(self, text):
        if self._templates:
            return
        if self._labels:
            self._label.append(text)
        elif not self._unread:
            self.said.append(text)


@dataclass
class Crawl:
    """One person's way through the console, from the home page, and what was wrong on it."""

    user: User
    #: Which pages of a route are alike: of each kind, one is opened.
    kind: Callable[[str, dict[str, Any], str], Hashable]
    #: Addresses that this person was sent.
    sent: tuple[str, ...] = ()
    wrong: list[str] = field(default_factory=list)
    #: Steps that are named as those of users with more rights.
    left_to_others: list[str] = field(default_factory=list)
    opened: Counter[str] = field(default_factory=Counter)
    pressed: Counter[str] = field(default_factory=Counter)
    _pages: dict[str, Page] = field(default_factory=dict)
    _client: Client = field(init=False)

    @override_settings(**sessions.AS_LONG_AS_IT_TAKES)
    def all(self) -> None:
        self._client = browser(self.user)
        waiting, known = [HOME, *self.sent], {HOME}
        for url in waiting:  # grows meanwhile
            page = self._open(url)
            if page is None:
                continue
            self._pages[url] = page
            page.leads_to = list(self._leads_to(url, page))
            for where in page.leads_to:
                if where in known:
                    continue
                known.add(where)
                kind = self._kind(where)
                if kind not in known:
                    known.add(kind)
                    waiting.append(where)
            self._press(url, page)
        for url, page in self._pages.items():
            self._reads(url, page)

    def _open(self, url: str) -> Page | None:
        answer = self._client.get(url, follow=True)
        text = content(answer).decode(errors="replace")
        self.opened[_name(url)] += 1
        if answer.status_code >= 400 and _name(url) not in PROBES:
            self.wrong.append(f"{url} answers {answer.status_code}")
            return None
        if "html" not in answer.headers["Content-Type"]:
            return None
        page = Page(text)
        if page.is_whole and not (page.tags["h1"] and page.leads_on):
            self.wrong.append(f"{url} has no heading, or leads nowhere")
        return page

    def _leads_to(self, url: str, page: Page) -> Iterator[str]:
        for link in [*(link for link, _ in page.links), *page.loads, *page.menus]:
            parts = urlsplit(urljoin(url, link))
            if parts.fragment and not link.partition("#")[0] and parts.fragment not in page.ids:
                self.wrong.append(f"{url} has a link to {link}, which it has not")
            if parts.scheme or parts.netloc:
                self.wrong.append(f"{url} has a link to {link}")
                continue
            try:
                name = _resolved(parts.path).url_name
            except Resolver404:
                self.wrong.append(f"{url} has a link to {link}, which there is not")
                continue
            if name not in LAST:
                yield parts.path + (f"?{parts.query}" if parts.query else "")

    def _kind(self, url: str) -> Hashable:
        """What tells this address from those that need not be opened beside it."""
        parts = urlsplit(url)
        found = _resolved(parts.path)
        asked = dict(parse_qsl(parts.query, keep_blank_values=True))
        shown = {name: asked[name] for name in asked.keys() & TELLING}
        kind = self.kind(found.url_name or "", found.kwargs, asked.get("tab", ""))
        return (found.url_name, kind, *sorted(asked.keys() - TELLING), *sorted(shown.items()))

    def _press(self, url: str, page: Page) -> None:
        """Press every button of its forms whose like was not pressed yet."""
        for form in page.forms:
            for where, own, label in form.buttons:
                path = urlsplit(urljoin(url, where or url)).path
                found = _resolved(path)
                if form.method != "post" or found.url_name in LAST:
                    continue
                like = f"{found.url_name} {self.kind(found.url_name or '', found.kwargs, '')} {label}"
                self.pressed[like] += 1
                if self.pressed[like] > 1:
                    continue
                self._send(url, path, [*form.given, *own], label)
                self.pressed[found.url_name] += 1
                if self.pressed[found.url_name] == 1:
                    self._send(url, path, [], label)

    def _send(self, url: str, path: str, given: list[tuple[str, str]], label: str) -> None:
        cookies = {name: morsel.value for name, morsel in self._client.cookies.items()}
        # A test message of a webhook is refused before the name of its host is looked up.
        with undone(), override_settings(WEBHOOK_HOSTS=["hooks.invalid"]):
            answer = self._client.post(path, urlencode(given), content_type=FORM)
            content(answer)
        self._client.cookies.clear()
        self._client.cookies.load(cookies)
        is_not_there = answer.status_code == 404 and given
        if answer.status_code in {403, 405} or answer.status_code >= 500 or is_not_there:
            self.wrong.append(f"{url} offers {label!r}: {path} answers {answer.status_code}")

    def _reads(self, url: str, page: Page) -> None:
        """Nothing that it says names an action that neither it nor a page that it leads to offers."""
        if _name(url) in TEXTS:
            return
        offered = set(page.labels)
        for where in page.leads_to:
            if where in self._pages:
                offered |= self._pages[where].labels
        for line in "".join(page.said).splitlines():
            text = " ".join(line.split())
            if OTHERS in text:
                self.left_to_others.append(text)
                continue
            for label in _named(text):
                if not any(label in one for one in offered):
                    self.wrong.append(f"{url} names {label!r}: {text[:200]}")


#: Most pages have the same links, and say much of the same.
_resolved = functools.cache(resolve)


@functools.cache
def _named(text: str) -> list[str]:
    """The labels of the actions that this sentence names."""
    return [label for pattern, label in ACTIONS.items() if re.search(pattern, text) and text != label]


def _name(url: str) -> str:
    return _resolved(urlsplit(url).path).url_name or ""
