"""Checks of the database and the broker: their settings, their room, and their clock."""

from __future__ import annotations

import sqlite3
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.utils import timezone

from console.openid_settings import LOOPBACK
from console.presentation import durations
from console.process import away, durability, health
from console.watching.findings import Said, ok, problem, unknown, warning

OLDEST_POSTGRESQL: Final = 14  # of Django 5.2
OLDEST_REDIS: Final = (6, 2)
MANY: Final = 0.8  # of a limit that is used
MOST: Final = 0.95
APART: Final = timedelta(seconds=2)
FAR_APART: Final = timedelta(seconds=15)  # half of what a second factor allows
#: What SQLite must say, and why.
_PRAGMAS: Final = {
    "journal_mode": ("wal", "readers and writers wait for each other"),
    "synchronous": (2, "a power failure can lose a value that an instance has already"),
    "foreign_keys": (1, "a row can be left without the row that it belongs to"),
}
_QUEUE: Final = "celery"  # Celery's own name of it


def set_up() -> Said:
    """Whether the tables are those of this version, and take changes."""
    name = str(connection.settings_dict["NAME"])
    if connection.vendor == "sqlite" and connection.connection is None and not Path(name).exists():
        obstacles = [health.NOT_SET_UP]  # to ask would make the file
    else:
        obstacles = health.obstacles()
    if health.DATABASE in obstacles:
        return problem(
            "The database does not answer.",
            "Start it, and compare KEYTURN_DATABASE_URL with it. Keyturn needs no restart afterwards.",
            away="the database does not answer",
        )
    if health.NOT_SET_UP in obstacles:
        return problem(
            "The set-up of this version has not run.",
            "Run manage.py setup.",
            away="the database is not set up",
        )
    if health.READ_ONLY in obstacles:
        return problem(
            "The database takes no changes.",
            "It is a standby or was set to read-only: let KEYTURN_DATABASE_URL lead to the primary.",
        )
    return ok("The database answers, and its tables are those of this version.")


def database() -> Said:
    return _sqlite() if connection.vendor == "sqlite" else _postgresql()


def _sqlite() -> Said:
    wrong = []
    with connection.cursor() as cursor:
        for name, (wanted, why) in _PRAGMAS.items():
            cursor.execute(f"PRAGMA {name}")
            row = cursor.fetchone()
            if row is None or row[0] != wanted:
                wrong.append(f"{name} is {row[0] if row else 'not known'}: {why}")
    if wrong:
        return problem(
            f"SQLite {sqlite3.sqlite_version}: {'; '.join(wrong)}.",
            "Another program has changed the file, or its disk has no locks (a network share). Move it to a "
            "local disk, then restart Keyturn.",
        )
    return ok(f"SQLite {sqlite3.sqlite_version}, with a write-ahead log and synchronous commits.")


def _postgresql() -> Said:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('server_version'), current_setting('server_version_num')::int")
        version, number = cursor.fetchone()
        lost = durability.shortcomings(cursor)
    if lost:
        return problem(" ".join(str(one.msg) for one in lost), " ".join(str(one.hint) for one in lost))
    return of_postgresql(str(version), int(number) // 10_000)


def of_postgresql(version: str, major: int) -> Said:
    """Judge the version of a server that loses nothing."""
    if major < OLDEST_POSTGRESQL:
        return problem(
            f"PostgreSQL {version} is not supported.", f"Upgrade it to {OLDEST_POSTGRESQL} or newer."
        )
    return ok(f"PostgreSQL {version}, with synchronous commits.")


def connections() -> Said:
    """How many of PostgreSQL's connections are used, by all programs."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), "
            "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
        )
        used, limit = cursor.fetchone()
    return of_connections(int(used), int(limit))


def of_connections(used: int, limit: int) -> Said:
    """Judge how many of `limit` connections are used."""
    sentence = f"{used} of {limit} connections are used."
    advice = "Raise max_connections of PostgreSQL, or start fewer processes; each thread may need one."
    if used >= limit * MOST:
        return problem(sentence, advice)
    return warning(sentence, advice) if used >= limit * MANY else ok(sentence)


def clock() -> Said:
    """Compare this machine's clock with the database's, in the middle of the question."""
    if connection.vendor == "sqlite":
        return ok("The database uses this machine's clock.")
    before = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        there: datetime = cursor.fetchone()[0]
    after = timezone.now()
    return of_clocks(before + (after - before) / 2 - there, (after - before) / 2)


def of_clocks(apart: timedelta, give_or_take: timedelta) -> Said:
    """Judge how far this clock is ahead of the database's; the question took twice `give_or_take`."""
    if give_or_take >= FAR_APART:
        return unknown("The database answered too slowly to compare clocks.", "Check again later.")
    size = max(abs(apart) - give_or_take, timedelta(0))
    if size < APART:
        return ok("This machine's clock agrees with the database's.")
    side = "ahead of" if apart > timedelta(0) else "behind"
    sentence = f"This machine's clock is {durations.duration(size)} {side} the database's."
    advice = "Have both machines follow the same source of time (NTP)."
    return problem(sentence, advice) if size >= FAR_APART else warning(sentence, advice)


# ---------------------------------------------------------------- the broker


def broker() -> Said:
    """A Redis: its version, its memory, and what its ACL lets Keyturn do."""
    parts = urlsplit(settings.BROKER_URL)
    if parts.scheme == "embedded":
        return ok("Embedded: a table of the database.")
    import redis  # see `away`

    seconds = away.BROKER_SECONDS
    client = redis.Redis.from_url(settings.BROKER_URL, socket_connect_timeout=seconds, socket_timeout=seconds)
    with client:
        try:
            client.ping()
        except redis.AuthenticationError:
            return problem("Redis refuses the password.", "Compare KEYTURN_BROKER_URL with the ACL of Redis.")
        except redis.exceptions.NoPermissionError:
            return _not_permitted("ping")
        except (redis.RedisError, OSError):
            return problem(
                "Redis does not answer.", "Start it, and compare KEYTURN_BROKER_URL with where it listens."
            )
        if refused := _refused(client):
            return _not_permitted(refused)
        is_open = not parts.password and (parts.hostname or "") not in LOOPBACK
        return of_redis(_info(client), is_open=is_open)


def _not_permitted(command: str) -> Said:
    return problem(
        f"The ACL of Redis does not let Keyturn use {command}.",
        "Give its user +@read, +@write, +@transaction, +@scripting and +@connection on all keys.",
    )


def _refused(client: Any) -> str:
    """The first command of the queue's that the ACL refuses; none of these changes anything."""
    from redis.exceptions import NoPermissionError

    nothing = uuid.uuid4().hex
    questions = (
        ("llen", _QUEUE),
        ("lrem", _QUEUE, "1", nothing),
        ("hdel", "unacked", nothing),
        ("zrem", "unacked_index", nothing),
        ("srem", f"_kombu.binding.{_QUEUE}", nothing),
    )
    for words in questions:
        try:
            client.execute_command(*words)
        except NoPermissionError:
            return words[0]
    return ""


def _info(client: Any) -> dict[str, Any] | None:
    """What Redis says of itself, or None where its ACL does not let it."""
    from redis.exceptions import NoPermissionError

    try:
        told: dict[str, Any] = client.info()
    except NoPermissionError:
        return None
    return told


def of_redis(info: dict[str, Any] | None, *, is_open: bool) -> Said:
    """Judge what a Redis says of itself; `is_open` where the network needs no password."""
    if info is None:
        return unknown("The ACL of Redis does not let Keyturn use info.", "Allow +info for its user.")
    version = str(info.get("redis_version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if len(numbers) < 2:
        return unknown("Redis does not say its version.", "Check where KEYTURN_BROKER_URL leads to.")
    if numbers < OLDEST_REDIS:
        oldest = ".".join(map(str, OLDEST_REDIS))
        return problem(f"Redis {version} is not supported.", f"Upgrade it to {oldest} or newer.")
    if info.get("maxmemory_policy") != "noeviction":
        return problem(
            f"Redis {version} may drop messages when its memory is full ({info.get('maxmemory_policy')}).",
            "Set maxmemory-policy noeviction.",
        )
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    if limit and used >= limit * MANY:
        sentence = f"Redis {version} uses {100 * used // limit}% of its memory."
        advice = "Raise maxmemory, or start more workers if the queue is long."
        return problem(sentence, advice) if used >= limit * MOST else warning(sentence, advice)
    if is_open:
        return warning(
            f"Redis {version} takes commands without a password.",
            "Set a password (requirepass, or a user of an ACL), and put the URL into the file of "
            "KEYTURN_BROKER_URL_FILE.",
        )
    return ok(f"Redis {version}, which keeps every message.")
