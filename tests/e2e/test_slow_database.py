"""PostgreSQL is slow, its disk is full, or its certificate is not accepted, under a running console."""

from __future__ import annotations

import os
import pwd
import re
import signal
import tempfile
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests import services
from tests.e2e.served import PEOPLE, Browser, Served, is_root, tracebacks
from tests.waiting import wait_for
from tests.wires.relay import Relay

pytestmark = pytest.mark.xdist_group("failures")
#: What a sign-in, a reveal and a rotation write.
ON_SMALL_DISK = ("secrets_app_auditevent", "django_session", "rotation_run")


def with_people(site: Served) -> str:
    """The address of a secret, in a database that this site has set up."""
    site.set_up()
    return f"/main/secrets/{site.inside(PEOPLE)}"


def rotate(browser: Browser, secret: str):
    return browser.post(f"{secret}/rotate/", reason="routine", token="one-press")


def reveal(browser: Browser, secret: str):
    return browser.post(f"{secret}/value/", reason="routine")


def refused(answer, words: str) -> None:
    assert answer.status == 503, answer.text[:2000]
    assert answer.headers["Retry-After"]
    assert words in answer.text
    assert "a-first-value-1" not in answer.text


def unless(status: int, answer):
    """The answer, unless it has this status: what is written first may still find room."""
    return None if answer.status == status else answer


# ---------------------------------------------------------------- slow


def test_fi_d_09_a_statement_that_takes_too_long_is_ended_and_the_page_says_so(made):
    with services.postgres() as server:
        # Long enough for what is not locked, on a crowded machine too.
        site = made(KEYTURN_DATABASE_URL=server.url, KEYTURN_STATEMENT_SECONDS="3")
        secret = with_people(site)
        site.serve()
        browser = Browser(site.port)
        assert browser.sign_in().status == 302
        before, began = len(site.logged().splitlines()), time.monotonic()
        with server.connect() as other:
            other.execute("BEGIN")
            other.execute("LOCK TABLE secrets_app_secret IN ACCESS EXCLUSIVE MODE")
            for _ in range(3):  # more than there are threads
                refused(browser.get(f"{secret}/"), "The database is too slow")
                refused(rotate(browser, secret), "The database is too slow")
                refused(reveal(browser, secret), "The database is too slow")
            # What needs nothing of that table works meanwhile: no thread is held.
            assert browser.get("/livez").status == 200
            assert browser.get("/readyz").status == 200
            minutes = 2 + int((time.monotonic() - began) // 60)
            other.execute("ROLLBACK")
        assert browser.get(f"{secret}/").status == 200
        assert rotate(browser, secret).status == 302
        assert "a-first-value-1" in reveal(browser, secret).text
        log = site.logged()
        assert tracebacks(log) == 0
        # One for each cause and minute, and a slow machine may take several.
        assert len(log.splitlines()) - before <= 2 * minutes, log[-4000:]


def test_no_statement_of_a_command_is_ended(made):
    with services.postgres() as server:
        site = made(KEYTURN_DATABASE_URL=server.url, KEYTURN_STATEMENT_SECONDS="1")
        site.set_up()
        script = """
import json
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("SHOW statement_timeout")
    print(json.dumps(cursor.fetchone()[0]))
"""
        assert site.inside(script) == "0"


def test_fi_d_09_a_slow_way_to_the_database_makes_pages_slow_and_nothing_else(made):
    with services.postgres() as server, Relay("127.0.0.1", server.port) as relay:
        site = made(KEYTURN_DATABASE_URL=f"postgresql://keyturn@127.0.0.1:{relay.port}/keyturn")
        secret = with_people(site)
        site.serve()
        relay.delay_seconds = 0.02
        browser = Browser(site.port)
        assert browser.sign_in().status == 302
        assert browser.get(f"{secret}/").status == 200
        assert "a-first-value-1" in reveal(browser, secret).text
        assert rotate(browser, secret).status == 302


# ---------------------------------------------------------------- full


@pytest.mark.skipif(not is_root(), reason="only root mounts a small disk")
def test_fi_d_02_a_full_disk_of_postgresql_is_said_to_be_ends_no_process_and_is_over_by_itself(made):
    with services.postgres(small_disk=True) as server:
        site = made(KEYTURN_DATABASE_URL=server.url)
        secret = with_people(site)
        with server.connect() as there:
            for table in ON_SMALL_DISK:
                there.execute(f"ALTER TABLE {table} SET TABLESPACE small")
        site.up()
        site.wait_until_healthy()
        started = {name: site.main_pids(name) for name in ("web", "worker", "beat")}
        browser = Browser(site.port)
        assert browser.sign_in().status == 302
        server.fill_small_disk()
        refused(wait_for(lambda: unless(302, Browser(site.port).sign_in()), "a sign-in"), "disk is full")
        refused(wait_for(lambda: unless(200, reveal(browser, secret)), "a reveal"), "disk is full")
        refused(wait_for(lambda: unless(302, rotate(browser, secret)), "a rotation"), "disk is full")
        assert browser.get("/livez").status == 200
        server.free_small_disk()
        wait_for(lambda: Browser(site.port).sign_in().status == 302, "a sign-in")
        assert "a-first-value-1" in reveal(browser, secret).text
        wait_for(lambda: rotate(browser, secret).status == 302, "a rotation")
        wait_for(lambda: site.health()[0] == 200, "/healthz")
        assert {name: site.main_pids(name) for name in started} == started
        assert tracebacks(site.printed()) == 0


# ---------------------------------------------------------------- the certificate


@pytest.fixture
def open_folder():
    """A folder that PostgreSQL's own user may look into."""
    with tempfile.TemporaryDirectory(prefix="keyturn-certified-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


class Certified:
    """A PostgreSQL that shows a certificate, which is changed while it runs."""

    def __init__(self, folder: Path) -> None:
        self.authority, self._key = folder / "certificate.pem", folder / "key.pem"
        self.options = ("ssl=on", f"ssl_cert_file={self.authority}", f"ssl_key_file={self._key}")
        self.show(days=30)

    def show(self, *, days: int, name: str = "127.0.0.1") -> None:
        """Have a certificate that signs itself, valid until so many days from now."""
        key = ec.generate_private_key(ec.SECP256R1())
        who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "database")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(who)
            .issuer_name(who)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=60))
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.authority.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        self._key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        self._key.chmod(0o600)
        if is_root():
            for path in (self.authority, self._key):
                os.chown(path, pwd.getpwnam("postgres").pw_uid, -1)


def shows(server: services.Postgres, certified: Certified, **how: object) -> None:
    """Change the certificate and end every connection that was made with the one before."""
    certified.show(**how)  # type: ignore[arg-type]
    server._process.send_signal(signal.SIGHUP)
    serial = x509.load_pem_x509_certificate(certified.authority.read_bytes()).serial_number

    def is_shown() -> bool:
        with server.connect() as there:
            there.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = 'keyturn' AND pid <> pg_backend_pid()"
            )
            found = there.execute("SELECT pg_read_file(%s)", [str(certified.authority)]).fetchone()
        return x509.load_pem_x509_certificate(found[0].encode()).serial_number == serial

    wait_for(is_shown, "the certificate")


@pytest.mark.parametrize(
    "how", [{"days": -1}, {"days": 30, "name": "127.0.0.2"}], ids=["expired", "another name"]
)
def test_fi_d_10_a_certificate_of_the_database_that_is_not_accepted_is_named_and_a_renewed_one_is_taken(
    how, made, open_folder
):
    certified = Certified(open_folder)
    with services.postgres(options=certified.options) as server:
        site = made(
            KEYTURN_DATABASE_URL=f"{server.url}?sslmode=verify-full&sslrootcert={certified.authority}"
        )
        secret = with_people(site)
        site.serve()
        browser = Browser(site.port)
        assert browser.sign_in().status == 302
        shows(server, certified, **how)
        words = "The database&#x27;s certificate is not accepted"
        answer = wait_for(lambda: unless(200, browser.get(f"{secret}/")), "a refused connection")
        answer.text = re.sub("&#39;|'", "&#x27;", answer.text)
        refused(answer, words)
        assert browser.get("/livez").status == 200
        shows(server, certified, days=30)
        wait_for(lambda: browser.get(f"{secret}/").status == 200, "the page")
        assert "a-first-value-1" in reveal(browser, secret).text
        assert tracebacks(site.logged()) == 0
