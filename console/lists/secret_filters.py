"""What the list of secrets is narrowed to and sorted by."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import Any

from django.db import connection
from django.db.models import BooleanField, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.db.models.lookups import Exact, In
from django.http import QueryDict
from django.utils import timezone

from console.access import resources
from console.forms.secrets.secrets import Filters
from console.http import OperatorRequest
from console.lists import expected, secret_rows, texts
from console.lists import listed as _listed  # noqa: F401  # the lookup registers itself
from console.lists.paging import By
from console.presentation import secret_states
from rotation.models import GRACE, Instance, ManagedAccount, Schedule
from secrets_app import prepared
from secrets_app.actions import Action
from secrets_app.models import Secret, Tag

_OF_ACCOUNT, _OF_SCHEDULE = ("managed__secret_id",), ("schedule__secret_id",)
#: A secret of any other type has an account and a schedule from its first moment on. That `created_at` is
#: there is said for the index of types: see `paging.By.is_there`.
_GENERIC = Q(type=Secret.Type.GENERIC, created_at__isnull=False)
SORTS: dict[str, str | By] = {
    "name": "name",
    "type": By("type", is_there="created_at"),
    "instance": By(
        "managed__instance__name", ("managed__instance_id", *_OF_ACCOUNT), is_joined=True, without=_GENERIC
    ),
    "user": By("managed__username", _OF_ACCOUNT, is_joined=True, without=_GENERIC),
    "kind": By("kind", ("name", "pk"), is_there="created_at"),
    "credential": By("managed__credential", _OF_ACCOUNT, is_joined=True, without=_GENERIC),
    "automatic": By("schedule__period", _OF_SCHEDULE, is_joined=True, without=_GENERIC),
    "next": By("schedule__next_at", _OF_SCHEDULE, is_joined=True, without=_GENERIC, may_be_empty=True),
    "last": By("managed__rotated_at", _OF_ACCOUNT, is_joined=True, without=_GENERIC, may_be_empty=True),
    "status": By("deletion_planned_at", empty_first=("name", "pk")),
    "created": "created_at",
}


DEFAULT_SORT = "name"


def read(request: OperatorRequest, query: QueryDict) -> Filters:
    """The filters in `query`, with the keys that the user of this request may see."""
    may_list = resources.may(request, Action.LIST_KEYS)
    return Filters(query, keys=resources.key_aliases(request) if may_list else ())


_SIGNS = 8  # in the text of a tag, so many = may stand between its key and its value
MOST_LISTED = 4_000  # as many are looked up by their keys
MOST_JOINED = 25_000  # as many are compared by their keys; of more, each row is asked about its account


def _called(rows: QuerySet[Secret], text: str) -> QuerySet[Secret]:
    """The rows called like this, whose user or instance is, or that have such a tag.

    Names are in the table itself: the database takes its index of their parts, or reads them in the order of
    the list until it has a page. What else is called like this is found apart, by an index or by a scan of a
    small one.
    """
    named, others = Q(name__icontains=text), _others(text)
    count = expected.number(others) if len(text) >= texts.PARTS else 0
    # Counted first where an index makes that quick, and where few are not expected: thousands of keys take
    # longer to read than to count.
    is_counted = len(text) >= texts.PARTS and not 0 < count <= MOST_LISTED
    if is_counted and count <= expected.SURELY * MOST_LISTED:
        count = others[: MOST_JOINED + 1].count()
    if count <= MOST_LISTED:
        found = set(others[: MOST_LISTED + 1]) if count or not is_counted else set()
        if len(found) <= MOST_LISTED:
            return rows.filter(named | Q(pk__listed=found)) if found else rows.filter(named)
        count = others[: MOST_JOINED + 1].count()
    if count <= MOST_JOINED:
        return rows.filter(named | Q(pk__in=others))
    # A value and not Exists, which PostgreSQL would answer for all accounts before it reads a row.
    on = ManagedAccount.objects.filter(
        Q(username__icontains=text) | _where(text, "instance__"), secret=OuterRef("pk")
    )
    return rows.alias(account_called=Subquery(on.values("pk")[:1])).filter(
        named | Q(account_called__isnull=False) | Q(pk__in=_tagged(text).order_by().values("secret"))
    )


MOST_INSTANCES = 500  # so many that are called like two letters are named by their keys


def _on(text: str) -> Q:
    """The accounts on instances that are called like this."""
    if len(text) < texts.PARTS:
        short = texts.has("name", text) | Q(instance_id__iexact=text) | texts.has("address", text)
        rows = Instance.objects.filter(short).order_by("name", "pk").values_list("pk", flat=True)
        found = list(rows[: MOST_INSTANCES + 1])
        if len(found) <= MOST_INSTANCES:
            return Q(instance__in=found)
    return Q(instance__in=Instance.objects.filter(_where(text)).order_by().values("pk"))


def _where(text: str, prefix: str = "") -> Q:
    """The instances that are called like this."""
    return (
        Q(**{f"{prefix}name__icontains": text})
        | Q(**{f"{prefix}instance_id__iexact": text})
        | Q(**{f"{prefix}address__icontains": text})
    )


def _others(text: str) -> QuerySet[Any, Any]:
    """The keys of secrets whose user or instance is called like this, or that have such a tag."""
    accounts = ManagedAccount.objects.order_by()
    names = _usernames(text)
    if names is not None:
        called = accounts.filter(username__in=names)
    elif len(text) >= texts.PARTS:
        called = accounts.filter(username__icontains=text)
    else:  # PostgreSQL would read its index of parts from end to end, and then every row
        called = accounts.filter(texts.has("username", text))
    return called.values_list("secret", flat=True).union(
        accounts.filter(_on(text)).values_list("secret", flat=True),
        _tagged(text).order_by().values_list("secret", flat=True),
        all=True,
    )


MOST_USERNAMES = 300  # different ones are looked at: to find one takes as long as to read some sixty rows
_ACCOUNTS = ManagedAccount._meta.db_table
#: The different usernames in their order, each found in the index behind the one before, and whether each is
#: called like the text. Many accounts have few: to read those of all accounts takes longer.
_WALKED = f"""
    WITH RECURSIVE walked(username) AS (
        SELECT MIN(username) FROM {_ACCOUNTS}
        UNION ALL
        SELECT (SELECT MIN(a.username) FROM {_ACCOUNTS} AS a WHERE a.username > walked.username)
        FROM walked WHERE walked.username IS NOT NULL
    )
    SELECT username, {{place}}(UPPER(username), UPPER(%s)) > 0 FROM walked WHERE username IS NOT NULL LIMIT %s
"""  # noqa: S608  # the name of a table


def _usernames(text: str) -> list[str] | None:
    """The usernames of accounts that are called like this; None where there are too many to look at each."""
    place = "STRPOS" if connection.vendor == "postgresql" else "INSTR"
    found = prepared.asked(_WALKED.format(place=place), text, MOST_USERNAMES + 1)
    return None if len(found) > MOST_USERNAMES else [name for name, is_called in found if is_called]


def _tagged(text: str) -> QuerySet[Tag]:
    """The tags with this key, this value, or written `key=value`. Whole and not parts: an index has them."""
    return Tag.objects.filter(_written(text) if "=" in text else Q(key=text) | Q(value=text))


def _written(text: str) -> Q:
    """The tags that are written `key=value` like this: a key and a value may hold the sign too."""
    signs = [place for place, letter in enumerate(text) if letter == "="][:_SIGNS]
    halves = {(text[:sign], text[sign + 1 :]) for sign in signs}
    halves |= {(key.strip(), value.strip()) for key, value in halves}
    # In one order, so that a statement is the same each time.
    return reduce(or_, (Q(key=key, value=value) for key, value in sorted(halves)))


def _turned(automatic: str) -> Q:
    """The rows that rotate automatically (`on`), that should have (`overdue`), or that do not (`off`)."""
    if automatic == "off":
        return _either(Schedule.objects.filter(is_on=False), "schedule__is_on", False)
    if automatic != "overdue":
        on = Schedule.objects.filter(is_on=True, paused_at__isnull=True, stopped_at__isnull=True)
        return _either(on, "schedule__is_on", True) & Q(
            schedule__paused_at__isnull=True,
            schedule__stopped_at__isnull=True,
            deletion_planned_at__isnull=True,
        )
    # Begun at the dates, of which few have passed: SQLite would begin at the secrets.
    waiting = Schedule.objects.filter(is_on=True, paused_at__isnull=True, stopped_at__isnull=True)
    due = waiting.filter(next_at__lt=timezone.now() - GRACE).order_by().values("secret")
    old = Secret.objects.kept().filter(reminder_due_at__lt=timezone.now()).order_by().values("pk")
    return Q(pk__in=due.union(old, all=True), deletion_planned_at__isnull=True)


def _credential(state: str) -> Q:
    """The rows whose credential the list shows like this: while one rotates, it shows that."""
    rotating = Q(pk__in=secret_rows.rotating())
    if state == "rotating":
        return rotating
    idle = ~rotating
    if state == "drifted":
        return idle & Q(
            managed__credential=ManagedAccount.Credential.OUT_OF_SYNC,
            managed__credential_code__in=secret_states.DRIFTED,
        )
    return idle & _either(ManagedAccount.objects.filter(credential=state), "managed__credential", state)


def _either(rows: QuerySet[Any], field: str, value: object) -> Q:
    """The secrets of these accounts or schedules, which are those whose `field` is `value`.

    Few are named by their keys. Of many, the list is read in its order, and a page is soon full: no index has
    such an expression, and the database would begin at the other table and sort all that it finds. Whether a
    row is one of them is looked up among their keys, which are read once; of very many, in its other table.
    """
    keys = rows.order_by().values_list("secret", flat=True)
    if not keys[MOST_LISTED : MOST_LISTED + 1]:
        return Q(pk__listed=set(keys))
    if 0 < expected.number(keys) <= MOST_JOINED:
        return _among(keys)
    # In two forms, of which either would do: PostgreSQL takes that for half of the rows, and reads on.
    is_so = Exact(F(field), Value(value))
    return Q(Coalesce(is_so, is_so, output_field=BooleanField()))


def _among(keys: QuerySet[Any, Any]) -> Q:
    """The rows with one of these keys, which are read once; rows are then looked up in the list's order."""
    return Q(Coalesce(In(F("pk"), keys.query), Value(False), output_field=BooleanField()))


def narrowed(rows: QuerySet[Secret], chosen: dict[str, Any]) -> QuerySet[Secret]:
    text, status = chosen.get("q", ""), chosen.get("status", "")
    if text:
        rows = _called(rows, text)
    if credentials := chosen.get("credential"):
        rows = rows.filter(reduce(or_, map(_credential, credentials)))
    if status in {"enabled", "pending_deletion"}:
        rows = rows.filter(deletion_planned_at__isnull=status == "enabled")
    if automatic := chosen.get("automatic"):
        rows = rows.filter(_turned(automatic))
    if kinds := chosen.get("kind"):
        # In the order of names by an index that says so too: see `paging.By`.
        rows = rows.filter(kind__in=kinds, created_at__isnull=False)
    if key := chosen.get("key"):
        rows = rows.filter(key__alias=key)
    return _managing(rows, chosen.get("instance", ""), chosen.get("user", ""), chosen.get("tag", ""))


def _managing(rows: QuerySet[Secret], instance: str, user: str, tag: str) -> QuerySet[Secret]:
    """The rows of an account on this instance and of this name, and with this tag, each where it is given."""
    accounts = ManagedAccount.objects.order_by()
    if instance:
        named = Q(name__iexact=instance) | Q(instance_id__iexact=instance)
        on = Instance.objects.filter(named).order_by().values("pk")
        rows = rows.filter(pk__in=accounts.filter(instance__in=on).values("secret"))
    if user:
        called = accounts.filter(username=user).values_list("secret", flat=True)
        # Of many, PostgreSQL would look up each row of the list among the accounts.
        are_many = MOST_LISTED < expected.number(called) <= MOST_JOINED
        rows = rows.filter(_among(called) if are_many else Q(pk__in=called))
    if tag.strip():
        # Without a sign, those with any value; a key may hold the sign, of a tag that has no value.
        with_key = Q(key__in={tag, tag.strip()})
        tags = Tag.objects.filter(with_key | _written(tag) if "=" in tag else with_key).order_by()
        rows = rows.filter(pk__in=tags.values("secret"))
    return rows
