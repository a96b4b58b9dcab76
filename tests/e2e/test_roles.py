"""What each role does in the browser, on a real host: plan, restore, read the history, delete."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import chromium
from tests.e2e import ready
from tests.e2e.browser import Complaints, sign_in, window
from tests.e2e.site import Site
from tests.waiting import wait_for

pytestmark = pytest.mark.xdist_group("people")
WORD = "a-passphrase-of-theirs-77"
NAME = "acs/ecs/web-01/app"

CAST = f"""
from rotation import tasks
from rotation.managed import creation
from rotation.models import Instance
from secrets_app.people import users
from secrets_app.models import Principal
from secrets_app.crypto.plaintext import Plaintext

for name, group in [("dot", "administrators"), ("hal", "helpdesk"), ("aud", "auditors")]:
    users.create(name, Plaintext({WORD!r}), groups=[group], must_change_password=False)
web = Instance.objects.get(name="web-01")
given = dict(region=web.region, instance=web, actor=Principal.objects.get(name="dot"))
secret, run = creation.create("web-01/app", username="app", initial=Plaintext(FIRST), **given)
tasks.wake(run)
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("roles"))
    try:
        ready.set_up(site)
        site.up("--demo-hosts=1")
        site.wait_until_healthy()
        wait_for(lambda: "has the password" in site.printed(), "the demo host")
        site.first = re.search(r"has the password (\S+)", site.printed())[1]
        site.inside(f"FIRST = {site.first!r}\n" + CAST)
        yield site
    finally:
        site.end()


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def as_(site, browser):
    """Return a function that opens the console as somebody; at the end nothing was complained of."""
    base = f"http://localhost:{site.port}"
    opened = []

    def open_as(name: str) -> Page:
        context = window(browser, viewport={"width": 1440, "height": 900})
        opened.append((context, Complaints(context, base)))
        page = context.new_page()
        sign_in(page, base, name, WORD)
        page.get_by_role("link", name="Secrets", exact=True).first.click()
        return page

    yield open_as
    for context, complaints in opened:
        context.close()
        assert complaints.found == []


def open_secret(page: Page, *, status: str = "") -> None:
    if status:
        page.get_by_role("combobox", name="Status").select_option(label=status)
        expect(page).to_have_url(re.compile("status="))  # it applies at once
    page.get_by_role("link", name=NAME, exact=True).click()
    expect(page.get_by_role("heading", name=NAME)).to_be_visible()


def plan_deletion(page: Page) -> None:
    page.locator("#secret-actions summary").click()
    page.get_by_role("link", name="Plan Deletion Secret").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("Deleting a secret does not change the password or key pair")).to_be_visible()
    dialog.get_by_label("Delete In (7-30 days)").fill("7")
    dialog.get_by_label("Reason").fill("moved away")
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_text("Pending deletion").first).to_be_visible()


def restore(page: Page) -> None:
    page.get_by_role("link", name="Restore Secret").first.click()
    dialog = page.get_by_role("dialog")
    for shown in (NAME, "web-01", "app", "dot", "moved away"):
        expect(dialog.get_by_text(shown).first).to_be_visible()
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_text("Enabled").first).to_be_visible()


def test_the_helpdesk_restores_a_good_value_and_is_told_of_a_stale_one(site, as_):
    dot, hal = as_("dot"), as_("hal")
    open_secret(dot)
    expect(dot.get_by_text("In sync").first).to_be_visible()
    plan_deletion(dot)
    expect(dot.get_by_role("link", name="Rotate Immediately")).to_have_count(0)

    open_secret(hal, status="Pending deletion")
    expect(hal.get_by_role("link", name="Get secret value")).to_have_count(0)
    restore(hal)
    expect(hal.get_by_text("Still valid:").first).to_be_visible()

    dot.reload()
    plan_deletion(dot)
    site.demo_hosts()["web-01"].set_password("app", "changed-behind-our-back")
    hal.reload()
    restore(hal)
    expect(hal.get_by_text("Stale:").first).to_be_visible()
    assert site.demo_hosts()["web-01"].shadow_accepts("app", "changed-behind-our-back")
    for page in (dot, hal):
        assert site.first not in page.content()

    reveal = re.sub(r"\?.*", "", hal.url) + "value/"
    assert hal.request.get(reveal).status in {403, 404}


def test_the_auditor_reads_and_exports_the_history_and_no_value(site, as_):
    aud = as_("aud")
    aud.get_by_role("link", name="Rotations", exact=True).click()
    expect(aud.get_by_role("table").get_by_text("Verification").first).to_be_visible()
    with aud.expect_download() as download:
        aud.get_by_role("link", name="Export CSV").click()
    exported = download.value.path().read_text()
    assert NAME in exported
    assert site.first not in exported
    aud.get_by_role("link", name="Secrets", exact=True).first.click()
    open_secret(aud)
    for name in ("Get secret value", "Rotate Immediately", "Plan Deletion Secret"):
        expect(aud.get_by_role("link", name=name, include_hidden=True)).to_have_count(0)


def test_the_administrator_deletes_at_once_only_by_typing_the_name(site, as_):
    dot = as_("dot")
    open_secret(dot)
    expect(dot.get_by_text(re.compile("In sync|Out of sync")).first).to_be_visible()
    dot.locator("#secret-actions summary").click()
    dot.get_by_role("link", name="Plan Deletion Secret").click()
    dialog = dot.get_by_role("dialog")
    dialog.get_by_text("Delete Secret Immediately").click()
    dialog.get_by_label("Type the secret's name to confirm").fill("acs/ecs/other")
    dialog.get_by_role("button", name="OK").click()
    expect(dialog.locator("[aria-invalid=true]")).to_be_visible()
    dialog.get_by_label("Type the secret's name to confirm").fill(NAME)
    dialog.get_by_role("button", name="OK").click()
    expect(dot.get_by_text("cannot be restored").first).to_be_visible()
    dot.goto(f"http://localhost:{site.port}/main/secrets/")
    expect(dot.get_by_role("link", name=NAME, exact=True)).to_have_count(0)
