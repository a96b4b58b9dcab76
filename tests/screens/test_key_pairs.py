"""A key pair on the screens: entered once, described by its public half, shown and saved under record."""

from __future__ import annotations

import os

import pytest
from cryptography.hazmat.primitives import serialization
from django.urls import reverse

from rotation.models import Instance, Run
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Secret
from secrets_app.secrets import versions
from tests import clients, factories

# Not inside a transaction: the record must be durable before the value leaves.
pytestmark = pytest.mark.django_db(transaction=True)

PAIR = key_pairs.generate("ed25519")
OTHER = key_pairs.generate("ecdsa-p256")
PRIVATE = PAIR.private_key.reveal()
#: A line with the private part in it: what must not be found where the key must not be.
CANARY = PRIVATE.splitlines()[4]
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
WHERE = "/main/secrets/create/"


def protected() -> str:
    key = serialization.load_ssh_private_key(PRIVATE.encode(), None)
    made = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.BestAvailableEncryption(os.urandom(8).hex().encode()),
    )
    return made.decode()


@pytest.fixture
def instance() -> Instance:
    return factories.instance(name="web-main")


@pytest.fixture
def filled(instance) -> dict[str, object]:
    """A form as a browser sends it: the fields of the other kind are out of sight and disabled."""
    return {
        "type": "ecs", "name": "web/svc", "instance": "web-main", "username": "svc", "kind": "key_pair",
        "private_key": PRIVATE.replace("\n", "\r\n"), "key_algorithm": "ed25519",
        "rotation": "on", "period": "7", "unit": "days",
    }  # fmt: skip


@pytest.fixture
def secret() -> Secret:
    return factories.secret(
        name="web/svc deploy".replace(" ", "+"),
        kind="key_pair",
        initial=PRIVATE,
        key_algorithm="ed25519",
    )


def text(response) -> str:
    return response.content.decode()


def reads() -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action="kms:GetSecretValue"))


# ---------------------------------------------------------------- create


def test_rsa_2048_is_preselected_and_a_setting_says_otherwise(as_dot, instance, settings):
    assert '<option value="rsa-2048" selected>' in text(as_dot.get(WHERE, headers=HTMX))
    settings.KEY_ALGORITHM = "ed25519"
    assert '<option value="ed25519" selected>' in text(as_dot.get(WHERE, headers=HTMX))


def test_a_pasted_key_is_stored_with_its_public_half_and_the_host_is_asked(as_dot, filled):
    answer = as_dot.post(WHERE, filled, headers=HTMX)
    assert "Secret created" in text(answer)
    secret = Secret.objects.get()
    assert (secret.kind, secret.key_algorithm) == ("key_pair", "ed25519")
    held = versions.value(secret.labelled("current"))
    assert held.public_key == PAIR.public_key == secret.labelled("current").public_key
    assert key_pairs.read(held.private_key).public_key == PAIR.public_key
    assert secret.runs.get().kind == Run.Kind.VERIFY


def test_the_review_shows_the_fingerprint_and_never_the_key(as_dot, filled):
    shown = text(as_dot.post(WHERE, filled | {"step": "2"}, headers=HTMX))
    assert key_pairs.fingerprint(PAIR.public_key) in shown
    assert "Ed25519 (recommended)" in shown
    assert "Later passwords" not in shown
    assert CANARY not in shown


def test_a_key_in_pem_form_is_taken(as_dot, filled):
    key = serialization.load_ssh_private_key(PRIVATE.encode(), None)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    as_dot.post(WHERE, filled | {"private_key": pem.decode()}, headers=HTMX)
    assert Secret.objects.get().labelled("current").public_key == PAIR.public_key


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ("protected", "protected by a passphrase. Remove it first: ssh-keygen -p -f FILE"),
        ("broken", "not a private key in OpenSSH or PEM form"),
        ("public", "not a private key in OpenSSH or PEM form"),
        ("long", "too long for a private key"),
        ("none", "Paste the private key that works now"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused_with_its_sentence(as_dot, filled, given, sentence):
    pasted = {
        "protected": protected(),
        "broken": PRIVATE.replace(CANARY, CANARY[:-8]),
        "public": PAIR.public_key,
        "long": PRIVATE + "x" * 16_000,
        "none": "",
    }[given]
    for headers in (HTMX, None):
        answer = as_dot.post(WHERE, filled | {"private_key": pasted}, headers=headers)
        assert answer.status_code == 422
        assert sentence in text(answer)
        assert CANARY[:-8] not in text(answer)
    assert not Secret.objects.exists()


def test_without_a_key_the_first_rotation_makes_one(as_dot, filled):
    as_dot.post(
        WHERE,
        filled | {"private_key": "", "generate": "on", "rotate_now": "on", "key_algorithm": "rsa-3072"},
        headers=HTMX,
    )
    secret = Secret.objects.get()
    assert secret.key_algorithm == "rsa-3072"
    assert not secret.versions.exists()
    assert secret.runs.get().kind == Run.Kind.ROTATE


def test_what_was_typed_for_the_other_kind_is_not_meant(as_dot, filled):
    as_dot.post(WHERE, filled | {"value": "filled in by a browser"}, headers=HTMX)
    assert versions.value(Secret.objects.get().labelled("current")).password is None


def test_a_windows_instance_takes_no_key_pair_and_the_form_says_why(as_dot, filled):
    Instance.objects.update(os="windows")
    answer = as_dot.post(WHERE, filled | {"step": "1"}, headers=HTMX)
    assert answer.status_code == 422
    assert "Keyturn cannot manage key pairs on a Windows instance. Choose another type." in text(answer)


def test_a_key_pair_and_a_password_of_one_account_are_two_secrets(as_dot, filled, instance):
    factories.secret(instance=instance)
    as_dot.post(WHERE, filled, headers=HTMX)
    assert Secret.objects.filter(kind="key_pair").exists()
    again = as_dot.post(WHERE, filled | {"name": "web/again"}, headers=HTMX)
    assert "manages svc on web-main already" in text(again)


# ---------------------------------------------------------------- the public half


def test_the_public_half_of_a_pasted_key_is_shown_and_nothing_kept(as_dot, instance):
    answer = as_dot.post(
        reverse("secret_create_key_pair", args=["main"]), {"private_key": PRIVATE}, headers=HTMX
    )
    assert PAIR.public_key in text(answer)
    assert key_pairs.fingerprint(PAIR.public_key) in text(answer)
    assert CANARY not in text(answer)
    assert "no-store" in answer["Cache-Control"]
    assert all(CANARY not in str(session) for session in clients.kept_sessions())


def test_a_broken_key_has_no_public_half_but_a_sentence(as_dot, instance):
    where = reverse("secret_create_key_pair", args=["main"])
    assert "passphrase" in text(as_dot.post(where, {"private_key": protected()}, headers=HTMX))
    assert "Paste the whole file" in text(as_dot.post(where, {"private_key": "x"}, headers=HTMX))
    assert as_dot.get(where).status_code == 405


def test_who_may_not_create_is_not_told(client, hal, instance):
    client.force_login(hal)
    where = reverse("secret_create_key_pair", args=["main"])
    assert client.post(where, {"private_key": PRIVATE}, headers=HTMX).status_code == 403


# ---------------------------------------------------------------- list, details, rotate


def test_list_and_details_show_the_kind_the_algorithm_and_the_fingerprint(as_dot, secret):
    assert "Key pair" in text(as_dot.get("/main/secrets/"))
    shown = text(as_dot.get(reverse("secret", args=["main", secret.pk])))
    for word in ("Key pair", "Ed25519 (recommended)", key_pairs.fingerprint(PAIR.public_key)):
        assert word in shown
    assert "Password policy" not in shown
    assert CANARY not in shown


def test_a_rotation_takes_a_custom_key(as_dot, secret):
    factories.settle(secret)
    where = reverse("secret_rotate", args=["main", secret.pk])
    asked = text(as_dot.get(where, headers=HTMX))
    assert "New private key" in asked
    assert "a new key pair, Ed25519" in asked
    given = {"reason": "routine", "use_custom": "on", "token": "t1"}
    for wrong in ("", "x", protected()):
        answer = as_dot.post(where, given | {"value": wrong}, headers=HTMX)
        assert answer.status_code == 422
    answer = as_dot.post(where, given | {"value": OTHER.private_key.reveal()}, headers=HTMX)
    assert "Rotation triggered" in text(answer)
    assert OTHER.private_key.reveal().splitlines()[3] not in text(answer)
    assert secret.runs.get().version.public_key == OTHER.public_key


# ---------------------------------------------------------------- reveal and download


def reveal_url(secret: Secret) -> str:
    return reverse("secret_reveal", args=["main", secret.pk])


def download_url(secret: Secret) -> str:
    return reverse("secret_download", args=["main", secret.pk])


def test_the_private_key_is_shown_with_the_command_that_uses_it(as_dot, secret):
    shown = text(as_dot.post(reveal_url(secret), {"reason": "incident 42"}, headers=HTMX))
    assert shown.count(CANARY) == 1
    assert 'data-expires-in="30"' in shown
    address = secret.managed.instance.address
    assert f"ssh -i web-svc-deploy.pem -o IdentitiesOnly=yes svc@{address} -p 22" in shown
    assert "chmod 600 web-svc-deploy.pem" in shown
    assert key_pairs.fingerprint(PAIR.public_key) in shown
    assert "Download web-svc-deploy.pem" in shown


def test_a_download_is_the_key_as_a_file_that_nobody_may_keep(as_dot, dot, secret):
    answer = as_dot.post(download_url(secret), {"reason": "incident 42"})
    assert key_pairs.read(Plaintext(answer.content.decode())).public_key == PAIR.public_key
    assert CANARY in answer.content.decode()
    assert answer["Content-Disposition"] == 'attachment; filename="web-svc-deploy.pem"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "no-store" in answer["Cache-Control"]
    [event] = reads()
    assert (event.actor, event.reason, event.outcome) == (dot.principal, "incident 42", "succeeded")


def test_a_download_is_asked_for_by_a_form_and_not_by_a_link(as_dot, secret):
    assert as_dot.get(download_url(secret)).status_code == 405
    assert reads() == []


def test_an_older_key_is_downloaded_by_its_versions_id(as_dot, secret):
    old = secret.labelled("current")
    made = versions.Value("svc", public_key=OTHER.public_key, private_key=OTHER.private_key)
    versions.promote(versions.stage(secret, made, origin="generated", actor=factories.administrator()))
    new = as_dot.post(download_url(secret), {"reason": "x"}).content.decode()
    assert new == OTHER.private_key.reveal()
    assert CANARY in text(as_dot.post(f"{download_url(secret)}?version={old.version_id}", {"reason": "x"}))
    assert {event.version_id for event in reads()} == {v.version_id for v in secret.versions.all()}


@pytest.mark.parametrize("who", ["hal", "aud"])
def test_who_may_not_read_may_not_download(client, request, secret, who):
    client.force_login(request.getfixturevalue(who))
    answer = client.post(download_url(secret), {"reason": ""})
    assert answer.status_code == 403
    assert CANARY not in text(answer)
    assert {event.outcome for event in reads()} == {"denied"}


def test_a_password_is_no_file(as_dot):
    password = factories.secret(initial="the password of now")
    assert as_dot.post(download_url(password)).status_code == 404
    assert reads() == []


def test_a_key_pending_deletion_is_not_downloaded(as_dot, secret):
    Secret.objects.filter(pk=secret.pk).update(deletion_planned_at=secret.created_at)
    answer = as_dot.post(download_url(secret), {"reason": "x"})
    assert answer.status_code == 409
    assert CANARY not in text(answer)
    assert reads() == []
