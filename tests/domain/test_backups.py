"""A backup is taken while Keyturn runs, is read back, and comes back whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import psycopg
import pyrage
import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection, connections

from console.models import ListPreference
from rotation import tasks
from secrets_app import keyring
from secrets_app.backups import backups, container, rows
from secrets_app.backups.container import Opener
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import AuditEvent, SealedValue
from secrets_app.people import users
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)

VALUE = "a-password-to-look-for"
PASSPHRASE = Plaintext("a passphrase of the tests")
#: What a command on an empty database prints of all rows, but for the trail, which goes on.
DIGEST = """
import hashlib, sys, django
django.setup()
from secrets_app.backups import rows
from secrets_app.models import SecretVersion
from secrets_app.secrets import versions
digest, counts = hashlib.sha256(), {}
with rows.snapshot() as alias:
    table = ""
    for line in rows.dump(alias):
        if line.startswith(b'{"table"'):
            table = line.decode()
        if "auditevent" not in table and "audithead" not in table and not line.startswith(b'{"end"'):
            digest.update(line)
print(digest.hexdigest())
for version in SecretVersion.objects.filter(sealed__isnull=False).order_by("pk"):
    print(versions.value(version).credential.reveal())
"""


@pytest.fixture
def identity() -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.generate()


@pytest.fixture
def filled() -> None:
    users.system()  # who takes the backup
    for number in range(3):
        factories.secret(initial=f"{VALUE}-{number}")


def opener(identity: pyrage.x25519.Identity) -> Opener:
    return Opener(identity=Plaintext(str(identity)))


def taken(folder: Path, identity: pyrage.x25519.Identity) -> Path:
    path = folder / "a.backup"
    backups.take(path, program="1.2.3", to=[str(identity.to_public())])
    return path


def digest() -> str:
    found, table = hashlib.sha256(), ""
    with rows.snapshot() as alias:
        for line in rows.dump(alias):
            if line.startswith(b'{"table"'):
                table = line.decode()
            if "auditevent" not in table and "audithead" not in table and not line.startswith(b'{"end"'):
                found.update(line)
    return found.hexdigest()


@pytest.fixture
def elsewhere(tmp_path):
    """The environment of another machine, with an empty database of the same kind and this one's keys."""
    with another(tmp_path / "data") as given:
        yield given


@contextlib.contextmanager
def another(data: Path) -> Iterator[dict[str, str]]:
    given = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KEYTURN_", "DJANGO_", "PYTEST_"))
    }
    given |= {
        "DJANGO_SETTINGS_MODULE": "console.settings",
        "KEYTURN_DATA": str(data),
        "KEYTURN_ROOT_KEY_FILE": str(settings.ROOT_KEY_FILE),
        "KEYTURN_AUDIT_KEY_FILE": str(settings.AUDIT_KEY_FILE),
        "KEYTURN_SEAL_KEY_FILE": str(settings.SEAL_KEY_FILE),
        "KEYTURN_CHECKPOINT_KEY_FILE": str(settings.CHECKPOINT_KEY_FILE),
    }
    if connection.vendor != "postgresql":
        yield given
        return
    name, at = f"restored_{uuid.uuid4().hex[:12]}", connection.settings_dict
    where = f"postgresql://{quote(at['USER'])}@{at['HOST']}:{at['PORT']}"
    with psycopg.connect(f"{where}/postgres", autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}")
        try:
            yield given | {"KEYTURN_DATABASE_URL": f"{where}/{name}"}
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True,
        check=False, timeout=600,
    )  # fmt: skip


def must(environment: dict[str, str], *arguments: str) -> str:
    done = run(environment, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def identity_file(identity, tmp_path) -> Path:
    file = tmp_path / "identity"
    file.write_text(f"# made by age-keygen\n{identity}\n")
    file.chmod(0o600)
    return file


def test_a_backup_is_restored_on_a_machine_that_has_only_it_and_the_keys(
    filled, identity, identity_file, elsewhere, tmp_path
):
    path, before = taken(tmp_path, identity), digest()
    how = ("--identity-file", str(identity_file))
    said = run(elsewhere, "manage.py", "restore", str(path), *how)
    assert said.returncode == 0, said.stderr
    shown = run(elsewhere, "-c", DIGEST)
    assert shown.returncode == 0, shown.stderr
    found, *values = shown.stdout.split()
    assert found == before
    assert sorted(values) == [f"{VALUE}-{number}" for number in range(3)]
    assert run(elsewhere, "manage.py", "audit", "verify").returncode == 0
    again = run(elsewhere, "manage.py", "restore", str(path), *how)
    assert again.returncode == 6
    assert "holds an installation" in again.stderr


def test_a_backup_with_a_flipped_bit_or_without_its_end_is_refused(filled, identity, tmp_path):
    path = taken(tmp_path, identity)
    whole = path.read_bytes()
    wrong = tmp_path / "wrong.backup"
    places = [*range(0, 4000, 397), *range(4000, len(whole), max(1, len(whole) // 40)), len(whole) - 1]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1
        wrong.write_bytes(bytes(changed))
        with pytest.raises(DomainError):
            backups.verify(wrong, opener(identity))
    for length in (0, 5, 100, len(whole) // 2, len(whole) - 70_000, len(whole) - 1):
        wrong.write_bytes(whole[: max(0, length)])
        with pytest.raises(DomainError):
            backups.verify(wrong, opener(identity))
    wrong.write_bytes(whole + b"x")
    with pytest.raises(DomainError):
        backups.verify(wrong, opener(identity))
    assert backups.verify(path, opener(identity)).rows > 50


def test_only_its_key_or_passphrase_opens_a_backup(filled, identity, tmp_path):
    path = taken(tmp_path, identity)
    with pytest.raises(container.DoesNotOpen):
        backups.verify(path, opener(pyrage.x25519.Identity.generate()))
    with pytest.raises(container.DoesNotOpen):
        backups.verify(path, Opener(passphrase=PASSPHRASE))
    other = tmp_path / "b.backup"
    report = backups.take(other, program="1.2.3", passphrase=PASSPHRASE)
    assert backups.verify(other, Opener(passphrase=PASSPHRASE)) == report
    with pytest.raises(container.DoesNotOpen):
        backups.verify(other, Opener(passphrase=Plaintext("another one")))
    assert b"a passphrase of the tests" not in other.read_bytes()


def test_a_backup_holds_no_value_and_no_key_even_where_it_is_opened(filled, identity, tmp_path):
    path = taken(tmp_path, identity)
    assert b"secrets_app.secretversion(" in path.read_bytes()  # the header says what it is of
    assert b"acs/ecs/" not in path.read_bytes()
    opened = b"".join(container.lines(path, opener(identity)))
    assert b"acs/ecs/" in opened
    key = settings.ROOT_KEY_FILE.read_text().strip().rpartition(":")[2]
    for hidden in (VALUE, key):
        assert hidden.encode() not in opened


def test_no_root_key_is_needed_for_a_backup(filled, identity, tmp_path, settings):
    settings.ROOT_KEY_FILE = tmp_path / "gone.key"
    keyring.forget()
    path = taken(tmp_path, identity)
    assert backups.verify(path, opener(identity)).counts["secrets_app.secret"] == 3


def test_a_backup_is_one_moment_of_a_database_that_is_written_meanwhile(
    filled, identity, tmp_path, monkeypatch
):
    """A row that was written after the first table was read is not in it, nor half of it."""
    read = rows.dump
    written = []

    def dump(alias, known):
        for number, line in enumerate(read(alias, known)):
            if number == 5:

                def write():
                    written.append(factories.secret(initial="written-meanwhile"))
                    connections.close_all()

                writer = threading.Thread(target=write)
                writer.start()
                writer.join(60)  # it does not wait for the backup
                assert written
            yield line

    monkeypatch.setattr(rows, "dump", dump)
    path = tmp_path / "a.backup"
    backups.take(path, program="1.2.3", to=[str(identity.to_public())])
    held = {
        (model._meta.label_lower, str(values[rows.columns(model).index(model._meta.pk.attname)]))
        for model, values in rows.read(container.lines(path, opener(identity)))
    }
    assert ("secrets_app.secret", str(written[0].pk)) not in held
    for model, values in rows.read(container.lines(path, opener(identity))):
        for field, value in zip(model._meta.concrete_fields, values, strict=True):
            if field.remote_field and value is not None:
                target = field.related_model._meta.label_lower
                assert target in rows.LEFT_OUT or (target, str(value)) in held, (model, field)


def test_a_backup_that_cannot_be_read_back_does_not_count(filled, identity, tmp_path, monkeypatch):
    write = container.write

    def damaging(path, *given):
        own = write(path, *given)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content))
        return own

    monkeypatch.setattr(container, "write", damaging)
    with pytest.raises(DomainError):
        taken(tmp_path, identity)
    assert not list(tmp_path.glob("a.backup*"))
    assert not AuditEvent.objects.filter(action=backups.TAKEN).exists()


def test_a_disk_that_fills_up_leaves_no_half_backup_and_the_one_before(
    filled, identity, tmp_path, monkeypatch
):
    path = taken(tmp_path, identity)
    kept = path.read_bytes()
    with pytest.raises(FileExistsError):
        taken(tmp_path, identity)

    def full(alias, known):
        yield b"{}"
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rows, "dump", full)
    with pytest.raises(OSError, match="No space left"):
        backups.take(tmp_path / "b.backup", program="1.2.3", to=[str(identity.to_public())])
    assert [file.name for file in tmp_path.glob("*.backup*")] == ["a.backup"]
    assert path.read_bytes() == kept


@pytest.mark.parametrize("how", ["newer", "other"])
def test_a_backup_of_another_schema_is_refused_with_its_version(filled, identity, tmp_path, monkeypatch, how):
    here = rows.schema()
    there = [*here, "secrets_app.0003_later"] if how == "newer" else [*here[1:], "secrets_app.0003_later"]
    monkeypatch.setattr(rows, "schema", lambda *_: there)
    path = taken(tmp_path, identity)
    monkeypatch.setattr(rows, "schema", lambda *_: here)
    with pytest.raises(backups.OtherSchema, match="1\\.2\\.3") as caught:
        backups.verify(path, opener(identity))
    assert ("a newer version" in str(caught.value)) == (how == "newer")
    assert "does not know secrets_app.0003_later." in str(caught.value)


#: What a user of a new installation has chosen for a list.
PREFERENCE = """
import django
django.setup()
from console.models import ListPreference
from secrets_app.models import Principal
first = Principal.objects.order_by("pk").first()
ListPreference.objects.create(principal=first, name="secrets", rows=25, columns=["name"], is_compact=True)
"""
#: What a version that is not there yet would have noted.
LATER = """
import django
django.setup()
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
MigrationRecorder(connection).record_applied("secrets_app", "9999_later")
"""
STATE = """
import json, django
django.setup()
from django.db import connection
from secrets_app.backups import rows
from secrets_app.models import AuditEvent
with connection.cursor() as cursor:
    cursor.execute("SELECT count(*) FROM console_listpreference")
    kept = cursor.fetchone()[0]
taken = AuditEvent.objects.filter(action="kms:BackupTaken").count()
print(json.dumps([rows.pending(), kept, taken]))
"""


@pytest.fixture
def earlier(elsewhere, tmp_path):
    """The environment of an installation whose database an earlier version has left (`tests.earlier`)."""
    given = {name: text for name, text in elsewhere.items() if not name.endswith("_KEY_FILE")}
    given["KEYTURN_ROOT_KEY_FILE"] = str(tmp_path / "keys" / "root.key")
    given["DJANGO_SETTINGS_MODULE"] = "tests.earlier.settings"
    must(given, "manage.py", "setup")
    must(given, "-c", PREFERENCE)
    must(given, "manage.py", "migrate", "console", "0001")
    return given


def test_an_upgrade_backs_up_what_the_earlier_version_has_left_and_then_migrates(
    earlier, identity, identity_file, tmp_path
):
    def state() -> list[object]:
        return json.loads(must(earlier, "-c", STATE))

    older, path = state(), tmp_path / "before.backup"
    assert older == [["console.0002_compact"], 1, 0]

    refused = run(earlier, "manage.py", "upgrade", "--to", str(path))
    assert refused.returncode == 5
    assert "Nothing was changed." in refused.stderr
    assert (state(), path.exists()) == (older, False)

    to = ("--recipient", str(identity.to_public()), "--to", str(path))
    assert "Taken and read back" in must(earlier, "manage.py", "upgrade", *to)
    assert state() == [[], 1, 1]
    lines = [json.loads(line) for line in container.lines(path, opener(identity))]
    at = lines.index({"table": "console.listpreference"})
    # One row, without the column that came later.
    assert len(lines[at + 1]) == len(rows.columns(ListPreference)) - 1
    assert list(lines[at + 2]) in (["table"], ["end"])
    read = ("manage.py", "verify_backup", str(path), "--identity-file", str(identity_file))
    assert "rows" in must(earlier, *read)

    # Where there are tables of a later version already, it says so; in a new place, it is brought up to date.
    with another(tmp_path / "migrated") as empty:
        given = earlier | {
            name: empty[name] for name in ("KEYTURN_DATA", "KEYTURN_DATABASE_URL") if name in empty
        }
        Path(given["KEYTURN_DATA"]).mkdir()
        must(given, "manage.py", "migrate")
        refused = run(given, "manage.py", "restore", str(path), "--identity-file", str(identity_file))
        assert (refused.returncode, "without tables" in refused.stderr) == (6, True)
    with another(tmp_path / "newer") as empty:
        restore = ("manage.py", "restore", str(path), "--identity-file", str(identity_file))
        restored = earlier | {
            name: empty[name] for name in ("KEYTURN_DATA", "KEYTURN_DATABASE_URL") if name in empty
        }
        must(restored, *restore)
        assert json.loads(must(restored, "-c", STATE)) == [[], 1, 0]
        over = run(restored, *restore)
        assert (over.returncode, "holds an installation" in over.stderr) == (6, True)

    # And the earlier version refuses what this one backs up.
    path = tmp_path / "after.backup"
    must(earlier, "manage.py", "backup", "--recipient", str(identity.to_public()), "--to", str(path))
    with another(tmp_path / "older") as empty:
        product = empty | {"KEYTURN_ROOT_KEY_FILE": earlier["KEYTURN_ROOT_KEY_FILE"]}
        refused = run(product, "manage.py", "restore", str(path), "--identity-file", str(identity_file))
        assert refused.returncode == 5
        assert "a newer version" in refused.stderr
        assert "console.0002_compact" in refused.stderr

    assert "No backup was taken" in must(earlier, "manage.py", "upgrade")
    assert state() == [[], 1, 2]


def test_an_upgrade_to_an_older_version_is_refused_before_anything_is_written(earlier, identity, tmp_path):
    must(earlier, "-c", LATER)
    to = ("--recipient", str(identity.to_public()), "--to", str(tmp_path / "before.backup"))
    refused = run(earlier, "manage.py", "upgrade", *to)
    assert refused.returncode == 6
    assert "secrets_app.9999_later" in refused.stderr
    assert not (tmp_path / "before.backup").exists()


def test_a_restore_over_an_installation_is_refused_and_changes_nothing(filled, identity, tmp_path):
    path, before = taken(tmp_path, identity), digest()
    with pytest.raises(backups.NotEmpty):
        backups.restore(path, opener(identity))
    assert digest() == before


def test_without_a_recipient_nothing_is_written(tmp_path):
    with pytest.raises(backups.NoRecipient):
        backups.take(tmp_path / "a.backup", program="1.2.3")
    with pytest.raises(container.BadRecipient):
        backups.take(tmp_path / "a.backup", program="1.2.3", to=["age1wrong"])
    assert not list(tmp_path.iterdir())


def test_a_backup_is_taken_once_a_day_and_the_oldest_ones_go(identity, tmp_path, settings):
    factories.administrator()
    settings.BACKUP_FOLDER, settings.BACKUP_KEEP = tmp_path / "backups", 2
    tasks.back_up()
    assert backups.newest() is None  # nobody could open it
    settings.BACKUP_RECIPIENTS = [str(identity.to_public())]
    now = datetime(2026, 3, 1, 4, 0, tzinfo=UTC)
    settings.BACKUP_FOLDER.mkdir()
    (settings.BACKUP_FOLDER / "of-somebody.backup").write_text("mine")
    for hours in (0, 1, 24, 30, 48, 72):
        backups.take_due(program="1.2.3", now=now + timedelta(hours=hours))
    assert [at for at, _ in backups.kept()] == [now + timedelta(hours=72), now + timedelta(hours=48)]
    assert (settings.BACKUP_FOLDER / "of-somebody.backup").exists()
    assert all(path.stat().st_mode & 0o777 == 0o600 for _, path in backups.kept())


def test_the_commands_take_verify_and_name_what_is_wrong(filled, identity, identity_file, tmp_path, capsys):
    from django.core.management import CommandError, call_command

    path = tmp_path / "a.backup"
    call_command("backup", "--to", str(path), "--recipient", str(identity.to_public()))
    call_command("verify_backup", str(path), "--identity-file", str(identity_file))
    assert "Whole:" in capsys.readouterr().out
    content = bytearray(path.read_bytes())
    content[-50_000 if len(content) > 100_000 else -50] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(CommandError, match=str(path)):
        call_command("verify_backup", str(path), "--identity-file", str(identity_file))


def test_what_a_column_holds_comes_back_as_it_was():
    values = [b"\x00\xff", uuid.uuid4(), datetime.now(UTC), timedelta(days=-1, microseconds=7), None, True,
              1.5, {"bytes": "no"}, ["a", {"b": 1}], 'quo"te\n', 2**62]  # fmt: skip
    for value in values:
        assert rows._unpacked(json.loads(json.dumps(rows._packed(value)))) == value


def test_every_table_is_in_a_backup_or_is_left_out_by_name():
    kept = {model._meta.db_table for model in rows.tables()}
    left = {apps.get_model(name)._meta.db_table for name in rows.LEFT_OUT}
    there = set(connection.introspection.table_names())
    assert there - kept - left - {"django_migrations"} == set()
    assert SealedValue._meta.db_table in kept
