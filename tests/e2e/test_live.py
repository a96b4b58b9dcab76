"""A list that refreshes itself does not disturb whoever is working in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urljoin
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests import gallery
from tests.e2e.browser import opened

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]
LIST = "/main/secrets/"
NAME = "acs/ecs/ask/root"


@contextmanager
def live() -> Iterator[Page]:
    """The list of secrets, narrower than its table; one rotates, so it asks again every five seconds."""
    with opened(LIST, width=1000) as page:
        page.clock.install()
        page.goto(LIST)
        yield page


def mark(page: Page) -> None:
    """Have the rows that are there now be known again."""
    page.evaluate("document.getElementById('secret-rows').dataset.old = ''")


def refresh(page: Page, times: int = 1) -> None:
    """Let the list ask again; after two times the first answer has been dealt with."""
    for _ in range(times):
        with page.expect_response(lambda answer: "x-keyturn-live" in answer.request.headers):
            page.clock.fast_forward("00:05")


def is_replaced(page: Page, *, already: bool = True) -> None:
    expect(page.locator("#secret-rows[data-old]")).to_have_count(0 if already else 1)


def test_nothing_moves_under_an_open_menu_or_a_press(open_keyring):
    with live() as page:
        more = page.get_by_label(f"More for {NAME}")
        more.click()
        item = page.get_by_role("button", name="Check for drift")
        expect(item).to_be_visible()
        mark(page)
        refresh(page, times=2)
        is_replaced(page, already=False)
        expect(item).to_be_visible()
        page.keyboard.press("Escape")
        page.get_by_role("link", name=NAME, exact=True).hover()
        page.mouse.down()
        mark(page)  # an answer may have come between the menu and the press
        refresh(page, times=2)
        is_replaced(page, already=False)
        page.mouse.up()
        expect(page.get_by_role("heading", name=NAME)).to_be_visible()


def test_the_focus_and_the_place_of_a_table_stay_where_they_were(open_keyring):
    with live() as page:
        page.set_viewport_size({"width": 800, "height": 700})  # narrower than the table
        table = page.get_by_role("region", name="Table of secrets")
        table.evaluate("table => (table.scrollLeft = 120)")
        opener = page.get_by_label(f"Rotate Immediately: {NAME}")
        opener.focus()
        place = table.evaluate("table => table.scrollLeft")
        assert place >= 120
        opener.press("Enter")
        expect(page.get_by_role("dialog")).to_be_visible()
        mark(page)
        refresh(page)
        is_replaced(page)
        assert table.evaluate("table => table.scrollLeft") == place
        page.keyboard.press("Escape")
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(opener).to_be_focused()


def test_a_menu_that_its_reader_may_not_have_any_more_closes_and_says_so(open_keyring):
    with opened(LIST) as page:
        page.route(
            "**/menu/",
            lambda route: route.continue_(url=f"{urljoin(route.request.url, LIST)}{uuid4()}/menu/"),
        )
        page.get_by_label(f"More for {NAME}").click()
        expect(page.locator(".toast")).to_contain_text("not found", ignore_case=True)
        expect(page.locator("details.menu[open]")).to_have_count(0)
