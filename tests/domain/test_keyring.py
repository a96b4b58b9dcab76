"""The keyring: a value opens for the row it was sealed for, and for no other, while its key allows it."""

from __future__ import annotations

import stat
import uuid

import pytest
from django.conf import settings

from secrets_app import envelope, keyring, versions
from secrets_app.models import KeyVersion, SealedValue, SecretVersion
from secrets_app.plaintext import Plaintext
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _remember_nothing():
    keyring.forget()
    yield
    keyring.forget()


def sealed(text: bytes = b"a value") -> tuple[SealedValue, dict[str, object]]:
    names = {"owner_id": uuid.uuid4(), "subject_id": uuid.uuid4(), "field": "value"}
    return keyring.seal(text, **names), names


def test_a_value_opens_for_the_row_it_was_sealed_for():
    value, names = sealed()
    assert keyring.open_(value, **names) == b"a value"


@pytest.mark.parametrize("part", ["owner_id", "subject_id", "field"])
def test_a_value_does_not_open_under_another_name(part):
    value, names = sealed()
    names[part] = "other" if part == "field" else uuid.uuid4()
    with pytest.raises(envelope.Tampered):
        keyring.open_(value, **names)


def test_cry_03_no_part_of_a_value_can_be_swapped_with_another_version_s():
    made = [factories.secret(initial=f"the-password-number-{n}") for n in range(7)]
    rows = list(SecretVersion.objects.filter(secret__in=made).select_related("sealed"))
    for one in rows:
        for other in rows:
            if one.pk == other.pk:
                continue
            for part in ("ciphertext", "wrapped_key", "both", "row"):
                crossed = SecretVersion(pk=one.pk, secret_id=one.secret_id)
                crossed.sealed = SealedValue(
                    account_id=one.sealed.account_id,
                    key_version=one.sealed.key_version,
                    ciphertext=other.sealed.ciphertext if part != "wrapped_key" else one.sealed.ciphertext,
                    wrapped_key=other.sealed.wrapped_key if part != "ciphertext" else one.sealed.wrapped_key,
                )
                if part == "row":
                    crossed.sealed = other.sealed
                with pytest.raises(envelope.Tampered):
                    versions.value(crossed)


@pytest.mark.parametrize("state", ["disabled", "scheduled", "destroyed"])
def test_a_key_version_that_is_not_enabled_opens_nothing(state):
    value, names = sealed()
    KeyVersion.objects.update(state=state)
    value.refresh_from_db()
    with pytest.raises(keyring.KeyUnusable):
        keyring.open_(SealedValue.objects.get(pk=value.pk), **names)


def test_the_root_key_file_is_its_owner_s_alone_and_apart_from_the_data():
    mode = settings.ROOT_KEY_FILE.stat().st_mode
    assert stat.S_IMODE(mode) == 0o400
    assert settings.ROOT_KEY_FILE.parent != settings.DATA_DIR


def test_no_root_key_is_ever_made_over_existing_keys(settings, tmp_path):
    settings.ROOT_KEY_FILE = tmp_path / "gone.key"
    with pytest.raises(keyring.Sealed):
        keyring.ensure_root_key()
    assert not settings.ROOT_KEY_FILE.exists()
    assert keyring.is_sealed()


def test_key_02_another_root_key_seals_the_keyring(settings, tmp_path):
    settings.ROOT_KEY_FILE = tmp_path / "other" / "root.key"
    keyring.FileRootKey(settings.ROOT_KEY_FILE).create()
    assert keyring.is_sealed()
    with pytest.raises(keyring.Sealed):
        sealed()


def test_a_sealed_keyring_opens_again_when_the_file_is_back(settings, tmp_path, monkeypatch):
    right = settings.ROOT_KEY_FILE
    settings.ROOT_KEY_FILE = tmp_path / "gone.key"
    assert keyring.is_sealed()
    settings.ROOT_KEY_FILE = right
    keyring.forget()
    assert not keyring.is_sealed()


def test_the_database_holds_no_plaintext():
    factories.secret(initial="a-password-to-look-for")
    for row in SealedValue.objects.all():
        assert b"a-password-to-look-for" not in bytes(row.ciphertext) + bytes(row.wrapped_key)


def test_a_version_s_value_is_json_as_the_kms_api_has_it():
    value = versions.Value("svc", password=Plaintext('quo"te'))
    assert value.as_json().reveal() == '{"UserName": "svc", "Password": "quo\\"te"}'
