"""XSS-01, XSS-02: what people, browsers and hosts write never becomes part of a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import time_machine
from django.conf import settings
from django.template import engines
from django.test import Client, override_settings
from django.utils import timezone
from playwright.sync_api import Browser, ConsoleMessage, Error, Request

from secrets_app.models import User
from tests import gallery
from tests.canaries import poison
from tests.canaries.poison import EVERYTHING, PAYLOADS, Page
from tests.chromium import chromium

pytestmark = pytest.mark.django_db(transaction=True)
HTMX = ({}, {"HX-Request": "true", "HX-Target": "dialog-content"})
#: Where the URL narrows a list, opens a tab or fills a field.
PARAMETERS = (
    "q", "status", "credential", "automatic", "kind", "outcome", "trigger", "instance", "since", "until",
    "actor", "action", "resource", "address", "tab", "version", "before", "after", "page", "next", "user",
    "policy", "to", "of", "region", "result",
)  # fmt: skip
#: What it says of the machine may change by itself.
MEASURED = {"/settings/health/"}
SEARCHED = (
    "/all/secrets/", "/all/instances/", "/all/rotations/", "/audit/", "/access/users/", "/access/groups/",
    "/access/policies/", "/access/simulator/", "/access/review/", "/access/attach/", "/keys/",
    "/credentials/", "/all/overview/", "/sign-in/", "/sessions/", "/access/invitations/", "/background/",
)  # fmt: skip


def read(client: Client, paths: list[str]) -> dict[tuple[str, bool], Page]:
    """Each path as a page and as a fragment."""
    found = {}
    for path in paths:
        for headers in HTMX:
            answer = client.get(path, headers=headers)
            assert answer.status_code < 500, (path, answer.status_code)
            found[path, bool(headers)] = Page(answer.content.decode())
    return found


def intruders(pages: dict[tuple[str, bool], Page]) -> dict[tuple[str, bool], list[str]]:
    return {where: found for where, page in pages.items() if (found := list(page.intruders()))}


@pytest.fixture
def site(client) -> User:
    viewer = gallery.seed()
    client.force_login(viewer)
    return viewer


def test_xss_01_sixty_payloads_in_every_field_change_no_page(client, site):
    assert len(set(PAYLOADS)) >= 60
    paths = [screen.path for screen in gallery.screens()]
    # Time stands still: a run that waits for long is another line of the overview, on a slow machine too.
    with time_machine.travel(timezone.now(), tick=False):
        poison.write(poison.plain)
        before = read(client, paths)
        poison.write(poison.payload)
        after = read(client, paths)
        shown = "".join(client.get(path).content.decode() for path in paths[:12])
    assert intruders(after) == {}
    assert "&lt;script&gt;window.zqx=1" in shown
    changed = {where for where, page in after.items() if page.shape() != before[where].shape()}
    assert {where for where in changed if where[0] not in MEASURED} == set()


def test_xss_01_what_a_url_or_a_refused_form_holds_changes_no_page(client, site):
    pages = {}
    for path in SEARCHED:
        for names in (PARAMETERS, PARAMETERS[:1]):
            answer = client.get(path, dict.fromkeys(names, EVERYTHING))
            assert answer.status_code < 500, path
            pages[path, names[-1]] = Page(answer.content.decode())
    for screen in gallery.screens():
        form = Page(client.get(screen.path).content.decode())
        given = {
            field["name"]: _typed(field) for field in form.fields if field["name"] != "csrfmiddlewaretoken"
        }
        if not form.fields or screen.name == "sign-out":
            continue
        for headers in HTMX:
            answer = client.post(screen.path, given, headers=headers)
            assert answer.status_code < 500, screen.path
            pages[screen.path, str(headers)] = Page(answer.content.decode())
    assert intruders(pages) == {}


def _typed(field: dict[str, str | None]) -> str:
    is_fixed = field.get("type") in {"radio", "checkbox", "hidden"} or field["tag"] == "select"
    return (field.get("value") or "") if is_fixed else EVERYTHING


def test_xss_01_a_template_that_marks_text_as_safe_is_noticed():
    template = engines["django"].from_string("<p title='{{ text|safe }}'>{{ text|safe }}</p>")
    assert list(Page(template.render({"text": EVERYTHING})).intruders())
    escaped = engines["django"].from_string('<p title="{{ text }}">{{ text }}</p>')
    assert not list(Page(escaped.render({"text": EVERYTHING})).intruders())


class Watched:
    """A browser of somebody, and whatever it was made to do by what others wrote."""

    def __init__(self, browser: Browser, address: str, who: User) -> None:
        self.context = gallery.signed_in(browser, address, gallery.session(who), scheme="light", width=1280)
        self.address, self.made = address, []
        self.context.on("console", self._on_console)
        self.context.on("request", self._on_request)
        self.page = self.context.new_page()
        self.page.on("dialog", lambda dialog: (self.made.append("a dialog"), dialog.dismiss()))

    def _on_console(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "Refused to" in message.text:
            self.made.append(message.text[:200])

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith(self.address) or request.url.startswith(f"{self.address}/zqx"):
            self.made.append(request.url)

    def open(self, path: str) -> set[str]:
        """Open a page; return where it leads to by a link."""
        self.page.goto(self.address + path, wait_until="load")
        if self.page.evaluate("window.zqx !== undefined"):
            self.made.append(f"{path} ran it")
        return set(
            self.page.eval_on_selector_all("a[href^='/']", "all => all.map(a => a.getAttribute('href'))")
        )


def crawl(watched: Watched, most: int) -> set[str]:
    """Follow links, one of each kind: pages that differ in a number or a query are of one kind."""
    waiting, kinds = ["/all/overview/", "/access/users/", "/sessions/"], set()
    while waiting and len(kinds) < most:
        path = waiting.pop(0)
        kind = re.sub(r"[0-9a-f-]{36}|\d+", "*", path.partition("?")[0])
        if kind in kinds or "export" in kind or "sign-out" in kind:
            continue
        kinds.add(kind)
        waiting += sorted(watched.open(path))
    return kinds


@contextmanager
def unescaped(folder: Path) -> Iterator[None]:
    """The console with one template that somebody marked as safe."""
    place = folder / "access" / "groups.html"
    place.parent.mkdir()
    text = (settings.BASE_DIR / "templates/access/groups.html").read_text()
    assert "{{ row.name }}</a>" in text
    place.write_text(text.replace("{{ row.name }}</a>", "{{ row.name|safe }}</a>"))
    (engine,) = settings.TEMPLATES
    with override_settings(TEMPLATES=[engine | {"DIRS": [folder, *engine["DIRS"]]}]):
        yield


def test_xss_02_nothing_that_others_wrote_runs_or_asks_anything_of_anybody(site, tmp_path):
    people = {site: 40, User.objects.get(username="bea"): 12, User.objects.get(username="aud"): 12}
    poison.write(poison.payload)
    made, kinds = {}, set()
    with gallery.serve() as address, chromium() as browser:
        for who, most in people.items():
            watched = Watched(browser, address, who)
            kinds |= crawl(watched, most)
            made[str(who.pk)] = watched.made
        control = Watched(browser, address, site)
        # What runs there may lead the page away while it is looked at.
        with unescaped(tmp_path), suppress(Error):
            control.open("/access/groups/")
    assert {who: found for who, found in made.items() if found} == {}
    assert len(kinds) >= 25
    assert control.made
