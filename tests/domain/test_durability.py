"""A commit is on the disk before a host hears of it, whatever PostgreSQL was told by somebody else."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.core import checks
from django.db import connection, connections

from console.process import durability

pytestmark = pytest.mark.django_db


class Server:
    """A cursor of a PostgreSQL server with these settings, as far as the check asks for them."""

    def __init__(self, **settings: str) -> None:
        self._settings = {"fsync": "on", "full_page_writes": "on"} | settings
        self._answer = ""

    def execute(self, statement: str, parameters: list[str]) -> None:
        assert statement == "SELECT current_setting(%s)"
        self._answer = self._settings[parameters[0]]

    def fetchone(self) -> tuple[str]:
        return (self._answer,)


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [
        ({}, []),
        ({"fsync": "off"}, ["console.E001"]),
        ({"full_page_writes": "off"}, ["console.E002"]),
        ({"fsync": "off", "full_page_writes": "off"}, ["console.E001", "console.E002"]),
    ],
)
def test_fi_d_05_a_server_that_may_lose_commits_is_reported_with_what_to_do(settings, numbers):
    found = durability.shortcomings(Server(**settings))
    assert [one.id for one in found] == numbers
    assert all(one.is_serious() and "postgresql.conf" in one.hint for one in found)


def test_the_check_asks_the_server_where_a_database_is_to_be_asked():
    expected = []
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            expected = durability.shortcomings(cursor)
    found = checks.run_checks(tags=[checks.Tags.database], databases=["default"])
    assert [one for one in found if one.id.startswith("console.")] == expected
    assert durability.server_is_durable(databases=None) == []


def test_fi_d_05_every_session_waits_for_the_disk_whatever_is_set_for_others():
    """On SQLite the same promise is a pragma of each connection."""
    other = connections.create_connection("default")
    if connection.vendor == "sqlite":
        other.settings_dict = other.settings_dict | {"OPTIONS": settings.PRODUCTION_OPTIONS}
    try:
        with other.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT current_setting('synchronous_commit')")
                assert cursor.fetchone()[0] in {"on", "remote_apply"}
            else:
                cursor.execute("PRAGMA synchronous")
                assert cursor.fetchone()[0] == 2  # FULL
    finally:
        other.close()


def test_a_server_gives_a_client_that_is_gone_without_a_word_up_in_seconds():
    """By TCP, on PostgreSQL; SQLite has no server."""
    if connection.vendor == "postgresql":
        other = connections.create_connection("default")
        try:
            with other.cursor() as cursor:
                found = {}
                for name in ("idle", "interval", "count"):
                    cursor.execute(f"SHOW tcp_keepalives_{name}")
                    found[name] = int(cursor.fetchone()[0])
        finally:
            other.close()
        assert found["idle"] + found["interval"] * found["count"] == 11


@pytest.mark.parametrize(("vendor", "asked"), [("postgresql", 1), ("sqlite", 0)])
def test_fi_d_05_a_new_session_of_postgresql_is_told_so_first(vendor, asked):
    told: list[str] = []

    class Session:
        def __enter__(self) -> Session:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def execute(self, statement: str, parameters: object = None) -> None:
            told.append(statement)

        def cursor(self) -> Session:
            return self

    session = Session()
    session.vendor = vendor
    durability.connection_created.send(type(connection), connection=session)
    assert len([one for one in told if "synchronous_commit" in one]) == asked
    assert len([one for one in told if "idle_in_transaction_session_timeout" in one]) == asked
    assert len([one for one in told if "tcp_keepalives" in one]) == asked
