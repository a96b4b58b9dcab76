"""What every fault is tried on: PostgreSQL, a fresh host behind a relay, a password and a key pair."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection

from rotation import failpoints, keys, work
from tests.faults import rig as rigs
from tests.faults.rig import KINDS, Rig
from tests.lab_fixtures import KeyPair, NewHost
from tests.wires.relay import Relay

NewRig = Callable[..., Rig]


@pytest.fixture(autouse=True)
def _on_postgresql() -> None:
    # Not skipped: on another database what these tests promise would not have been tried.
    if connection.vendor != "postgresql":
        pytest.fail("Run these with: python -m tests.services -- pytest tests/faults (or ./keyturn test)")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits are as many as in production, and a tenth as long or less."""
    scaled = tuple(timedelta(seconds=s) for s in (0.3, 0.6, 1, 2, 4, 8))
    assert len(scaled) == len(work.BACK_OFF)
    for module in (work, keys):
        monkeypatch.setattr(module, "BACK_OFF", scaled)


@pytest.fixture(autouse=True)
def _inert() -> Iterator[None]:
    yield
    failpoints.disarm()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Return what is rotated: a password, then a key pair."""
    return str(request.param)


@pytest.fixture
def new_rig(new_host: NewHost, management_key: KeyPair, tmp_path: Path) -> Iterator[NewRig]:
    """Return a function that makes a rig on a host of its own, or on `host`."""
    with ExitStack() as stack:

        def make(kind: str, *, host: rigs.Host | None = None, **differences: object) -> Rig:
            host = host or new_host()
            relay = stack.enter_context(Relay(host.address, host.port))
            return rigs.build(kind, host, management_key, relay, tmp_path / "output", **differences)  # type: ignore[arg-type]

        yield make


@pytest.fixture
def rig(kind: str, new_rig: NewRig) -> Rig:
    """Return a rig of this kind."""
    return new_rig(kind)
