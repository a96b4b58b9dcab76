"""Every screen in a browser, light and dark: axe finds nothing, and no other host is asked."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from secrets_app.models import Key, Secret
from tests import gallery
from tests.chromium import chromium
from tests.e2e import axe
from tests.e2e.browser import window

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]

#: How many pixels of each table, and of the page, are out of sight at the side.
HIDDEN = """[...document.querySelectorAll('.table-scroll:not(details *), html')]
    .map(part => part.scrollWidth - part.clientWidth)"""


SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

#: Cells whose text stands on the one beside it.
SPILLED = """[...document.querySelectorAll('.table :is(td, th)')]
    .filter(cell => getComputedStyle(cell).overflowX === 'visible' && cell.scrollWidth > cell.clientWidth + 1)
    .map(cell => cell.innerText)"""
#: In a narrow window a row is a card: what lies on another cell's text, and an open tab that is out of sight.
OVERLAID = """[
  ...[...document.querySelectorAll('.table-cards > tbody > tr')].flatMap(row => {
    const rects = [...row.cells].map(cell => {
      const range = document.createRange();
      range.selectNodeContents(cell);
      return [...range.getClientRects()].filter(rect => rect.width > 1 && rect.height > 1);
    });
    const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
      && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    return [...row.cells].filter((cell, at) => rects.slice(0, at).flat().some(
      other => rects[at].some(rect => meet(rect, other)))).map(cell => cell.innerText);
  }),
  ...[...document.querySelectorAll('.tabs [aria-current]')].filter(tab => {
    const [inner, outer] = [tab.getBoundingClientRect(), tab.closest('.tabs').getBoundingClientRect()];
    return inner.left < outer.left - 1 || inner.right > outer.right + 1;
  }).map(tab => tab.innerText),
]"""
LISTS = (
    "/all/secrets/", "/all/instances/", "/all/rotations/", "/all/overview/", "/audit/", "/keys/",
    "/credentials/", "/access/users/", "/access/applications/", "/access/access-keys/", "/access/groups/",
    "/access/policies/", "/access/invitations/", "/access/review/", "/settings/regions/",
)  # fmt: skip


#: Its text can be read in one of the schemes only.
ONE_SCHEME = """<!doctype html><html lang="en"><title>Page</title><main><h1>Page</h1><p>Text</p></main>
<style>p { color: #333; background: #fff } @media (prefers-color-scheme: %s) { p { color: #eee } }</style>"""


def test_axe_finds_nothing_on_any_screen_and_nothing_is_fetched_from_elsewhere(open_keyring):
    viewer, screens = gallery.seed(), gallery.screens()
    cookie = gallery.session(viewer)
    found: dict[str, list[str]] = {}
    with gallery.serve() as address, chromium() as browser:
        context = gallery.signed_in(browser, address, cookie, scheme="light", width=1440)
        page = context.new_page()
        noise: list[str] = []
        page.on("console", lambda message: noise.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("request", lambda request: noise.append(request.url) if _is_foreign(request.url) else None)
        for screen in screens:
            gallery.stay(page, address, viewer)
            noise.clear()
            answer = screen.open(page)
            assert answer
            # The browser itself reports a page that answers 404 as an error.
            quiet = [text for text in noise if answer.ok or "status of 404" not in text]
            if wrong := axe.tell(axe.in_both_schemes(page)) + quiet:
                found[screen.name] = wrong
            assert answer.ok or screen.name == "not-found", screen.path
    assert not found


def test_axe_finds_nothing_on_the_sign_in_page_and_what_is_wrong_in_either_scheme(open_keyring):
    with gallery.serve() as address, chromium() as browser:
        page = window(browser, color_scheme="light", base_url=address).new_page()
        page.goto("/sign-in/")
        assert axe.tell(axe.in_both_schemes(page)) == []
        page = browser.new_page()  # without the policy of the console, which lets no style stand in a page
        for begins in ("light", "dark"):
            for scheme in ("light", "dark"):
                page.emulate_media(color_scheme=begins)
                page.set_content(ONE_SCHEME % scheme)
                found = axe.tell(axe.in_both_schemes(page))
                assert found == ["color-contrast: <p>Text</p>"], (begins, scheme)


def test_a_list_needs_no_sideways_scrolling_on_a_desktop(open_keyring):
    cookie = gallery.session(gallery.seed())
    with gallery.serve() as address, chromium() as browser:
        page = gallery.signed_in(browser, address, cookie, scheme="light", width=1440).new_page()
        for path in LISTS:
            page.set_viewport_size({"width": 1440, "height": 900})
            page.goto(path)
            hidden = page.evaluate(HIDDEN)
            assert not any(hidden), path
            for width in (1440, 1280):
                page.set_viewport_size({"width": width, "height": 900})
                assert page.evaluate(SPILLED) == [], (path, width)


def test_in_a_narrow_window_no_text_lies_on_another_and_the_open_tab_is_in_sight(open_keyring):
    cookie = gallery.session(gallery.seed())
    secret = Secret.objects.get(name="acs/ecs/web/nginx")
    tabs = [f"/main/secrets/{secret.pk}/?tab={tab}" for tab in ("versions", "history", "permissions", "tags")]
    key = Key.objects.get(alias="team/moving")
    with gallery.serve() as address, chromium() as browser:
        page = gallery.signed_in(browser, address, cookie, scheme="light", width=390).new_page()
        for path in (*LISTS, *tabs, f"/keys/{key.pk}/", "/settings/sessions/", "/settings/about/"):
            assert page.goto(path).ok, path
            assert page.evaluate(SIDEWAYS) == 0, path
            assert page.evaluate(OVERLAID) == [], path


def _is_foreign(url: str) -> bool:
    return urlsplit(url).hostname not in {"localhost", None}
