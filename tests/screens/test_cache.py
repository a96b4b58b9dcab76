"""The cache as a store that somebody else may write: nothing of theirs runs, counts or locks."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
import time_machine
from django.core.cache import cache
from django.db import DatabaseError
from django.urls import reverse
from django.utils import timezone

from console import cache as backend
from console.models import CacheEntry
from tests.factories import PASSWORD

pytestmark = pytest.mark.django_db

WARNING = "written by something else"


@pytest.fixture(autouse=True)
def _a_new_minute(monkeypatch):
    monkeypatch.setattr(backend._Last, "reported", float("-inf"))
    monkeypatch.setattr(backend._Last, "swept", float("-inf"))


def rows():
    return CacheEntry.objects.all()


def sign_in(client, password=PASSWORD):
    return client.post(reverse("account_login"), {"login": "dot", "password": password})


@pytest.mark.parametrize("value", [[1.5, 0.25], True, "y", 7, {"a": [None]}, []])
def test_what_is_put_in_comes_out(value):
    cache.set("name", value, 60)
    assert cache.get("name") == value
    assert cache.get("another") is None
    assert cache.delete("name")
    assert not cache.delete("name")
    assert cache.get("name", "nothing") == "nothing"


def test_an_entry_is_there_until_its_end():
    with time_machine.travel("2026-03-01T08:00:00Z", tick=False) as clock:
        assert cache.add("name", "first", 60)
        assert not cache.add("name", "second", 60)
        clock.shift(59)
        assert cache.get("name") == "first"
        assert cache.touch("name", 60)
        clock.shift(59)
        assert cache.get("name") == "first"
        clock.shift(1)
        assert cache.get("name") is None
        assert not cache.touch("name", 60)
        assert cache.add("name", "second", None)
        clock.shift(10**9)
        assert cache.get("name") == "second"


def test_what_is_over_is_removed_in_time_and_nothing_before_it():
    with time_machine.travel("2026-03-01T08:00:00Z", tick=False) as clock:
        for number in range(400):
            cache.set(f"count {number}", [1.0], 60 if number % 2 else 600)
        clock.shift(61)
        backend._Last.swept = float("-inf")
        cache.set("one more", [1.0], 60)
        assert rows().count() == 201


def test_a_store_that_does_not_answer_is_no_answer(monkeypatch):
    def away(*_, **__):
        raise DatabaseError

    with monkeypatch.context() as patch:
        patch.setattr("django.db.backends.utils.CursorWrapper.execute", away)
        for ask in (lambda: cache.get("name"), lambda: cache.add("name", 1), lambda: cache.set("name", 1)):
            with pytest.raises(DatabaseError):
                ask()


# ---------------------------------------------------------------- a writer of the table


@pytest.mark.parametrize(
    "change",
    [
        {"value": "[9.0]"},
        {"value": "cos\nsystem\n(S'true'\ntR."},
        {"expires_at": timezone.now() + timedelta(days=1)},
        {"seal": "0" * 64},
        {"seal": "é"},
    ],
)
def test_an_entry_that_was_changed_is_not_there(change):
    cache.set("name", [1.0], 60)
    rows().update(**change)
    assert cache.get("name") is None
    assert cache.add("name", [2.0], 60)


def test_an_entry_that_was_moved_is_not_there():
    cache.set("many tries", [1.0] * 9, 60)
    rows().update(key=cache._name("few tries", None))
    assert cache.get("few tries") is None


def test_a_planted_entry_locks_nobody_out(client, dot, monkeypatch):
    locks, add = set(), backend.Cache.add

    def noting(self, key, *words, **named):
        locks.add(self._name(key, None))
        return add(self, key, *words, **named)

    monkeypatch.setattr(backend.Cache, "add", noting)
    sign_in(client, password="wrong wrong wrong")
    assert locks
    assert rows().count()
    far = timezone.now() + timedelta(days=3650)
    rows().update(value=str([9e9] * 200), expires_at=far)
    CacheEntry.objects.bulk_create(
        [CacheEntry(key=lock, value="true", seal="0" * 64, expires_at=far) for lock in locks]
    )
    assert sign_in(client)["Location"] == reverse("home")


def test_a_writer_who_empties_the_table_only_starts_the_counts_anew(client, dot):
    for _ in range(5):
        sign_in(client, password="wrong wrong wrong")
    assert "Location" not in sign_in(client).headers
    cache.clear()
    assert "Location" not in sign_in(client, password="wrong wrong wrong").headers
    assert sign_in(client)["Location"] == reverse("home")


def test_the_table_names_nobody(client, dot):
    sign_in(client, password="wrong wrong wrong")
    text = " ".join(f"{row.key} {row.value}" for row in rows())
    assert "127.0.0.1" not in text
    assert "dot" not in text


def test_a_forged_entry_is_said_once_a_minute(caplog):
    cache.set("name", 1)
    rows().update(seal="0" * 64)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            assert cache.get("name") is None
        backend._Last.reported = float("-inf")
        cache.get("name")
    assert sum(WARNING in record.getMessage() for record in caplog.records) == 2
