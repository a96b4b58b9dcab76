"""The credential journal in a store with S3's interface: what holds for the file holds there.

The store is moto's server, on loopback: a double that answers S3's wire, with conditional writes, which
`Atomic` adds the atomicity to. What it does not model: permissions, Object Lock, and an answer that gets
lost, which `Careless` adds.
"""

from __future__ import annotations

import http.client
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest import mock

import boto3
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from moto.moto_server import threaded_moto_server
from moto.moto_server.werkzeug_app import DomainDispatcherApplication

from console.watching import work
from rotation.models import Run
from secrets_app import keyring
from secrets_app.audit import audit_keys
from secrets_app.journal import journal, objects, replay
from secrets_app.journal.objects import ObjectJournal
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


class Atomic(DomainDispatcherApplication):
    """Moto, one request at a time.

    For `If-None-Match` it looks for the key and writes it afterwards, so that of two requests at once both
    may find it free. S3 lets one of them write.
    """

    def __init__(self, *given: object) -> None:
        super().__init__(*given)
        self._one = threading.Lock()

    def __call__(self, environ, start_response):
        with self._one:
            return super().__call__(environ, start_response)


@pytest.fixture(scope="module")
def server():
    """The store's address."""
    running = threaded_moto_server.ThreadedMotoServer("127.0.0.1", services.free_port())
    with mock.patch.object(threaded_moto_server, "DomainDispatcherApplication", Atomic):
        running.start()
    yield "http://{}:{}".format(*running.get_host_and_port())
    running.stop()


class Careless:
    """A way to the store on which conditions, or the answers to what was written, get lost."""

    def __init__(self, server: str) -> None:
        self.how = ""
        self.puts: list[str] = []
        outer, place = self, server.removeprefix("http://")

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass_on(self) -> None:
                headers = dict(self.headers.items())
                if self.command == "PUT":
                    outer.puts.append(self.path)
                if outer.how == "without conditions":
                    headers.pop("If-None-Match", None)
                length = int(headers.get("Content-Length", 0))
                line = http.client.HTTPConnection(place, timeout=60)
                line.request(self.command, self.path, self.rfile.read(length), headers)
                answer = line.getresponse()
                text = answer.read()
                line.close()
                if outer.how == "answers get lost" and self.command == "PUT":
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in {
                        "content-length",
                        "connection",
                        "transfer-encoding",
                        "date",
                        "server",
                    }:
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_PUT = do_POST = _pass_on

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


@pytest.fixture
def way(server):
    made = Careless(server)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def store(server, monkeypatch):
    """A client of an operator, who may do anything there."""
    for name, text in (("ACCESS_KEY_ID", "a-key"), ("SECRET_ACCESS_KEY", "its-secret-word")):
        monkeypatch.setenv(f"AWS_{name}", text)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    objects._client.cache_clear()
    yield boto3.session.Session().client("s3", region_name="us-east-1", endpoint_url=server)
    objects._client.cache_clear()


@pytest.fixture
def kept(store, way, settings, tmp_path):
    """A journal in a bucket that this test alone has."""
    bucket = f"kept-{uuid.uuid4().hex}"
    store.create_bucket(Bucket=bucket)
    settings.JOURNAL = f"s3://{bucket}/keys?region=us-east-1&endpoint={way.address}"
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"
    audit_keys.forget()
    journal.make()
    yield journal.place()
    keyring.forget()


def names(store, kept) -> list[str]:
    listed = store.list_objects_v2(Bucket=kept._bucket, Prefix="keys/lines/")
    return [found["Key"] for found in listed.get("Contents", [])]


def test_fi_d_06_an_old_backup_loses_no_credential_with_the_journal_in_a_bucket(kept, tmp_path):
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


def test_a_rotation_waits_while_the_store_is_away_and_goes_on_when_it_is_back(kept, settings):
    secret, host = managed()
    there = settings.JOURNAL
    settings.JOURNAL = there.rpartition(":")[0] + f":{services.free_port()}"
    run = drive(rotate(secret), host)
    assert (run.state, run.code, run.attempts) == ("waiting", "journal_away", 0)
    assert str(kept) in run.sentence
    assert accepted(host) == OLD
    settings.JOURNAL = there
    assert drive(run, host).outcome == Run.Outcome.SUCCEEDED


def test_an_answer_that_gets_lost_is_no_line_that_counts_and_the_same_value_goes_on(kept, way, store):
    secret, host = managed()
    way.how = "answers get lost"
    run = drive(rotate(secret), host)
    assert (run.code, accepted(host)) == ("journal_away", OLD)
    way.how = ""
    run = drive(run, host)
    assert run.outcome == Run.Outcome.SUCCEEDED
    assert len(names(store, kept)) == 2  # the line of which nobody heard, and the one that counts
    done = replay.replay(kept)
    assert (done.known, done.imported, done.not_ours) == (2, 0, 0)


def test_a_bucket_that_was_set_up_anew_is_not_taken_for_the_journal(kept, store):
    secret, host = managed()
    store.delete_object(Bucket=kept._bucket, Key="keys/journal")
    run = drive(rotate(secret), host)
    assert (run.code, accepted(host)) == ("journal_away", OLD)
    assert "journal init" in run.sentence
    call_command("journal", "init")
    with pytest.raises(CommandError, match="There is a credential journal"):
        call_command("journal", "init")
    assert drive(run, host).outcome == Run.Outcome.SUCCEEDED


def test_a_store_that_overwrites_is_refused_before_it_is_a_journal(store, way, settings):
    bucket = f"kept-{uuid.uuid4().hex}"
    store.create_bucket(Bucket=bucket)
    settings.JOURNAL = f"s3://{bucket}/keys?region=us-east-1&endpoint={way.address}"
    way.how = "without conditions"
    with pytest.raises(Away, match="If-None-Match"):
        journal.make()
    with pytest.raises(Away, match="journal init"):
        journal.place().append(b"a line\n")


def test_a_store_that_begins_to_overwrite_is_named_by_the_check_of_the_installation(kept, way):
    assert work.credential_journal().state == "ok"
    way.how = "without conditions"
    said = work.credential_journal()
    assert said.state == "problem"
    assert "If-None-Match" in said.sentence


def test_many_that_write_at_once_overwrite_no_line_and_each_reads_in_the_order_of_its_writer(kept):
    def write(writer: int) -> None:
        for number in range(5):
            kept.append(f"{writer} {number}\n".encode())

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(6)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    read = [tuple(map(int, line.split())) for line in kept.lines()]
    assert len(read) == 30
    for writer in range(6):
        assert [number for who, number in read if who == writer] == list(range(5))


def test_more_lines_than_one_page_and_one_batch_come_in_their_order(kept, monkeypatch):
    monkeypatch.setattr(objects, "BATCH", 3)
    for number in range(10):
        kept.append(b"%d" % number)
    assert list(kept.lines()) == [b"%d" % number for number in range(10)]


def test_no_value_in_clear_and_no_name_of_a_secret_in_an_address_reach_the_store(kept, way, store):
    secret, host = managed()
    drive(rotate(secret), host)
    (name,) = names(store, kept)
    line = store.get_object(Bucket=kept._bucket, Key=name)["Body"].read()
    assert b'"entry"' in line
    assert accepted(host).encode() not in line
    assert all(secret.name not in path for path in way.puts)
    assert timezone.now() >= kept.written().at


def test_a_rotation_goes_on_without_the_store_where_the_setting_says_so(kept, settings):
    settings.JOURNAL = settings.JOURNAL.rpartition(":")[0] + f":{services.free_port()}"
    settings.JOURNAL_REQUIRED = False
    secret, host = managed()
    assert drive(rotate(secret), host).outcome == Run.Outcome.SUCCEEDED


def test_an_error_of_the_store_names_the_place_and_no_secret(store, server):
    place = ObjectJournal(f"s3://nobody-made-this/keys?region=us-east-1&endpoint={server}")
    with pytest.raises(Away) as caught:
        place.check()
    assert str(caught.value) == (
        "The credential journal in s3://nobody-made-this/keys cannot be used "
        "(the store answered NoSuchBucket)."
    )
