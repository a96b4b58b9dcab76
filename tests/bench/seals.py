"""What the seals cost: the first decision of a request, and a page of the list, with them and without.

The two are timed in turn in one process and compared pair by pair, so that a machine that is busy for a while
slows both; on SQLite, which works in this process, by the time of the processor. *Without* reads rights by
the questions that were asked before there were seals, and checks none.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet, Value
from django.test import Client
from django.utils import timezone

from secrets_app import origin, seal_sets, seals
from secrets_app.actions import Action
from secrets_app.models import Policy, Principal, Secret, SecretGroupGrant, SecretPrincipalGrant, User
from secrets_app.people import users
from secrets_app.policy import deciding, decisions, grants, holdings, policies, ram_statements
from tests import factories

SECRETS = 150
GRANTS = 10
DECISIONS = 600
PAGES = 80
GOAL = 0.10  # of the time without


def measure(client: Client, name: str) -> None:
    """Print what the seals add to each, for the user of this name, as whom `client` is signed in.

    The user has a policy, grants, and then two groups with a policy of their own too.
    """
    user, actor = User.objects.get(username=name), factories.administrator()
    for secret in Secret.objects.order_by("-name")[:GRANTS]:
        grants.grant(secret, user, [Action.ROTATE_SECRET], actor=actor)
    secret = Secret.objects.select_related("region__account", "account").order_by("name")[1]
    _print("a first decision", *_pairs(lambda: _decide(user.pk, secret), DECISIONS))
    for number in range(2):
        group = users.create_group(f"{name}-{number}", actor=actor)
        text = policies.document(["kms:ListInstances", "kms:DescribeInstance"])
        policies.attach(policies.create(f"{name}-{number}", text, actor=actor), group, actor=actor)
        users.join(group, [user], actor=actor)
    _print("the same, two groups", *_pairs(lambda: _decide(user.pk, secret), DECISIONS))
    _print("a page of the list", *_pairs(lambda: _page(client), PAGES))


def _clock() -> float:
    return time.process_time() if connection.vendor == "sqlite" else time.perf_counter()


def _decide(user_id: UUID, secret: Secret) -> float:
    principal = Principal.objects.select_related("user").get(user=user_id)
    began = _clock()
    with origin.bind(address="127.0.0.1", is_secure=True, is_mfa=True, at=timezone.now()):
        decisions.decide(principal, Action.DESCRIBE_SECRET, secret)
    return _clock() - began


def _page(client: Client) -> float:
    began = _clock()
    answer = client.get("/all/secrets/")
    taken = _clock() - began
    if answer.status_code != 200:
        raise SystemExit(f"the list answered {answer.status_code}")
    return taken


def _pairs(work: Callable[[], float], count: int) -> tuple[list[float], list[float]]:
    """Times with and without, each second pair the other way round."""
    sealed: list[float] = []
    bare: list[float] = []
    gc.collect()
    gc.disable()
    try:
        for number in range(count + 10):
            for is_bare in (number % 2, 1 - number % 2):
                if is_bare:
                    with _without():
                        bare.append(work())
                else:
                    sealed.append(work())
    finally:
        gc.enable()
    return sealed[10:], bare[10:]  # the first ones fill what is remembered


def _print(what: str, sealed: list[float], bare: list[float]) -> None:
    more = statistics.median(a / b for a, b in zip(sealed, bare, strict=True)) - 1
    print(
        f"seals, {what:<21} {more:+.1%} of {statistics.median(bare) * 1000:.2f} ms "
        f"(p50 {statistics.median(sealed) * 1000:.2f} ms) on {connection.vendor} "
        f"(goal: at most {GOAL:+.0%}), {len(sealed):,} pairs",
        flush=True,
    )


# ---------------------------------------------------------------- without seals


@contextmanager
def _without() -> Iterator[None]:
    """No seal is looked at, and none is read."""
    with (
        mock.patch.object(holdings, "read_sheet", _read),
        mock.patch.object(deciding, "_is_whole", _yes),
        mock.patch.object(seal_sets, "tags_hold", _yes),
        mock.patch.object(seals, "holds", _yes),
    ):
        yield


def _yes(*_: object) -> bool:  # a Mock would take time that the time with seals does not have
    return True


def _read(principal: Principal) -> Any:
    """The sheet as it was read before a record had a seal."""
    groups = principal.groups.all()
    held = Q(attachments__principal=principal) | Q(attachments__group__in=groups)
    attached = Policy.objects.filter(held).distinct()
    statements = tuple(s for policy in attached for s in decisions.compiled(policy.document, policy.name))
    granted: dict[UUID, tuple[ram_statements.Statement, ...]] = {}
    to_it = _granted_by(SecretPrincipalGrant.objects.filter(principal=principal), "principal")
    to_groups = _granted_by(SecretGroupGrant.objects.filter(group__in=groups), "group")
    for secret, action, conditions, whom in to_it.union(to_groups, all=True):
        granted[secret] = (*granted.get(secret, ()), holdings._grant(action, conditions, whom))
    return holdings.Sheet(statements, granted)


def _granted_by(rows: QuerySet[Any], whom: str) -> QuerySet[Any, tuple[Any, ...]]:
    return rows.values_list("content_object", "permission__codename", "conditions", Value(whom))
