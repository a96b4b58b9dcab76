"""Fill a database with an installation of many secrets and ten runs of each, by the database itself.

Copies of a few rows that were made as users make them, each with what tells it from the others, and sealed as
Keyturn would have: a row whose seal does not hold is read again for each decision about it.
"""

from __future__ import annotations

from collections.abc import Mapping

from django.db import connection, transaction
from django.db.models import Model

from rotation import runs
from rotation.models import HostKey, Instance, ManagedAccount, Run, Schedule
from secrets_app import seal_sets, seals
from secrets_app.models import AuditEvent, AuditHead, Secret, Tag
from tests import factories

RUNS = 10  # of each secret
ON_ONE = 10  # secrets on each instance
_AREAS = ("web", "payments", "mail", "db", "cache", "batch", "files", "search")


def fill(count: int) -> None:
    """Have `count` secrets on a tenth as many instances; nothing is done where they are there."""
    if Secret.objects.count() >= count:
        return
    with transaction.atomic():  # or a kept store would pass for a full one
        _fill(count)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")


def _fill(count: int) -> None:
    missing = count - count % ON_ONE
    first = factories.secret(name="first")
    run = runs.start(first, actor=factories.administrator())
    numbers = _numbers(missing)
    Run.objects.filter(pk=run.pk).update(state="ended", outcome="succeeded")
    _copy(
        Instance,
        first.managed.instance,
        f"{_numbers(missing // ON_ONE)} AS s",
        {
            "id": _uuid("'instance'", "s.n"),
            "name": f"'bench-host-' || {_padded('s.n', 5)}",
            "instance_id": f"'i-bench' || {_padded('s.n', 8)}",
            "address": "'10.' || (s.n / 65536) || '.' || (s.n / 256 % 256) || '.' || (s.n % 256)",
            "state": _of("s.n", {17: "unreachable", 43: "blocked", 51: "new"}, "ready"),
            "last_contact_at": _ago("s.n * 7919 % 864000"),
        },
    )
    _copy(
        HostKey,
        HostKey.objects.filter(instance=first.managed.instance)[0],
        f"{_numbers(missing // ON_ONE)} AS s",
        {
            "id": _uuid("'host key'", "s.n"),
            "instance_id": _uuid("'instance'", "s.n"),
        },
    )
    area = " ".join(f"WHEN {number} THEN '{name}'" for number, name in enumerate(_AREAS))
    _copy(
        Secret,
        first,
        f"{numbers} AS s",
        {
            "id": _uuid("'secret'", "s.n"),
            "name": f"'acs/ecs/' || CASE s.n % {len(_AREAS)} {area} END || '-' || {_padded('s.n', 6)}",
            "kind": _of("s.n", {7: "key_pair", 57: "key_pair"}, "password"),
            "created_at": _ago("s.n * 7919 % 31536000"),
            "deletion_planned_at": f"CASE WHEN s.n % 500 = 11 THEN {_ago('s.n % 86400')} END",
            "deletion_due_at": f"CASE WHEN s.n % 500 = 11 THEN {_ago('-(s.n % 2592000)')} END",
        },
    )
    _copy(
        ManagedAccount,
        first.managed,
        f"{numbers} AS s",
        {
            "id": _uuid("'account'", "s.n"),
            "secret_id": _uuid("'secret'", "s.n"),
            "instance_id": _uuid("'instance'", f"s.n / {ON_ONE}"),
            "username": f"'user' || (s.n % {ON_ONE})",
            "kind": _of("s.n", {7: "key_pair", 57: "key_pair"}, "password"),
            "credential": _of(
                "s.n", {3: "out_of_sync", 23: "unverified", 33: "no_value", 63: "blocked"}, "in_sync"
            ),
            "credential_code": _of("s.n", {3: "drifted"}, ""),
            "rotated_at": _ago("s.n * 7919 % 2700000"),
            "drift_checked_at": _ago("s.n * 7919 % 86400"),
        },
    )
    period = "2592000000000" if connection.vendor == "sqlite" else "interval '30 days'"
    _copy(
        Schedule,
        first.schedule,
        f"{numbers} AS s",
        {
            "id": _uuid("'schedule'", "s.n"),
            "secret_id": _uuid("'secret'", "s.n"),
            "is_on": _truth("s.n % 10 <> 9"),
            "period": period,
            "next_at": _ago("s.n * 7919 % 2592000 - CASE WHEN s.n % 700 = 0 THEN 0 ELSE 2592000 END"),
        },
    )
    Tag.objects.create(secret=first, key="env", value="prod")
    _copy(
        Tag,
        Tag.objects.get(secret=first),
        f"{_numbers(missing // 5)} AS s",
        {"id": _uuid("'tag'", "s.n"), "secret_id": _uuid("'secret'", "s.n * 5")},
    )
    began = "s.n * 7919 % 2592000 + r.n * 2592000"
    _copy(
        Run,
        run,
        f"{numbers} AS s, {_numbers(RUNS)} AS r",
        {
            "id": _uuid("'run'", f"s.n * {RUNS} + r.n"),
            "secret_id": _uuid("'secret'", "s.n"),
            "instance_id": _uuid("'instance'", f"s.n / {ON_ONE}"),
            "kind": _of("(s.n + r.n * 13)", {1: "verify", 2: "verify", 4: "drift", 5: "drift"}, "rotate"),
            "trigger": _of("(s.n + r.n * 7)", {6: "manual", 8: "retry", 9: "creation"}, "schedule"),
            "outcome": _of(
                "(s.n * 3 + r.n)", {10: "failed", 20: "blocked", 30: "cancelled", 40: "missed"}, "succeeded"
            ),
            "attempts": "1",
            "created_at": _ago(began),
            "due_at": _ago(began),
            "started_at": _ago(began),
            "ended_at": _ago(f"{began} - 4"),
        },
    )
    _events(missing)
    # Some are under way: SQLite keeps no statistics of an index without rows, and would not use it.
    newest = Run.objects.filter(kind="rotate").order_by("-created_at").values_list("pk", flat=True)[:20]
    Run.objects.filter(pk__in=list(newest)).update(state="queued", outcome="", ended_at=None)
    for model in (Secret, Instance, HostKey, ManagedAccount):
        _seal(model)


def _events(secrets: int) -> None:
    """Have an event of each run. Their macs are copies: no page looks at the chain."""
    head, event = AuditHead.objects.get(), AuditEvent.objects.filter(resource_id__isnull=False)[0]
    number = f"(s.n + {secrets} * r.n)"
    words = {2: "kms:GetSecretValue", 31: "kms:UpdateSecret", 77: "kms:DeleteSecret"}
    address = "('10.0.' || (s.n % 4) || '.' || (s.n % 250))"
    began = f"({RUNS} * {secrets} - {number}) * 31"
    _copy(
        AuditEvent,
        event,
        f"{_numbers(secrets)} AS s, {_numbers(RUNS)} AS r",
        {
            "sequence": f"{head.sequence} + 1 + {number}",
            "at": _ago(began),
            "actor_name": _of("s.n", {5: "bea", 6: "cal"}, "ann"),
            "action": _of("(s.n * 7)", words, "kms:RotateSecret"),
            "resource": f"'acs:kms:main:1:secret/acs/ecs/bench-' || {_padded('s.n', 6)}",
            "resource_id": _uuid("'secret'", "s.n"),
            "outcome": _of("(s.n * 3 + r.n)", {41: "denied", 61: "failed"}, "succeeded"),
            "address": address + ("::inet" if connection.vendor == "postgresql" else ""),
            "value_mark": "''",
        },
    )
    AuditHead.objects.update(sequence=head.sequence + RUNS * secrets)


def _seal(model: type[Secret | Instance | HostKey | ManagedAccount]) -> None:
    """Seal all rows of this table, and of secrets their tags."""
    tagged = set(Tag.objects.values_list("secret", flat=True))
    table, key = model._meta.db_table, model._meta.pk
    extra = ", tags_seal = %s" if model is Secret else ""
    values = []
    for row in model._base_manager.iterator():
        tags = {"env": "prod"} if row.pk in tagged else {}
        of_tags = [seals.mac(seal_sets.TAGS, seal_sets.tag_values(row.pk, tags))] if extra else []
        values.append([seals.of(row), *of_tags, key.get_db_prep_value(row.pk, connection)])
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.executemany(f"UPDATE {table} SET seal = %s{extra} WHERE id = %s", values)  # noqa: S608


def _copy(model: type[Model], template: Model, source: str, different: Mapping[str, str]) -> None:
    """Insert a copy of `template` for each row of `source`, with these expressions for some columns."""
    table, quote = model._meta.db_table, connection.ops.quote_name
    columns = [field.column for field in model._meta.concrete_fields]
    values = [different.get(column, f"t.{quote(column)}").replace("%", "%%") for column in columns]
    if unknown := set(different) - set(columns):
        raise AssertionError(unknown)
    key = model._meta.pk.get_db_prep_value(template.pk, connection)  # type: ignore[union-attr]
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {quote(table)} ({', '.join(map(quote, columns))}) "  # noqa: S608
            f"SELECT {', '.join(values)} FROM {quote(table)} AS t, {source} "
            f"WHERE t.{quote(model._meta.pk.column)} = %s",
            [key],
        )


# ---------------------------------------------------------------- expressions, in the words of both databases


def _numbers(count: int) -> str:
    """The numbers from 0, as `n`."""
    if connection.vendor == "postgresql":
        return f"(SELECT generate_series(0, {count - 1})::bigint AS n)"
    return (
        f"(WITH RECURSIVE c(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM c WHERE n < {count - 1}) "  # noqa: S608
        "SELECT n FROM c)"
    )


def _uuid(name: str, number: str) -> str:
    """The same one for the same name and number, in no order."""
    if connection.vendor == "postgresql":
        return f"md5({name} || ({number}))::uuid"
    scattered = f"(({number}) * 2654435761 % 4294967296)"
    return f"printf('%08x%08x%016x', {scattered}, length({name}) * 16777259, {number})"


def _padded(number: str, digits: int) -> str:
    if connection.vendor == "postgresql":
        return f"lpad(({number})::text, {digits}, '0')"
    return f"printf('%0{digits}d', {number})"


def _ago(seconds: str) -> str:
    if connection.vendor == "postgresql":
        return f"now() - ({seconds}) * interval '1 second'"
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', (-({seconds})) || ' seconds')"


def _truth(condition: str) -> str:
    return condition if connection.vendor == "postgresql" else f"({condition})"


def _of(number: str, some: Mapping[int, str], usual: str) -> str:
    """A word by the last two digits of a number."""
    cases = " ".join(f"WHEN {remainder} THEN '{word}'" for remainder, word in some.items())
    return f"CASE ({number}) % 100 {cases} ELSE '{usual}' END"
