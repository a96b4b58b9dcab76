"""Fixtures for all tests: an open keyring, and the cast."""

import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _pytest.nodeid import coerce_node_id
from django.conf import settings
from django.test import Client, TransactionTestCase

from console.process import away
from secrets_app import keyring
from secrets_app.audit import checkpoints
from secrets_app.models import User
from tests import amounts, chromium, factories, hashers, messages, snapshots, tables
from tests import clients as clients  # the test client's cookie

pytest_plugins = [
    "tests.lab_fixtures",
    "tests.mail_fixtures",
    "tests.provider_fixtures",
    "tests.service_fixtures",
]
# Playwright's synchronous API runs an event loop in the thread that also asks the database.
os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
#: Held by tests/unit/test_stores.py; the engine's writes are tried on both by test_engine and by the faults.
ONE_STORE = "what is shown here is decided in Python, from rows that any store returns"
BOTH_STORES = "asks its store what no test of the other modules asks; in a module of the mark before"
#: What takes longest by itself. The order changes when a run ends, and nothing else.
LONG = (
    "tests/canaries/", "tests/model/", "tests/wires/test_broker.py", "tests/test_front_door.py",
    "tests/unit/test_ram.py", "tests/domain/test_keys.py", "tests/faults/test_order.py",
    "tests/faults/test_queue.py", "tests/faults/test_store.py",
    # Not long, but of many threads: at the end of a long run, and only there, a few of them were turned away.
    "tests/domain/test_reads_at_once.py",
)  # fmt: skip


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="try all random cases, not only as many as CI does")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"one_store: {ONE_STORE}")
    config.addinivalue_line("markers", f"both_stores: {BOTH_STORES}")
    amounts.begin(long=config.getoption("long"))
    gc.disable()  # until all tests are read, a fourth of which would be the search for garbage


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Name each test's group to xdist, so that one process runs what shares a site or a stack of processes.

    xdist 3.8 does so by an attribute that pytest 9.2 no longer reads; both are told here until they agree.
    """
    if not getattr(config.option, "loadgroup", False):
        return
    # After the groups, which xdist itself takes first: a long test that began last would be waited for alone.
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
    for item in items:
        groups = sorted({mark.args[0] for mark in item.iter_markers("xdist_group")})
        suffix = f"@{'_'.join(groups)}"
        if groups and not item.nodeid.endswith(suffix):
            item._id = coerce_node_id(f"{item.nodeid}{suffix}")


def pytest_collection_finish() -> None:
    """What is loaded by now stays: it is not looked through for garbage again after every few rows."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    gc.enable()


TransactionTestCase._fixture_teardown = tables.empty


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None) -> Iterator[None]:
    """Let go of the databases before pytest-django drops them."""
    yield
    tables.end()


@pytest.fixture(autouse=True)
def _keyring(request: pytest.FixtureRequest) -> None:
    """Whatever touches the database has a keyring to seal with."""
    if request.node.get_closest_marker("django_db"):
        request.getfixturevalue("open_keyring")


@pytest.fixture(autouse=True)
def _no_messages() -> None:
    """What the test before sent, or counted, goes."""
    messages.forget()


@pytest.fixture(autouse=True)
def _nothing_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker and no beat shows itself to a test, which usually is not about that: no page asks."""
    monkeypatch.setattr(away._Seen, "again_at", float("inf"))
    monkeypatch.setattr(away._Seen, "parts", ())


@pytest.fixture
def open_keyring(request: pytest.FixtureRequest) -> None:
    """Return once the root key and the first key are there."""
    marker = request.node.get_closest_marker("django_db")
    transaction = marker is not None and marker.kwargs.get("transaction")
    request.getfixturevalue("transactional_db" if transaction else "db")
    # What another test has exported is no checkpoint of this one's trail.
    for file in (Path(settings.AUDIT_EXPORT_FILE), checkpoints.head_file()):
        file.unlink(missing_ok=True)
    keyring.forget()
    if snapshots.begin(keyring.ensure_root_key):
        factories.begin()
    # Asked here, so that a test before, which left it sealed, gets its line in the log now.
    assert not keyring.is_sealed()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how much was left out."""
    if left := len(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(f"{left} left out")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the browser. In CI a run that leaves a test out has failed."""
    chromium.end()
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def ann(open_keyring: None) -> User:
    """Return somebody in no group."""
    return factories.user("ann")


@pytest.fixture
def dot(open_keyring: None) -> User:
    """Return an administrator."""
    return factories.user("dot", "administrators")


@pytest.fixture
def as_dot(client: Client, dot: User) -> Client:
    """Return a browser in which dot is signed in."""
    client.force_login(dot)
    return client


@pytest.fixture
def hal(open_keyring: None) -> User:
    """Return a helpdesk member."""
    return factories.user("hal", "helpdesk")


@pytest.fixture
def aud(open_keyring: None) -> User:
    """Return an auditor."""
    return factories.user("aud", "auditors")


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with every Argon2 that is computed for a password that is tried."""
    done: list[str] = []
    for name in ("encode", "verify"):
        real = getattr(hashers.QuickArgon2, name)

        def counted(self: object, *given: object, real: Any = real, name: str = name) -> Any:
            done.append(name)
            return real(self, *given)

        monkeypatch.setattr(hashers.QuickArgon2, name, counted)
    return done
