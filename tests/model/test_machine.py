"""Histories of a secret that nobody wrote down, 2,000 with `--long`, and in each of them nothing is lost."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from rotation.engine import changes
from secrets_app import origin
from secrets_app.crypto import key_pairs
from tests import amounts, factories
from tests.model.machine import RotationMachine
from tests.model.world import Reader

pytestmark = pytest.mark.django_db
SHARDS, STEPS = 8, 7
EXAMPLES = amounts.cases(40, long=250)  # of each shard
PASSWORD = "the-first-password-1"
PAIR = key_pairs.generate("ed25519")


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
    search(shard)


@pytest.mark.parametrize("shard", range(2))
def test_an_engine_that_sends_again_without_asking_is_found(shard, monkeypatch):
    asks = changes.host_has

    def host_has(*asked, sends_again=False):
        return not sends_again and asks(*asked)

    monkeypatch.setattr(changes, "host_has", host_has)
    with pytest.raises(AssertionError):
        search(shard, examples=8 * EXAMPLES)  # it ends with the first that finds it


def search(shard, *, examples=EXAMPLES):
    """Try histories of a password, or in every second shard of a key pair."""
    is_key_pair = bool(shard % 2)
    kind = {"kind": "key_pair", "key_algorithm": "ed25519"} if is_key_pair else {}
    first = PAIR.private_key.reveal() if is_key_pair else PASSWORD
    made = factories.secret(initial=first, **kind)
    factories.settle(made)

    class Machine(RotationMachine):
        secret, actor, reader = made, factories.administrator(), Reader(made)

    Machine.first = PAIR.public_key if is_key_pair else PASSWORD
    if not amounts.is_long:  # the same in each run, but not in each shard
        seed(shard)(Machine)
    with origin.bind(is_secure=True, is_mfa=True, at=timezone.now()):  # whose rights are read once
        run_state_machine_as_test(
            Machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=STEPS,
                phases=(Phase.generate,),
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
