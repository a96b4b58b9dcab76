"""An invited person comes by an identity provider, comes again, and confirms who they are, in a real browser.

The browser is the judge of our content security policy, which lets a form go nowhere but to ourselves: the
provider sends the person on to another host on the way, as a company's may.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.urls import reverse
from playwright.sync_api import Page, expect

from console.sessions import expiry
from console.sessions.store import SessionStore
from secrets_app.models import User
from secrets_app.people import identities, invitations
from tests import factories, gallery
from tests.chromium import chromium
from tests.e2e import axe
from tests.e2e.test_screens import HIDDEN
from tests.waiting import PATIENCE

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.xdist_group("browser"),
    pytest.mark.skipif(gallery.CHROMIUM is None, reason="Chromium is not installed"),
]


@pytest.fixture
def address(open_keyring, provider):
    """Return where the console is; its provider sends people on to another host first."""
    provider.sends_on = True
    with gallery.serve() as found:
        yield found


@pytest.fixture
def page(address):
    """Return a page in nobody's browser; at the end the policy stopped nothing."""
    with chromium() as browser:
        context = browser.new_context(base_url=address, viewport={"width": 1440, "height": 900})
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        noise: list[str] = []
        page.on("console", lambda message: noise.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: noise.append(str(error)))
        yield page
        assert [text for text in noise if "status of 4" not in text] == []


def link() -> str:
    _, token = invitations.invite("nia", actor=factories.administrator(), groups=["administrators"])
    return reverse("invitation_open", args=[token.reveal()])


def grow_old(page: Page) -> None:
    """It is a while since anybody showed who they are."""
    (cookie,) = [one for one in page.context.cookies() if one["name"] == settings.SESSION_COOKIE_NAME]
    store = SessionStore.opened_by(cookie["value"])
    for record in store["account_authentication_methods"]:
        record["at"] -= 301
        record["asked_at"] = record.get("asked_at", 0) - 301
    store[expiry.BEGAN_AT] -= 301
    store.save()


def looks_right(page: Page) -> list[str]:
    """What axe finds, and what a narrow window hides, light and dark."""
    found = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        found += [f"{page.url} {scheme}: {one}" for one in axe.tell(axe.violations(page))]
    page.set_viewport_size({"width": 320, "height": 640})
    found += [f"{page.url}: hides {pixels}" for pixels in page.evaluate(HIDDEN) if pixels]
    page.set_viewport_size({"width": 1440, "height": 900})
    return found


def test_an_invited_person_comes_by_the_provider_comes_again_and_confirms(page, address, provider, settings):
    wrong = []
    page.goto(link())
    wrong += looks_right(page)
    page.get_by_role("button", name="Come with Example").click()
    expect(page.get_by_text("You sign in with Example as dot@example.com")).to_be_visible()
    wrong += looks_right(page)
    nia = User.objects.get(username="nia")
    assert identities.of(nia, provider.issuer)

    page.goto("/sign-out/")
    page.get_by_role("main").get_by_role("button", name="Sign out").click()
    page.goto("/sign-in/?next=/access/groups/")
    wrong += looks_right(page)
    page.get_by_role("button", name="Sign in with Example").click()
    expect(page.get_by_role("heading", name="Groups")).to_be_visible()

    grow_old(page)
    page.get_by_role("link", name="Create group").click()
    dialog = page.locator("#sign-in")
    expect(dialog.get_by_role("button", name="Confirm with Example")).to_be_focused()
    wrong += axe.tell(axe.violations(page))
    dialog.get_by_role("button", name="Confirm with Example").click()
    expect(page.get_by_role("heading", name="Groups")).to_be_visible()
    page.get_by_role("link", name="Create group").click()
    expect(page.locator("#dialog").get_by_label("Name")).to_be_visible()  # and nobody asks again

    page.goto("/access/groups/")
    Session.objects.all().delete()
    page.get_by_role("link", name="Create group").click()
    expect(dialog.get_by_role("heading", name="Sign in again")).to_be_visible()
    wrong += axe.tell(axe.violations(page))
    dialog.get_by_role("button", name="Sign in with Example").click()
    expect(page.get_by_role("heading", name="Groups")).to_be_visible()

    settings.OIDC = replace(settings.OIDC, is_only=True)
    page.context.clear_cookies()
    page.goto("/sign-in/")
    wrong += looks_right(page)
    provider.subject = "of-nobody"
    page.get_by_role("button", name="Sign in with Example").click()
    expect(page.get_by_role("heading", name="No user has this identity")).to_be_visible()
    wrong += looks_right(page)
    assert wrong == []


def test_the_page_in_between_looks_right_and_has_a_link_for_whoever_is_not_sent_on(page, address, provider):
    page.route(f"{provider.issuer}/**", lambda route: route.fulfill(status=204))
    page.goto("/sign-in/")
    page.get_by_role("button", name="Sign in with Example").click()
    going = page.get_by_role("link", name="Go on to Example")
    expect(going).to_have_attribute("href", re.compile(f"^{re.escape(provider.issuer)}/authorize"))
    assert looks_right(page) == []
    page.unroute(f"{provider.issuer}/**")
    going.click()
    expect(page.get_by_role("heading", name="No user has this identity")).to_be_visible()
