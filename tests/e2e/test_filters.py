"""The filters of a list apply as they are chosen, without a press, and the browser's address says which."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests import gallery
from tests.e2e.browser import back, opened
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]
LIST = "/all/rotations/"


def asked(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def test_filters_apply_at_once_by_keyboard_keep_the_focus_and_can_be_gone_back_to(open_keyring):
    with opened(LIST) as page:
        whole = page.get_by_role("status").filter(has_text="items").text_content()
        outcome = page.locator("summary", has_text="All outcomes")
        outcome.focus()
        page.keyboard.press("Enter")
        for label in ("Failed", "Blocked"):
            tick = page.get_by_role("checkbox", name=label)
            tick.focus()
            with page.expect_response(re.compile(r"outcome=")):
                page.keyboard.press("Space")
            expect(tick).to_be_focused()
        expect(page).to_have_url(re.compile(r"outcome=failed&outcome=blocked$"))
        assert asked(page) == {"outcome": ["failed", "blocked"]}
        outcomes = page.locator("td[data-label=Outcome]")
        expect(outcomes.filter(has_not_text=re.compile("Failed|Blocked"))).to_have_count(0)
        assert outcomes.count()
        expect(page.get_by_role("link", name="Export CSV")).to_have_attribute(
            "href", re.compile("outcome=failed&outcome=blocked$")
        )
        page.keyboard.press("Escape")
        expect(page.locator("summary", has_text="Failed, Blocked")).to_be_focused()

        page.get_by_role("link", name="Today").click()
        expect(page.get_by_role("link", name="Today")).to_have_attribute("aria-current", "true")
        expect(page.get_by_role("link", name="Today")).to_be_focused()
        expect(page).to_have_url(re.compile(r"until=\d{4}-\d\d-\d\d$"))
        assert asked(page).keys() == {"outcome", "since", "until"}

        page.get_by_label("To", exact=True).fill("2001-01-01")
        expect(page.get_by_label("To", exact=True)).to_have_attribute("aria-invalid", "true")
        expect(page.get_by_text("To is earlier than From.")).to_be_visible()

        # The address is the list: it can be handed on, and each choice is gone back from.
        back(page)
        expect(page.get_by_text("To is earlier than From.")).to_have_count(0)
        back(page)
        expect(page.get_by_label("To", exact=True)).to_have_value("")
        expect(page.locator("summary", has_text="Failed, Blocked")).to_be_visible()
        page.reload()
        expect(page.locator("summary", has_text="Failed, Blocked")).to_be_visible()
        page.get_by_role("link", name="Clear").click()
        expect(page.get_by_role("status").filter(has_text="items")).to_have_text(whole or "")
        assert asked(page) == {}


def test_the_toolbar_is_one_line_and_its_glass_searches(open_keyring):
    with opened("/main/secrets/", width=1440) as page:
        field = page.get_by_role("searchbox", name="Search by name, instance or user")
        field.fill("ask/root")
        page.get_by_role("main").get_by_role("button", name="Search", exact=True).click()
        expect(page).to_have_url(re.compile(r"q=ask%2Froot$"))
        expect(page.locator("tbody tr")).to_have_count(1)
        clear = page.get_by_role("link", name="Clear")
        boxes = [each.bounding_box() for each in (field, clear, page.get_by_role("link", name="Export CSV"))]
        assert len({round(box["y"] + box["height"] / 2) for box in boxes if box}) == 1, boxes


def test_going_back_while_the_page_is_still_loading_shows_the_list_of_the_address(open_keyring):
    with opened(LIST) as page:
        for link in ("7 days", "Today"):
            page.get_by_role("link", name=link).click()
            expect(page.get_by_role("link", name=link)).to_have_attribute("aria-current", "true")
        held = []
        page.route(re.compile("/filters[^/]*[.]js"), lambda route: held.append(route))
        back(page, wait_until="commit")
        wait_for(lambda: held or page.wait_for_timeout(50), "the script of the page that loads again")
        back(page, wait_until="commit")
        held[0].continue_()
        expect(page.get_by_label("To", exact=True)).to_have_value("")
        assert asked(page) == {}


def test_what_is_typed_over_a_list_that_was_narrowed_is_not_lost_by_going_back(open_keyring):
    with opened("/main/secrets/") as page:
        page.locator("summary", has_text="All kinds").click()
        page.get_by_role("checkbox", name="Password", exact=True).check()
        expect(page).to_have_url(re.compile("kind=password$"))
        page.get_by_role("link", name="Create Secret").first.click()
        name = page.get_by_role("dialog").get_by_label("Secret name")
        name.fill("half/typed")
        back(page)
        expect(page.get_by_text("Leave without saving?")).to_be_visible()
        page.get_by_role("button", name="Go on editing").click()
        expect(name).to_have_value("half/typed")
        back(page)
        page.get_by_role("button", name="Discard").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        expect(page).to_have_url(re.compile("kind=password$"))
        back(page)
        expect(page.locator("summary", has_text="All kinds")).to_be_visible()
