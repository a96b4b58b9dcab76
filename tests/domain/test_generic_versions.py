"""The values of a generic secret and their labels, by the recorded rules of AWS Secrets Manager."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from secrets_app.actions import Action
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Principal, Secret, SecretVersion
from secrets_app.people import machines
from secrets_app.policy import decisions, grants
from secrets_app.secrets import generic, lifecycle, read_limits, value_lookup, versions
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]


@pytest.fixture
def admin() -> Principal:
    return factories.administrator()


def text(value: str) -> versions.Value:
    return versions.Value("", text=Plaintext(value))


def empty(admin: Principal, name: str) -> Secret:
    return generic.create(name, region=factories.region(), actor=admin)[0]


def labels(secret: Secret) -> dict[str, list[str]]:
    """The labels of each version that has one."""
    found: dict[str, list[str]] = {}
    for label in secret.labels.select_related("version"):
        found.setdefault(label.version.version_id, []).append(label.name or label.role)
    return {version: sorted(names) for version, names in found.items()}


def test_labels_move_as_recorded(admin):
    """Each line is one of the recorded ones: what was there, what is asked, and what is there after it."""
    cur, prev, pend = "current", "previous", "pending"
    Put, Move = tuple[str, list[str] | None], tuple[str, str, str]
    cases: list[tuple[str, list[Put | Move], dict[str, list[str]]]] = [
        ("a value without labels becomes current", [("v1", None), ("v2", None)], {"v2": [cur], "v1": [prev]}),
        ("... and the one before the last loses its label", [("v1", None), ("v2", None), ("v3", None)],
         {"v3": [cur], "v2": [prev]}),
        ("one with labels does not", [("v1", None), ("v2", [pend, "X"])], {"v1": [cur], "v2": ["X", pend]}),
        ("pending stays when its version becomes current",
         [("v1", None), ("v2", [pend]), (cur, "v1", "v2")], {"v1": [prev], "v2": [cur, pend]}),
        ("a value without labels drops pending from the current version",
         [("v1", None), ("v2", [pend]), (cur, "v1", "v2"), ("v3", None)], {"v3": [cur], "v2": [prev]}),
        ("pending moves to a value that asks for it",
         [("v1", None), ("v2", [pend]), (cur, "v1", "v2"), ("v3", [pend])],
         {"v1": [prev], "v2": [cur], "v3": [pend]}),
        ("custom labels stay when current moves on",
         [("v1", None), ("v2", [cur, "A", "B"]), ("v3", [pend]), (cur, "v2", "v3")],
         {"v2": ["A", "B", prev], "v3": [cur, pend]}),
        ("labels move to the value that asks for them, and the others stay",
         [("v1", None), ("v2", ["one", "two", "three"]), ("v3", ["one", "two", "four"])],
         {"v1": [cur], "v2": ["three"], "v3": ["four", "one", "two"]}),
        ("a version that loses all labels has none",
         [("v1", None), ("v2", ["one"]), ("v3", ["one"])], {"v1": [cur], "v3": ["one"]}),
        ("the first value of a secret is current in any case", [("v1", [pend])], {"v1": [cur, pend]}),
        ("a label is taken off", [("v1", None), ("v2", ["A"]), ("A", "v2", "")], {"v1": [cur]}),
        ("a label that is nowhere is put", [("v1", None), ("A", "", "v1")], {"v1": ["A", cur]}),
        ("a label that is there already stays", [("v1", ["A"]), ("A", "", "v1")], {"v1": ["A", cur]}),
    ]  # fmt: skip
    for number, (name, steps, expected) in enumerate(cases):
        secret = empty(admin, f"case-{number}")
        for step in steps:
            if len(step) == 2:
                generic.put(secret, text(step[0]), actor=admin, version_id=step[0], labels=step[1])
            else:
                generic.move_label(secret, step[0], actor=admin, remove_from=step[1], to=step[2])
        assert labels(secret) == {version: sorted(names) for version, names in expected.items()}, name


def test_a_label_moves_only_from_where_the_request_says(admin):
    secret = empty(admin, "moving")
    for version in ("v1", "v2", "v3"):
        generic.put(secret, text(version), actor=admin, version_id=version)
    before = labels(secret)
    for label, source, target in (("current", "", "v1"), ("current", "v2", "v1"), ("A", "v1", "v2")):
        with pytest.raises(generic.LabelElsewhere):
            generic.move_label(secret, label, actor=admin, remove_from=source, to=target)
    with pytest.raises(generic.CurrentStays):
        generic.move_label(secret, "current", actor=admin, remove_from="v3")
    with pytest.raises(generic.NoVersion):
        generic.move_label(secret, "current", actor=admin, remove_from="v3", to="v9")
    assert labels(secret) == before


def test_a_request_that_comes_again_with_its_token_does_nothing_more(admin):
    region = factories.region()
    secret, first = generic.create("again", region=region, actor=admin, value=text("a"), version_id="t1")
    assert first is not None
    assert generic.create("again", region=region, actor=admin, value=text("a"), version_id="t1") == (
        secret,
        first,
    )
    second = generic.put(secret, text("b"), actor=admin, version_id="t2")
    events = AuditEvent.objects.count()
    assert generic.put(secret, text("b"), actor=admin, version_id="t2") == second
    assert generic.put(secret, text("a"), actor=admin, version_id="t1") == first
    assert labels(secret) == {"t1": ["previous"], "t2": ["current"]}
    assert AuditEvent.objects.count() == events
    for change in (
        lambda: generic.put(secret, text("c"), actor=admin, version_id="t2"),
        # The same characters as bytes are another value.
        lambda: generic.put(
            secret, versions.Value("", binary=Plaintext("Yg==")), actor=admin, version_id="t2"
        ),
        lambda: generic.create("again", region=region, actor=admin, value=text("c"), version_id="t1"),
    ):
        with pytest.raises(generic.TokenTaken):
            change()
    with pytest.raises(lifecycle.NameTaken):
        generic.create("again", region=region, actor=admin, value=text("a"), version_id="t3")


def test_a_value_has_a_size_and_comes_back_as_it_was(admin):
    secret = empty(admin, "sizes")
    for number, value in enumerate(
        (text("x"), text("x" * 65_536), text("ä" * 32_768), versions.Value("", binary=Plaintext("AAH/")))
    ):
        version = generic.put(secret, value, actor=admin, version_id=f"v{number}")
        found = versions.fetch(SecretVersion.objects.get(pk=version.pk), actor=admin)
        assert (found.text, found.binary) == (value.text, value.binary)
    for value in (text(""), text("x" * 65_537), text("ä" * 32_769)):
        with pytest.raises((generic.TooLarge, versions.NoValue)):
            generic.put(secret, value, actor=admin, version_id="too-large")
    assert secret.versions.count() == 4


@pytest.mark.both_stores
def test_versions_without_a_label_go_once_there_are_a_hundred_and_they_are_a_day_old(admin, monkeypatch):
    monkeypatch.setattr(generic, "VERSIONS_AT_MOST", 4)
    secret = empty(admin, "many")
    for number in range(4):
        generic.put(secret, text(str(number)), actor=admin, version_id=f"v{number}")
    with pytest.raises(generic.TooManyVersions):
        generic.put(secret, text("more"), actor=admin, version_id="v4")
    for age, version in enumerate(secret.versions.order_by("-version_id")):
        created_at = timezone.now() - timedelta(days=2, hours=age)
        SecretVersion.objects.filter(pk=version.pk).update(created_at=created_at)
    generic.put(secret, text("more"), actor=admin, version_id="v4")
    kept = secret.versions.filter(destroyed_at=None)
    assert sorted(kept.values_list("version_id", flat=True)) == ["v1", "v2", "v3", "v4"]


def test_each_change_needs_its_right_and_is_recorded(admin, give):
    ann = factories.user("ann")
    region = factories.region()
    with pytest.raises(decisions.NotAllowed):
        generic.create("of-ann", region=region, actor=ann.principal)
    give(ann, Action.CREATE_SECRET)
    secret, _ = generic.create("of-ann", region=region, actor=ann.principal)
    for change in (
        lambda: generic.put(secret, text("a"), actor=ann.principal, version_id="v1"),
        lambda: generic.move_label(secret, "current", actor=ann.principal, to="v1"),
        lambda: generic.create("tagged", region=region, actor=ann.principal, tags={"team": "a"}),
    ):
        with pytest.raises(decisions.NotAllowed):
            change()
    give(ann, Action.PUT_SECRET_VALUE)
    generic.put(secret, text("a"), actor=ann.principal, version_id="v1")
    generic.put(secret, text("b"), actor=ann.principal, version_id="v2")
    generic.move_label(secret, "current", actor=ann.principal, remove_from="v2", to="v1")
    rows = AuditEvent.objects.filter(resource_id=secret.pk).order_by("sequence")
    assert [(row.action, row.version_id) for row in rows] == [
        ("kms:CreateSecret", ""),
        ("kms:PutSecretValue", "v1"),
        ("kms:PutSecretValue", "v2"),
        ("kms:UpdateSecretVersionStage", "v1"),
    ]
    [found] = value_lookup.look_up(Plaintext("b"), actor=admin)
    assert found.current_from == rows[2].at
    assert found.current_until == rows[3].at


def test_the_value_of_a_managed_secret_is_not_put(admin):
    secret = factories.secret(initial="a-first-password-1")
    before = labels(secret)
    for change in (
        lambda: generic.put(secret, text("a"), actor=admin, version_id="v1"),
        lambda: generic.move_label(secret, "A", actor=admin, to=next(iter(before))),
    ):
        with pytest.raises(generic.Managed):
            change()
    assert labels(secret) == before


@pytest.mark.both_stores
def test_a_machine_reads_without_the_limit_of_a_person(admin, settings):
    settings.READS_AT_MOST = 2
    secret, version = generic.create(
        "often", region=factories.region(), actor=admin, value=text("a"), version_id="v1"
    )
    assert version is not None
    robot = machines.create("robot", actor=admin)
    grants.grant(secret, robot, [Action.GET_SECRET_VALUE], actor=admin)
    for _ in range(4):
        versions.fetch(version, actor=robot)
    for _ in range(2):
        versions.fetch(version, actor=admin)
    with pytest.raises(read_limits.TooOften):
        versions.fetch(version, actor=admin)


def test_a_policy_that_accepts_some_reasons_lets_no_program_read(admin, give):
    _, version = generic.create(
        "why", region=factories.region(), actor=admin, value=text("a"), version_id="v1"
    )
    assert version is not None
    ann = factories.user("ann")
    give(ann, Action.GET_SECRET_VALUE, StringLike={"kms:Reason": "INC-*"})
    with pytest.raises(decisions.NotAllowed):
        versions.fetch(version, actor=ann.principal)
    assert not AuditEvent.objects.filter(action=Action.GET_SECRET_VALUE, outcome="succeeded").exists()
