"""The credential journal: what an older database does not know is brought back, and no credential is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyrage
import pytest
from django.core.management import call_command
from django.db import transaction

from rotation import runs
from rotation.managed import restored
from rotation.models import ManagedAccount, Run
from secrets_app import keyring, seals
from secrets_app.audit import append_only, audit_keys, checkpoints
from secrets_app.backups import backups, container, rows
from secrets_app.backups.container import Opener
from secrets_app.crypto import envelope
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.integrity import restores
from secrets_app.journal import entries, files, journal, replay
from secrets_app.journal.files import FileJournal
from secrets_app.keys import key_states
from secrets_app.models import AuditEvent, SealedValue, Secret
from secrets_app.secrets import versions
from tests import factories
from tests.domain.rig import OLD, account, die_at, drive, password, rotate, simulated_host

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def kept(settings, tmp_path) -> Path:
    """The journal of this installation, and a file of checkpoints of its own."""
    settings.JOURNAL = f"file:{tmp_path}/journal"
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"
    audit_keys.forget()
    journal.make()
    yield tmp_path / "journal"
    keyring.forget()


def managed(number: int = 0) -> tuple[Secret, object]:
    """A secret whose host has its current value."""
    made = factories.secret(name=f"kept-{number}", initial=OLD, is_on=True)
    factories.settle(made)
    host = simulated_host()
    host.machine_id = f"{number + 1:032x}"
    return made, host


class Backup:
    """The database of this moment, in a real backup."""

    def __init__(self, folder: Path) -> None:
        self._identity = pyrage.x25519.Identity.generate()
        self._path = folder / "before.backup"
        backups.take(self._path, program="1.2.3", to=[str(self._identity.to_public())])

    def restore(self) -> None:
        """Put it in the place of the database, which is all that is lost."""
        checkpoints.sign_and_export()
        opener = Opener(identity=Plaintext(str(self._identity)))
        append_only.lift()
        with transaction.atomic():
            rows.load(rows.read(container.lines(self._path, opener)))
        append_only.install()
        keyring.forget()
        assert restored.look()


def acknowledge() -> None:
    restores.acknowledge(restores.under_way(), actor=factories.administrator(), reason="an old backup")


def accepted(host) -> str:
    return host.accounts["svc"].password


def test_fi_d_06_an_old_backup_loses_no_credential_with_the_journal(kept, tmp_path):
    pairs = [managed(number) for number in range(50)]
    before = Backup(tmp_path)
    for number, (secret, host) in enumerate(pairs):
        for _ in range(number % 3):
            assert drive(rotate(secret), host).outcome == Run.Outcome.SUCCEEDED
    told = {secret.pk: accepted(host) for secret, host in pairs}
    before.restore()
    assert sum(password(Secret.objects.get(pk=pk)) != value for pk, value in told.items()) == 33
    call_command("journal", "replay")
    assert {secret.pk: accepted(host) for secret, host in pairs} == told  # no host was told anything
    acknowledge()
    for secret, host in pairs:
        for run in Run.objects.active().filter(secret=secret):
            assert drive(run, host, turns=2).outcome == Run.Outcome.SUCCEEDED
        secret = Secret.objects.get(pk=secret.pk)
        assert password(secret) == accepted(host) == told[secret.pk]


def test_fi_d_06_without_the_journal_exactly_what_was_rotated_since_is_named(settings, tmp_path):
    settings.JOURNAL = ""
    pairs = [managed(number) for number in range(12)]
    before = Backup(tmp_path)
    for secret, host in pairs[:5]:
        drive(rotate(secret), host)
    before.restore()
    acknowledge()
    for secret, host in pairs:
        drive(runs.verify(Secret.objects.get(pk=secret.pk), actor=factories.administrator()), host)
    lost = set(ManagedAccount.objects.exclude(credential="in_sync").values_list("secret", flat=True))
    assert lost == {secret.pk for secret, _ in pairs[:5]}


def test_fi_d_07_a_replica_without_the_last_rotation_is_brought_level_by_the_journal(tmp_path):
    secret, host = managed()
    drive(rotate(secret), host)
    before = Backup(tmp_path)
    drive(rotate(secret), host)
    before.restore()
    call_command("journal", "replay")
    acknowledge()
    run = Run.objects.active().get(secret=secret)
    assert drive(run, host, turns=2).outcome == Run.Outcome.SUCCEEDED
    assert password(Secret.objects.get(pk=secret.pk)) == accepted(host)


def test_fi_d_08_a_value_with_a_flipped_bit_is_never_returned_and_comes_back_from_the_journal(kept):
    secret, host = managed()
    drive(rotate(secret), host)
    version = Secret.objects.get(pk=secret.pk).labelled("current")
    changed = bytearray(version.sealed.ciphertext)
    changed[-1] ^= 1
    SealedValue.objects.filter(pk=version.sealed_id).update(ciphertext=bytes(changed))
    version = Secret.objects.get(pk=secret.pk).labelled("current")
    with pytest.raises(envelope.Tampered):
        versions.value(version)
    done = replay.replay(FileJournal(kept))
    assert (done.mended, done.imported, done.pending) == (1, 0, [])
    assert password(Secret.objects.get(pk=secret.pk)) == accepted(host)


def test_fi_w_03_a_worker_that_dies_after_the_journal_has_told_no_host_and_the_same_value_goes_on(kept):
    secret, host = managed()
    run = rotate(secret)
    die_at("after_journal", run, host)
    assert accepted(host) == OLD
    pending = Secret.objects.get(pk=secret.pk).labelled("pending")
    assert pending.offered_at is None
    assert len(kept.read_bytes().splitlines()) == 1
    assert drive(run, host).outcome == Run.Outcome.SUCCEEDED
    assert Secret.objects.get(pk=secret.pk).labelled("current") == pending
    done = replay.replay(FileJournal(kept))
    assert (done.imported, done.pending) == (0, [])


@pytest.mark.parametrize("what", ["rotated", "disabled"])
def test_fi_c_07_a_key_that_changes_in_a_rotation_stops_it_before_the_host_or_not_at_all(what):
    secret, host = managed()
    run = rotate(secret)
    die_at("after_create", run, host)
    key = Secret.objects.get(pk=secret.pk).key or keyring.default_key()
    if what == "rotated":
        key_states.new_version(key, actor=factories.administrator())
        assert drive(run, host).outcome == Run.Outcome.SUCCEEDED
        assert password(Secret.objects.get(pk=secret.pk)) == accepted(host)
    else:
        key_states.disable(key, actor=factories.administrator())
        drive(run, host)
        assert run.outcome != Run.Outcome.SUCCEEDED
        assert accepted(host) == OLD


# ---------------------------------------------------------------- the place


def test_a_rotation_waits_while_the_journal_is_away_and_goes_on_when_it_is_back(kept):
    secret, host = managed()
    kept.rename(kept.with_name("unmounted"))
    run = drive(rotate(secret), host)
    assert (run.state, run.code, run.attempts) == ("waiting", "journal_away", 0)
    assert str(kept) in run.sentence
    assert accepted(host) == OLD
    assert not kept.exists()  # none is made where the disk should be
    kept.with_name("unmounted").rename(kept)
    assert drive(run, host).outcome == Run.Outcome.SUCCEEDED
    assert len(kept.read_bytes().splitlines()) == 1


def test_a_rotation_goes_on_without_the_journal_only_where_the_setting_says_so(kept, settings, caplog):
    settings.JOURNAL_REQUIRED = False
    secret, host = managed()
    kept.unlink()
    assert drive(rotate(secret), host).outcome == Run.Outcome.SUCCEEDED
    assert "goes on without it" in caplog.text


def test_a_line_that_a_full_disk_cut_is_taken_back_and_no_host_is_told(kept, monkeypatch):
    secret, host = managed()
    drive(rotate(secret), host)
    before, told, write, cut = kept.read_bytes(), accepted(host), os.write, []

    def full(descriptor, data):
        if b'"entry"' in data:
            cut.append(descriptor)
            return write(descriptor, data[:100])  # what still fits
        if descriptor in cut:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    run = rotate(secret)
    with monkeypatch.context() as patched:
        patched.setattr(files.os, "write", full)
        drive(run, host)
    assert cut
    assert (run.code, accepted(host)) == ("journal_away", told)
    assert kept.read_bytes() == before
    assert drive(run, host).outcome == Run.Outcome.SUCCEEDED
    assert replay.replay(FileJournal(kept)).not_ours == 0


def test_a_torn_line_costs_that_line_alone(kept, tmp_path):
    secret, host = managed()
    before = Backup(tmp_path)
    drive(rotate(secret), host)
    with kept.open("ab") as file:
        file.write(kept.read_bytes()[:200])  # a machine that lost its power
    drive(rotate(secret), host)
    before.restore()
    done = replay.replay(FileJournal(kept))
    assert (done.imported, done.not_ours) == (2, 1)
    version = Secret.objects.get(pk=secret.pk).labelled("pending")
    assert versions.value(version).password.reveal() == accepted(host)


def test_lines_that_were_changed_or_are_another_installation_s_are_left_out(kept, tmp_path, monkeypatch):
    secret, host = managed()
    before = Backup(tmp_path)
    drive(rotate(secret), host)
    own = kept.read_bytes()
    kept.write_bytes(
        own.replace(b"kept-0", b"kept-1") + b"{}\n" + b"no json\n" + b'{"entry": 1, "seal": 2}\n'
    )
    with monkeypatch.context() as patched:
        patched.setattr(seals, "_key", lambda: b"k" * 32)  # of another installation
        foreign = entries.line(Secret.objects.get(pk=secret.pk).labelled("current"))
    kept.write_bytes(kept.read_bytes() + foreign)
    before.restore()
    done = replay.replay(FileJournal(kept))
    assert (done.imported, done.not_ours) == (0, 5)
    kept.write_bytes(own)
    assert replay.replay(FileJournal(kept)).imported == 1


def test_a_replay_can_be_repeated(kept, tmp_path):
    secret, host = managed()
    before = Backup(tmp_path)
    drive(rotate(secret), host)
    before.restore()
    assert replay.replay(FileJournal(kept)).imported == 1
    labels = set(Secret.objects.get(pk=secret.pk).labels.values_list("role", "version"))
    again = replay.replay(FileJournal(kept))
    assert (again.imported, again.known, again.pending) == (0, 1, [])
    assert set(Secret.objects.get(pk=secret.pk).labels.values_list("role", "version")) == labels
    assert AuditEvent.objects.filter(action=replay.REPLAYED).count() == 2


def test_a_secret_that_was_created_after_the_backup_is_named(kept, tmp_path, capsys):
    before = Backup(tmp_path)
    secret, host = managed(7)
    drive(rotate(secret), host)
    before.restore()
    call_command("journal", "replay")
    assert "Not brought back: acs/ecs/kept-7" in capsys.readouterr().out


def test_a_key_version_that_was_made_after_the_backup_comes_back_with_its_value(kept, tmp_path):
    secret, host = managed()
    before = Backup(tmp_path)
    key_states.new_version(keyring.default_key(), actor=factories.administrator())
    drive(rotate(secret), host)
    before.restore()
    assert replay.replay(FileJournal(kept)).imported == 1
    version = Secret.objects.get(pk=secret.pk).labelled("pending")
    assert versions.value(version).password.reveal() == accepted(host)


def test_the_journal_holds_no_value_in_clear_and_is_its_owner_s_alone(kept):
    secret, host = managed()
    drive(rotate(secret), host)
    assert accepted(host).encode() not in kept.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert account(secret).credential == "in_sync"
