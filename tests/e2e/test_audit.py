"""Audit in a browser: Verify and Look up a value, by their labels, with axe on what they answer."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright

from tests import gallery
from tests.e2e.test_screens import tell

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_trail_is_verified_and_a_leaked_value_recognised(open_keyring, scheme):
    cookie = gallery.session(gallery.seed())
    with gallery.serve() as address, sync_playwright() as playwright:
        browser = gallery.launch(playwright)
        page = gallery.signed_in(browser, address, cookie, scheme=scheme, width=1440).new_page()
        page.goto("/get-started/")
        page.get_by_role("link", name="Audit", exact=True).click()
        page.get_by_role("button", name="Verify").click()
        expect(page.get_by_role("status").filter(has_text="Whole.")).to_be_visible()
        assert tell(Axe().run(page).response["violations"]) == []
        page.get_by_role("link", name="Back to Audit").click()
        page.get_by_role("link", name="Look up a value").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Value").fill("an-initial-value-1")
        assert tell(Axe().run(page).response["violations"]) == []
        dialog.get_by_role("button", name="Look up").click()
        expect(dialog).to_contain_text("It is a value of")
        expect(dialog).to_contain_text("web/nginx")
        assert "an-initial-value-1" not in page.content()
        assert tell(Axe().run(page).response["violations"]) == []
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        browser.close()
