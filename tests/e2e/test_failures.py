"""What else breaks under a running console: what is answered meanwhile, and that it recovers by itself."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time

import psycopg
import pytest

from tests import services
from tests.e2e import ready
from tests.e2e.served import CHECKOUT, PEOPLE, Browser, Served, is_root, tracebacks
from tests.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.xdist_group("failures")
CONNECTIONS = 20
ACTIVE = """
import json
from rotation.models import Run
print(json.dumps([run.state for run in Run.objects.active()]))
"""
DUE = """
import json
from rotation import leases
print(json.dumps([str(run) for run in leases.due(10)]))
"""
#: Five reads of the value by AWS's interface.
READ = """
import json
from secrets_app.models import Secret
from secrets_app.people import access_keys
from secrets_app.models import User
from tests import sigv4
dot = User.objects.get(username="dot").principal
key, secret_key = access_keys.create(dot, actor=dot)
client, found = sigv4.Signer(key.key_id, secret_key, region="main"), []
for _ in range(5):
    status, answer = client.call("GetSecretValue", SecretId=Secret.objects.get().name)
    found.append([status, json.loads(answer.get("SecretString", "{}")).get("Password", str(answer))])
print(json.dumps(found))
"""
#: The set-up as a process that is killed when Django has made a migration's tables and not yet noted that.
KILLED = """
import os, signal
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
from django.core.management import execute_from_command_line
from django.db.migrations.executor import MigrationExecutor
record = MigrationExecutor.record_migration
def die(executor, migration):
    if str(migration) == "account.0001_initial":
        os.kill(os.getpid(), signal.SIGKILL)
    record(executor, migration)
MigrationExecutor.record_migration = die
execute_from_command_line(["manage.py", "setup"])
"""


@pytest.fixture
def postgres():
    with services.postgres() as server:
        yield server


@pytest.fixture
def redis():
    with services.redis_server() as server:
        yield server


def address(secret: str) -> str:
    return f"/main/secrets/{secret}"


def rotate(browser: Browser, secret: str):
    return browser.post(f"{secret}/rotate/", reason="routine", token="one-press")


# ---------------------------------------------------------------- the broker


@pytest.mark.parametrize("how", ["killed", "hangs"])
def test_without_redis_people_sign_in_and_rotate_and_the_sweep_finds_the_run(how, made, redis):
    site = made(KEYTURN_BROKER_URL=redis.url)
    secret = address(ready.with_people(site))
    site.serve()
    if how == "killed":
        redis.kill()
    else:
        redis._process.send_signal(signal.SIGSTOP)
    try:
        browser = Browser(site.port)
        assert browser.sign_in().status == 302
        answer = rotate(browser, secret)
        assert answer.status == 302, answer.text[-2000:]
        assert site.inside(ACTIVE) == ["queued"]
        assert len(site.inside(DUE)) == 1
        assert browser.get("/readyz").status == 200
    finally:
        if how == "hangs":
            redis._process.send_signal(signal.SIGCONT)
    log = site.logged()
    assert log.count("The broker does not answer") == 1
    assert tracebacks(log) == 0


def refuse_messages(server: services.Redis, how: str) -> None:
    """Have Redis answer and take nothing: its memory is full, or it follows another one."""
    if how == "full":
        server.client().config_set("maxmemory", "1")
    else:
        server.client().replicaof("127.0.0.1", "1")


def take_messages(server: services.Redis, how: str) -> None:
    if how == "full":
        server.client().config_set("maxmemory", "0")
    else:
        server.client().replicaof("NO", "ONE")


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_fi_b_04_a_redis_that_takes_no_message_delays_rotations_and_nothing_else(how, made, redis):
    site = made(KEYTURN_BROKER_URL=redis.url, KEYTURN_HOSTS="localhost,testserver")
    site.up()
    site.wait_until_healthy()
    secret = address(site.inside(PEOPLE))
    refuse_messages(redis, how)
    wait_for(lambda: site.health()[0] == 503, "what is missing")
    browser = Browser(site.port)
    assert browser.sign_in().status == 302
    answer = rotate(browser, secret)
    assert answer.status == 302, answer.text[-2000:]
    assert site.inside(ACTIVE) == ["queued"]
    # People and programs read values as always.
    assert browser.get(f"{secret}/").status == 200
    assert site.inside(READ) == [[200, "a-first-value-1"]] * 5
    assert browser.get("/readyz").status == 200
    take_messages(redis, how)
    # A worker that such a Redis has ended is started again, after half a minute at most.
    wait_for(lambda: site.health()[0] == 200, "/healthz", 2 * PATIENCE)
    wait_for(lambda: site.inside(ACTIVE) != ["queued"], "the run, taken up", 2 * PATIENCE)


# ---------------------------------------------------------------- the database


def test_a_read_only_database_is_said_to_be_and_is_over_by_itself(made, postgres):
    site = made(KEYTURN_DATABASE_URL=postgres.url)
    site.set_up()
    secret = address(site.inside(PEOPLE))
    site.serve()
    browser = Browser(site.port)
    assert browser.sign_in().status == 302
    read_only(postgres, "on")
    answers = [rotate(browser, secret), Browser(site.port).sign_in()]
    for answer in answers:
        assert answer.status == 503
        assert answer.headers["Retry-After"]
        assert "The database takes no changes" in answer.text
    assert browser.get("/readyz").status == 503
    read_only(postgres, "off", keeps=True)
    wait_for(lambda: Browser(site.port).sign_in().status == 302, "a sign-in")
    wait_for(lambda: browser.get("/readyz").status == 200, "readiness")
    assert rotate(browser, secret).status == 302


def read_only(server: services.Postgres, how: str, *, keeps: bool = False) -> None:
    """Set the database so; with `keeps` the connections that there are stay as they were."""
    with server.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE keyturn SET default_transaction_read_only = {how}")
        if not keeps:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'keyturn'"
            )


def test_a_database_that_is_away_is_said_to_be_and_its_return_needs_nobody(made, postgres):
    site = made(KEYTURN_DATABASE_URL=postgres.url)
    site.set_up()
    site.inside(PEOPLE)
    site.serve()
    postgres.stop()
    answer = Browser(site.port).get("/sign-in/")
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert "The database does not answer" in answer.text
    postgres.start()
    wait_for(lambda: Browser(site.port).sign_in().status == 302, "a sign-in")


@pytest.mark.parametrize(
    ("is_set_up", "words"), [(True, "The database does not answer"), (False, "manage.py setup")]
)
def test_a_database_that_takes_connections_and_says_nothing_is_said_to_be_away(made, is_set_up, words):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        site = made(KEYTURN_DATABASE_URL=f"postgresql://keyturn@127.0.0.1:{silent.getsockname()[1]}/keyturn")
        if is_set_up:
            ready.set_up(site)  # its keys and static files; its database is another one
        site.serve()
        answer = Browser(site.port).get("/sign-in/")
        assert answer.status == 503
        assert answer.headers["Retry-After"]
        assert words in answer.text


def test_a_database_without_a_connection_left_is_said_to_be_and_is_over_by_itself(made):
    with services.postgres(
        options=(f"max_connections={CONNECTIONS}", "superuser_reserved_connections=0")
    ) as small:
        site = made(KEYTURN_DATABASE_URL=small.url)
        site.set_up()
        secret = address(site.inside(PEOPLE))
        site.serve()
        browser = Browser(site.port)
        assert browser.sign_in().status == 302
        with contextlib.ExitStack() as others:
            take_every_connection(small, others)
            asked = {
                "a page": lambda: browser.get(f"{secret}/"),
                "a rotation": lambda: rotate(browser, secret),
                "a value": lambda: browser.post(f"{secret}/value/", reason="routine"),
                "a sign-in": lambda: Browser(site.port).sign_in(),
            }
            for what, ask in asked.items():
                answer = ask()
                assert answer.status == 503, what
                assert answer.headers["Retry-After"], what
                assert "no connection left" in answer.text, what
            log = site.logged()
            assert tracebacks(log) == 0
            assert browser.get("/livez").status == 200
        wait_for(lambda: rotate(browser, secret).status == 302, "a rotation")
        assert site.inside(ACTIVE) == ["queued"]


def take_every_connection(server: services.Postgres, held: contextlib.ExitStack) -> None:
    """End those of the console and take all that there are."""
    watch = held.enter_context(server.connect("postgres"))

    def are_taken() -> bool:
        # One that has just ended may count for a moment still: only the number says that none is left.
        with contextlib.suppress(psycopg.OperationalError):
            while True:
                held.enter_context(server.connect("postgres"))
        known = watch.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = 'postgres' AND backend_type = 'client backend'"
        )
        return known.fetchone() == (CONNECTIONS,)

    watch.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'keyturn'")
    wait_for(are_taken, "the last connection")


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "small", str(disk)], check=True)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(not is_root(), reason="only root mounts a small disk")
def test_a_full_disk_under_sqlite_is_said_to_be_and_is_over_by_itself(small_disk, made):
    site = made(KEYTURN_DATABASE_URL=f"sqlite://{small_disk}/keyturn.sqlite3")
    ready.with_people(site)
    site.serve()
    assert Browser(site.port).sign_in().status == 302
    fill(small_disk)
    answer = wait_for(lambda: unless(302, Browser(site.port).sign_in()), "an answer of a full disk")
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert "disk is full" in answer.text
    (small_disk / "filler").unlink()
    wait_for(lambda: Browser(site.port).sign_in().status == 302, "a sign-in")


@pytest.mark.skipif(not is_root(), reason="only root mounts a small disk")
def test_a_full_disk_under_sqlite_is_a_handful_of_lines_however_many_ask(small_disk, made):
    site = made(KEYTURN_DATABASE_URL=f"sqlite://{small_disk}/keyturn.sqlite3")
    secret = address(ready.with_people(site))
    site.serve()
    browser = Browser(site.port)
    assert browser.sign_in().status == 302
    fill(small_disk)
    wait_for(lambda: unless(302, Browser(site.port).sign_in()), "an answer of a full disk")
    before, began = len(site.logged().splitlines()), time.monotonic()
    failed = 0
    for _ in range(20):
        answers = [
            Browser(site.port).sign_in(),
            rotate(browser, secret),
            browser.post(f"{secret}/value/", reason="routine"),
        ]
        failed += sum(answer.status == 503 for answer in answers)
    assert failed >= 40
    log = site.logged()
    assert tracebacks(log) == 0
    # One for each cause and minute, and a slow machine may take several.
    minutes = 2 + int((time.monotonic() - began) // 60)
    assert len(log.splitlines()) - before <= 4 * minutes, log[-4000:]


@pytest.mark.skipif(not is_root(), reason="only root mounts a small disk")
def test_a_full_disk_under_sqlite_ends_no_process_and_rotations_begin_when_there_is_room(small_disk, made):
    site = made(KEYTURN_DATABASE_URL=f"sqlite://{small_disk}/keyturn.sqlite3")
    secret = address(ready.with_people(site))
    site.up()
    site.wait_until_healthy()
    started = {name: site.main_pids(name) for name in ("web", "worker", "beat")}
    browser = Browser(site.port)
    assert browser.sign_in().status == 302
    fill(small_disk)
    refused = wait_for(lambda: unless(302, rotate(browser, secret)), "an answer of a full disk")
    for answer in (refused, browser.post(f"{secret}/value/", reason="routine")):
        assert answer.status == 503
        assert answer.headers["Retry-After"]
        assert "a-first-value-1" not in answer.text
    wait_for(lambda: site.health()[0] == 503, "what is missing")
    (small_disk / "filler").unlink()
    wait_for(lambda: site.health()[0] == 200, "/healthz")
    wait_for(lambda: rotate(browser, secret).status == 302, "a rotation")
    wait_for(lambda: site.inside(ACTIVE) != ["queued"], "the run, taken up")
    assert {name: site.main_pids(name) for name in started} == started
    assert tracebacks(site.printed()) == 0


def fill(disk) -> None:
    with (disk / "filler").open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass


def unless(status: int, answer):
    """The answer, unless it has this status: what is written first may still find room."""
    return None if answer.status == status else answer


# ---------------------------------------------------------------- the set-up


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_before_the_set_up_every_page_says_what_to_run_and_after_it_all_work(where, made, request):
    given = {}
    if where == "postgresql":
        given["KEYTURN_DATABASE_URL"] = request.getfixturevalue("postgres").url
    site = made(**given)
    site.serve()
    for path in ("/", "/sign-in/", "/static/css/base.css", "/no/such/page"):
        answer = Browser(site.port).get(path)
        assert answer.status == 503, path
        assert answer.headers["Retry-After"]
        assert "manage.py setup" in answer.text
    assert Browser(site.port).get("/livez").status == 200
    assert Browser(site.port).get("/readyz").status == 503
    site.set_up()
    site.inside(PEOPLE)
    browser = Browser(site.port)
    wait_for(lambda: browser.get("/sign-in/").status == 200, "the sign-in page")
    style = browser.get("/sign-in/").text.partition('rel="stylesheet" href="')[2].partition('"')[0]
    assert browser.get(style).status == 200
    assert browser.sign_in().status == 302
    assert browser.get("/readyz").status == 200
    assert tracebacks(site.logged()) == 0


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_of_three_set_ups_at_once_one_does_the_work_and_none_fails(where, made, request):
    given = {}
    if where == "postgresql":
        given["KEYTURN_DATABASE_URL"] = request.getfixturevalue("postgres").url
    site = made(**given)
    running = [site.manage("setup") for _ in range(3)]
    printed = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], printed
    assert sum(out.count("Password ") for out, _ in printed) == 1
    assert sum(out.count("Root key ") for out, _ in printed) == 1


def test_a_set_up_that_was_killed_between_a_migration_and_its_note_is_repeated(made):
    site = made()
    killed = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=CHECKOUT, env=site.environment,
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    assert "Password " in site.set_up()


def test_two_set_ups_with_folders_of_their_own_and_one_database_do_not_meet(tmp_path, postgres):
    keys = {"KEYTURN_DATABASE_URL": postgres.url}
    sites = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        site = Served(tmp_path / name, **keys)
        site.root_key = tmp_path / "keys" / "root.key"
        sites.append(site)
    running = [site.manage("setup") for site in sites]
    printed = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], printed
    assert sum(out.count("Password ") for out, _ in printed) == 1


# ---------------------------------------------------------------- the keys


@pytest.mark.parametrize("name", ["audit.key", "root.key"])
def test_a_key_file_that_goes_seals_a_running_console_until_it_is_back(name, made):
    site = made()
    ready.with_people(site)
    site.serve()
    browser = Browser(site.port)
    assert browser.sign_in().status == 302
    file = site.root_key.with_name(name)
    aside = file.rename(file.with_suffix(".aside"))
    wait_for(lambda: browser.get("/readyz").status == 503, "sealed mode")
    answer = browser.get("/all/overview/")
    assert answer.status == 503
    assert answer.headers["Retry-After"]
    assert "Keyturn is sealed" in answer.text
    failed = site.manage("setup")
    _, err = failed.communicate(timeout=300)
    assert failed.returncode != 0
    assert str(file) in err
    assert "Traceback" not in err
    assert not file.exists()
    aside.rename(file)
    wait_for(lambda: browser.get("/all/overview/").status == 200, "the overview")
    assert browser.get("/readyz").status == 200
    told = [line for line in site.logged().splitlines() if "Sealed: " in line]
    assert len(told) == 1
    assert str(file) in told[0]
