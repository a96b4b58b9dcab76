"""The credential journal in a second PostgreSQL: what holds for the file holds there."""

from __future__ import annotations

import datetime
import signal

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from console.watching import work
from rotation.models import Run
from secrets_app import keyring
from secrets_app.audit import audit_keys
from secrets_app.journal import database, journal, replay
from secrets_app.journal.database import DatabaseJournal
from secrets_app.journal.places import Away
from secrets_app.models import Secret
from tests import services
from tests.domain.rig import OLD, drive, password, rotate
from tests.domain.test_journal import Backup, accepted, acknowledge, managed

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.one_store,
    pytest.mark.xdist_group("journal"),
]


@pytest.fixture(scope="module")
def server():
    """The other PostgreSQL."""
    with services.postgres() as running:
        yield running


@pytest.fixture
def kept(server, settings, tmp_path):
    """A journal there, which this test alone has."""
    if not server.answers():
        server.start()
    with server.connect() as there:
        there.execute("DROP TABLE IF EXISTS keyturn_journal")
        there.execute("ALTER DATABASE keyturn RESET ALL")
    settings.JOURNAL = server.url
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"
    audit_keys.forget()
    journal.make()
    yield journal.place()
    keyring.forget()


def count(server) -> int:
    with server.connect() as there:
        return there.execute("SELECT count(*) FROM keyturn_journal").fetchone()[0]


def test_fi_d_06_an_old_backup_loses_no_credential_with_the_journal_in_another_postgresql(kept, tmp_path):
    pairs = [managed(number) for number in range(6)]
    before = Backup(tmp_path)
    for number, (secret, host) in enumerate(pairs):
        for _ in range(number % 3):
            assert drive(rotate(secret), host).outcome == Run.Outcome.SUCCEEDED
    told = {secret.pk: accepted(host) for secret, host in pairs}
    before.restore()
    assert sum(password(Secret.objects.get(pk=pk)) != value for pk, value in told.items()) == 4
    call_command("journal", "replay")
    acknowledge()
    for secret, host in pairs:
        for run in Run.objects.active().filter(secret=secret):
            assert drive(run, host, turns=2).outcome == Run.Outcome.SUCCEEDED
        assert password(Secret.objects.get(pk=secret.pk)) == accepted(host) == told[secret.pk]
    assert replay.replay(kept).imported == 0  # it can be repeated


@pytest.mark.parametrize("how", ["away", "hangs"])
def test_a_rotation_waits_while_the_other_postgresql_is_away_and_goes_on_when_it_is_back(
    kept, server, how, monkeypatch
):
    monkeypatch.setattr(database, "SECONDS", 2)  # libpq waits for two at least
    secret, host = managed()
    if how == "away":
        server.stop()
    else:
        server._process.send_signal(signal.SIGSTOP)
    try:
        run = drive(rotate(secret), host)
    finally:
        if how == "hangs":
            server._process.send_signal(signal.SIGCONT)
    assert (run.state, run.code, run.attempts) == ("waiting", "journal_away", 0)
    assert server.url in run.sentence
    assert accepted(host) == OLD
    if how == "away":
        server.start()
    assert drive(run, host).outcome == Run.Outcome.SUCCEEDED
    assert count(server) >= 1  # one that hung may have kept the line of the first attempt too


def test_a_server_that_was_set_up_anew_is_not_taken_for_the_journal(kept, server):
    secret, host = managed()
    with server.connect() as there:
        there.execute("DROP TABLE keyturn_journal")
    run = drive(rotate(secret), host)
    assert (run.code, accepted(host)) == ("journal_away", OLD)
    assert "journal init" in run.sentence
    call_command("journal", "init")
    with pytest.raises(CommandError, match="There is a credential journal"):
        call_command("journal", "init")
    assert drive(run, host).outcome == Run.Outcome.SUCCEEDED


def test_a_standby_and_a_disk_that_is_full_take_no_line_and_no_host_is_told(kept, server):
    secret, host = managed()
    with server.connect() as there:
        there.execute("ALTER DATABASE keyturn SET default_transaction_read_only = on")
        run = drive(rotate(secret), host)
        assert (run.code, accepted(host)) == ("journal_away", OLD)
        assert "read-only" in run.sentence
        there.execute("SET default_transaction_read_only = off")
        there.execute("ALTER DATABASE keyturn RESET ALL")
        # At COMMIT, as the last moment at which a disk can be full.
        there.execute(
            """CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$;
            CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON keyturn_journal
                DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"""
        )
        run = drive(run, host)
        assert (run.code, accepted(host)) == ("journal_away", OLD)
        assert "could not extend file" in run.sentence
        there.execute("DROP TRIGGER refuse ON keyturn_journal")
    assert count(server) == 0
    assert drive(run, host).outcome == Run.Outcome.SUCCEEDED


def test_each_line_waits_for_the_disk_whatever_is_set_for_others_there(kept, server):
    with server.connect() as there:
        there.execute("ALTER DATABASE keyturn SET synchronous_commit = off")
    with kept._connected() as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_the_password_comes_from_a_file_of_ours_alone_and_one_that_is_missing_is_named(
    kept, server, tmp_path
):
    file = tmp_path / "password"
    file.write_text("hun'ter 2\n")
    file.chmod(0o640)
    with pytest.raises(Away, match="chmod 600"):
        DatabaseJournal(server.url, file).check()
    file.chmod(0o600)
    with DatabaseJournal(server.url, file)._connected() as connection:
        assert connection.info.password == "hun'ter 2"
    file.unlink()
    with pytest.raises(Away, match=str(file)):
        DatabaseJournal(server.url, file).check()


def test_no_value_in_clear_stands_in_the_other_postgresql(kept, server):
    secret, host = managed()
    drive(rotate(secret), host)
    with server.connect() as there:
        (line,) = there.execute("SELECT line FROM keyturn_journal").fetchone()
    assert b'"entry"' in line
    assert accepted(host).encode() not in line


def test_the_check_of_the_installation_knows_whether_it_can_be_written(kept, server):
    assert work.credential_journal().state == "ok"
    assert count(server) == 0  # a check leaves nothing
    secret, host = managed()
    drive(rotate(secret), host)
    written = kept.written()
    assert written.size > 0
    assert timezone.now() - written.at < datetime.timedelta(minutes=5)
    assert work.credential_journal().state == "ok"
    server.stop()
    said = work.credential_journal()
    assert said.state == "problem"
    assert server.url in said.sentence


def test_an_error_repeats_no_word_of_the_address_but_its_place():
    place = DatabaseJournal("postgresql://keyturn@127.0.0.1:1/keys?sslmode=disable")
    with pytest.raises(Away) as caught:
        place.check()
    assert str(caught.value) == (
        "The credential journal in postgresql://keyturn@127.0.0.1:1/keys cannot be used (it does not answer)."
    )
    assert not isinstance(caught.value.__cause__, psycopg.Error)
