"""The doctor: each check is broken once, and one that could not be made is never ok."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from django.core.management import call_command
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.utils import timezone

from console.metrics_settings import Place
from console.models import Heartbeat, Message
from console.process import health
from console.sign_in import first_password
from console.watching import doctor, findings, machine, store, work
from console.watching.findings import State
from rotation.models import Run, Schedule
from secrets_app import keyring
from secrets_app.audit import checkpoints
from secrets_app.errors import DomainError
from secrets_app.models import ChangedRecord, DatabaseRestore, Secret
from tests import factories
from tests.domain.rig import drive, rotate

pytestmark = pytest.mark.django_db
OK, WARNING, UNKNOWN, PROBLEM = State.OK, State.WARNING, State.UNKNOWN, State.PROBLEM
KEYS = ("ROOT_KEY_FILE", "AUDIT_KEY_FILE", "SEAL_KEY_FILE", "CHECKPOINT_KEY_FILE", "SECRET_KEY_FILE")
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(health._Told, "obstacles", None)


@pytest.fixture
def place(settings, tmp_path) -> Path:
    """Return a data folder of this test's own, with all that is private beside the keys in it."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    settings.DATA_DIR, settings.BACKUP_FOLDER = folder, folder / "backups"
    settings.AUDIT_EXPORT_FILE = folder / "checkpoints.jsonl"
    settings.JOURNAL = ""
    return folder


@contextlib.contextmanager
def away(words: str = "the connection is closed") -> Iterator[list[str]]:
    """Have the database refuse every question, and note them."""
    asked: list[str] = []

    def refuse(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append(sql)
        raise OperationalError(words)

    with connection.execute_wrapper(refuse):
        yield asked


@contextlib.contextmanager
def pragmas(**settings: object) -> Iterator[None]:
    """Have SQLite answer that it has these settings; the file of the tests is not one of production."""
    told = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1} | settings

    def answer(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        name = sql.removeprefix("PRAGMA ")
        return (
            execute("SELECT %s", (told[name],), False, context)
            if name in told
            else (execute(sql, params, many, context))
        )

    with connection.execute_wrapper(answer):
        yield


def found() -> dict[str, findings.Finding]:
    return {finding.name: finding for part in doctor.parts() for finding in part.findings}


# ---------------------------------------------------------------- the whole


def test_a_database_that_is_away_is_a_problem_and_what_it_knows_is_unknown():
    with away("someone:database-pass-9") as asked:
        shown = found()
    assert shown["set-up"].state == PROBLEM
    asks = {check.name for _, checks in doctor._parts() for check in checks if check.asks_database}
    assert {"database", "keys", "worker", "queue", "trail", "journal"} <= asks
    assert {shown[name].state for name in asks} == {UNKNOWN}
    assert "database-pass-9" not in str(shown)
    assert len(asked) == 1  # by the first check: none of the others waits for it again


@pytest.mark.parametrize(
    "error",
    [OperationalError("secret-words"), OSError(5, "Input/output error"), DomainError("It is not so.")],
    ids=["database", "disk", "domain"],
)
def test_a_check_that_could_not_be_made_is_unknown(error):
    def fails() -> findings.Said:
        raise error

    checks = [findings.Check("a", "A", fails), findings.Check("b", "B", lambda: findings.ok("Fine."))]
    first, second = findings.look(checks)
    assert first.state == UNKNOWN
    assert first.sentence.startswith("Not checked: ")
    assert first.advice
    assert "secret-words" not in first.sentence
    assert second.state == OK


def test_the_worst_finding_counts_and_unknown_is_worse_than_a_warning():
    def of(*states: State) -> State:
        return findings.worst(findings.Finding("a", "A", state, "") for state in states)

    assert of(OK, WARNING) == WARNING
    assert of(WARNING, UNKNOWN, OK) == UNKNOWN
    assert of(UNKNOWN, PROBLEM) == PROBLEM


def test_what_is_not_ok_says_what_to_do():
    health.beat("worker")
    for finding in found().values():
        assert finding.sentence.endswith("."), finding
        assert bool(finding.advice) == (finding.state != OK), finding


@pytest.mark.parametrize(("state", "code"), [(OK, 0), (WARNING, 14), (UNKNOWN, 15), (PROBLEM, 16)])
def test_the_command_ends_with_the_code_of_the_worst_finding(monkeypatch, capsys, state, code):
    advice = "" if state == OK else "Do this."
    parts = [doctor.Part("Work", (findings.Finding("worker", "Worker", state, "It is so.", advice),))]
    monkeypatch.setattr(doctor, "parts", lambda: parts)
    for words in ((), ("--json",)):
        with contextlib.suppress(SystemExit) if not code else pytest.raises(SystemExit) as ended:
            call_command("doctor", *words)
        if code:
            assert ended.value.code == code
    text, _, document = capsys.readouterr().out.rpartition("\n{")
    assert state in text
    assert "It is so." in text
    told = json.loads("{" + document)
    assert told["state"] == state
    assert told["checks"][0] == {
        "name": "worker", "title": "Worker", "state": state, "sentence": "It is so.", "advice": advice,
    }  # fmt: skip


def test_no_secret_of_the_settings_is_in_the_document(settings, monkeypatch, capsys):
    settings.BROKER_URL = "redis://someone:broker-pass-9@127.0.0.1:1/0"
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "database-pass-9")
    with pytest.raises(SystemExit):
        call_command("doctor", "--json")
    text = capsys.readouterr().out
    assert "Redis does not answer" in text
    assert "broker-pass-9" not in text
    assert "database-pass-9" not in text


# ---------------------------------------------------------------- storage


def test_a_set_up_that_has_not_run_is_a_problem(monkeypatch):
    assert store.set_up().state == OK
    for obstacle, words in ((health.NOT_SET_UP, "set-up"), (health.READ_ONLY, "takes no changes")):
        monkeypatch.setattr(health, "obstacles", lambda named=obstacle: [named])
        said = store.set_up()
        assert said.state == PROBLEM
        assert words in said.sentence


if connection.vendor == "sqlite":

    @pytest.mark.parametrize(
        ("name", "value"), [("journal_mode", "delete"), ("synchronous", 1), ("foreign_keys", 0)]
    )
    def test_a_file_of_sqlite_that_may_lose_something_is_a_problem(name, value):
        with pragmas(**{name: value}):
            said = store.database()
        assert said.state == PROBLEM
        assert name in said.sentence


if connection.vendor == "sqlite":

    def test_a_file_of_sqlite_as_keyturn_opens_it_is_ok():
        with pragmas():
            assert store.database().state == OK


if connection.vendor == "postgresql":

    def test_a_postgresql_that_may_lose_a_commit_is_a_problem():
        # The cluster of the tests is one; the names of both settings are asked by parameters.
        said = store.database()
        assert said.state == PROBLEM
        assert "does not wait for the disk" in said.sentence
        assert "fsync = on" in said.advice


if connection.vendor == "postgresql":

    def test_the_connections_of_postgresql_are_counted():
        said = store.connections()
        assert said.state in {OK, WARNING}
        assert int(said.sentence.split()[0]) >= 1


def test_the_version_and_the_connections_of_postgresql_are_judged():
    assert store.of_postgresql("13.9", 13).state == PROBLEM
    assert store.of_postgresql("14.0", 14).state == OK
    states = [store.of_connections(used, 100).state for used in (79, 80, 94, 95, 100)]
    assert states == [OK, WARNING, WARNING, PROBLEM, PROBLEM]


if connection.vendor == "postgresql":

    @pytest.mark.parametrize(("ahead", "state"), [(0, OK), (10, WARNING), (-10, WARNING), (90, PROBLEM)])
    def test_a_clock_that_is_not_the_database_s_is_found(ahead, state):
        with time_machine.travel(datetime.now(UTC) + timedelta(seconds=ahead), tick=True):
            said = store.clock()
        assert said.state == state
        assert ahead == 0 or ("ahead of" if ahead > 0 else "behind") in said.sentence


def test_a_slow_answer_is_no_difference_of_clocks():
    seconds = lambda count: timedelta(seconds=count)  # noqa: E731
    assert store.of_clocks(seconds(4), seconds(3)).state == OK
    assert store.of_clocks(seconds(4), seconds(1)).state == WARNING
    assert store.of_clocks(seconds(-40), seconds(1)).state == PROBLEM
    assert store.of_clocks(seconds(0), seconds(20)).state == UNKNOWN


def test_a_redis_that_does_not_answer_is_a_problem(settings):
    assert store.broker().state == OK  # of the tests
    settings.BROKER_URL = "redis://127.0.0.1:1/0"
    assert store.broker().state == PROBLEM


def test_a_redis_whose_acl_refuses_the_queue_is_a_problem(settings, own_redis):
    settings.BROKER_URL = own_redis.url
    assert store.broker().state == OK
    rights = ["on", ">reader-pass-9", "~*", "+@read", "+@connection", "+info"]
    own_redis.client().execute_command("ACL", "SETUSER", "reader", *rights)
    settings.BROKER_URL = own_redis.url.replace("//", "//reader:reader-pass-9@")
    said = store.broker()
    assert said.state == PROBLEM
    assert "does not let Keyturn use lrem" in said.sentence
    own_redis.client().execute_command("ACL", "SETUSER", "reader", "+@all", "-info")
    assert store.broker().state == UNKNOWN
    settings.BROKER_URL = own_redis.url.replace("//", "//reader:wrong@")
    said = store.broker()
    assert (said.state, said.sentence) == (PROBLEM, "Redis refuses the password.")


def test_a_redis_that_may_drop_messages_or_is_nearly_full_is_found(settings, own_redis):
    settings.BROKER_URL = own_redis.url
    client = own_redis.client()
    client.config_set("maxmemory-policy", "allkeys-lru")
    said = store.broker()
    assert said.state == PROBLEM
    assert "allkeys-lru" in said.sentence
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", int(client.info("memory")["used_memory"]))
    assert store.broker().state == PROBLEM


def test_what_a_redis_says_of_itself_is_judged():
    def told(**more: object) -> State:
        info = {"redis_version": "7.0.15", "maxmemory_policy": "noeviction", "maxmemory": 0} | more
        return store.of_redis(info, is_open=False).state

    assert told() == OK
    assert told(redis_version="5.0.14") == PROBLEM
    assert told(redis_version="") == UNKNOWN
    assert told(maxmemory=100, used_memory=85) == WARNING
    assert store.of_redis(
        {"redis_version": "7.0.1", "maxmemory_policy": "noeviction"}, is_open=True
    ).state == (WARNING)


def test_a_disk_that_is_nearly_full_is_found(place, settings):
    assert machine.disk().state in {OK, WARNING, PROBLEM}  # as the machine of the tests is
    states = [machine.of_space(place, free).state for free in (2_000_000_000, 900_000_000, 90_000_000)]
    assert states == [OK, WARNING, PROBLEM]
    settings.DATA_DIR = place / "gone"
    settings.BACKUP_FOLDER = settings.DATA_DIR
    settings.AUDIT_EXPORT_FILE = settings.DATA_DIR / "file"
    assert machine.disk().state == UNKNOWN


# ---------------------------------------------------------------- keys and files


def test_a_key_that_is_gone_is_a_problem(settings, tmp_path):
    assert machine.keys().state == OK
    settings.ROOT_KEY_FILE = tmp_path / "gone"
    keyring.forget()
    try:
        assert machine.keys().state == PROBLEM
    finally:
        keyring.forget()


def test_keys_in_the_data_folder_are_a_warning(place, settings, tmp_path):
    for name in (
        "ROOT_KEY_FILE",
        "AUDIT_KEY_FILE",
        "SEAL_KEY_FILE",
        "CHECKPOINT_KEY_FILE",
        "SECRET_KEY_FILE",
    ):
        setattr(settings, name, tmp_path / "keys" / name)
    settings.ROOT_KEY = "file:"
    assert machine.apart().state == OK
    settings.SEAL_KEY_FILE = place / "keys" / "seal.key"
    said = machine.apart()
    assert said.state == WARNING
    assert "seal.key" in said.sentence


@pytest.mark.parametrize("which", ["root", "data", "backups", "journal", "checkpoints", "token"])
def test_each_thing_that_is_private_is_found_when_it_is_open(place, settings, tmp_path, which):
    settings.METRICS = Place("127.0.0.1", 1, tmp_path / "token")
    settings.JOURNAL = f"file:{tmp_path}/journal"
    settings.BACKUP_FOLDER.mkdir(mode=0o700)
    for name in (
        "ROOT_KEY_FILE",
        "AUDIT_KEY_FILE",
        "SEAL_KEY_FILE",
        "CHECKPOINT_KEY_FILE",
        "SECRET_KEY_FILE",
    ):
        setattr(settings, name, tmp_path / name)
    settings.ROOT_KEY, settings.IS_SQLITE = "file:", False
    paths = {
        "root": tmp_path / "ROOT_KEY_FILE",
        "data": place,
        "backups": settings.BACKUP_FOLDER,
        "journal": tmp_path / "journal",
        "checkpoints": settings.AUDIT_EXPORT_FILE,
        "token": tmp_path / "token",
    }
    for path in paths.values():
        if not path.exists():
            path.touch(mode=0o600)
    assert machine.files().state == OK
    path = paths[which]
    path.chmod(path.stat().st_mode | 0o040)
    said = machine.files()
    assert said.state == PROBLEM
    assert f"{path} is open to other users" in said.sentence


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_private_file_of_another_user_is_found(place):
    os.chown(place, 12345, -1)
    assert "belongs to another user" in machine.files().sentence


def test_a_first_password_that_still_stands_in_its_file_is_a_warning(place):
    assert machine.first_sign_in().state == OK
    first_password.file().touch()
    assert machine.first_sign_in().state == WARNING


# ---------------------------------------------------------------- work


@pytest.mark.parametrize("process", ["worker", "beat"])
def test_a_process_that_is_away_is_a_problem(process):
    ask = getattr(work, process)
    assert ask().state == PROBLEM
    health.beat(process)
    assert ask().state == OK
    Heartbeat.objects.update(at=Now() - 5 * MINUTE)
    said = ask()
    assert said.state == PROBLEM
    assert "last seen 5 min" in said.sentence


@pytest.mark.parametrize(("ago", "state"), [(0, OK), (2, WARNING), (11, PROBLEM)])
def test_a_run_that_waits_for_a_worker_is_found(secret, ago, state):
    assert work.queue().state == OK
    Run.objects.filter(pk=rotate(secret).pk).update(due_at=Now() - ago * MINUTE)
    assert work.queue().state == state


def test_a_long_queue_is_a_warning_and_one_that_cannot_be_read_is_unknown(settings, monkeypatch):
    settings.BROKER_URL = "embedded://localhost"
    Message.objects.bulk_create(Message(queue="celery", tag=str(number), body="{}") for number in range(3))
    assert work.messages().sentence == "3 messages are waiting."
    monkeypatch.setattr(work, "MANY_MESSAGES", 3)
    assert work.messages().state == WARNING
    settings.BROKER_URL = "redis://127.0.0.1:1/0"
    assert work.messages().state == UNKNOWN


def test_an_overdue_rotation_is_a_problem():
    assert work.schedules().state == OK
    made = factories.secret(is_on=True)
    Schedule.objects.filter(secret=made).update(next_at=Now() - HOUR)
    said = work.schedules()
    assert said.state == PROBLEM
    assert said.sentence.startswith("1 rotation is overdue; the oldest for ")


def test_a_trail_that_is_not_signed_or_not_this_database_s_is_a_problem(place, secret):
    assert work.trail().state == WARNING  # not signed yet
    checkpoints.take()
    checkpoints.export()
    assert work.trail().state == OK
    settings_file = place / "checkpoints.jsonl"
    settings_file.unlink()
    with time_machine.travel(datetime.now(UTC) + HOUR, tick=True):
        said = work.trail()
    assert (said.state, said.sentence) == (PROBLEM, "The audit trail is not exported.")
    DatabaseRestore.objects.create(exported_to=10**6, exported_at=timezone.now(), found_to=1)
    assert "older database" in work.trail().sentence


def test_a_record_that_was_changed_outside_is_a_problem():
    assert work.records().state == OK
    ChangedRecord.objects.create(name="user:1", sentence="It was changed.")
    said = work.records()
    assert (said.state, said.sentence) == (PROBLEM, "1 record is changed outside Keyturn.")


def test_a_backup_that_is_old_or_missing_is_found(place, settings):
    settings.BACKUP_RECIPIENTS = []
    assert work.backup().state == WARNING
    settings.BACKUP_RECIPIENTS = ["age1example"]
    assert work.backup().state == PROBLEM
    settings.BACKUP_FOLDER.mkdir()
    for ago, state in ((30, PROBLEM), (3, OK)):
        at = timezone.now() - ago * HOUR
        (settings.BACKUP_FOLDER / f"keyturn-{at:%Y%m%dT%H%M%SZ}.backup").touch()
        assert work.backup().state == state


def test_a_journal_that_is_missing_or_was_not_written_for_the_newest_rotation_is_found(
    place, settings, secret: Secret, host
):
    assert work.credential_journal().state == WARNING  # none is kept
    path = place / "journal"
    settings.JOURNAL = f"file:{path}"
    assert work.credential_journal().state == PROBLEM
    path.touch(mode=0o600)
    assert drive(rotate(secret), host).outcome == Run.Outcome.SUCCEEDED
    assert path.stat().st_size > 0
    assert work.credential_journal().state == OK
    old = (timezone.now() - HOUR).timestamp()
    os.utime(path, (old, old))
    said = work.credential_journal()
    assert said.state == PROBLEM
    assert "before the newest rotation" in said.sentence


# ---------------------------------------------------------------- address


@contextlib.contextmanager
def tls_server(folder: Path) -> Iterator[int]:
    """A server with a certificate of its own making for localhost; yields its port."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - HOUR)
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    accepted, _ = listener.accept()
                except OSError:
                    return
                with accepted, contextlib.suppress(OSError):
                    context.wrap_socket(accepted, server_side=True).close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])


def test_a_certificate_that_is_not_accepted_is_a_problem_and_a_trusted_one_is_ok(
    settings, tmp_path, monkeypatch
):
    with tls_server(tmp_path) as port:
        settings.PUBLIC_URL = f"https://localhost:{port}"
        said = machine.address()
        assert said.state == PROBLEM
        assert "certificate of localhost is not accepted" in said.sentence
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        assert machine.address().state == OK


def test_an_address_without_tls_is_a_problem_and_one_that_does_not_answer_is_unknown(settings):
    settings.PUBLIC_URL = "http://localhost:8000"
    assert machine.address().state == OK
    settings.PUBLIC_URL = "http://keys.example.com"
    assert machine.address().state == PROBLEM
    settings.PUBLIC_URL = "https://localhost:1"
    assert machine.address().state == UNKNOWN
    for days, state in ((3, WARNING), (60, OK)):
        assert machine.of_certificate("a", datetime.now(UTC) + timedelta(days=days)).state == state


def test_headers_of_a_proxy_that_do_not_fit_the_setting_are_found(settings):
    both = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    settings.SECURE_PROXY_SSL_HEADER = None
    assert machine.proxy({}, is_secure=False).state == OK
    assert machine.proxy(both, is_secure=False).state == WARNING
    settings.SECURE_PROXY_SSL_HEADER, settings.IS_HTTPS = ("HTTP_X_FORWARDED_PROTO", "https"), True
    assert machine.proxy(both, is_secure=True).state == OK
    assert machine.proxy(both, is_secure=False).state == PROBLEM
    assert machine.proxy({"X-Forwarded-Proto": "https"}, is_secure=True).state == PROBLEM
