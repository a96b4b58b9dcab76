"""Audit in a browser: Verify and Look up a value, by their labels, with axe on what they answer."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests import gallery
from tests.chromium import chromium
from tests.e2e import axe

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]


def test_a_trail_is_verified_and_a_leaked_value_recognised(open_keyring):
    cookie = gallery.session(gallery.seed())
    with gallery.serve() as address, chromium() as browser:
        page = gallery.signed_in(browser, address, cookie, scheme="light", width=1440).new_page()
        page.goto("/get-started/")
        page.get_by_role("link", name="Audit", exact=True).click()
        page.get_by_role("button", name="Verify").click()
        expect(page.get_by_role("status").filter(has_text="Whole.")).to_be_visible()
        assert axe.tell(axe.in_both_schemes(page)) == []
        page.get_by_role("link", name="Back to Audit").click()
        page.get_by_role("link", name="Look up a value").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Value").fill("an-initial-value-1")
        assert axe.tell(axe.in_both_schemes(page)) == []
        dialog.get_by_role("button", name="Look up").click()
        expect(dialog).to_contain_text("It is a value of")
        expect(dialog).to_contain_text("web/nginx")
        assert "an-initial-value-1" not in page.content()
        assert axe.tell(axe.in_both_schemes(page)) == []
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
