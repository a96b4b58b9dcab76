"""Whoever may not read a value comes to know none, whatever else they may do, in six deeds of any kind."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from rotation import binding
from secrets_app.actions import EQUAL_REVEAL, Action, Kind
from secrets_app.models import User
from secrets_app.policy import decisions, policies
from tests import factories
from tests.domain.machines import Machine, Network
from tests.model.outsider import PHASES, Deed, Outsider
from tests.screens.az_world import undone

pytestmark = pytest.mark.django_db
DEEDS, EXAMPLES, EXAMPLES_OF_A_HOLE = 6, 40, 400
OLD = "the-old-password-1"
#: What docs/actions.md lists as equal to reading a value, of every kind.
EQUAL = {*EQUAL_REVEAL, Action.USE_CREDENTIAL}
RIGHTS = sorted(
    action
    for action in Action
    if action.kind in {Kind.SECRET, Kind.INSTANCE, Kind.ROTATION, Kind.CREDENTIAL} and action not in EQUAL
)


@pytest.fixture
def outsider(client: Client) -> Outsider:
    """Return somebody with a machine and a management credential of their own, and no right yet."""
    network, server, mine = Network(), Machine(), Machine()
    for machine in (server, mine):
        for username in ("svc", "admin"):
            machine.host.add_account(username, OLD if machine is server else "there-already-1")
    server.host.machine_id, mine.host.machine_id = "the-server", "the-server"  # it says what suits it
    instance = network.register(server)
    made = []
    for username in ("svc", "admin"):
        secret = factories.secret(instance=instance, username=username, initial=OLD, is_on=True)
        network.drive(secret.runs.get())
        made.append(secret)
    eve = factories.user("eve")
    client.force_login(eve)
    return Outsider(client, network, *made, factories.credential(), mine, server)


@st.composite
def plans(draw: Callable[..., object]) -> tuple[set[Action], list[Deed]]:
    """Some rights, mostly many, and up to six deeds, mostly in an order that leads somewhere."""
    lacks = draw(st.sets(st.sampled_from(RIGHTS), max_size=4))
    numbers = draw(st.lists(st.integers(0, len(PHASES) - 1), min_size=1, max_size=DEEDS))
    if draw(st.integers(0, 3)):  # one of each phase, and two more
        numbers = sorted([*range(len(PHASES)), *numbers[: DEEDS - len(PHASES)]])
    return set(RIGHTS) - lacks, [draw(st.sampled_from(PHASES[number])) for number in numbers]


def tried(outsider: Outsider, rights: set[Action], deeds: list[Deed]) -> set[str]:
    """What they come to know by these deeds; then nothing of it has happened."""
    places, key = dict(outsider.network.at), outsider.mine.key
    with undone():
        give(outsider, rights)
        outsider.mine.heard.clear()
        outsider.answers.clear()
        for deed in deeds:
            deed(outsider)
        found = outsider.stolen()
    decisions.forget()
    outsider.network.at, outsider.mine.key = places, key
    return found


def give(outsider: Outsider, rights: set[Action]) -> None:
    """Allow these everywhere, and the use of nothing but their own management credential."""
    statements = [
        {"Effect": "Allow", "Action": sorted(rights), "Resource": "*"},
        {"Effect": "Allow", "Action": [Action.USE_CREDENTIAL.value], "Resource": [outsider.credential.arn]},
        {
            "Effect": "Allow",
            "Action": [Action.USE_CREDENTIAL.value],
            "Resource": ["acs:kms:main:*:instance/*"],
        },
    ]
    actor = factories.administrator()
    policy = policies.create("of-eve", json.dumps({"Version": "1", "Statement": statements}), actor=actor)
    policies.attach(policy, User.objects.get(username="eve"), actor=actor)


def examples(number: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return settings(
        max_examples=number,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )


def test_whoever_may_not_read_a_value_comes_to_know_none_by_whatever_else_they_may_do(outsider):
    @examples(EXAMPLES)
    @given(plans())
    def comes_to_know_nothing(plan):
        assert tried(outsider, *plan) == set()

    comes_to_know_nothing()


def test_a_hole_in_the_binding_is_found(outsider, monkeypatch):
    monkeypatch.setattr(binding, "why_not", lambda account, machine: "")
    monkeypatch.setattr(binding, "narrowed", lambda reached, instance, secrets, **_: reached)
    monkeypatch.setattr(binding, "value", lambda version, over: binding.versions.value(version))

    @examples(EXAMPLES_OF_A_HOLE)
    @given(plans())
    def comes_to_know_nothing(plan):
        assert tried(outsider, *plan) == set()

    with pytest.raises(AssertionError):
        comes_to_know_nothing()
