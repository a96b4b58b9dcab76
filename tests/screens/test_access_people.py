"""Users and groups on the screen, and that no form there hands a right to whom it should not."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from secrets_app.actions import Action
from secrets_app.models import Attachment, AuditEvent, Policy, Principal, User
from secrets_app.people import users
from secrets_app.policy import decisions, grants, policies
from tests import factories

pytestmark = pytest.mark.django_db


@pytest.fixture
def operators(dot) -> Group:
    return users.create_group("operators", actor=dot.principal)


@pytest.fixture
def nell(dot) -> User:
    """Somebody who may do every action by a policy that is not KMS full access."""
    made = policies.create("nearly-all", policies.document(["kms:*"]), actor=dot.principal)
    user = factories.user("nell")
    policies.attach(made, user, actor=dot.principal)
    return user


def rights() -> set[object]:
    """Everything that rights are made of."""
    held = Attachment.objects.values_list("policy__document", "principal", "group")
    members = Principal.groups.through.objects.values_list("principal", "group")
    return {*held, *members, *User.objects.values_list("pk", "is_active")}


def page(response) -> str:
    return response.content.decode()


def test_the_list_of_users_says_state_groups_and_last_sign_in(as_dot, ann, hal, dot):
    users.disable(ann, actor=dot.principal)
    shown = page(as_dot.get("/access/users/"))
    assert "helpdesk" in shown
    assert "Never" in shown
    rows = as_dot.get("/access/users/", {"state": "disabled"}).context["page"].rows
    assert [row.username for row in rows] == ["ann"]
    assert not as_dot.get("/access/users/", {"q": "zzz"}).context["page"].rows


def test_the_page_of_a_user_says_where_each_policy_and_grant_comes_from(as_dot, dot, ann, operators):
    rotate = policies.create("rotate", policies.document(["kms:RotateSecret"]), actor=dot.principal)
    policies.attach(rotate, operators, actor=dot.principal)
    users.join(operators, [ann], actor=dot.principal)
    secret = factories.secret(name="web/one")
    grants.grant(secret, ann, [Action.GET_SECRET_VALUE], actor=dot.principal)
    shown = page(as_dot.get(reverse("user", args=[ann.pk])))
    for words in ("rotate", "Group operators", "web/one", "kms:GetSecretValue", "Granted to the user"):
        assert words in shown


def test_members_are_added_and_removed(as_dot, ann, hal, operators):
    as_dot.post(reverse("group_join", args=[operators.pk]), {"members": [ann.pk, hal.pk]})
    assert {member.name for member in operators.members.all()} == {"ann", "hal"}
    shown = as_dot.get(reverse("group", args=[operators.pk])).context["page"].rows
    assert [row.username for row in shown] == ["ann", "hal"]
    as_dot.post(reverse("group_leave", args=[operators.pk, ann.pk]))
    assert [member.name for member in operators.members.all()] == ["hal"]
    assert as_dot.post(reverse("group_leave", args=[operators.pk, ann.pk])).status_code == 404
    assert as_dot.post(reverse("group_join", args=[operators.pk]), {}).status_code == 422


def test_a_group_is_created_once(as_dot):
    as_dot.post("/access/groups/create/", {"name": "web"})
    assert Group.objects.filter(name="web").exists()
    for name in ("web", "WEB", "auditors", "no spaces"):
        assert as_dot.post("/access/groups/create/", {"name": name}).status_code == 422


def test_a_person_is_renamed(as_dot, ann):
    as_dot.post(reverse("user_edit", args=[ann.pk]), {"display_name": "Ann Lee", "username": "root"})
    ann.refresh_from_db()
    assert (ann.display_name, ann.username) == ("Ann Lee", "ann")


def test_p_10_disabling_ends_an_open_session_with_its_next_request(as_dot, hal):
    other = Client()
    other.force_login(hal)
    assert other.get("/all/secrets/").status_code == 200
    as_dot.post(reverse("user_disable", args=[hal.pk]), {"reason": "left"})
    gone = other.get("/all/secrets/")
    assert gone.status_code == 302
    assert gone["Location"].startswith("/sign-in/")
    assert AuditEvent.objects.get(action=Action.DISABLE_USER).reason == "left"
    assert not other.login(username="hal", password=factories.PASSWORD)
    as_dot.post(reverse("user_enable", args=[hal.pk]), {})
    hal.refresh_from_db()
    assert hal.is_active


def test_the_last_administrator_can_neither_be_disabled_nor_removed(as_dot, dot):
    administrators = Group.objects.get(name="administrators")
    for url in (
        reverse("user_disable", args=[dot.pk]),
        reverse("group_leave", args=[administrators.pk, dot.pk]),
    ):
        response = as_dot.post(url, {})
        assert response.status_code == 409
        assert "No user would have KMS full access" in page(response)
    dot.refresh_from_db()
    assert dot.is_active
    assert policies.has_full_access(dot.principal)


def every_form(nell, ann, dot) -> list[tuple[str, dict[str, object]]]:
    """Every form of Access, filled in so that it would hand out a right."""
    full = Policy.objects.get(name=policies.FULL_ACCESS)
    mine = Policy.objects.get(name="nearly-all")
    administrators = Group.objects.get(name="administrators")
    gone = factories.user("gone", "administrators")
    users.disable(gone, actor=dot.principal)
    deny = policies.create(
        "no-reveal", policies.document(["kms:GetSecretValue"]).replace("Allow", "Deny"), actor=dot.principal
    )
    policies.attach(deny, ann, actor=dot.principal)
    held = Attachment.objects.get(policy=deny)
    return [
        ("/access/policies/create/", {"name": "x", "document": policies.document(["*"])}),
        (f"/access/policies/{mine.pk}/edit/", {"revision": 1, "document": policies.document(["*"])}),
        (f"/access/policies/{deny.pk}/edit/", {"revision": 1, "document": policies.document(["*"])}),
        (f"/access/policies/{deny.pk}/delete/", {}),
        ("/access/attach/", {"policy": full.pk, "to": f"user:{nell.pk}"}),
        ("/access/attach/", {"policy": full.pk, "to": f"user:{ann.pk}"}),
        (reverse("policy_detach", args=[held.pk]), {}),
        ("/access/groups/create/", {"name": "web"}),
        (reverse("group_join", args=[administrators.pk]), {"members": [nell.pk]}),
        (reverse("user_enable", args=[gone.pk]), {}),
        (reverse("user_reset_sign_in", args=[ann.pk]), {"reason": "so that I can be her"}),
        (reverse("group_leave", args=[administrators.pk, dot.pk]), {}),
    ]


def test_p_05_no_form_gives_a_right_to_who_has_not_full_access(client, nell, ann, hal, aud, dot):
    forms = every_form(nell, ann, dot)
    before = rights()
    for user in (nell, hal, aud, ann):
        client.force_login(user)
        for url, typed in forms:
            for method in (client.get, client.post):
                assert method(url, typed).status_code in {403, 404}, (user.username, url)
    assert rights() == before
    assert not Policy.objects.filter(name="x").exists()
    assert not Group.objects.filter(name="web").exists()
    refusals = AuditEvent.objects.filter(outcome="denied", actor=nell.principal)
    assert refusals.filter(action=Action.ATTACH_POLICY).exists()


def test_the_same_forms_work_for_an_administrator(as_dot, nell, ann, dot):
    for url, typed in every_form(nell, ann, dot):
        if url == reverse("policy_delete", args=[Policy.objects.get(name="no-reveal").pk]):
            continue  # somebody has it until a later form detaches it
        assert as_dot.post(url, typed).status_code in {200, 302}, url  # a link is shown at once


def test_who_may_not_see_people_does_not_learn_that_they_are_there(client, ann, hal, operators, dot):
    for user in (ann, hal):
        client.force_login(user)
        assert client.get("/access/users/").status_code == 403
        assert client.get("/access/groups/").status_code == 403
        assert client.get(reverse("user", args=[dot.pk])).status_code == 404
        assert client.get(reverse("group", args=[operators.pk])).status_code == 403


def test_the_way_there_stands_in_the_navigation_for_those_who_may_open_a_part(client, ann, hal, aud, dot):
    for user, sees in ((ann, False), (hal, False), (aud, True), (dot, True)):
        client.force_login(user)
        assert ('href="/access/"' in page(client.get("/nowhere/"))) is sees
    assert client.get("/access/").url == "/access/users/"


def test_the_list_of_users_asks_no_more_for_more_people(as_dot):
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert as_dot.get("/access/users/").status_code == 200
        return len(seen)

    few = queries()
    for n in range(5):
        factories.user(f"many{n}", "helpdesk")
    assert queries() <= few


def test_a_right_to_see_one_person_shows_that_person_only(client, ann, dot, hal):
    text = policies.document(["kms:ListUsers"])
    only = text.replace('"Resource": "*"', '"Resource": "acs:kms:*:*:user/hal"').replace(
        "ListUsers", "DescribeUser"
    )
    for name, document in (("list", text), ("one", only)):
        policies.attach(policies.create(name, document, actor=dot.principal), ann, actor=dot.principal)
    assert decisions.allows(ann.principal, Action.DESCRIBE_USER, users.named(hal))
    client.force_login(ann)
    assert [row.username for row in client.get("/access/users/").context["page"].rows] == ["hal"]
    assert client.get(reverse("user", args=[dot.pk])).status_code == 404
