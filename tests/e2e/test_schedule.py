"""Times of a rotation, chosen in a browser: what is typed is previewed, saved and said in words."""

from __future__ import annotations

import re
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from console.forms.secrets.schedule import RECURRENCE_FIELDS
from rotation.models import Schedule
from tests import factories, gallery
from tests.chromium import chromium
from tests.e2e import axe
from tests.waiting import PATIENCE

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]
FIVE = re.compile(r"The next five dates")
BETWEEN = re.compile(r"Sun \d{4}-\d\d-\d\d, between 02:00 and 02:30")


@pytest.fixture
def page(open_keyring):
    viewer = factories.user("ann", "administrators")
    with gallery.serve() as address, chromium() as browser:
        context = browser.new_context(
            base_url=address, timezone_id="Europe/Berlin", viewport={"width": 1280, "height": 900}
        )
        context.set_default_timeout(PATIENCE * 1000)
        name = gallery.settings.SESSION_COOKIE_NAME
        context.add_cookies([{"name": name, "value": gallery.session(viewer), "url": address}])
        yield context.new_page()


def choose_sundays(dialog) -> None:
    dialog.get_by_text("At set times (cron)").click()
    expect(dialog.get_by_label("Rotation Period", exact=True)).to_be_hidden()
    expect(dialog.get_by_label("Time zone")).to_have_value("Europe/Berlin")
    dialog.get_by_role("button", name="Every Sunday at 02:00").click()
    expect(dialog.get_by_label("Times", exact=True)).to_have_value("0 2 * * 0")
    dialog.get_by_label("Random delay in minutes").fill("30")
    expect(dialog.get_by_text(BETWEEN)).to_have_count(5)


def test_times_are_previewed_as_they_are_typed_and_then_kept(page):
    secret = factories.secret(is_on=True)
    page.goto(f"/main/secrets/{secret.pk}/")
    page.locator("#secret-actions summary").click()
    page.get_by_role("link", name="Configuration rotation").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text(FIVE)).to_be_visible()
    choose_sundays(dialog)
    assert axe.tell(axe.violations(page)) == []
    dialog.get_by_label("Times", exact=True).fill("0 2,5 * * 0")
    expect(dialog.get_by_text("are 3 hours apart")).to_be_visible()
    dialog.get_by_label("Times", exact=True).fill("0 2 * * 0")
    expect(dialog.get_by_text(BETWEEN)).to_have_count(5)
    dialog.get_by_label("After downtime").select_option("Wait for the next date")
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_text("On, at 02:00 on Sunday (Europe/Berlin)").first).to_be_visible()
    kept = Schedule.objects.get(secret=secret)
    assert (kept.cron, kept.zone, kept.jitter.total_seconds(), kept.catch_up) == (
        "0 2 * * 0", "Europe/Berlin", 1800, "skip",
    )  # fmt: skip


def fill_first_step(page: Page) -> None:
    page.goto("/main/secrets/create/")
    page.get_by_label("Secret name").fill("web/svc")
    page.get_by_label("Managed instance").fill("web-main")
    page.get_by_label("Managed User").fill("svc")
    page.get_by_role("textbox", name="Current value").fill("canary-5d2: a value")


def test_next_does_not_wait_for_what_is_known_of_the_instance(page):
    """A slow answer about the chosen instance must not swallow the press of a button."""
    factories.instance(name="web-main", address="127.0.9.9")
    held: list[Route] = []
    page.route("**/secrets/create/instance/*", lambda route: held.append(route))
    with page.expect_request("**/secrets/create/instance/*"):
        fill_first_step(page)
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_text("Turn on automatic rotation")).to_be_visible()
    assert len(held) == 1
    held.pop().continue_()
    expect(page.locator("#wizard-instance")).to_contain_text("127.0.9.9")


def test_the_wizard_asks_for_dates_with_nothing_but_the_times(page):
    factories.instance(name="web-main")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "dates" in request.url else None)
    fill_first_step(page)
    page.get_by_role("button", name="Next").click()
    choose_sundays(page)
    assert axe.tell(axe.violations(page)) == []
    assert asked
    for url in asked:
        assert "canary" not in url
        assert set(parse_qs(urlsplit(url).query)) <= set(RECURRENCE_FIELDS)
    page.get_by_role("button", name="Next").click()
    review = page.get_by_role("region", name="What will be created")
    expect(review).to_contain_text("On, at 02:00 on Sunday")
    expect(review).to_contain_text("0 2 * * 0 in Europe/Berlin")
    page.get_by_role("button", name="OK").click()
    expect(page.get_by_text("View secret details")).to_be_visible()
    assert Schedule.objects.get().cron == "0 2 * * 0"


@pytest.mark.parametrize("where", ["wizard", "schedule"])
def test_set_times_are_previewed_as_soon_as_they_are_chosen(page, where):
    """The fields that the choice shows travel with the first question, so it has no error to show."""
    factories.instance(name="web-main")
    secret = factories.secret(is_on=True)
    if where == "wizard":
        fill_first_step(page)
        page.get_by_role("button", name="Next").click()
    else:
        page.goto(f"/main/secrets/{secret.pk}/schedule/")
    expect(page.get_by_text(FIVE)).to_be_visible()
    with page.expect_response("**/dates/*") as first:
        page.get_by_text("At set times (cron)").click()
    asked = parse_qs(urlsplit(first.value.url).query)
    assert (asked["cron"], asked["zone"]) == (["0 2 * * *"], ["Europe/Berlin"])
    assert "field-error" not in first.value.text()
    expect(page.get_by_text("The next five dates in Europe/Berlin")).to_be_visible()
    with page.expect_response("**/dates/*") as back:
        page.get_by_text("Every period").click()
    assert "period" in parse_qs(urlsplit(back.value.url).query)
    assert "field-error" not in back.value.text()
