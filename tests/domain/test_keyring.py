"""The keyring: a value opens for the row it was sealed for, and for no other, while its key allows it."""

from __future__ import annotations

import contextlib
import stat
import uuid

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from secrets_app import keyring, root_keys, seals
from secrets_app.audit import audit_keys
from secrets_app.crypto import envelope
from secrets_app.crypto.key_files import KeyFile
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.keys import key_states
from secrets_app.models import KeyVersion, SealedValue, SecretVersion
from secrets_app.root_keys import addresses, held
from secrets_app.secrets import versions
from tests import factories, root_key_rigs

pytestmark = pytest.mark.django_db

#: The key files without any of which nothing opens, and how each begins.
MAGICS = {
    "ROOT_KEY_FILE": held.MAGIC,
    "AUDIT_KEY_FILE": audit_keys.AUDIT_MAGIC,
    "SEAL_KEY_FILE": seals.MAGIC,
}


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


@pytest.mark.one_store
def test_cry_03_no_part_of_a_value_can_be_swapped_between_any_two_of_50_versions():
    for number in range(5):
        made = factories.secret(initial=f"the-password-number-{number}")
        factories.settle(made)
        for turn in range(9):
            value = versions.Value("svc", password=Plaintext(f"the-password-{number}-{turn}"))
            versions.promote(versions.stage(made, value, origin="generated", actor=factories.administrator()))
    rows = list(SecretVersion.objects.filter(sealed__isnull=False).select_related("sealed"))
    assert len(rows) == 50
    opened = []
    for one in rows:
        for other in rows:
            if one.pk == other.pk:
                continue
            for part in ("ciphertext", "wrapped_key", "row"):
                crossed = SecretVersion(pk=one.pk, secret_id=one.secret_id)
                crossed.sealed = SealedValue(
                    account_id=one.sealed.account_id,
                    key_version_id=one.sealed.key_version_id,
                    ciphertext=other.sealed.ciphertext if part != "wrapped_key" else one.sealed.ciphertext,
                    wrapped_key=other.sealed.wrapped_key if part != "ciphertext" else one.sealed.wrapped_key,
                )
                if part == "row":
                    crossed.sealed = other.sealed
                with contextlib.suppress(envelope.Tampered):
                    opened.append((part, versions.value(crossed)))
    assert not opened


@pytest.mark.parametrize("part", ["wrapped_key", "ciphertext"])
def test_cry_02_every_flipped_bit_of_a_stored_value_is_noticed(part):
    value, names = sealed(b"v")
    stored = bytes(getattr(value, part))
    for place in range(len(stored) * 8):
        changed = bytearray(stored)
        changed[place // 8] ^= 1 << (place % 8)
        setattr(value, part, bytes(changed))
        with pytest.raises(envelope.Tampered):
            keyring.open_(value, **names)


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("disabled", keyring.KeyDisabled),
        ("scheduled", keyring.KeyUnusable),
        ("destroyed", keyring.KeyUnusable),
    ],
)
def test_a_key_version_that_is_not_enabled_opens_nothing_and_seals_nothing(state, error):
    value, names = sealed()
    changed = {"state": state}
    if state == "scheduled":
        changed["destruction_due_at"] = Now()
    if state == "destroyed":
        changed["wrapped"] = None
    KeyVersion.objects.update(**changed)
    with pytest.raises(error):
        keyring.open_(value, **names)
    with pytest.raises(error):
        sealed()


def test_cry_06_disabling_reaches_a_worker_that_holds_the_row_already():
    value, names = sealed()
    assert value.key_version.state == "primary"  # read, and remembered with the row
    key_states.disable(keyring.default_key(), actor=factories.administrator())
    with pytest.raises(keyring.KeyDisabled):
        keyring.open_(value, **names)


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


def test_key_02_a_root_key_that_is_exchanged_after_its_proof_wraps_nothing_new(settings, tmp_path):
    key, right = keyring.default_key(), settings.ROOT_KEY_FILE
    keyring.new_material(key, uuid.uuid4())
    settings.ROOT_KEY_FILE = tmp_path / "other" / "root.key"
    KeyFile(settings.ROOT_KEY_FILE, held.MAGIC).create()
    root_keys.provider().forget()  # as another thread does that has noticed it
    with pytest.raises(keyring.Sealed, match="exchanged"):
        keyring.new_material(key, uuid.uuid4())
    settings.ROOT_KEY_FILE = right
    root_keys.provider().forget()
    assert keyring.new_material(key, uuid.uuid4())


def test_key_02_another_root_key_seals_the_keyring_and_nothing_is_written(settings, tmp_path):
    key = keyring.default_key()
    settings.ROOT_KEY_FILE = tmp_path / "other" / "root.key"
    KeyFile(settings.ROOT_KEY_FILE, held.MAGIC).create()
    keyring.forget()
    actor = factories.administrator()
    with CaptureQueriesContext(connection) as asked:
        assert keyring.is_sealed()
        for refused in (sealed, keyring.ensure_root_key, lambda: keyring.new_material(key, uuid.uuid4())):
            with pytest.raises(keyring.Sealed):
                refused()
    wrote = ("INSERT", "UPDATE", "DELETE")
    assert not [query["sql"] for query in asked if query["sql"].startswith(wrote)]
    before = list(KeyVersion.objects.values_list("pk", "state"))
    with pytest.raises(keyring.Sealed):
        key_states.new_version(key, actor=actor)
    assert list(KeyVersion.objects.values_list("pk", "state")) == before


def test_a_sealed_keyring_opens_again_when_the_file_is_back(settings, tmp_path, monkeypatch):
    right = settings.ROOT_KEY_FILE
    settings.ROOT_KEY_FILE = tmp_path / "gone.key"
    assert keyring.is_sealed()
    settings.ROOT_KEY_FILE = right
    keyring.forget()
    assert not keyring.is_sealed()


@pytest.mark.parametrize("which", list(MAGICS))
@pytest.mark.parametrize("what", ["gone", "another"])
def test_an_open_keyring_is_sealed_when_a_key_file_goes_and_opens_when_it_is_back(
    which, what, settings, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(keyring, "RECHECK_SECONDS", 0.0)
    factories.administrator()  # an event, which no other audit key can follow
    assert not keyring.is_sealed()
    right, wrong = getattr(settings, which), tmp_path / "other" / "key"
    if what == "another":
        KeyFile(wrong, MAGICS[which]).create()
    setattr(settings, which, wrong)
    assert keyring.is_sealed()
    assert keyring.is_sealed()
    assert [str(wrong) in line.getMessage() for line in caplog.records] == [True]
    # Under another seal key no key version is as Keyturn wrote it, which is looked at first.
    is_void = (which, what) == ("SEAL_KEY_FILE", "another")
    expected, words = (keyring.KeyUnusable, None) if is_void else (keyring.Sealed, str(wrong))
    with pytest.raises(expected, match=words):
        sealed()
    setattr(settings, which, right)
    assert not keyring.is_sealed()
    assert [line.levelname for line in caplog.records] == ["CRITICAL", "WARNING"]


def test_the_files_are_not_read_again_with_every_question(monkeypatch):
    assert not keyring.is_sealed()
    monkeypatch.setattr(KeyFile, "read", lambda self: pytest.fail("it was read again"))
    assert not keyring.is_sealed()


@pytest.mark.parametrize("which", ["ROOT_KEY_FILE", "AUDIT_KEY_FILE"])
def test_a_set_up_that_stays_sealed_fails_and_names_the_file(which, settings, tmp_path):
    factories.administrator()
    # The tests' own PostgreSQL keeps nothing that it confirms.
    settings.SILENCED_SYSTEM_CHECKS = [*settings.SILENCED_SYSTEM_CHECKS, "console.E001", "console.E002"]
    setattr(settings, which, tmp_path / "gone.key")
    with pytest.raises(CommandError, match=str(tmp_path / "gone.key")) as failed:
        call_command("setup")
    assert failed.value.returncode != 0
    keyring.forget()


def test_the_material_of_a_key_version_opens_in_no_other_row():
    first = keyring.default_key()
    other = key_states.create("other", actor=factories.administrator())
    names = {"owner_id": uuid.uuid4(), "subject_id": uuid.uuid4(), "field": "value"}
    value = keyring.seal(b"a value", **names, key=other)
    foreign = KeyVersion.objects.values_list("wrapped", flat=True).get(key=first)
    KeyVersion.objects.filter(key=other).update(wrapped=foreign)  # whole as far as its seal goes
    with pytest.raises(envelope.Tampered):
        keyring.seal(b"a value", **names, key=other)
    with pytest.raises(envelope.Tampered):
        keyring.open_(value, **names)


class Fenced:
    """A root key elsewhere, which shows nothing but what it wraps and what it opens."""

    KEY = envelope.new_key()
    is_reachable = True

    def __init__(self, address: addresses.Address) -> None: ...

    def __str__(self) -> str:
        return "The module in slot 4"

    def key_id(self) -> bytes:
        return self._asked() and b"slot 4".ljust(16)

    def wrap(self, material: bytes) -> bytes:
        return envelope.seal(self._asked(), material, b"")

    def unwrap(self, wrapped: bytes) -> bytes:
        return envelope.open_(self._asked(), wrapped, b"")

    def make(self) -> bool:
        return False

    def forget(self) -> None: ...

    def _asked(self) -> bytes:
        if not Fenced.is_reachable:
            raise root_keys.Unavailable(f"{self} does not answer.")
        return self.KEY


@pytest.fixture
def fenced(settings, monkeypatch):
    """A database that has no key yet, and a root key in another provider."""
    monkeypatch.setattr(keyring, "RECHECK_SECONDS", 0.0)
    monkeypatch.setitem(root_keys.PROVIDERS, "systemd-credential", (f"{__name__}.Fenced", "A module"))
    settings.ROOT_KEY = "systemd-credential:slot-4"
    root_keys.at.cache_clear()
    KeyVersion.objects.all().delete()
    assert not keyring.ensure_root_key()
    yield Fenced
    root_keys.at.cache_clear()


def test_a_root_key_that_only_wraps_and_unwraps_is_enough(fenced):
    value, names = sealed()
    assert keyring.open_(value, **names) == b"a value"
    assert not keyring.is_sealed()
    key_states.new_version(keyring.default_key(), actor=factories.administrator())
    assert keyring.open_(value, **names) == b"a value"


def test_a_root_key_that_cannot_be_reached_seals_the_keyring_until_it_can(fenced, monkeypatch, caplog):
    value, names = sealed()
    monkeypatch.setattr(fenced, "is_reachable", False)
    for refused in (sealed, lambda: keyring.open_(value, **names)):  # not only at the next look
        with pytest.raises(keyring.Sealed, match="slot 4 does not answer"):
            refused()
    assert keyring.is_sealed()
    assert ["slot 4" in line.getMessage() for line in caplog.records] == [True]
    monkeypatch.setattr(fenced, "is_reachable", True)
    assert not keyring.is_sealed()
    assert keyring.open_(value, **names) == b"a value"


def test_another_key_of_the_same_provider_is_named_and_seals_the_keyring(fenced, monkeypatch):
    keyring.forget()
    monkeypatch.setattr(fenced, "KEY", envelope.new_key())
    with pytest.raises(keyring.Sealed, match="slot 4 is not the root key"):
        sealed()


@pytest.mark.parametrize("name", root_key_rigs.RIGS)
def test_a_root_key_whose_place_is_away_seals_keyturn_until_it_is_back(
    name, settings, tmp_path, monkeypatch, client
):
    monkeypatch.setattr(keyring, "RECHECK_SECONDS", 0.0)
    with root_key_rigs.rigged(name, tmp_path, monkeypatch) as rig:
        settings.ROOT_KEY = rig.address
        KeyVersion.objects.all().delete()
        keyring.ensure_root_key()
        try:
            value, names = sealed()
            rig.go_away()
            assert client.get("/sign-in/").status_code == 503
            assert keyring.is_sealed()
            with pytest.raises(keyring.Sealed):
                keyring.open_(value, **names)
            rig.come_back()
            assert client.get("/sign-in/").status_code == 200
            assert keyring.open_(value, **names) == b"a value"
        finally:
            keyring.forget()
            root_keys.at.cache_clear()


def test_the_database_holds_no_plaintext():
    factories.secret(initial="a-password-to-look-for")
    for row in SealedValue.objects.all():
        assert b"a-password-to-look-for" not in bytes(row.ciphertext) + bytes(row.wrapped_key)


def test_a_version_s_value_is_json_as_the_kms_api_has_it():
    value = versions.Value("svc", password=Plaintext('quo"te'))
    assert value.as_json().reveal() == '{"UserName": "svc", "Password": "quo\\"te"}'
