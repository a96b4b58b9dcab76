"""What a browser keeps of a value that was typed or shown in it, and what an access log says."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from rotation.models import Run
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Secret
from secrets_app.people import users
from tests import chromium, factories
from tests.canaries import places
from tests.canaries.needles import Searcher, make
from tests.e2e.browser import back, sign_in
from tests.web_process import Web

pytestmark = pytest.mark.django_db(transaction=True)
NAMES = ("sign-in", "wrong sign-in", "shown", "typed", "custom", "looked up")
PLANTS = ("local storage", "session storage", "disk", "address")


def walk(page: Page, base: str, secret: Secret, cast: dict[str, str]) -> None:
    """Sign in, read a value, type others into the wizard, the rotation and the look-up; go back."""
    sign_in(page, base, "dot", cast["wrong sign-in"])
    expect(page.get_by_text("The user name or the password is wrong.")).to_be_visible()
    sign_in(page, base, "dot", cast["sign-in"])
    page.goto(f"{base}/main/secrets/{secret.pk}/")
    page.get_by_role("link", name="Get secret value").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("to log on")
    dialog.get_by_role("button", name="Show value").click()
    expect(dialog.get_by_label("Value", exact=True)).to_have_text(cast["shown"])
    dialog.get_by_role("link", name="Close").click()
    page.get_by_role("link", name="Rotate Immediately").first.click()
    dialog.get_by_text("Use Custom Secret").click()
    dialog.get_by_label("New value").fill(cast["custom"])
    dialog.get_by_text("Use it even if it breaks the password policy").click()
    dialog.get_by_label("Reason for breaking the password policy").fill("of a canary")
    dialog.get_by_role("button", name="Confirm rotation").click()
    expect(dialog.get_by_role("heading", name="Rotation triggered")).to_be_visible()
    page.goto(f"{base}/main/secrets/create/")
    page.get_by_label("Secret name").fill("left/alone")
    page.get_by_label("Current value", exact=True).fill(cast["typed"])
    page.goto(f"{base}/audit/")
    page.locator("a[href='/audit/look-up/']").first.click()
    dialog.get_by_label("Value").fill(cast["looked up"])
    dialog.get_by_role("button", name="Look up").click()
    expect(dialog.get_by_label("Value")).to_have_count(0)
    back(page)
    page.goto(f"{base}/main/secrets/")


def plant(context: BrowserContext, page: Page, base: str, values: dict[str, str]) -> None:
    page.evaluate("value => localStorage.setItem('kept', value)", values["local storage"])
    page.evaluate("value => sessionStorage.setItem('kept', value)", values["session storage"])
    keep = "async value => (await caches.open('kept')).put('/kept', new Response(value))"
    page.evaluate(keep, values["disk"])
    page.goto(f"{base}/main/secrets/?q={quote(values['address'])}")


def stores(page: Page) -> list[bytes]:
    script = "() => JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, history.state])"
    return [json.dumps(page.evaluate(script)).encode()]


def names(found: set[str]) -> set[str]:
    return {hit.rpartition(" (")[0] for hit in found}


def test_a_browser_keeps_no_value_and_no_request_line_holds_one(tmp_path: Path) -> None:
    cast, planted = {name: make() for name in NAMES}, {name: make() for name in PLANTS}
    groups = {"groups": ["administrators"], "must_change_password": False}
    users.create("dot", Plaintext(cast["sign-in"]), **groups)
    secret = factories.secret(initial=cast["shown"])
    factories.settle(secret)
    profile, log = tmp_path / "profile", tmp_path / "web.log"
    web = Web(log, settings="tests.canaries.settings", config="tests.canaries.web")
    try:
        web.wait()
        with chromium.driver() as playwright:
            context = playwright.chromium.launch_persistent_context(
                str(profile), executable_path=chromium.PATH, args=chromium.ARGUMENTS
            )
            context.set_default_timeout(60_000)
            page = context.new_page()
            walk(page, web.base, secret, cast)
            plant(context, page, web.base, planted)
            kept = stores(page)
            context.close()
    finally:
        web.end()
    found = {
        "stores": kept,
        "access log": [log.read_bytes()],
        "sessions": places.sessions(),
        "broker": places.broker(),
    } | {str(path.relative_to(profile)): [path.read_bytes()] for path in profile.rglob("*") if path.is_file()}
    assert Run.objects.filter(secret=secret).exists()
    assert '"POST /main/secrets/' in log.read_text()
    assert "django.db.backends" in log.read_text()
    values = Searcher(cast)
    leaks = {place: names(hits) for place, texts in found.items() if (hits := values.hits(texts))}
    assert leaks == {}
    assert names(Searcher(planted).hits(kept)) >= {"local storage", "session storage"}
    assert names(Searcher(planted).hits(places.files(profile))) >= {"local storage", "disk", "address"}
    assert "address" in names(Searcher(planted).hits(log.read_bytes()))
