"""An administrator invites a helpdesk member and an auditor; what each can do, and that none sees a value."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
from allauth.mfa.totp.internal import auth as totp
from playwright.sync_api import Page, expect

from secrets_app.crypto import key_pairs
from tests.chromium import chromium
from tests.e2e.browser import Complaints, choose_password, sign_in, window
from tests.e2e.site import Site
from tests.e2e.test_passkeys import add_security_key
from tests.e2e.walk import answers, shows
from tests.waiting import wait_for

pytestmark = pytest.mark.xdist_group("people")
MINE, HERS, HIS = "a-passphrase-of-my-own-77", "a-phrase-of-the-helpdesk-7", "a-phrase-of-the-auditor-7"
AGAIN = "what-hal-chose-instead-61"
NAME = "acs/ecs/web-01/app"

MAKE = """
from rotation import tasks
from rotation.managed import creation
from rotation.models import Instance
from secrets_app.models import Principal, Region
from secrets_app.crypto.plaintext import Plaintext

web = Instance.objects.get(name="web-01")
given = dict(region=web.region, instance=web, actor=Principal.objects.get(name="admin"))
_, run = creation.create("web-01/app", username="app", initial=Plaintext(FIRST), **given)
pair, _ = creation.create("web-01/git", username="git", kind="key_pair", initial=Plaintext(KEY), **given)
tasks.wake(run)
"""
IDS = """
import json
from rotation.models import Instance, ManagementCredential, Run
from secrets_app.models import Attachment, Key, Policy, Region, Secret, User
secret = Secret.objects.get(name=NAME)
found = dict(
    secret=secret.pk, version=secret.labelled("current").pk, instance=Instance.objects.first().pk,
    run=Run.objects.filter(secret=secret).first().pk, credential=ManagementCredential.objects.first().pk,
    key=Key.objects.first().pk, user=User.objects.get(username="admin").pk, policy=Policy.objects.first().pk,
    attachment=Attachment.objects.first().pk, invitation=secret.pk,
    pair=Secret.objects.get(name__endswith="git").pk, region=Region.objects.first().pk, bulk=secret.pk,
    application=secret.pk, access_key=secret.pk,
)
group = User.objects.get(username="admin").groups.get().pk
print(json.dumps({**{name: str(pk) for name, pk in found.items()}, "group": group}))
"""
#: What a helpdesk member is refused in so many words; each would change something or show a value.
REFUSED = {
    "secret_reveal", "secret_download", "secret_rotate", "secret_rotate_back", "secret_edit",
    "secret_schedule",
    "secret_delete", "secret_resolve", "secret_reconcile", "instance_register",
    "credential_create", "key_create", "policy_create", "group_create", "invite",
    "audit_verify", "audit_look_up", "audit_export_csv",
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = Site(tmp_path_factory.mktemp("people"))
    try:
        site.up("--demo-hosts=1")
        site.wait_until_healthy()
        wait_for(lambda: "has the password" in site.printed(), "the demo host")
        yield site
    finally:
        site.end()


def in_dialog(page: Page, link: str):
    """Open a dialog; after five minutes it asks the administrator for the password first."""
    page.get_by_role("link", name=link).first.click()
    expect(page.locator("dialog[open] h2")).to_be_visible()
    over = page.locator("#sign-in[open]")
    if over.count():
        over.get_by_label("Password").fill(MINE)
        over.get_by_role("button", name="Confirm").click()
    dialog = page.locator("#dialog[open]")
    expect(dialog.locator("h2")).to_be_visible()
    return dialog


def open_as(browser, base: str, complaints: list) -> Page:
    context = window(browser, viewport={"width": 1440, "height": 900})
    complaints.append(Complaints(context, base))
    return context.new_page()


def sign_out(page: Page) -> None:
    page.locator("summary", has_text="User menu").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def invite(page: Page, username: str, *groups: str) -> str:
    """Invite somebody from the list of users; return the link."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Access").click()
    page.get_by_role("link", name="Users", exact=True).last.click()
    dialog = in_dialog(page, "Invite a user")
    dialog.get_by_label("User name").fill(username)
    for group in groups:
        dialog.get_by_label(group).check()
    dialog.get_by_role("button", name="Invite").click()
    link = dialog.get_by_label("Link", exact=True).text_content()
    dialog.get_by_role("link", name="Close").click()
    expect(page.get_by_role("rowheader", name=username)).to_be_visible()
    return link


def reset_sign_in(page: Page, username: str) -> str:
    """Make a link by which somebody who forgot their password chooses another; return it."""
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Access").click()
    page.get_by_role("link", name="Users", exact=True).last.click()
    page.get_by_role("link", name=username, exact=True).click()
    dialog = in_dialog(page, "Reset sign-in")
    dialog.get_by_label("Reason").fill("forgot it, and stands before me")
    dialog.get_by_role("button", name="Make a link").click()
    link = dialog.get_by_label("Link", exact=True).text_content()
    dialog.get_by_role("link", name="Close").click()
    expect(page.get_by_text("New way in", exact=True)).to_be_visible()
    return link


def accept(page: Page, link: str, password: str) -> None:
    page.goto(link)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_label("Password, again").fill(password)
    page.get_by_role("button", name="Choose password").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def attach(page: Page, policy: str, to: str) -> None:
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Access").click()
    page.get_by_role("link", name="Users", exact=True).last.click()
    page.get_by_role("link", name=to, exact=True).click()
    dialog = in_dialog(page, "Attach policy")
    dialog.get_by_label("Policy").select_option(label=policy)
    dialog.get_by_role("button", name="Attach").click()
    expect(page.get_by_role("heading", name=policy)).to_be_visible()
    expect(page.get_by_role("link", name=to, exact=True)).to_be_visible()


def rotate(page: Page) -> str:
    """Rotate the secret that is open; return its new value."""
    page.get_by_role("link", name="Rotate Immediately").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Confirm rotation").click()
    expect(dialog.get_by_role("heading", name="Rotation triggered")).to_be_visible()
    dialog.get_by_role("button", name="Close").last.click()
    expect(page.get_by_role("region", name="Steps").get_by_text(re.compile("^FinishDone$"))).to_be_visible()
    dialog = in_dialog(page, "Get secret value")
    dialog.get_by_label("Reason").fill("to compare")
    dialog.get_by_role("button", name="Show value").click()
    value = dialog.get_by_label("Value", exact=True).text_content()
    dialog.get_by_role("link", name="Close").click()
    return value


def plan_deletion(page: Page) -> None:
    page.locator("#secret-actions summary").click()
    page.get_by_role("link", name="Plan Deletion Secret").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Reason").fill("moved away")
    dialog.get_by_role("button", name="OK").click()
    expect(page.get_by_text("Pending deletion").first).to_be_visible()


def use_passkey(page: Page) -> None:
    """Set a passkey up, sign out, and come back with it."""
    sign_in_here(page, "hal", HERS)
    page.get_by_role("link", name="Add a passkey").click()
    page.get_by_role("button", name="Add").click()
    keep_codes(page)
    page.get_by_role("link", name="I have kept them").click()
    sign_out(page)
    sign_in_here(page, "hal", HERS)
    page.get_by_role("button", name="Use a passkey").click()
    expect(page.get_by_role("link", name="Secrets", exact=True).first).to_be_visible()


def keep_codes(page: Page) -> None:
    """The codes that come with the first factor, as a file that holds what the page shows."""
    shown = page.get_by_label("Recovery codes").text_content().split()
    assert len(set(shown)) == 10
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_text().split() == shown
    assert download.value.suggested_filename.startswith("keyturn-recovery-codes")
    assert all(code not in page.url for code in shown)


def use_app(page: Page) -> None:
    """Set an app up, sign out, and come back with the code of the next half minute."""
    sign_in_here(page, "aud", HIS)
    page.get_by_role("link", name="Set up an app").click()
    key = page.locator("[data-copy]").first.get_attribute("data-copy")
    page.get_by_label("Code").fill(code(key, 0))
    page.get_by_role("button", name="Set up").click()
    page.get_by_role("link", name="I have kept them").click()
    sign_out(page)
    sign_in_here(page, "aud", HIS)
    page.get_by_label("Code").fill(code(key, 1))
    page.get_by_role("button", name="Sign in").click()


def code(key: str, later: int) -> str:
    now = list(totp.yield_hotp_counters_from_time())[1]
    return totp.format_hotp_value(totp.hotp_value(key, now + later))


def sign_in_here(page: Page, username: str, password: str) -> None:
    page.get_by_label("User name").fill(username)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in").click()


def walk(page: Page, base: str, ids: dict, values: list[str]) -> dict[tuple[str, str], int]:
    """Ask for every address; return how each was answered. None of them shows a value."""
    given = {"reason": "curious", "text": "curious", "name": "curious", "password": "curious"}
    found, shown = {}, []
    pair = ids | {"secret": ids["pair"]}
    for one, of in (("", ids), ("secret", pair)):
        for name, method, status, text in answers(page, base, of, given, begins=one):
            found.setdefault((name, method), status)
            shown += [f"{method} {name}" for value in values if shows(text, value)]
            if status >= 500:
                shown.append(f"{method} {name} answered {status}")
    assert shown == []
    return found


def test_an_invited_helpdesk_member_restores_and_an_auditor_reads_and_neither_sees_a_value(site):
    base, complaints = f"http://localhost:{site.port}", []
    first = re.search(r"has the password (\S+)", site.printed())[1]
    key = key_pairs.generate("ed25519").private_key.reveal()
    with chromium() as browser:
        admin = open_as(browser, base, complaints)
        sign_in(admin, base, "admin", site.password())
        choose_password(admin, site.password(), MINE)
        site.inside(f"FIRST, KEY = {first!r}, {key!r}\n" + MAKE)
        hal_link, aud_link = invite(admin, "hal", "helpdesk"), invite(admin, "aud")
        admin.get_by_role("link", name="Secrets", exact=True).first.click()
        admin.get_by_role("link", name=NAME, exact=True).click()
        expect(admin.get_by_text("In sync").first).to_be_visible()
        values = [first, rotate(admin), key.splitlines()[2], MINE, HERS, HIS]
        plan_deletion(admin)

        hal = open_as(browser, base, complaints)
        add_security_key(hal)
        accept(hal, hal_link, HERS)
        use_passkey(hal)
        hal.get_by_role("link", name="Secrets", exact=True).first.click()
        hal.get_by_role("combobox", name="Status").select_option(label="Pending deletion")
        expect(hal).to_have_url(re.compile("status="))  # it applies at once
        hal.get_by_role("link", name=NAME, exact=True).click()
        hal.get_by_role("link", name="Restore Secret").first.click()
        expect(hal.get_by_role("dialog").get_by_text("moved away")).to_be_visible()
        hal.get_by_role("dialog").get_by_role("button", name="OK").click()
        expect(hal.get_by_text("Still valid:").first).to_be_visible()
        for name in ("Get secret value", "Rotate Immediately", "Plan Deletion Secret", "Edit"):
            expect(hal.get_by_role("link", name=name, include_hidden=True)).to_have_count(0)
        link = reset_sign_in(admin, "hal")
        sign_out(hal)
        accept(hal, link, AGAIN)
        sign_in_here(hal, "hal", HERS)
        expect(hal.get_by_text("The user name or the password is wrong.")).to_be_visible()
        sign_in_here(hal, "hal", AGAIN)
        hal.get_by_role("button", name="Use a passkey").click()
        expect(hal.get_by_role("link", name="Secrets", exact=True).first).to_be_visible()
        ids = site.inside(f"NAME = {NAME!r}\n" + IDS)
        found = walk(hal, base, ids, values)
        wrong = {(n, m): s for (n, m), s in found.items() if n in REFUSED and s not in {403, 405}}
        assert wrong == {}
        assert {n for n, _ in found} >= REFUSED
        hal.goto(f"{base}/main/secrets/{ids['secret']}/value/")
        expect(hal.get_by_role("heading", name="You may not do this")).to_be_visible()

        aud = open_as(browser, base, complaints)
        accept(aud, aud_link, HIS)
        use_app(aud)
        expect(aud.get_by_role("link", name="Secrets", exact=True)).to_have_count(0)
        attach(admin, "Auditor", "aud")
        aud.reload()
        main = aud.get_by_role("navigation", name="Main")
        main.get_by_role("link", name="Rotations", exact=True).click()
        aud.locator("summary", has_text="All kinds").click()
        aud.get_by_role("checkbox", name="Rotation", exact=True).check()
        expect(aud).to_have_url(re.compile("kind=rotate"))
        expect(aud.get_by_role("table").get_by_text("Succeeded").first).to_be_visible()
        main.get_by_role("link", name="Audit", exact=True).click()
        exported = {}
        for word in ("CSV", "JSON Lines"):
            aud.locator(".menu:not([open]) > summary", has_text="Export").click()
            with aud.expect_download() as download:
                aud.get_by_role("link", name=word, exact=True).click()
            aud.keyboard.press("Escape")
            exported[word] = download.value.path().read_text()
        rows = list(csv.DictReader(exported["CSV"].splitlines()))
        lines = [json.loads(line) for line in exported["JSON Lines"].splitlines()]
        deeds = {"kms:RestoreSecret", "kms:GetSecretValue", "kms:CreateUser"}
        assert all(deeds <= {row["action"] for row in kept} for kept in (rows, lines))
        assert not any(shows(text, value) for text in exported.values() for value in values)
        aud.get_by_role("button", name="Verify").click()
        expect(aud.get_by_role("status").filter(has_text="Whole.")).to_be_visible()
        found = walk(aud, base, ids, values)
        assert {found["secret_reveal", m] for m in ("GET", "POST")} == {403}
        assert found["audit", "GET"] == found["audit_export_json", "GET"] == 200
        aud.goto(f"{base}/audit/")
        aud.get_by_role("button", name="Verify").click()
        expect(aud.get_by_role("status").filter(has_text="Whole.")).to_be_visible()
        assert [one.found for one in complaints] == [[], [], []]
    for value in values[1:]:  # the first is the demo host's, which `up` tells of
        assert value not in site.printed()
