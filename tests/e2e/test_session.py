"""A half-filled form lives through the end of its session, and not through another person's sign-in."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.chromium import chromium
from tests.e2e import ready
from tests.e2e.browser import Complaints, sign_in, window
from tests.e2e.site import Site
from tests.waiting import wait_for

pytestmark = pytest.mark.xdist_group("people")
WORD = "a-passphrase-of-theirs-77"
TYPED = "the-value-that-was-typed-9"

CAST = f"""
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.people import users

for name in ("dot", "eve"):
    users.create(name, Plaintext({WORD!r}), groups=["administrators"], must_change_password=False)
"""
END = """
from django.contrib.sessions.models import Session
Session.objects.all().delete()
"""
NEARLY = """
import time
from importlib import import_module
from django.conf import settings
from django.contrib.sessions.models import Session
for row in Session.objects.all():
    store = import_module(settings.SESSION_ENGINE).SessionStore(row.session_key)
    store["seen_at"] = time.time() - settings.SESSION_IDLE.total_seconds() + 55
    store.save()
"""


OLD = """
from importlib import import_module
from django.conf import settings
from django.contrib.sessions.models import Session
for row in Session.objects.all():
    store = import_module(settings.SESSION_ENGINE).SessionStore(row.session_key)
    store["began_at"] = store.get("began_at", 0) - 400
    store.save()
"""
STORED = "() => JSON.stringify([{...localStorage}, {...sessionStorage}])"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("session"))
    try:
        ready.set_up(site)
        site.up("--demo-hosts=1")
        site.wait_until_healthy()
        wait_for(lambda: "has the password" in site.printed(), "the demo host")
        site.inside(CAST)
        yield site
    finally:
        site.end()


@pytest.fixture
def page(site):
    """Return dot's list of secrets; at the end nothing was complained of."""
    base = f"http://localhost:{site.port}"
    with chromium() as browser:
        context = window(browser, viewport={"width": 1440, "height": 900})
        complaints = Complaints(context, base)
        page = context.new_page()
        sign_in(page, base, "dot", WORD)
        page.goto(f"{base}/main/secrets/")
        yield page
        assert complaints.found == []


def fill_half(page: Page) -> None:
    page.get_by_role("link", name="Create Secret").first.click()
    wizard = page.locator("#dialog")
    wizard.get_by_label("Secret name").fill("web-01/app")
    wizard.get_by_label("Managed instance").fill("web-01")
    wizard.get_by_label("Managed User").fill("app")
    wizard.get_by_label("Current value", exact=True).fill(TYPED)


def sign_in_again(page: Page, username: str, password: str = WORD) -> None:
    over = page.locator("#sign-in")
    expect(over.get_by_role("heading", name="Sign in again")).to_be_visible()
    over.get_by_label("User name").fill(username)
    over.get_by_label("Password").fill(password)
    over.get_by_role("button", name="Sign in").click()


def test_the_same_person_goes_on_with_what_was_typed(site, page):
    fill_half(page)
    site.inside(END)
    wizard = page.locator("#dialog")
    wizard.get_by_role("button", name="Next").click()
    sign_in_again(page, "dot", "wrong wrong wrong")
    expect(page.get_by_text("The user name or the password is wrong.")).to_be_visible()
    sign_in_again(page, "dot")
    expect(page.get_by_text("Signed in again. Submit the form again.")).to_be_visible()
    expect(page.locator("#sign-in")).to_be_hidden()
    expect(page.locator("#sign-in input")).to_have_count(0)
    expect(wizard.get_by_label("Secret name")).to_have_value("web-01/app")
    expect(wizard.get_by_label("Managed User")).to_have_value("app")
    expect(wizard.get_by_label("Current value", exact=True)).to_have_value(TYPED)
    wizard.get_by_role("button", name="Next").click()
    expect(wizard.get_by_text("Turn on automatic rotation")).to_be_visible()


def test_a_sign_in_in_another_tab_costs_nothing_that_was_typed(site, page):
    fill_half(page)
    site.inside(END)
    sign_in(page.context.new_page(), f"http://localhost:{site.port}", "dot", WORD)
    wizard = page.locator("#dialog")
    wizard.get_by_role("button", name="Next").click()
    expect(page.get_by_text("Signed in again. Submit the form again.")).to_be_visible()
    expect(wizard.get_by_label("Current value", exact=True)).to_have_value(TYPED)
    wizard.get_by_role("button", name="Next").click()
    expect(wizard.get_by_text("Turn on automatic rotation")).to_be_visible()


def test_another_person_finds_nothing_of_it(site, page):
    fill_half(page)
    site.inside(END)
    page.locator("#dialog").get_by_role("button", name="Next").click()
    sign_in_again(page, "eve")
    expect(page.locator("html[data-user=eve]")).to_have_count(1)
    expect(page.locator("#dialog")).to_be_hidden()
    expect(page.locator("#dialog input")).to_have_count(0)
    assert TYPED not in page.content()


def test_what_refreshes_itself_says_so_and_what_a_person_opens_does_not(site, page):
    with page.expect_request("**/create/") as opened:
        page.get_by_role("link", name="Create Secret").first.click()
    assert "x-keyturn-live" not in opened.value.headers
    with page.expect_request("**/main/secrets/") as refreshed:
        page.evaluate("""() => {
            const part = document.createElement("div");
            part.innerHTML = '<div hx-get="/main/secrets/" hx-trigger="every 1s" hx-swap="none"></div>';
            document.body.append(part);
            htmx.process(part);
        }""")
    assert refreshed.value.headers["x-keyturn-live"] == "1"


def test_a_minute_before_the_end_one_may_stay(site, page):
    page.clock.install()
    page.reload()
    fill_half(page)
    site.inside(NEARLY)
    page.clock.fast_forward("14:05")
    warning = page.get_by_role("dialog", name="Your session is about to end")
    expect(warning).to_be_visible()
    warning.get_by_role("button", name="Stay signed in").click()
    expect(warning).to_be_hidden()
    expect(page.locator("#dialog").get_by_label("Current value", exact=True)).to_have_value(TYPED)


def test_a_typed_value_waits_in_the_form_until_it_is_known_who_typed_it(site, page):
    fill_half(page)
    wizard = page.locator("#dialog")
    wizard.get_by_role("button", name="Next").click()
    expect(wizard.get_by_text("Turn on automatic rotation")).to_be_visible()
    wizard.get_by_role("button", name="Next").click()
    expect(wizard.get_by_role("button", name="OK")).to_be_visible()
    site.inside(OLD)
    wizard.get_by_role("button", name="OK").click()
    over = page.locator("#sign-in")
    expect(over.get_by_label("Password")).to_be_visible()
    assert TYPED not in page.url + page.evaluate(STORED)
    over.get_by_label("Password").fill(WORD)
    over.get_by_role("button", name="Confirm").click()
    expect(wizard.get_by_text("web-01/app").first).to_be_visible()
    expect(wizard.get_by_role("button", name="OK")).to_have_count(0)
    assert TYPED not in page.content() + page.url + page.evaluate(STORED)
