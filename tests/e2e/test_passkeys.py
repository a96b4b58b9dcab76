"""A passkey of a real browser: set up, signed in with, and used to confirm over an open dialog."""

from __future__ import annotations

import json

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from playwright.sync_api import Page, expect

from console.sessions import expiry
from console.sessions.store import SessionStore
from secrets_app.models import AuditEvent, Policy
from secrets_app.people import second_factors
from tests import factories, gallery
from tests.chromium import chromium
from tests.e2e import axe
from tests.e2e.browser import Complaints, sign_in, window
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)
VALUE = "canary-of-a-passkey-7"
READING = {"Effect": "Allow", "Action": "kms:DescribeSecret", "Resource": "*"}
READERS = json.dumps({"Version": "1", "Statement": [READING]})


@pytest.fixture
def base(dot):
    with gallery.serve() as address:
        yield address


def add_security_key(page: Page) -> None:
    """Give a browser a security key that always says yes."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})


@pytest.fixture
def page(base):
    """Return a page of a browser with a security key of its own; at the end nothing was complained of."""
    with chromium() as browser:
        context = window(browser, viewport={"width": 1280, "height": 900})
        complaints = Complaints(context, base)
        page = context.new_page()
        add_security_key(page)
        yield page
        assert complaints.found == []


def grow_old() -> None:
    """Let every session have begun, and have been confirmed, six minutes ago."""
    for row in Session.objects.all():
        store = SessionStore(row.session_key)
        store[expiry.BEGAN_AT] -= 360
        for record in store["account_authentication_methods"]:
            record["at"] -= 360
        store.save()


def test_a_passkey_is_set_up_signs_in_and_confirms_over_a_dialog(page, base, dot):
    secret = factories.secret(initial=VALUE)
    sign_in(page, base, "dot", PASSWORD)
    page.wait_for_url(f"{base}/**/")
    page.goto(f"{base}{reverse('mfa_index')}")
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_role("button", name="Add").click()
    expect(page.locator("#codes")).to_be_visible()
    assert second_factors.has_one(dot)
    page.context.clear_cookies()

    sign_in(page, base, "dot", PASSWORD)
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(lambda url: "sign-in" not in url)
    page.goto(f"{base}{reverse('secret', args=['main', secret.pk])}")
    grow_old()
    page.get_by_role("link", name="Get secret value").first.click()
    over = page.locator("#sign-in")
    expect(over.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    over.get_by_role("link", name="Use a passkey").click()
    over.get_by_role("button", name="Use a passkey").click()
    page.get_by_label("Reason").fill("incident 7")
    grow_old()
    page.get_by_role("button", name="Show value").click()
    over.get_by_label("Password").fill("wrong wrong wrong")
    over.get_by_role("button", name="Confirm").click()
    expect(over.get_by_text("This is not your current password.")).to_be_visible()
    assert not AuditEvent.objects.filter(action="kms:GetSecretValue").exists()
    over.get_by_label("Password").fill(PASSWORD)
    over.get_by_role("button", name="Confirm").click()
    expect(page.get_by_text(VALUE)).to_be_visible()
    assert AuditEvent.objects.get(action="kms:GetSecretValue").reason == "incident 7"


@pytest.mark.parametrize("way", ["page", "dialog"])
def test_a_form_that_was_filled_in_survives_the_confirmation(page, base, dot, way):
    sign_in(page, base, "dot", PASSWORD)
    page.wait_for_url(f"{base}/**/")
    if way == "page":
        page.goto(f"{base}{reverse('policy_create')}")
    else:
        page.goto(f"{base}{reverse('policies')}")
        page.get_by_role("link", name="Create policy").click()
    page.get_by_label("Name", exact=True).fill("night readers")
    page.get_by_role("textbox", name="Document").fill("{")
    page.get_by_role("button", name="OK").click()
    expect(page.get_by_text("This is not JSON").first).to_be_visible()
    expect(page.get_by_role("link" if way == "page" else "button", name="Cancel")).to_be_visible()
    page.get_by_role("textbox", name="Document").fill(READERS)
    page.get_by_label("Name", exact=True).fill("night-readers")
    grow_old()
    page.get_by_role("button", name="OK").click()
    over = page.locator("#sign-in")
    expect(over.get_by_role("heading", name="Confirm that it is you")).to_be_visible()
    assert not Policy.objects.filter(name="night-readers").exists()
    over.get_by_label("Password").fill(PASSWORD)
    over.get_by_role("button", name="Confirm").click()
    expect(page.get_by_role("heading", name="night-readers")).to_be_visible()
    assert json.loads(Policy.objects.get(name="night-readers").document) == json.loads(READERS)


def test_the_pages_of_a_second_factor_are_plain_to_everybody(page, base, dot):
    sign_in(page, base, "dot", PASSWORD)
    page.wait_for_url(f"{base}/**/")
    for name in ("mfa_index", "mfa_activate_totp", "mfa_add_webauthn", "account_reauthenticate"):
        page.goto(f"{base}{reverse(name)}")
        assert axe.tell(axe.violations(page)) == [], name
