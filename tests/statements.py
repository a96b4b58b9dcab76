"""Statements of policies for tests, and a policy of them that is attached at once."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.auth.models import Group

from secrets_app.models import User
from secrets_app.policy import policies
from tests import factories


def allow(*actions: str, on: object = "*", **more: object) -> dict[str, Any]:
    """Return a statement that allows these actions; `more` has its conditions."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": on, **more}


def deny(*actions: str, on: object = "*", **more: object) -> dict[str, Any]:
    """Return a statement that denies these actions."""
    return allow(*actions, on=on, **more) | {"Effect": "Deny"}


def give(to: User | Group, name: str, *statements: dict[str, Any], actor: User) -> None:
    """Attach a new policy of these statements to a user or a group."""
    text = json.dumps({"Version": "1", "Statement": list(statements)})

    def make() -> None:
        policies.attach(policies.create(name, text, actor=actor.principal), to, actor=actor.principal)

    factories.once(make, "given", name, text, to, actor)
