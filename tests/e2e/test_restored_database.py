"""An older copy of the whole database is restored under a console, with the databases' own means."""

from __future__ import annotations

import os
import sqlite3
import subprocess

import pytest

from tests import services
from tests.e2e.served import PEOPLE, Browser, Served
from tests.waiting import wait_for

pytestmark = pytest.mark.xdist_group("restored")
ROTATE = """
import json
from rotation import runs
from rotation.connectors.memory.connector import MemoryHost
from secrets_app.audit import checkpoints
from secrets_app.models import Secret
from tests import factories
from tests.domain.rig import drive, password
secret = Secret.objects.get()
host = MemoryHost()
if secret.labelled("current"):
    host.add_account("svc", password(secret))
run = drive(runs.start(secret, actor=factories.administrator()), host)
assert run.outcome == "succeeded", run.sentence
checkpoints.sign_and_export()
print(json.dumps(host.shadow_accepts("svc", password(secret))))
"""


class Sqlite:
    """The file, copied by SQLite's own backup."""

    def __init__(self, site: Served) -> None:
        self.file = site.folder / "kept" / "keyturn.sqlite3"
        self.copy = site.folder / "backup.sqlite3"

    def back_up(self) -> None:
        with sqlite3.connect(self.file) as source, sqlite3.connect(self.copy) as target:
            source.backup(target)

    def put_back(self) -> None:
        for end in ("-wal", "-shm"):
            self.file.with_name(self.file.name + end).unlink(missing_ok=True)
        os.replace(self.copy, self.file)


class Postgresql:
    """A dump of the database, restored into a new one."""

    def __init__(self, site: Served, server: services.Postgres) -> None:
        self.server, self.copy = server, site.folder / "dump"
        self.programs = services.postgres_programs()

    def back_up(self) -> None:
        self._run("pg_dump", "--format=custom", f"--file={self.copy}", self.server.url)

    def put_back(self) -> None:
        with self.server.connect("postgres") as connection:
            connection.execute("DROP DATABASE keyturn WITH (FORCE)")
            connection.execute("CREATE DATABASE keyturn")
        self._run("pg_restore", "--exit-on-error", f"--dbname={self.server.url}", str(self.copy))

    def _run(self, program: str, *words: str) -> None:
        subprocess.run([str(self.programs / program), *words], check=True, timeout=120)


@pytest.mark.parametrize("where", ["sqlite", "postgresql"])
def test_an_older_database_is_noticed_acknowledged_and_verified(where, made, request):
    if where == "postgresql":
        server = request.getfixturevalue("postgres_of_its_own")
        site = made(KEYTURN_DATABASE_URL=server.url)
        backup = Postgresql(site, server)
    else:
        site = made()
        backup = Sqlite(site)
    site.set_up()
    secret = f"/main/secrets/{site.inside(PEOPLE)}"
    assert site.inside(ROTATE) is True
    backup.back_up()
    assert site.inside(ROTATE) is True
    backup.put_back()
    site.serve()
    browser = Browser(site.port)
    assert browser.sign_in().status == 302
    page = browser.get("/all/overview/").text
    assert "The database was restored from an older copy" in page
    assert "Not verified since the database was restored" in browser.get(f"{secret}/").text
    refused = browser.post(f"{secret}/rotate/", reason="routine", token="one-press")
    assert refused.status == 409
    assert "older database was restored" in refused.text
    assert verify(site)[0] == 1
    assert browser.post("/audit/restore/acknowledge/", reason="the disk failed").status == 302
    code, said = verify(site)
    assert code == 0, said
    assert "An older database was restored" in said
    assert "Acknowledged by dot" in said
    assert browser.post(f"{secret}/rotate/", reason="routine", token="another").status == 302
    wait_for(lambda: "Nothing is rotated until" not in browser.get("/all/overview/").text, "the banner")
    assert site.logged().count("An older database was restored") == 1


def verify(site: Served) -> tuple[int, str]:
    process = site.manage("audit", "verify")
    out, err = process.communicate(timeout=300)
    return process.returncode, out + err


@pytest.fixture
def postgres_of_its_own():
    with services.postgres() as server:
        yield server
