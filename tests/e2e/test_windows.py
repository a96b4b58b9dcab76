"""A Windows account in the browser, from its registration to a new value, on a simulated host."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from lab.windows.wsman import Endpoint
from rotation.connectors.base import Login, Verdict
from rotation.connectors.winrm.connector import WinRmConnector, WinRmScanner
from rotation.models import Instance, Run
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Secret
from tests import windows_instances
from tests.e2e import axe
from tests.networks import endpoint
from tests.windows_instances import MANAGER, PASSWORD, advance

pytestmark = pytest.mark.django_db(transaction=True)
OLD = "The-old-Password-1"


@pytest.fixture
def at() -> Iterator[Endpoint]:
    with windows_instances.running("127.0.46.1") as made:
        made.host.add_account("svc", OLD)
        yield made


def look(page: Page, name: str) -> None:
    """Have axe look at what is shown now, light and dark, and keep pictures if a folder is named."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert axe.tell(axe.violations(page)) == [], f"{name}, {scheme}"
        if folder := os.environ.get("KEYTURN_SCREENSHOTS"):
            page.screenshot(path=f"{folder}/{name}-{scheme}.png")


def opened(page: Page, link: str) -> Locator:
    page.get_by_role("link", name=link, exact=True).first.click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("heading").first).to_be_visible()
    return dialog


def lets_in(at: Endpoint, value: str) -> Verdict:
    """What the host says to a logon of the account, at the certificate that it shows."""
    shown = WinRmScanner().scan(endpoint(at.address, at.port), timeout=60)
    wire = WinRmConnector(endpoint(at.address, at.port, tuple(key.line for key in shown)))
    return wire.prove_login(Login("svc", password=Plaintext(value)), timeout=60).verdict


def test_a_windows_password_is_registered_approved_created_rotated_and_shown(
    page: Page, at: Endpoint
) -> None:
    page.goto("/credentials/")
    dialog = opened(page, "Create management credential")
    dialog.get_by_label("Name", exact=True).fill("Windows")
    dialog.get_by_text("Windows over WinRM", exact=True).click()
    dialog.get_by_role("textbox", name="Account").fill(MANAGER)
    dialog.get_by_label("Password", exact=True).fill(PASSWORD)
    look(page, "credential")
    dialog.get_by_role("button", name="Create").click()
    expect(page.get_by_role("heading", name="Windows", exact=True)).to_be_visible()
    look(page, "commands")

    page.goto("/main/instances/")
    dialog = opened(page, "Register Instance")
    dialog.get_by_text("Windows over WinRM", exact=True).click()
    dialog.get_by_label("Name", exact=True).fill("win-01")
    dialog.get_by_label("Address").fill(at.address)
    dialog.get_by_label("Port").fill(str(at.port))
    dialog.get_by_label("Management credential").select_option(
        label=f"Windows ({MANAGER}, Windows over WinRM)"
    )
    look(page, "register")
    dialog.get_by_role("button", name="Register Instance").click()
    expect(page.get_by_role("heading", name="win-01")).to_be_visible()
    instance = Instance.objects.get()
    assert advance(instance.runs.get()).outcome == "succeeded"

    page.reload()
    dialog = opened(page, "Approve certificate")
    shown = WinRmScanner().scan(endpoint(at.address, at.port), timeout=60)[0]
    dialog.get_by_label(f"x509 {shown.fingerprint}").check()
    look(page, "approve")
    dialog.get_by_role("button", name="Approve certificate").click()
    expect(page.get_by_text("The certificate of win-01 is approved.")).to_be_visible()
    assert at.attempts == 0
    assert advance(instance.runs.get(kind=Run.Kind.CHECK)).outcome == "succeeded"
    page.reload()
    expect(page.get_by_text("Ready", exact=True).first).to_be_visible()
    look(page, "instance")

    page.goto("/main/secrets/")
    dialog = opened(page, "Create Secret")
    dialog.get_by_label("Secret name").fill("win/svc")
    dialog.get_by_label("Managed instance").fill("win-01")
    dialog.get_by_label("Managed User").fill("svc")
    expect(dialog.get_by_role("radio", name="Key pair")).to_have_count(0)
    expect(dialog.get_by_role("radio", name="Password")).to_be_checked()
    dialog.get_by_label("Current value", exact=True).fill(OLD)
    look(page, "wizard")
    dialog.get_by_role("button", name="Next").click()
    expect(dialog.get_by_role("list", name="Step 2 of 3")).to_be_visible()
    dialog.get_by_role("button", name="Next").click()
    expect(dialog.get_by_role("list", name="Step 3 of 3")).to_be_visible()
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_role("heading", name="Secret created")).to_be_visible()
    secret = Secret.objects.get()
    assert advance(secret.runs.get()).outcome == "succeeded"

    page.goto(f"/main/secrets/{secret.pk}/")
    dialog = opened(page, "Rotate Immediately")
    look(page, "rotate")
    dialog.get_by_role("button", name="Confirm rotation").click()
    expect(page.get_by_role("heading", name="Rotation triggered")).to_be_visible()
    run = advance(secret.runs.get(kind=Run.Kind.ROTATE))
    assert run.outcome == "succeeded", run.sentence

    page.goto(f"/main/secrets/{secret.pk}/")
    look(page, "secret")
    dialog = opened(page, "Get secret value")
    dialog.get_by_label("Reason").fill("to log on")
    dialog.get_by_role("button", name="Show value").click()
    new = dialog.get_by_label("Value", exact=True).text_content()
    expect(dialog.get_by_label("Log on with it")).to_contain_text(f"mstsc /v:{at.address}")
    expect(dialog.get_by_role("link", name="Download")).to_have_attribute("download", re.compile(r"\.rdp$"))
    look(page, "value")
    assert lets_in(at, new) == Verdict.ACCEPTED
    assert lets_in(at, OLD) != Verdict.ACCEPTED
    assert at.host.record.places(new) == {"stdin"}
    page.goto(f"/main/rotations/{run.pk}/")
    look(page, "run")
