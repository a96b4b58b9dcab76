"""Fixtures of the tests of the domain: a simulated host with one account, and the secret that manages it."""

import itertools
from collections.abc import Callable, Iterator

import pytest

from rotation.connectors.memory.connector import MemoryHost
from rotation.engine import failpoints
from secrets_app.models import Secret, User
from tests import factories, statements
from tests.domain.rig import OLD, simulated_host


@pytest.fixture
def host() -> MemoryHost:
    """Return a host with the account svc, whose password is OLD."""
    return simulated_host()


@pytest.fixture
def secret() -> Secret:
    """Return a secret that manages svc, verified with OLD."""
    made = factories.secret(initial=OLD)
    factories.settle(made)
    return made


@pytest.fixture
def give(dot: User) -> Callable[..., None]:
    """Return a function that lets a user do something, on a condition; `effect` may forbid it."""
    numbers = itertools.count(1)

    def attach(
        user: User, *actions: str, effect: str = "Allow", on: object = "*", **condition: object
    ) -> None:
        more = {"Condition": condition} if condition else {}
        statement = statements.allow(*actions, on=on, **more) | {"Effect": effect}
        statements.give(user, f"given-{next(numbers)}", statement, actor=dot)

    return attach


@pytest.fixture(autouse=True)
def _inert() -> Iterator[None]:
    """No failpoint is left armed for the next test."""
    yield
    failpoints.disarm()
