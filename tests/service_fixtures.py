"""Servers that a test may break: each is started for the test that asks, and ends with it."""

from collections.abc import Iterator

import pytest

from tests import services


@pytest.fixture
def own_postgres() -> Iterator[services.Postgres]:
    """Return a cluster of this test's own."""
    with services.postgres() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[services.Redis]:
    """Return a Redis of this test's own."""
    with services.redis_server() as server:
        yield server
