"""Cases of the fault suite: an account on a host of its own, watched, and judged when the test is over."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from tests import lab_instances
from tests.faults.case import Case, make
from tests.lab_fixtures import KeyPair, NewHost


@pytest.fixture
def new_case(
    new_host: NewHost, management_key: KeyPair, caplog: pytest.LogCaptureFixture, open_keyring: None
) -> Iterator[Callable[..., Case]]:
    """Return a function that makes a case of a kind, on a new host or on one that is given."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("paramiko").setLevel(logging.DEBUG)
    cases: list[Case] = []

    def start(kind: str, *, host=None, instance=None, credential=None, spec=None, **account) -> Case:
        host = host or new_host(**(spec or {}))
        instance = instance or lab_instances.register(host, management_key, **(credential or {}))
        cases.append(make(host, instance, kind, **account))
        return cases[-1]

    yield start
    for case in cases:
        case.ended(caplog.text)


@pytest.fixture
def case(new_case: Callable[..., Case], kind: str) -> Case:
    """An account of the test's `kind` on a host where nothing is wrong yet."""
    return new_case(kind)
