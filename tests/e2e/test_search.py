"""The search of the top bar by keyboard alone, and what axe says of it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Route, expect

from tests import gallery
from tests.e2e import axe
from tests.e2e.browser import opened

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]


def test_the_search_is_opened_moved_in_and_followed_by_keyboard(open_keyring):
    with opened("/all/rotations/") as page:

        def complaints() -> list[str]:
            return [one["id"] for one in axe.violations(page)]

        field = page.get_by_role("combobox", name="Search", exact=True)
        page.keyboard.press("/")
        expect(field).to_be_focused()
        with page.expect_response("**/search/?q=nginx"):
            page.keyboard.type("nginx")
        options = page.get_by_role("listbox", name="Search results").get_by_role("option")
        expect(options.filter(has_text="acs/ecs/web/nginx").first).to_be_visible()
        expect(field).to_have_attribute("aria-expanded", "true")
        assert complaints() == []

        page.keyboard.press("ArrowDown")
        expect(options.first).to_have_attribute("aria-selected", "true")
        expect(field).to_have_attribute("aria-activedescendant", options.first.get_attribute("id") or "")
        page.keyboard.press("ArrowUp")
        expect(options.last).to_have_attribute("aria-selected", "true")
        page.keyboard.press("Escape")
        expect(options).to_have_count(0)
        expect(field).to_be_focused()
        expect(field).to_have_value("nginx")

        page.keyboard.press("Control+k")
        page.keyboard.type("nobody-is-called-this")
        expect(page.get_by_text("Nothing that you may see matches").first).to_be_visible()
        expect(field).to_have_attribute("aria-expanded", "false")
        assert complaints() == []

        page.keyboard.press("Control+k")
        with page.expect_response("**/search/?q=nginx"):
            page.keyboard.type("nginx")
        expect(options.first).to_contain_text("acs/ecs/web/nginx")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="acs/ecs/web/nginx")).to_be_visible()

        page.keyboard.press("/")
        page.keyboard.type("nginx")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search/?q=nginx")
        expect(page.get_by_role("link", name="acs/ecs/web/nginx").first).to_be_visible()
        assert complaints() == []


def test_an_answer_that_comes_late_takes_no_choice_back_and_opens_nothing(open_keyring):
    with opened("/all/rotations/") as page:
        field = page.get_by_role("combobox", name="Search", exact=True)
        options = page.get_by_role("listbox", name="Search results").get_by_role("option")
        said = page.locator("#announce")
        held: list[Route] = []

        def late(key: str) -> None:
            """Press a key that asks; the answer is held back."""
            with page.expect_request("**/search/?q=*"):
                page.keyboard.press(key)

        def answer() -> None:
            said.evaluate("place => place.textContent = ''")
            held.pop().continue_()
            expect(said).not_to_have_text("")

        page.keyboard.press("/")
        with page.expect_response("**/search/?q=ngin"):
            page.keyboard.type("ngin")
        expect(options.first).to_be_visible()
        page.route("**/search/?q=*", lambda route: held.append(route))
        late("x")
        page.keyboard.press("ArrowDown")
        expect(options.first).to_have_attribute("aria-selected", "true")
        answer()
        expect(options.first).to_have_attribute("aria-selected", "true")
        expect(field).to_have_attribute("aria-activedescendant", options.first.get_attribute("id") or "")

        late("Backspace")
        expect(options.first).to_have_attribute("aria-selected", "false")  # something else is asked for
        page.keyboard.press("Escape")
        answer()
        expect(options).to_have_count(0)
        expect(field).to_have_attribute("aria-expanded", "false")
