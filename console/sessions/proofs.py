"""How and when the user of this session authenticated: allauth's records, read in one place.

A sign-in through an identity provider does not prove that the user is present: its own session may sign a
borrowed browser in without a question. It counts from when the provider says it last asked.
"""

from __future__ import annotations

from typing import Any

from allauth.account.authentication import get_authentication_records
from django.http import HttpRequest
from django.utils import timezone

from console.private_apis import record_authentication
from secrets_app.models import User

#: The type of a record that says: at the identity provider.
PROVIDER = "openid"
Record = dict[str, Any]


def came_by_provider(
    request: HttpRequest, user: User, *, asked_at: float, has_second_factor: bool, is_confirming: bool = False
) -> None:
    """Note that the provider said who it is; `asked_at` is when it last asked the person, 0 where unknown."""
    record_authentication(
        request,
        user,
        "mfa" if has_second_factor else PROVIDER,
        type=PROVIDER,
        asked_at=min(asked_at, timezone.now().timestamp()),
        # Only where it is true: what else has the key counts as confirmed.
        **({"reauthenticated": True} if is_confirming else {}),
    )


def last(request: HttpRequest, user: User, *, began_at: float) -> float:
    """When this person last showed that they are there; 0 where nothing says so."""
    records = get_authentication_records(request, user)
    times = [record["at"] for record in records if "reauthenticated" in record]
    opened = [record for record in records if "reauthenticated" not in record]
    if not _is_by_provider(opened):
        return float(max([began_at, *times]))
    times += [record["asked_at"] for record in opened if record.get("type") == PROVIDER][-1:]
    times += [record["at"] for record in opened if record["method"] == "mfa" and record["type"] != PROVIDER]
    return float(max([0.0, *times]))


def is_by_provider(request: HttpRequest, user: User) -> bool:
    """Whether this person came by an identity provider."""
    records = get_authentication_records(request, user)
    return _is_by_provider([record for record in records if "reauthenticated" not in record])


def has_provider_factor(request: HttpRequest, user: User) -> bool:
    """Whether the provider proved a second factor in this session, and it counts here."""
    records = get_authentication_records(request, user)
    return any(record["method"] == "mfa" and record["type"] == PROVIDER for record in records)


def _is_by_provider(opened: list[Record]) -> bool:
    ways = [record for record in opened if record["method"] == "password" or record.get("type") == PROVIDER]
    return bool(ways) and ways[-1].get("type") == PROVIDER
