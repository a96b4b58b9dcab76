"""What is fetched by principal, without a request, is what the screens show a person with the same rights."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from console.fetching import by_region, instances_and_runs, secrets_and_keys, users_and_policies
from rotation.models import Run
from secrets_app import keyring, origin
from secrets_app.actions import Action
from secrets_app.keys import key_states
from secrets_app.models import AuditEvent, Key, Principal, Refusals, User
from secrets_app.people import machines, users
from secrets_app.policy import decisions, policies, requiring
from secrets_app.secrets import lifecycle
from tests import factories

pytestmark = pytest.mark.django_db
_numbers = itertools.count()


@dataclass(frozen=True)
class Kind:
    """A kind of thing: its screens, the functions beside them, and the rights that both ask for."""

    make: Callable[[], Any]
    lists: str  # the route of its list
    shows: str
    does: str  # the route of a change, empty where none begins by GET
    rights: tuple[Action, Action, Action | None]  # to list, to describe, to change
    listed: Callable[[Principal], Any]
    fetch: Callable[[Principal, Any, Action], Any]
    is_regional: bool = False
    is_full: bool = False  # to change it takes full access too

    def url(self, route: str, thing: Any = None, region: str = "main") -> str:
        place = [region] if self.is_regional else []
        return reverse(route, args=place + ([thing.pk] if thing is not None else []))


def a_run() -> Run:
    return Run.objects.get(secret=factories.secret(initial="a-first-password-1"))


KINDS = {
    "secret": Kind(
        factories.secret, "secrets", "secret", "secret_rotate",
        (Action.LIST_SECRETS, Action.DESCRIBE_SECRET, Action.ROTATE_SECRET),
        lambda who: secrets_and_keys.secrets(who, "main"),
        lambda who, row, action: secrets_and_keys.secret(who, "main", row.pk, action), is_regional=True,
    ),
    "instance": Kind(
        factories.instance, "instances", "instance", "instance_edit",
        (Action.LIST_INSTANCES, Action.DESCRIBE_INSTANCE, Action.UPDATE_INSTANCE),
        lambda who: instances_and_runs.instances(who, "main"),
        lambda who, row, action: instances_and_runs.instance(who, "main", row.pk, action), is_regional=True,
    ),
    "run": Kind(
        a_run, "rotations", "run", "",
        (Action.LIST_RUNS, Action.DESCRIBE_RUN, None),
        lambda who: instances_and_runs.runs(who, "main"),
        lambda who, row, _: instances_and_runs.run(who, "main", row.pk), is_regional=True,
    ),
    "credential": Kind(
        factories.credential, "credentials", "credential", "",
        (Action.LIST_CREDENTIALS, Action.DESCRIBE_CREDENTIAL, None),
        instances_and_runs.credentials,
        lambda who, row, action: instances_and_runs.credential(who, row.pk, action),
    ),
    "key": Kind(
        lambda: key_states.create("other", actor=factories.administrator()), "keys", "key", "key_disable",
        (Action.LIST_KEYS, Action.DESCRIBE_KEY, Action.DISABLE_KEY),
        secrets_and_keys.keys,
        lambda who, row, action: secrets_and_keys.key(who, row.pk, action),
    ),
    "user": Kind(
        lambda: factories.user("zed"), "users", "user", "user_edit",
        (Action.LIST_USERS, Action.DESCRIBE_USER, Action.UPDATE_USER),
        users_and_policies.listed_users,
        lambda who, row, action: users_and_policies.user(who, row.pk, action),
    ),
    "policy": Kind(
        lambda: policy_of([Action.LIST_KEYS]), "policies", "policy", "policy_edit",
        (Action.LIST_POLICIES, Action.DESCRIBE_POLICY, Action.UPDATE_POLICY),
        users_and_policies.listed_policies,
        lambda who, row, action: users_and_policies.policy(who, row.pk, action), is_full=True,
    ),
    "group": Kind(
        lambda: users.create_group("office", actor=factories.administrator()), "groups", "group",
        "group_join",
        (Action.LIST_GROUPS, Action.LIST_GROUPS, Action.UPDATE_GROUP),
        users_and_policies.groups,
        lambda who, row, action: users_and_policies.group(who, row.pk, action), is_full=True,
    ),
}  # fmt: skip


def policy_of(actions: list[Action], effect: str = "Allow") -> Any:
    statement = {"Effect": effect, "Action": [action.value for action in actions], "Resource": "*"}
    text = json.dumps({"Version": "1", "Statement": [statement]})
    return policies.create(f"of-{next(_numbers)}", text, actor=factories.administrator())


def machine(name: str) -> Principal:
    return machines.create(name, actor=factories.administrator())


def by_screen(user: User, kind: Kind, thing: Any) -> dict[str, str]:
    """What the screens answer to a person."""
    client = Client(headers={"Host": "localhost"})
    client.force_login(user)
    words = {200: "yes", 403: "refused", 404: "not found"}
    listed = client.get(kind.url(kind.lists))
    found = {"list": words[listed.status_code], "look": _word(client, kind.url(kind.shows, thing))}
    if found["list"] == "yes":
        found["list"] = "named" if kind.url(kind.shows, thing) in listed.content.decode() else "not named"
    if kind.does:
        found["change"] = _word(client, kind.url(kind.does, thing))
    return found


def _word(client: Client, url: str) -> str:
    return {200: "yes", 403: "refused", 404: "not found"}[client.get(url).status_code]


def by_function(who: Principal, kind: Kind, thing: Any) -> dict[str, str]:
    """What the functions answer to a principal."""
    _, to_look, to_change = kind.rights
    found = {}
    with origin.bind(is_secure=False, is_mfa=False, address="127.0.0.1", at=timezone.now()):
        found["list"] = _answer(lambda: "named" if thing in kind.listed(who) else "not named")
        found["look"] = _answer(lambda: kind.fetch(who, thing, to_look) and "yes")
        if kind.does:
            assert to_change
            found["change"] = _answer(lambda: kind.fetch(who, thing, to_change) and "yes")
    return found


def _answer(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except requiring.NotFound:
        return "not found"
    except requiring.Refused:
        return "refused"


def refusals_of(who: Principal) -> set[tuple[str, str, str]]:
    rows = AuditEvent.objects.filter(actor=who, outcome=AuditEvent.Outcome.DENIED)
    return {(row.action, row.resource, row.decision.replace(who.name, "NAME")) for row in rows}


@pytest.mark.parametrize("name", KINDS)
def test_a_machine_is_answered_as_the_screens_answer_a_person_with_the_same_rights(name, open_keyring):
    kind = KINDS[name]
    factories.region()
    thing = kind.make()
    wanted = sorted({action for action in kind.rights if action})
    subsets = [list(some) for n in range(len(wanted) + 1) for some in itertools.combinations(wanted, n)]
    answers = set()
    for number, (given, denied) in enumerate([*((some, None) for some in subsets), (wanted, kind.rights[1])]):
        person, robot = factories.user(f"person{number}"), machine(f"robot{number}")
        for effect, actions in (("Allow", given), ("Deny", [denied] if denied else [])):
            if actions:
                same = policy_of(actions, effect)
                for to in (person, robot):
                    policies.attach(same, to, actor=factories.administrator())
        screen = by_screen(person, kind, thing)
        assert by_function(robot, kind, thing) == screen, given
        assert by_function(person.principal, kind, thing) == screen, given
        assert refusals_of(robot) == refusals_of(person.principal), given
        assert ("refused" in screen.values()) == bool(refusals_of(robot)), given
        answers |= {*screen.values()}
    # A group is described by whoever lists groups, so that none is hidden.
    assert answers == {"named", "yes", "refused"} | (set() if name == "group" else {"not named", "not found"})


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.does])
def test_with_full_access_both_may_change_it(name, open_keyring):
    kind = KINDS[name]
    factories.region()
    thing = kind.make()
    person, robot = factories.user("full", users.ADMINISTRATORS), machine("robot")
    administrators = Group.objects.get(name=users.ADMINISTRATORS)
    users.join(administrators, [robot], actor=factories.administrator())
    assert by_function(robot, kind, thing) == by_screen(person, kind, thing)
    assert by_function(robot, kind, thing) == {"list": "named", "look": "yes", "change": "yes"}


@pytest.fixture
def robot(open_keyring) -> Principal:
    robot = machine("robot")
    wanted = [Action.LIST_SECRETS, Action.DESCRIBE_SECRET, Action.GET_SECRET_VALUE]
    policies.attach(policy_of(wanted), robot, actor=factories.administrator())
    return robot


def test_a_secret_is_found_by_its_name_in_its_own_region_alone(robot):
    secret = factories.secret(name="web/one")
    factories.region("other")
    fetch, name = secrets_and_keys.secret_named, secret.name
    assert fetch(robot, "main", name, Action.GET_SECRET_VALUE) == secret
    for region, asked in (("other", name), ("all", name), ("main", name.upper()), ("main", name[:-1])):
        with pytest.raises(requiring.NotFound):
            fetch(robot, region, asked, Action.GET_SECRET_VALUE)
    with pytest.raises(requiring.Refused):
        fetch(robot, "main", secret.name, Action.ROTATE_SECRET)
    with pytest.raises(requiring.NotFound):
        fetch(machine("other"), "main", secret.name, Action.GET_SECRET_VALUE)


def test_a_secret_that_is_pending_deletion_is_described_and_no_more(robot):
    secret = factories.secret()
    factories.settle(secret)
    lifecycle.plan_deletion(secret, days=7, reason="", actor=factories.administrator())
    fetch = secrets_and_keys.secret
    assert fetch(robot, "main", secret.pk, Action.DESCRIBE_SECRET) == secret
    with pytest.raises(lifecycle.NotEnabled):
        fetch(robot, "main", secret.pk, Action.GET_SECRET_VALUE)


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.is_regional])
def test_what_stands_in_one_region_is_not_found_in_another(name, robot):
    thing, other = KINDS[name].make(), factories.region("other")
    admin = factories.administrator()
    fetch = {
        "secret": lambda code: secrets_and_keys.secret(admin, code, thing.pk, Action.DESCRIBE_SECRET),
        "instance": lambda code: instances_and_runs.instance(admin, code, thing.pk, Action.DESCRIBE_INSTANCE),
        "run": lambda code: instances_and_runs.run(admin, code, thing.pk),
    }[name]
    assert fetch("main") == fetch(by_region.ALL_REGIONS) == thing
    with pytest.raises(requiring.NotFound):
        fetch(other.code)
    with pytest.raises(requiring.NotFound):
        by_region.listed(admin, Action.LIST_SECRETS, "nowhere")


def test_a_refusal_is_recorded_by_the_function_and_says_what_was_asked(robot):
    secret = factories.secret()
    with pytest.raises(requiring.Refused) as caught:
        secrets_and_keys.secret(robot, "main", secret.pk, Action.ROTATE_SECRET)
    assert (caught.value.action, caught.value.arn) == (Action.ROTATE_SECRET, secret.arn)
    event = AuditEvent.objects.get(actor=robot, outcome=AuditEvent.Outcome.DENIED)
    assert (event.action, event.resource, event.decision) == (
        "kms:RotateSecret", secret.arn, caught.value.sentence,
    )  # fmt: skip


def test_a_refusal_that_reaches_a_face_is_not_recorded_again(robot):
    secret = factories.secret()
    with pytest.raises(requiring.Refused) as caught:
        secrets_and_keys.secret(robot, "main", secret.pk, Action.ROTATE_SECRET)
    assert requiring.refused(robot, caught.value) is caught.value
    assert Refusals.objects.get(actor=robot).count == 0
    error = decisions.NotAllowed("No.", Action.DELETE_SECRET, secret)
    assert requiring.refused(robot, error).sentence == "No."
    assert AuditEvent.objects.get(actor=robot, action=Action.DELETE_SECRET).decision == "No."


def test_what_is_not_seen_is_not_recorded_as_refused(robot):
    with pytest.raises(requiring.NotFound):
        instances_and_runs.instance(robot, "main", factories.instance().pk, Action.UPDATE_INSTANCE)
    assert not AuditEvent.objects.filter(actor=robot).exists()


def test_a_machine_is_told_its_own_name_and_nobody_elses(robot):
    told = users_and_policies.ShownNames(robot)
    assert told.name(robot) == "robot"
    assert told.name(machine("other")) == "An application that you may not see"
    assert told.name(factories.user("ann")) == "A user that you may not see"


def test_the_key_that_seals_by_default_may_be_chosen_without_being_seen(robot):
    hidden = key_states.create("other", actor=factories.administrator())
    chosen = set(secrets_and_keys.keys_to_seal_with(robot))
    assert chosen == {Key.objects.get(alias=keyring.DEFAULT_ALIAS)}
    assert hidden not in chosen
