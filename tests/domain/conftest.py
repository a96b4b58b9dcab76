"""Fixtures of the tests of the domain: a simulated host with one account, and the secret that manages it."""

from collections.abc import Iterator

import pytest

from rotation.connectors.memory.connector import MemoryHost
from rotation.engine import failpoints
from secrets_app.models import Secret
from tests import factories
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


@pytest.fixture(autouse=True)
def _inert() -> Iterator[None]:
    """No failpoint is left armed for the next test."""
    yield
    failpoints.disarm()
