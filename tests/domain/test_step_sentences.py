"""What the steps of a run say of themselves is what happened, in each kind of run and of ending."""

from __future__ import annotations

import pytest

from console.presentation import run_states
from rotation import runs
from rotation.connectors.memory.connector import MemoryHost
from rotation.models import Run
from secrets_app.models import Secret
from tests import factories
from tests.domain.rig import drive

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]

VALUE = "a-first-value-1"


@pytest.fixture
def host() -> MemoryHost:
    made = MemoryHost()
    made.add_account("svc", VALUE)
    return made


def told(run: Run) -> list[tuple[str, str, str]]:
    """The lines of the timeline: label, word, sentence."""
    return [(line.label, line.word, line.sentence) for line in run_states.timeline(run)]


def kept(host: MemoryHost) -> Secret:
    """A secret whose first value the host has accepted."""
    made = factories.secret(initial=VALUE)
    drive(made.runs.active().get(), host)
    return made


def changed_there(host: MemoryHost) -> Secret:
    made = kept(host)
    host.accounts["svc"].password = "of-somebody-else-2"
    return made


def test_a_verification_that_is_refused_has_no_step_that_is_done(host):
    secret = changed_there(host)
    run = drive(runs.verify(secret, actor=factories.administrator()), host)
    assert told(run) == [("Test", "Failed", "The instance refuses the current value.")]
    assert run_states.run_badge(run).label == "Failed"
    assert run_states.remedies(run) == ("reconcile", "rotate")


def test_a_verification_that_is_accepted_is_done(host):
    run = drive(runs.verify(kept(host), actor=factories.administrator()), host)
    assert told(run) == [("Test", "Done", "The instance accepts the current value.")]


def test_a_drift_check_that_finds_another_value_shows_a_failed_probe_and_no_step_that_it_never_has(host):
    secret = kept(host)
    drive(runs.drift(secret, actor=factories.administrator()), host)
    host.accounts["svc"].password = "of-somebody-else-2"
    run = drive(runs.drift(secret, actor=factories.administrator()), host)
    assert [line[:2] for line in told(run)] == [("Check", "Done"), ("Probe", "Failed")]


def test_a_reconciliation_says_that_the_current_value_was_set_and_not_a_new_one(host):
    secret = changed_there(host)
    run = drive(runs.reconcile(secret, actor=factories.administrator()), host)
    assert run.outcome == "succeeded"
    sentences = [line[2] for line in told(run)]
    assert "The instance reports that the current value is set." in sentences
    assert not [sentence for sentence in sentences if "new value" in sentence]


def test_the_first_rotation_keeps_no_old_value_and_the_next_one_does(host):
    secret = factories.secret()
    factories.settle(secret)
    first = drive(runs.start(secret, actor=factories.administrator()), host)
    assert first.outcome == "succeeded"
    assert "previous" not in str(told(first)) + run_states.run_badge(first).sentence
    second = drive(runs.start(secret, actor=factories.administrator()), host)
    assert "the old one is kept as previous" in str(told(second))


@pytest.mark.parametrize("is_leak", [True, False])
def test_the_steps_to_come_are_those_that_come(host, is_leak):
    secret = kept(host)
    asked = runs.start(secret, actor=factories.administrator(), is_leak=is_leak)
    ahead = [line[0] for line in told(asked)]
    run = drive(asked, host)
    assert ahead == [line[0] for line in told(run)]
    assert ("End sessions" in ahead) == is_leak
