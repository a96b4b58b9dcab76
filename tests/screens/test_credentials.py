"""Management credentials: what may be entered, what is never shown, and the command for a server."""

from __future__ import annotations

import json
import subprocess

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from rotation.inventory import management, preparation
from rotation.models import ManagementCredential
from secrets_app import keyring
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from tests import factories

pytestmark = pytest.mark.django_db
CREATE = "/credentials/create/"
VALUES = {"password": "Tr0ub4dor&3-login", "sudo_password": "Tr0ub4dor&3-sudo"}


def typed(**changes: str) -> dict[str, str]:
    return {"name": "fleet", "username": "keyturn", "login": "own", "sudo": "passwordless"} | changes


def sealed(credential: ManagementCredential) -> dict[str, str | None]:
    """What is kept of a credential."""
    return json.loads(
        keyring.open_(
            credential.sealed, owner_id=credential.pk, subject_id=credential.pk, field=management.FIELD
        )
    )


def test_granting_permissions_makes_a_key_pair_and_shows_the_command_and_its_opposite(as_dot):
    response = as_dot.post(CREATE, typed(), follow=True)
    credential = ManagementCredential.objects.get()
    page = response.content.decode()
    assert credential.is_own
    assert credential.public_key in page
    assert key_pairs.fingerprint(credential.public_key) in page
    assert "useradd" in page
    assert "userdel --remove keyturn" in page
    assert "as powerful as root" in page
    assert "PRIVATE KEY" not in page


def test_a_pasted_key_is_kept_sealed_and_never_shown(as_dot):
    pair = key_pairs.generate("ed25519")
    page = as_dot.post(CREATE, typed(login="key", private_key=pair.private_key.reveal()), follow=True)
    credential = ManagementCredential.objects.get()
    assert not credential.is_own
    assert credential.public_key == pair.public_key
    kept = sealed(credential)["PrivateKey"]
    assert kept
    assert key_pairs.read(Plaintext(kept)).public_key == pair.public_key
    assert "PRIVATE KEY" not in page.content.decode()


def test_a_login_password_and_another_one_for_sudo_are_kept_apart(as_dot):
    page = as_dot.post(CREATE, typed(login="password", sudo="password", **VALUES), follow=True)
    kept = sealed(ManagementCredential.objects.get())
    assert kept["Password"] == VALUES["password"]
    assert kept["SudoPassword"] == VALUES["sudo_password"]
    assert not any(value in page.content.decode() for value in VALUES.values())


def test_an_empty_sudo_password_is_the_login_password(as_dot):
    as_dot.post(CREATE, typed(login="password", sudo="password", password=VALUES["password"]))
    assert sealed(ManagementCredential.objects.get())["SudoPassword"] == VALUES["password"]


def test_what_was_typed_for_another_choice_is_not_kept(as_dot):
    as_dot.post(CREATE, typed(login="own", sudo="none", username="root", **VALUES))
    kept = sealed(ManagementCredential.objects.get())
    assert kept["Password"] is None
    assert kept["SudoPassword"] is None


@pytest.mark.parametrize(
    "username",
    [
        "",
        "; rm -rf /",
        "$(id)",
        "a b",
        "-oProxyCommand",
        "svc$",
        "key\nturn",
        "../root",
        "x" * 33,
        "ünï",
        "ALL",
        "ADMINS",
    ],
)
def test_an_account_name_that_a_shell_or_sudoers_could_mistake_is_refused(as_dot, username):
    response = as_dot.post(CREATE, typed(username=username))
    assert response.status_code == 422
    assert not ManagementCredential.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": ""}, "Enter a name."),
        ({"name": "a*"}, "Use letters, digits and . _ @ - characters"),
        ({"login": "key"}, "Paste the private key."),
        ({"login": "key", "private_key": "not a key"}, "This is not a private key in OpenSSH or PEM form."),
        ({"login": "password"}, "Enter a password."),
        ({"login": "password", "password": "two\nlines"}, "A password cannot hold a line break"),
        ({"sudo": "password"}, "lets this account use sudo without a password"),
        ({"sudo": "nonsense"}, "Select a valid choice"),
        (
            {"login": "password", "password": "x" * 20, "sudo": "password", "sudo_password": "a\rb"},
            "A password cannot hold a line break",
        ),
    ],
)
def test_a_wrong_field_says_what_is_allowed_and_nothing_is_kept(as_dot, wrong, sentence):
    response = as_dot.post(CREATE, typed(**wrong))
    assert response.status_code == 422
    assert sentence in response.content.decode()
    assert not ManagementCredential.objects.exists()


def test_a_name_in_use_is_said_at_its_field(as_dot):
    as_dot.post(CREATE, typed())
    response = as_dot.post(CREATE, typed())
    assert response.status_code == 422
    assert "A management credential named fleet exists." in response.content.decode()


def test_a_form_that_comes_back_holds_what_was_typed_but_no_value(as_dot):
    pair = key_pairs.generate("ed25519")
    wrong = typed(name="", username="svc", login="password", sudo="password", **VALUES)
    page = as_dot.post(CREATE, wrong | {"private_key": pair.private_key.reveal()}).content.decode()
    assert 'value="svc"' in page
    assert not any(value in page for value in VALUES.values())
    assert "PRIVATE KEY" not in page


def test_the_command_never_promises_what_a_sudo_password_would_contradict(as_dot):
    pair = key_pairs.generate("ed25519")
    wanted = typed(
        login="key", private_key=pair.private_key.reveal(), sudo="password", sudo_password="x" * 20
    )
    page = as_dot.post(CREATE, wanted, follow=True).content.decode()
    assert "NOPASSWD" not in page


def test_the_opposite_never_removes_root(as_dot):
    page = as_dot.post(CREATE, typed(username="root", sudo="none"), follow=True).content.decode()
    assert "useradd" in page
    assert "userdel" not in page


def test_the_command_is_shell_that_parses(as_dot):
    as_dot.post(CREATE, typed(username="Key.turn_1-a"))
    command = preparation.command(ManagementCredential.objects.get())
    subprocess.run(["sh", "-n"], input=command, text=True, check=True)


def test_the_list_counts_the_instances_of_each(as_dot):
    credential = factories.credential()
    for _ in range(3):
        factories.instance(credential=credential)
    page = as_dot.get(reverse("credentials"))
    assert [row.instance_count for row in page.context["page"].rows] == [3]
    assert "Keyturn&#x27;s own key" in page.content.decode() or "Keyturn's own key" in page.content.decode()


def test_an_empty_list_says_what_to_do_next_and_a_search_says_when_nothing_fits(as_dot):
    assert "No management credential yet" in as_dot.get(reverse("credentials")).content.decode()
    factories.credential()
    assert "No matching" in as_dot.get(reverse("credentials"), {"q": "nowhere"}).content.decode()


def test_the_number_of_queries_does_not_grow_with_the_rows(as_dot):
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            as_dot.get(reverse("credentials"))
        return len(seen)

    factories.credential()
    few = queries()
    for _ in range(5):
        factories.instance(credential=factories.credential())
    assert queries() == few


def test_an_auditor_looks_and_creates_nothing(client, aud):
    credential = factories.credential()
    client.force_login(aud)
    assert client.get(reverse("credentials")).status_code == 200
    assert client.get(reverse("credential", args=[credential.pk])).status_code == 200
    assert client.post(CREATE, typed()).status_code == 403
    assert ManagementCredential.objects.count() == 1


def test_the_helpdesk_sees_no_credential(client, hal):
    credential = factories.credential()
    client.force_login(hal)
    assert client.get(reverse("credentials")).status_code == 403
    assert client.get(reverse("credential", args=[credential.pk])).status_code == 404
    assert client.get(CREATE).status_code == 403


def test_who_is_not_signed_in_is_sent_to_the_sign_in(client):
    for path in (reverse("credentials"), CREATE, reverse("credential", args=[factories.credential().pk])):
        assert client.get(path)["Location"].startswith(reverse("account_login"))


def test_a_post_from_another_site_is_refused(dot):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(dot)
    assert strict.post(CREATE, typed()).status_code == 403
    assert not ManagementCredential.objects.exists()
