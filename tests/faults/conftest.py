"""What every fault is tried on: PostgreSQL, a fresh host behind a relay, a password and a key pair."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from lab import Fleet, Host, Spec
from rotation.engine import aftercare, work
from rotation.engine.methods import key_pair, password
from tests import services
from tests.faults import rig as rigs
from tests.faults.case_fixtures import case, new_case  # noqa: F401
from tests.faults.rig import KINDS, NewRig, Rig
from tests.lab_fixtures import QUICK_HASHES, KeyPair, NewHost
from tests.wires.relay import Relay

_numbers = itertools.count(1)


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
    for module in (work, key_pair, password, aftercare):
        monkeypatch.setattr(module, "BACK_OFF", scaled)


@pytest.fixture(autouse=True)
def _inert() -> Iterator[None]:
    yield
    rigs.disarm()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Return what is rotated: a password, then a key pair."""
    return str(request.param)


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have PostgreSQL end what a hung worker has left open after four seconds."""
    monkeypatch.setattr(settings, "LEASE", timedelta(seconds=4))


@pytest.fixture
def new_rig(
    new_host: NewHost, management_key: KeyPair, tmp_path: Path, short_lease: None
) -> Iterator[NewRig]:
    """Return a function that makes a rig on a host of its own, or on `host`."""
    with ExitStack() as stack:

        def make(kind: str, *, host: rigs.Host | None = None, **differences: object) -> Rig:
            host = host or new_host()
            relay = stack.enter_context(Relay(host.address, host.port))
            return rigs.build(kind, host, management_key, relay, tmp_path / "output", **differences)  # type: ignore[arg-type]

        yield make


@pytest.fixture(scope="module")
def common_host(fleet: Fleet, management_key: KeyPair) -> Iterator[Host]:
    """Return a host for the tests of a module that leave it as it is, each with an account of its own."""
    spec = Spec(public_key=management_key.public, rounds=QUICK_HASHES)
    host = fleet.start(f"common-{next(_numbers)}", spec)
    yield host
    fleet.stop(host.name)


@pytest.fixture
def common_rig(new_rig: NewRig, common_host: Host) -> NewRig:
    """Return a function that makes a rig for an account of its own on the host that tests share."""
    return lambda kind: new_rig(kind, host=common_host, username=f"svc{next(_numbers)}")


@pytest.fixture
def rig(kind: str, common_rig: NewRig) -> Rig:
    """Return a rig of this kind, on the host that tests share."""
    return common_rig(kind)


@pytest.fixture
def own_store(
    own_postgres: services.Postgres, transactional_db: None, open_keyring: None
) -> Iterator[services.Postgres]:
    """Have this test work on a cluster of its own, which it may break."""
    yield from rigs.moved_to(own_postgres)


@pytest.fixture
def small_store(transactional_db: None, open_keyring: None) -> Iterator[services.Postgres]:
    """Have this test work on a cluster of its own, with a tablespace that is soon full."""
    with services.postgres(small_disk=True) as server:
        yield from rigs.moved_to(server)
