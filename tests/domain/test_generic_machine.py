"""Random sequences on the values and labels of one secret, against a model of the recorded rules.

The model is written from the table of the service's answers and knows nothing of the code: a secret is a
mapping of versions to values, and one of labels to versions.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Principal, SecretVersion
from secrets_app.secrets import generic, versions
from tests import amounts, factories

pytestmark = pytest.mark.django_db

CURRENT, PREVIOUS, PENDING = "current", "previous", "pending"
VERSIONS = ("v1", "v2", "v3", "v4", "v5")
VALUES = ("a", "b")
OWN = (PENDING, "X", "Y")
_names = itertools.count()


class Refused(Exception):
    """The model refuses it too."""


class Model:
    """What the service answers, as it was recorded."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.labels: dict[str, str] = {}

    def put(self, version: str, value: str, labels: list[str] | None) -> None:
        if version in self.values:
            if self.values[version] != value:
                raise Refused
            return
        self.values[version] = value
        current = self.labels.get(CURRENT)
        if labels is None and current and self.labels.get(PENDING) == current:
            del self.labels[PENDING]
        if labels is None or current is None or CURRENT in labels:
            self._make_current(version)
        for label in labels or ():
            if label != CURRENT:
                self.labels[label] = version

    def _make_current(self, version: str) -> None:
        if before := self.labels.get(CURRENT):
            self.labels[PREVIOUS] = before
        self.labels[CURRENT] = version

    def move(self, label: str, source: str, target: str) -> None:
        if {source, target} - {"", *self.values}:
            raise Refused  # there is no such version
        holder = self.labels.get(label, "")
        to_itself = target == holder and not source
        if source != holder and not to_itself:
            raise Refused  # where it is has to be said, and to be so
        if not target and label == CURRENT:
            raise Refused
        if target == holder:
            return
        if not target:
            del self.labels[label]
        elif label == CURRENT:
            self._make_current(target)
        else:
            self.labels[label] = target


class Sequences(RuleBasedStateMachine):
    """One secret and its model."""

    admin: Principal

    @initialize()
    def begin(self) -> None:
        self.model = Model()
        name = f"sequence/{next(_names)}"
        self.secret = generic.create(name, region=factories.region(), actor=self.admin)[0]

    def both(self, model: object, real: object) -> None:
        try:
            model()
            expected = ""
        except Refused:
            expected = "refused"
        try:
            real()
            found = ""
        except (generic.TokenTaken, generic.NoVersion, generic.LabelElsewhere, generic.CurrentStays):
            found = "refused"
        assert found == expected

    @rule(
        version=st.sampled_from(VERSIONS),
        value=st.sampled_from(VALUES),
        labels=st.none() | st.lists(st.sampled_from((CURRENT, *OWN)), min_size=1, max_size=3, unique=True),
    )
    def put(self, version: str, value: str, labels: list[str] | None) -> None:
        text = versions.Value("", text=Plaintext(value))
        self.both(
            lambda: self.model.put(version, value, labels),
            lambda: generic.put(self.secret, text, actor=self.admin, version_id=version, labels=labels),
        )

    @rule(
        label=st.sampled_from((CURRENT, PREVIOUS, *OWN)),
        source=st.sampled_from(("", *VERSIONS)),
        goal=st.sampled_from(("", *VERSIONS)),
    )
    def name_both(self, label: str, source: str, goal: str) -> None:
        self.moved(label, source, goal)

    @rule(label=st.sampled_from((CURRENT, PREVIOUS, *OWN)), goal=st.sampled_from(("", *VERSIONS)))
    def move_from_where_it_is(self, label: str, goal: str) -> None:
        self.moved(label, self.model.labels.get(label, ""), goal)

    def moved(self, label: str, source: str, target: str) -> None:
        if not source and not target:
            return  # which the interface refuses
        self.both(
            lambda: self.model.move(label, source, target),
            lambda: generic.move_label(self.secret, label, actor=self.admin, remove_from=source, to=target),
        )

    @invariant()
    def labels_and_values_are_those_of_the_model(self) -> None:
        if not hasattr(self, "model"):
            return
        rows = self.secret.labels.select_related("version")
        assert {row.name or row.role: row.version.version_id for row in rows} == self.model.labels

    def teardown(self) -> None:
        if not hasattr(self, "model"):
            return
        kept = SecretVersion.objects.filter(secret=self.secret)
        marks = {row.version_id: row.value_mark for row in kept}
        wanted = {version: versions.mark(_value(text)) for version, text in self.model.values.items()}
        assert marks == wanted


def _value(text: str) -> versions.Value:
    return versions.Value("", text=Plaintext(text))


def test_labels_are_where_the_recorded_rules_put_them_after_any_sequence():
    Sequences.admin = factories.administrator()
    run_state_machine_as_test(
        Sequences, settings=settings(max_examples=amounts.cases(40, long=2000), stateful_step_count=20)
    )
