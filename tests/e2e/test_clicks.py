"""How many clicks the three journeys take that a console is judged by, with nothing opened by its address."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Locator, Page, expect

from rotation.managed import deletion
from secrets_app.models import User
from tests import factories, gallery
from tests.chromium import chromium
from tests.e2e.browser import Complaints, choose_password, sign_in, window
from tests.e2e.site import Site
from tests.e2e.test_journey import MINE, Demo
from tests.waiting import wait_for

LOG_ON, RESTORE, EXPORT = 12, 4, 4  # clicks; docs/evidence.md has them


class Hand:
    """Clicks, and counts them. Typing and ticking a first password are not counted."""

    def __init__(self) -> None:
        self.clicks = 0

    def click(self, what: Locator) -> None:
        what.click()
        self.clicks += 1


@contextmanager
def seeded(username: str, *groups: str) -> Iterator[Page]:
    """The overview of the seeded site, where a user of these groups begins."""
    viewer = User.objects.filter(username=username).first() or factories.user(username, *groups)
    with gallery.serve() as address, chromium() as browser:
        context = gallery.signed_in(browser, address, gallery.session(viewer), scheme="light", width=1280)
        complaints = Complaints(context, address)
        page = context.new_page()
        page.goto("/all/overview/")
        yield page
        context.close()
        assert complaints.found == []


@pytest.mark.xdist_group("people")
def test_from_the_first_sign_in_to_a_rotated_password_and_a_login_with_it(tmp_path):
    (tmp_path / "site").mkdir()
    site, hand = Site(tmp_path / "site"), Hand()
    try:
        site.up("--demo-hosts=1")
        site.wait_until_healthy()
        wait_for(lambda: "has the password" in site.printed(), "the demo host")
        demo = Demo(site, tmp_path)
        with chromium() as browser:
            page = window(browser, viewport={"width": 1280, "height": 800}).new_page()
            sign_in(page, f"http://localhost:{site.port}", "admin", site.password())
            choose_password(page, site.password(), MINE)
            hand.clicks += 3  # Sign in, the button of the new password, Later

            hand.click(page.get_by_role("link", name="Create Secret").first)
            dialog = page.get_by_role("dialog")
            dialog.get_by_label("Secret name").fill("web-01/" + demo.username)
            dialog.get_by_label("Managed instance").fill("web-01")
            dialog.get_by_label("Managed User").fill(demo.username)
            hand.click(dialog.get_by_text("Generate one for me at the first rotation"))
            hand.click(dialog.get_by_role("button", name="Next"))
            hand.click(dialog.get_by_text("Turn on automatic rotation"))
            hand.click(dialog.get_by_role("button", name="Next"))
            hand.click(dialog.get_by_role("button", name="OK"))
            hand.click(dialog.get_by_role("link", name="View secret details"))
            # Without a value it rotates right after its creation.
            expect(page.get_by_text("In sync").first).to_be_visible()

            hand.click(page.get_by_role("link", name="Get secret value").first)
            dialog.get_by_label("Reason").fill("to log on")
            hand.click(dialog.get_by_role("button", name="Show value"))
            value = dialog.get_by_label("Value", exact=True).text_content()
            page.goto(f"http://localhost:{site.port}/all/instances/")  # the test alone compares the host key
            page.get_by_role("link", name="web-01").click()
            demo.trust(page)
            assert demo.lets_in(value)
            assert not demo.lets_in(demo.first)
    finally:
        site.end()
    assert hand.clicks <= LOG_ON, f"{hand.clicks} clicks"


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("browser")
@pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed")
def test_the_helpdesk_restores_a_secret_in_four_clicks(open_keyring):
    gallery.seed()
    planned = factories.secret(username="late", name="zz/late")
    deletion.plan_deletion(planned, actor=factories.administrator())
    hand = Hand()
    with seeded("hal", "helpdesk") as page:
        hand.click(page.get_by_role("link", name="Secrets", exact=True).first)
        hand.click(page.get_by_label(f"More for {planned.name}"))
        hand.click(page.get_by_role("link", name="Restore Secret"))
        hand.click(page.get_by_role("dialog").get_by_role("button", name="OK"))
        expect(page.get_by_text("is restored.")).to_be_visible()
    planned.refresh_from_db()
    assert not planned.is_pending_deletion
    assert hand.clicks <= RESTORE, f"{hand.clicks} clicks"


@pytest.mark.django_db(transaction=True)
@pytest.mark.xdist_group("browser")
@pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed")
def test_an_auditor_finds_the_failed_rotations_and_exports_them(open_keyring):
    gallery.seed()
    hand = Hand()
    with seeded("aud", "auditors") as page:
        hand.click(page.get_by_role("link", name="Rotations", exact=True).first)
        hand.click(page.locator("summary", has_text="All outcomes"))
        hand.click(page.get_by_role("checkbox", name="Failed"))
        expect(page).to_have_url(re.compile(r"outcome=failed"))
        page.keyboard.press("Escape")
        with page.expect_download() as download:
            hand.click(page.get_by_role("link", name="Export CSV"))
        with download.value.path().open(newline="") as file:
            outcomes = {row["outcome"] for row in csv.DictReader(file)}
        assert outcomes
        assert all(outcome.startswith("Failed") for outcome in outcomes)
    assert hand.clicks <= EXPORT, f"{hand.clicks} clicks"
