"""A key pair in the browser, from the wizard to the file, on a real host."""

from __future__ import annotations

import os
import re

import pytest
from playwright.sync_api import Page, expect

from lab import Host
from rotation.models import Run
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import lab_instances
from tests.e2e import axe
from tests.lab_fixtures import KeyPair
from tests.wires.test_rotation import advance

pytestmark = pytest.mark.django_db(transaction=True)


def look(page: Page, name: str) -> None:
    """Have axe look at what is shown now, and keep a picture where a folder for it is named."""
    assert axe.tell(axe.violations(page)) == []
    if folder := os.environ.get("KEYTURN_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{name}.png")


def test_a_key_pair_is_created_rotated_and_downloaded(
    page: Page, host: Host, management_key: KeyPair, tmp_path
) -> None:
    old = key_pairs.generate("ed25519")
    host.add_account("svc", authorized_keys=[old.public_key])
    instance = lab_instances.register(host, management_key)

    page.goto("/main/secrets/")
    page.get_by_role("link", name="Create Secret").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Secret name").fill("web/svc")
    dialog.get_by_label("Managed instance").fill(instance.name)
    dialog.get_by_label("Managed User").fill("svc")
    expect(page.get_by_label("Current value", exact=True)).to_be_visible()
    expect(page.get_by_label("Private key")).to_be_hidden()
    page.get_by_text("Key pair", exact=True).click()
    expect(page.get_by_label("Current value", exact=True)).to_be_hidden()
    expect(page.get_by_text("Password policy")).to_be_hidden()
    expect(page.get_by_label("Key algorithm")).to_have_value("rsa-2048")
    page.get_by_label("Key algorithm").select_option("ed25519")
    page.get_by_label("Private key").fill("broken")
    page.get_by_label("Private key").blur()
    expect(page.get_by_text("Paste the whole file").first).to_be_visible()
    page.get_by_label("Private key").fill(old.private_key.reveal())
    page.get_by_label("Private key").blur()
    expect(page.get_by_text(key_pairs.fingerprint(old.public_key)).first).to_be_visible()
    look(page, "wizard")
    page.get_by_role("button", name="Next").click()
    expect(page.get_by_role("list", name="Step 2 of 3")).to_be_visible()
    page.get_by_role("button", name="Next").click()
    expect(page.locator("#wizard-review").get_by_text(key_pairs.fingerprint(old.public_key))).to_be_visible()
    look(page, "review")
    page.get_by_role("button", name="OK").click()
    expect(page.get_by_role("heading", name="Secret created")).to_be_visible()
    secret = Secret.objects.get()
    assert advance(secret.runs.get()).outcome == "succeeded"

    page.goto(f"/main/secrets/{secret.pk}/")
    page.get_by_role("link", name="Rotate Immediately").click()
    expect(page.get_by_text("a new key pair, Ed25519")).to_be_visible()
    page.get_by_label("Use Custom Secret").check()
    expect(page.get_by_label("New private key")).to_be_visible()
    look(page, "rotate")
    page.get_by_label("Use Custom Secret").uncheck()
    page.get_by_role("button", name="Confirm rotation").click()
    expect(page.get_by_role("heading", name="Rotation triggered")).to_be_visible()
    run = advance(secret.runs.get(kind=Run.Kind.ROTATE))
    assert run.outcome == "succeeded", run.sentence
    new = versions.value(secret.labelled("current"))
    assert host.authorized_keys("svc").split()[:2] == new.public_key.split()

    page.goto(f"/main/secrets/{secret.pk}/")
    expect(page.get_by_text("Clean up").first).to_be_visible()
    look(page, "details")
    page.get_by_role("link", name="Get secret value").click()
    page.get_by_label("Reason").fill("to log on")
    page.get_by_role("button", name="Show value").click()
    expect(page.get_by_text("ssh -i web-svc.pem")).to_be_visible()
    expect(page.locator("#revealed")).to_contain_text(re.compile("BEGIN OPENSSH PRIVATE KEY"))
    look(page, "value")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download web-svc.pem").click()
    assert download.value.suggested_filename == "web-svc.pem"
    download.value.save_as(tmp_path / "web-svc.pem")
    saved = Plaintext((tmp_path / "web-svc.pem").read_text())
    assert key_pairs.read(saved).public_key == new.public_key
