"""How many secrets and instances a policy reaches, for its page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from console.access import resources
from console.http import OperatorRequest
from console.lists import paging
from secrets_app.models import Policy
from secrets_app.policy import decisions, reach
from secrets_app.policy.decisions import Action


@dataclass(frozen=True)
class Reached:
    """One line: what could be done, to how many of how many."""

    label: str
    count: int
    total: int

    @property
    def text(self) -> str:
        if self.count > paging.COUNT_CAP:
            return f"{paging.COUNT_CAP:,}+"
        return f"{self.count:,} of {self.total:,}" if self.total <= paging.COUNT_CAP else f"{self.count:,}"


def counts(request: OperatorRequest, policy: Policy) -> list[Reached]:
    """What this policy alone could allow, of what its reader may see.

    Exact up to a cap, which keeps the page quick.
    """
    secrets, instances = resources.seen_secrets(request), resources.seen_instances(request)
    asked = (
        ("Secrets it shows", secrets, Action.DESCRIBE_SECRET, decisions.secret_rows()),
        ("Secrets whose value it reads", secrets, Action.GET_SECRET_VALUE, decisions.secret_rows()),
        ("Secrets it rotates", secrets, Action.ROTATE_SECRET, decisions.secret_rows()),
        ("Instances it shows", instances, Action.DESCRIBE_INSTANCE, decisions.instance_rows()),
    )
    return [
        Reached(label, _capped(rows.filter(reach.of_policy(policy, action, names))), _capped(rows))
        for label, rows, action, names in asked
    ]


def _capped(rows: QuerySet[Any]) -> int:
    return int(rows.order_by().values("pk")[: paging.COUNT_CAP + 1].count())
