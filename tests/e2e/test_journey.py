"""From an empty folder to a password rotated on a real server, as a stranger does it in the browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import chromium
from tests.e2e.browser import Complaints, choose_password, sign_in, window
from tests.e2e.site import Site
from tests.e2e.terminal import log_on
from tests.waiting import wait_for

pytestmark = pytest.mark.xdist_group("people")
MINE = "a-passphrase-of-my-own-77"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("journey"))
    try:
        site.up("--demo-hosts=1")
        site.wait_until_healthy()
        wait_for(lambda: "has the password" in site.printed(), "the demo host")
        yield site
    finally:
        site.end()


class Demo:
    """The host that `up` started and told of."""

    def __init__(self, site: Site, folder: Path) -> None:
        found = re.search(r"web-01 at ([\d.]+):(\d+) has the accounts (\w+)", site.printed())
        self.address, self.port, self.username = found[1], int(found[2]), found[3]
        self.first = re.search(r"has the password (\S+)", site.printed())[1]
        self.known_hosts = folder / "known_hosts"

    def trust(self, page: Page) -> None:
        """Take the host keys from the console's own page: they were compared when they were approved."""
        from rotation.connectors.ssh.connector import SshScanner
        from tests.networks import endpoint

        place = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        seen = SshScanner().scan(endpoint(self.address, self.port), timeout=10)
        for key in seen:
            expect(page.get_by_text(key.fingerprint).first).to_be_visible()
        self.known_hosts.write_text("".join(f"{place} {key.line}\n" for key in seen))

    def lets_in(self, password: str) -> bool:
        shown = log_on(self.address, self.port, self.username, password, self.known_hosts)
        return f"LOGGED_ON as {self.username}" in shown


def reveal(page: Page) -> str:
    page.get_by_role("link", name="Get secret value").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("to log on")
    dialog.get_by_role("button", name="Show value").click()
    value = dialog.get_by_label("Value", exact=True)
    expect(value).to_be_visible()
    text = value.text_content()
    expect(dialog.get_by_label("Log on with it")).to_contain_text("ssh ")
    dialog.get_by_role("link", name="Close").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert text not in page.content()
    return text


def test_a_stranger_rotates_a_password_and_logs_on_with_it(site, tmp_path):
    demo = Demo(site, tmp_path)
    base = f"http://localhost:{site.port}"
    with chromium() as browser:
        context = window(browser, viewport={"width": 1440, "height": 900})
        complaints = Complaints(context, base)
        page = context.new_page()

        sign_in(page, base, "admin", site.password())
        choose_password(page, site.password(), MINE)
        expect(page.get_by_role("heading", name="Get started")).to_be_visible()

        page.get_by_role("link", name="Instances", exact=True).click()
        page.get_by_role("link", name="web-01").click()
        demo.trust(page)
        expect(page.get_by_text("Ready", exact=True).first).to_be_visible()
        page.get_by_role("button", name="Test connection").click()
        expect(page.get_by_text("Ready", exact=True).first).to_be_visible()
        assert demo.lets_in(demo.first)

        # The wizard, by its words.
        page.get_by_role("link", name="Secrets", exact=True).first.click()
        page.get_by_role("link", name="Create Secret").first.click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("heading", name="Create Secret")).to_be_visible()
        dialog.get_by_label("Secret name").fill("web-01/" + demo.username)
        dialog.get_by_label("Managed instance").fill("web-01")
        dialog.get_by_label("Managed User").fill(demo.username)
        dialog.get_by_label("Current value", exact=True).fill(demo.first)
        dialog.get_by_role("button", name="Next").click()
        dialog.get_by_text("Turn on automatic rotation").click()
        dialog.get_by_label("Rotation Period", exact=True).fill("7")
        dialog.get_by_role("button", name="Next").click()
        expect(dialog.get_by_text(f"acs/ecs/web-01/{demo.username}").first).to_be_visible()
        assert demo.first not in dialog.text_content()
        dialog.get_by_role("button", name="OK").click()
        dialog.get_by_role("link", name="View secret details").click()
        expect(page.get_by_text("In sync").first).to_be_visible()
        assert reveal(page) == demo.first

        # Rotate Immediately, twice: with a generated value and with a custom one.
        page.get_by_role("link", name="Rotate Immediately").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Confirm rotation").click()
        expect(dialog.get_by_role("heading", name="Rotation triggered")).to_be_visible()
        dialog.get_by_role("button", name="Close").last.click()
        for step in ("Create", "Check", "Set", "Test", "Finish"):
            done = page.get_by_role("region", name="Steps").get_by_text(re.compile(f"^{step}Done$"))
            expect(done).to_be_visible()
        expect(page.get_by_text("Succeeded").first).to_be_visible()
        new = reveal(page)
        assert len(new) == 32
        assert demo.lets_in(new)
        assert not demo.lets_in(demo.first)

        custom = 'it\'s "my" own $HOME `x` é'
        page.get_by_role("link", name="Rotate Immediately").first.click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_text("Use Custom Secret").click()
        dialog.get_by_label("New value").fill(custom)
        dialog.get_by_label("Use it even if it breaks the password policy").check()
        dialog.get_by_label("Reason for breaking the password policy").fill("An awkward value")
        dialog.get_by_role("button", name="Confirm rotation").click()
        expect(dialog.get_by_role("heading", name="Rotation triggered")).to_be_visible()
        dialog.get_by_role("button", name="Close").last.click()
        wait_for(lambda: demo.lets_in(custom), "the custom value")
        assert not demo.lets_in(new)

        page.get_by_role("link", name="Rotations", exact=True).click()
        page.locator("summary", has_text="All kinds").click()
        page.get_by_role("checkbox", name="Rotation", exact=True).check()
        expect(page).to_have_url(re.compile("kind=rotate"))  # it applies at once
        expect(page.get_by_role("table").get_by_text("Succeeded")).to_have_count(2)
        page.locator("summary", has_text="User menu").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert complaints.found == []
    for value in (new, custom, MINE):
        assert value not in site.printed()
