"""What is sent to a route and what it leaves in the trail; and the rows that calls have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.test import Client
from django.urls import reverse

from rotation import runs
from rotation.models import Run
from secrets_app.models import Secret, User
from tests import factories

#: Every value that the calls seal, so that it can be looked for.
VALUE, NEW_VALUE = "a-first-value-1", "another-value-22"


@dataclass(frozen=True)
class Cast:
    """Who takes part: an administrator, an auditor, and somebody whom things are done to."""

    dot: User
    aud: User
    eve: User


@dataclass
class Call:
    """One deed, and the actions of the events that it leaves."""

    args: list[Any] = field(default_factory=list)
    given: dict[str, Any] = field(default_factory=dict)
    actions: tuple[str, ...] = ()
    method: str = "post"
    query: str = ""
    #: The action that an auditor is refused; by default the first of those above.
    refused: str = ""
    #: What is answered to whoever is nobody yet.
    answer: int = 302
    #: What an auditor is answered; 200 or 302 where that is no refusal.
    auditor: int = 403
    #: What must have happened in the same browser before; it returns what is sent in place of `given`.
    before: Callable[[Client], dict[str, Any] | None] | None = None

    def url(self, name: str) -> str:
        return reverse(name, args=self.args) + self.query


Make = Callable[[Cast], Call]


def secret(**given: Any) -> Secret:
    """A secret with a value and nothing under way."""
    made = factories.secret(**({"initial": VALUE} | given))
    factories.settle(made)
    return made


def signed_in(user: User) -> None:
    """Somebody signs in somewhere else."""
    words = {"login": user.username, "password": factories.PASSWORD}
    Client().post(reverse("account_login"), words)


def queued() -> Run:
    return runs.start(secret(), actor=factories.administrator())
