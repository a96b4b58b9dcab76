"""The root key moves to another place while Keyturn runs: every value opens before, meanwhile and after."""

from __future__ import annotations

import uuid

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from secrets_app import keyring, root_keys, seals
from secrets_app.crypto import envelope
from secrets_app.crypto.key_files import KeyFile
from secrets_app.keys import key_states, root_key_moves
from secrets_app.models import AuditEvent, KeyVersion, RootKeyMove, SealedValue
from secrets_app.people import users
from secrets_app.root_keys import deadlines
from secrets_app.root_keys.held import MAGIC
from tests import factories, root_key_rigs

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]


@pytest.fixture(autouse=True)
def _remember_nothing(monkeypatch):
    monkeypatch.setattr(keyring, "RECHECK_SECONDS", 0.0)
    monkeypatch.setattr(deadlines, "REMEMBERED_SECONDS", 0.0)
    keyring.forget()
    yield
    keyring.forget()
    root_keys.at.cache_clear()


@pytest.fixture(params=["file", "pkcs11", "vault"])
def rig(request, tmp_path, monkeypatch):
    with root_key_rigs.rigged(request.param, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def vault(tmp_path, monkeypatch):
    with root_key_rigs.rigged("vault", tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def held() -> list[tuple[SealedValue, dict[str, object]]]:
    """A value under each of four keys, with two versions of each."""
    dot, values = factories.administrator(), []
    for number in range(4):
        key = key_states.create(f"key-{number}", actor=dot)
        for _ in range(2):
            names = {"owner_id": uuid.uuid4(), "subject_id": uuid.uuid4(), "field": "value"}
            values.append((keyring.seal(b"a value", **names, key=key), names))
            key_states.new_version(key, actor=dot)
    return values


def all_open(held) -> bool:
    return all(keyring.open_(value, **names) == b"a value" for value, names in held)


def move(to: str) -> RootKeyMove:
    made = root_key_moves.start(to, actor=users.system())
    assert list(root_key_moves.carry(made))
    return made


@pytest.mark.both_stores
def test_everything_opens_before_meanwhile_and_after_a_move(rig, held):
    assert all_open(held)
    started = root_key_moves.start(rig.address, actor=users.system())
    for _ in root_key_moves.carry(started):
        assert all_open(held)
        assert not keyring.is_sealed()
    assert all_open(held)
    started.refresh_from_db()
    assert (started.state, started.done) == ("done", started.total)
    assert set(root_key_moves.counted()) == {rig.address}
    assert root_key_moves.counted()[rig.address] == KeyVersion.objects.count()


def test_after_a_move_the_old_root_key_is_not_needed_whatever_the_setting_says(rig, held, settings, tmp_path):
    old = settings.ROOT_KEY_FILE
    move(rig.address)
    settings.ROOT_KEY_FILE = tmp_path / "gone.key"
    keyring.forget()
    assert all_open(held)
    assert not keyring.is_sealed()
    settings.ROOT_KEY = rig.address
    keyring.forget()
    assert all_open(held)
    assert old.exists()


def test_a_process_that_has_not_heard_of_the_move_opens_what_was_moved(rig, held):
    assert all_open(held)
    remembered = keyring._Memory.addresses, keyring._Memory.root_id
    move(rig.address)
    keyring._Memory.addresses, keyring._Memory.root_id = remembered
    assert all_open(held)


@pytest.mark.both_stores
def test_a_move_that_stops_after_any_version_goes_on_from_there(rig, held):
    turns = 0
    while RootKeyMove.objects.filter(state="done").count() == 0:
        work = root_key_moves.start(rig.address, actor=users.system())
        carried = root_key_moves.carry(work)
        for _ in range(turns + 1):  # each time a bit further, and then the process is gone
            if next(carried, None) is None:
                break
        carried.close()
        keyring.forget()
        assert all_open(held)
        turns += 1
    assert turns > 3
    assert RootKeyMove.objects.count() == 1
    assert AuditEvent.objects.filter(action=root_key_moves.STARTED).count() == 1
    assert AuditEvent.objects.filter(action=root_key_moves.ENDED).count() == 1


def test_a_version_that_is_made_during_the_move_is_wrapped_by_the_new_root_key(vault, held):
    stale = keyring._Memory.addresses, keyring._Memory.root_id
    started = root_key_moves.start(vault.address, actor=users.system())
    next(root_key_moves.carry(started))
    keyring._Memory.addresses, keyring._Memory.root_id = stale  # another process, which knows nothing yet
    key = key_states.create("in-between", actor=factories.administrator())
    assert keyring.is_under(key.versions.get(), root_keys.at(vault.address))
    assert list(root_key_moves.carry(started))
    assert all_open(held)


def test_a_place_that_goes_away_in_the_middle_seals_keyturn_and_the_move_goes_on_when_it_is_back(vault, held):
    started = root_key_moves.start(vault.address, actor=users.system())
    next(root_key_moves.carry(started))
    vault.go_away()
    with pytest.raises((keyring.Sealed, root_keys.Unavailable)):
        list(root_key_moves.carry(started))
    assert keyring.is_sealed()
    vault.come_back()
    assert not keyring.is_sealed()
    assert all_open(held)
    assert list(root_key_moves.carry(started))
    assert all_open(held)


class Lying:
    """A root key that opens what it wraps until it is told to lie."""

    lies = False
    KEY = envelope.new_key()

    def __init__(self, address) -> None: ...

    def __str__(self) -> str:
        return "The module"

    def key_id(self) -> bytes:
        return b"lying".ljust(16)

    def wrap(self, material: bytes) -> bytes:
        return envelope.seal(self.KEY, b"another" if Lying.lies else material, b"")

    def unwrap(self, wrapped: bytes) -> bytes:
        return envelope.open_(self.KEY, wrapped, b"")

    def make(self) -> bool:
        return False

    def forget(self) -> None: ...


def test_a_root_key_that_returns_something_else_is_given_nothing(held, monkeypatch):
    monkeypatch.setitem(root_keys.PROVIDERS, "systemd-credential", (f"{__name__}.Lying", "A module"))
    monkeypatch.setattr(Lying, "lies", True)
    with pytest.raises(root_key_moves.Unfit):
        root_key_moves.start("systemd-credential:lying", actor=users.system())
    assert not RootKeyMove.objects.exists()
    monkeypatch.setattr(Lying, "lies", False)
    started = root_key_moves.start("systemd-credential:lying", actor=users.system())
    carried = root_key_moves.carry(started)
    next(carried)
    monkeypatch.setattr(Lying, "lies", True)
    with pytest.raises(envelope.Tampered, match="Nothing was changed"):
        list(carried)
    assert all_open(held)


def test_a_move_that_was_written_to_the_database_counts_for_nothing(vault, held):
    """Else its writer would have new key versions wrapped, and so shown, where they choose."""
    RootKeyMove._base_manager.bulk_create(
        [
            RootKeyMove(
                source=settings.ROOT_KEY,
                target=vault.address,
                total=1,
                requested_by=users.system(),
                seal="0" * 64,
            )
        ]
    )
    RootKeyMove._base_manager.update(seal="0" * 64)
    keyring.forget()
    before = len(vault.service.urls)
    key = key_states.create("new", actor=factories.administrator())
    assert keyring.is_under(key.versions.get(), root_keys.provider())
    assert all_open(held)
    assert len(vault.service.urls) == before


def test_a_move_to_the_same_key_or_beside_another_move_is_refused(vault, held, tmp_path):
    with pytest.raises(root_key_moves.SameKey):
        root_key_moves.start(f"file:{settings.ROOT_KEY_FILE}", actor=users.system())
    started = root_key_moves.start(vault.address, actor=users.system())
    assert root_key_moves.start(vault.address, actor=users.system()) == started
    with pytest.raises(root_key_moves.OtherMove):
        root_key_moves.start(vault.other, actor=users.system())


def test_a_move_can_be_undone_by_a_move_back(vault, held):
    move(vault.address)
    move(settings.ROOT_KEY)
    vault.go_away()
    keyring.forget()
    try:
        assert all_open(held)
        assert not keyring.is_sealed()
    finally:
        vault.come_back()


def test_both_root_keys_stand_in_the_trail_without_the_files_of_this_machine(vault, held):
    move(vault.address)
    event = AuditEvent.objects.get(action=root_key_moves.ENDED)
    assert event.details["to"] == vault.address.partition("?")[0]
    assert str(vault.token) not in str(event.details)


def test_the_command_moves_and_says_what_to_set(vault, held, capsys):
    call_command("root_key", "status")
    assert str(settings.ROOT_KEY_FILE) in capsys.readouterr().out
    call_command("root_key", "move", "--to", vault.address)
    said = capsys.readouterr().out
    assert f"KEYTURN_ROOT_KEY='{vault.address}'" in said
    assert all_open(held)
    call_command("root_key", "status")
    assert "The transit key root" in capsys.readouterr().out
    with pytest.raises(CommandError, match="begins with one of"):
        call_command("root_key", "move", "--to", "nowhere")


@pytest.mark.both_stores
def test_a_value_opens_under_two_files_only_while_a_move_says_so(held, settings, tmp_path):
    other = tmp_path / "other.key"
    KeyFile(other, MAGIC).create()
    started = root_key_moves.start(f"file:{other}", actor=users.system())
    carried = root_key_moves.carry(started)
    for _ in range(started.total):
        next(carried)
    RootKeyMove._base_manager.all().delete()
    keyring.forget()
    with pytest.raises((keyring.Sealed, envelope.Tampered)):
        all_open(held)
    assert seals.holds(started)
