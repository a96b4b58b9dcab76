"""2,000 histories of a secret that nobody wrote down, and in each of them nothing is lost."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from secrets_app import keypairs, policies
from tests import factories
from tests.model.machine import RotationMachine
from tests.model.world import Reader

pytestmark = pytest.mark.django_db
SHARDS, EXAMPLES, STEPS = 8, 250, 7
PASSWORD = "the-first-password-1"
PAIR = keypairs.generate("ed25519")


@pytest.fixture(autouse=True)
def _rare_collections() -> Iterator[None]:
    """What was there before is not looked through again after every few sequences."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(100_000)
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.parametrize("shard", range(SHARDS))
def test_whatever_happens_no_credential_is_lost_and_no_claim_is_false(shard):
    is_key_pair = bool(shard % 2)
    kind = {"kind": "key_pair", "key_algorithm": "ed25519"} if is_key_pair else {}
    first = PAIR.private_key.reveal() if is_key_pair else PASSWORD
    made = factories.secret(initial=first, **kind)
    factories.settle(made)

    class Machine(RotationMachine):
        secret, actor, reader = made, factories.administrator(), Reader(made)

    Machine.first = PAIR.public_key if is_key_pair else PASSWORD
    with policies.bind(address=None, is_secure=True, is_mfa=True):  # whose rights are read once
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                print_blob=True,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            ),
        )
