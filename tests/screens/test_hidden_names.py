"""That something is there may have to be said; what it is called is told to those who may see it."""

from __future__ import annotations

import itertools
import json
import re

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from rotation import runs
from rotation.inventory import instances, management
from rotation.managed import credential_state, deletion
from rotation.models import ManagedAccount
from secrets_app.actions import Action
from secrets_app.keys import key_states
from secrets_app.models import AuditEvent, Secret
from secrets_app.people import invitations, users
from secrets_app.policy import grants, policies
from tests import factories

pytestmark = pytest.mark.django_db
_numbers = itertools.count()
HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
FORM = {
    "type": "ecs", "name": "team-a/svc", "instance": "edge-01", "username": "svc", "kind": "password",
    "generate": "on", "length": "32", "sets": ["lower", "upper", "digits"], "excluded": "",
    "description": "", "tags": "", "rotation": "off", "step": "1",
}  # fmt: skip


@pytest.fixture
def instance(open_keyring):
    return factories.instance(name="edge-01")


@pytest.fixture
def as_ann(client: Client, ann) -> Client:
    client.force_login(ann)
    return client


@pytest.fixture
def give(dot):
    def attach(user, *actions, on="*", name=""):
        statement = {"Effect": "Allow", "Action": list(actions), "Resource": on}
        text = json.dumps({"Version": "1", "Statement": [statement]})
        made = policies.create(name or f"given-{next(_numbers)}", text, actor=dot.principal)
        policies.attach(made, user, actor=dot.principal)
        return made

    return attach


def text(response) -> str:
    return response.content.decode()


# ---------------------------------------------------------------- in the wizard


SEES_INSTANCES = ("kms:ListInstances", "kms:DescribeInstance")


def test_the_wizard_says_that_an_account_is_taken_and_by_what_to_those_who_may_see_it(
    as_ann, instance, give, ann
):
    hidden = factories.secret(instance=instance, name="their-own")
    give(ann, "kms:CreateSecret", "kms:ManageAccount", *SEES_INSTANCES)
    answers = {}
    for kind in ("password", "key_pair"):
        answers[kind] = as_ann.post("/main/secrets/create/", FORM | {"kind": kind}, headers=HTMX)
        assert answers[kind].status_code == 422
        assert "Another secret manages svc on edge-01 already." in text(answers[kind])
        assert "their-own" not in text(answers[kind])
    give(ann, "kms:DescribeSecret")
    answer = as_ann.post("/main/secrets/create/", FORM, headers=HTMX)
    assert f"{hidden.name} manages svc on edge-01 already." in text(answer)


def test_the_wizard_refuses_an_account_and_a_name_that_are_not_ones_own_and_it_is_recorded(
    as_ann, instance, give, ann
):
    give(ann, "kms:CreateSecret", on="acs:kms:*:*:secret/acs/ecs/team-a/*")
    give(ann, "kms:ManageAccount", on="acs:kms:*:*:instance/*/user/svc")
    give(ann, *SEES_INSTANCES)
    factories.secret(name="team-b/svc")
    for wrong, words, action in (
        ({"username": "root"}, "not allowed to manage root on edge-01", "kms:ManageAccount"),
        ({"name": "team-b/svc"}, "not allowed to create a secret of this name", "kms:CreateSecret"),
        ({"tags": "team=a"}, "not allowed to create a secret with these tags", "kms:TagResource"),
    ):
        for step in ("1", ""):
            answer = as_ann.post("/main/secrets/create/", FORM | wrong | {"step": step}, headers=HTMX)
            assert answer.status_code == 422
            assert words in text(answer)
            assert "is in use" not in text(answer)
        assert AuditEvent.objects.filter(action=action, outcome="denied").exists()
    assert as_ann.post("/main/secrets/create/", FORM, headers=HTMX).status_code == 200
    assert Secret.objects.filter(created_by=ann.principal).count() == 0


def test_the_wizard_suggests_the_accounts_that_one_may_manage(as_ann, instance, give, ann):
    type(instance).objects.update(accounts=["root", "svc", "web"])
    give(ann, "kms:ManageAccount", on=f"{instance.arn}/user/svc")
    give(ann, *SEES_INSTANCES)
    shown = text(as_ann.get("/main/secrets/create/instance/", {"instance": "edge-01"}))
    assert 'value="svc"' in shown
    assert "root" not in shown


def test_an_account_that_is_not_ones_own_is_not_looked_at(as_ann, instance, give, ann):
    give(ann, "kms:CreateSecret", "kms:CheckInstance", *SEES_INSTANCES)
    sent = {"instance": "edge-01", "username": "svc", "kind": "password"}
    assert as_ann.post(reverse("secret_create_check", args=["main"]), sent).status_code == 403
    give(ann, "kms:ManageAccount", on=f"{instance.arn}/user/svc")
    assert as_ann.post(reverse("secret_create_check", args=["main"]), sent).status_code == 202


# ---------------------------------------------------------------- instances


def test_an_address_that_is_taken_is_named_to_who_may_see_the_instance(instance, give, ann, dot):
    north = factories.region("north")
    give(ann, "kms:RegisterInstance", on="acs:kms:north:*:instance")
    for actor, is_told in ((ann, False), (dot, True)):
        with pytest.raises(instances.AddressTaken) as taken:
            instances.register("x", region=north, address=instance.address, actor=actor.principal)
        assert ("edge-01" in str(taken.value)) is is_told


def test_what_an_instance_logs_in_with_is_named_to_who_may_see_it(as_ann, instance, give, ann, dot):
    give(ann, *SEES_INSTANCES, "kms:UseManagementCredential", "kms:ListManagementCredentials")
    where = reverse("instance", args=["main", instance.pk])
    credential = instance.credential.name
    assert credential not in text(as_ann.get(where))
    secret = factories.secret(instance=instance, name="hidden-login", initial="a-first-password-1")
    credential_state.note(secret.managed, ManagedAccount.Credential.IN_SYNC)
    management.use_own_login(instance, secret, sudo="passwordless", actor=dot.principal)
    for page in (where, reverse("instance_attach", args=["main", instance.pk])):
        assert "hidden-login" not in text(as_ann.get(page))
    give(ann, "kms:DescribeSecret")
    assert "hidden-login" in text(as_ann.get(where))


def test_an_instance_that_logs_in_with_a_secret_is_named_to_who_may_see_it(instance, give, ann, dot):
    secret = factories.secret(instance=instance, initial="a-first-password-1")
    credential_state.note(secret.managed, ManagedAccount.Credential.IN_SYNC)
    management.use_own_login(instance, secret, sudo="passwordless", actor=dot.principal)
    give(ann, "kms:DeleteSecret")
    for actor, is_told in ((ann, False), (dot, True)):
        with pytest.raises(deletion.IsLogin) as refused:
            deletion.plan_deletion(secret, actor=actor.principal)
        assert ("edge-01" in str(refused.value)) is is_told


# ---------------------------------------------------------------- keys and regions


def test_the_key_of_a_secret_is_named_to_who_may_see_it(as_ann, give, ann, dot):
    key = key_states.create("their-key", actor=dot.principal)
    secret = factories.secret(key=key, initial="a-first-password-1")
    key_states.disable(key, actor=dot.principal)
    give(ann, "kms:DescribeSecret", "kms:GetSecretValue")
    where, value = (
        reverse("secret", args=["main", secret.pk]),
        reverse("secret_reveal", args=["main", secret.pk]),
    )
    shown = text(as_ann.get(where))
    assert "their-key" not in shown
    assert "The encryption key is disabled" in shown
    assert "A key that you may not see" in shown
    refused = text(as_ann.post(value, {"reason": "to log on"}))
    assert "The encryption key is disabled" in refused
    assert "their-key" not in refused
    give(ann, "kms:DescribeKey")
    assert text(as_ann.get(where)).count("their-key") > 1


def test_a_region_is_named_to_who_may_open_a_list_of_it(as_ann, instance, give, ann):
    factories.region("north")
    give(ann, *SEES_INSTANCES, "kms:SimulatePolicy", on="acs:kms:main:*:*")
    give(ann, "kms:SimulatePolicy", "kms:CreateSecret", "kms:RegisterInstance", on="acs:kms:main:*:*")
    give(ann, "kms:SimulatePolicy", "kms:ListManagementCredentials", on="acs:kms::*:*")
    pages = (
        reverse("instances", args=["all"]),
        reverse("instance_register", args=["all"]),
        reverse("simulator"),
    )
    for page in pages:
        assert "North" not in text(as_ann.get(page))
        assert "Main" in text(as_ann.get(page))
    assert as_ann.get("/all/secrets/create/")["Location"] == "/main/secrets/create/"
    assert as_ann.get("/north/secrets/create/").status_code == 403
    give(ann, "kms:ListInstances", "kms:RegisterInstance", on="acs:kms:north:*:*")
    for page in pages:
        assert "North" in text(as_ann.get(page))
    assert "North" in text(as_ann.get("/all/secrets/create/"))


# ---------------------------------------------------------------- counts and first steps


def test_a_group_counts_the_members_policies_and_grants_that_one_may_see(as_ann, give, ann, hal, dot):
    group, secret = hal.groups.get(), factories.secret()
    grants.grant(secret, group, [Action.DESCRIBE_SECRET], actor=dot.principal)
    give(ann, "kms:ListGroups")
    where = reverse("group", args=[group.pk])

    def counted() -> tuple[int, int, int]:
        row = next(one for one in as_ann.get(reverse("groups")).context["page"].rows if one.pk == group.pk)
        return row.member_count, row.policy_count, as_ann.get(where).context["grant_count"]

    assert counted() == (0, 0, 0)
    give(ann, "kms:DescribeUser", "kms:DescribePolicy", "kms:ListSecrets", "kms:DescribeSecret")
    assert counted() == (1, 1, 0)
    give(ann, "kms:ListGrants")
    assert counted() == (1, 1, 1)


def test_a_policy_counts_the_holders_secrets_and_instances_that_one_may_see(as_ann, give, ann, hal, dot):
    made = give(hal, "kms:DescribeSecret", "kms:DescribeInstance", name="describers")
    policies.attach(made, users.create_group("night-shift", actor=dot.principal), actor=dot.principal)
    factories.secret()
    give(ann, "kms:ListPolicies", "kms:DescribePolicy")

    def counted() -> tuple[int, set[int]]:
        rows = as_ann.get(reverse("policies")).context["page"].rows
        reached = as_ann.get(reverse("policy", args=[made.pk])).context["reached"]
        return next(row.holder_count for row in rows if row.pk == made.pk), {one.total for one in reached}

    assert counted() == (0, {0})
    give(ann, "kms:DescribeUser", "kms:ListGroups", "kms:ListSecrets", "kms:DescribeSecret", *SEES_INSTANCES)
    assert counted() == (2, {1})


def test_the_overview_counts_what_one_may_see(as_ann, give, ann):
    mine, _ = factories.secret(), factories.secret()
    give(ann, "kms:ListSecrets", "kms:ListRotations", "kms:ListInstances")
    give(ann, "kms:DescribeSecret", on=mine.arn)
    give(ann, "kms:DescribeInstance", on=mine.managed.instance.arn)
    shown = text(as_ann.get("/all/overview/"))
    counts = dict(re.findall(r'figure-label">([^<]+)</span><span class="figure-value[^"]*">([\d,]+)<', shown))
    assert counts["Secrets"] == "1"
    assert counts["Instances ready"] == "0"
    assert "of 1" in shown
    assert "of 2" not in shown


def test_the_first_steps_are_those_that_one_has_a_right_for_and_ticked_by_what_one_sees(as_ann, give, ann):
    secret = factories.secret()
    Secret.objects.filter(pk=secret.pk).update(last_read_at=timezone.now())
    where = reverse("get_started")
    titles = ("Grant permissions", "Create Secret", "Monitor its rotation", "Log on with the current secret")

    def steps() -> list[str]:
        shown = text(as_ann.get(where))
        return [title for title in titles if f'timeline-label">{title}<' in shown]

    assert steps() == []
    assert "Your permissions do not include any of the first steps." in text(as_ann.get(where))
    give(ann, "kms:CreateSecret")
    assert steps() == ["Create Secret"]
    assert "kms:ManageAccount" in text(as_ann.get(where))
    give(ann, "kms:ManageAccount", "kms:GetSecretValue")
    assert steps() == ["Create Secret", "Log on with the current secret"]
    assert "kms:ManageAccount" not in text(as_ann.get(where))
    assert "0 of 2 done" in text(as_ann.get(where))
    give(ann, "kms:ListSecrets", "kms:DescribeSecret")
    assert "2 of 2 done" in text(as_ann.get(where))
    give(ann, "kms:RegisterInstance", "kms:ListRotations")
    assert steps() == list(titles)


# ---------------------------------------------------------------- people and policies


def test_who_is_invited_is_named_to_who_may_see_them_or_has_invited_them(as_ann, give, ann, dot):
    users.create_group("night-shift", actor=dot.principal)
    made, _ = invitations.invite("guest-1", groups=["night-shift"], actor=dot.principal)
    give(ann, "kms:ListUsers", "kms:CreateUser")
    invitations.invite("guest-2", actor=ann.principal)
    listed = text(as_ann.get(reverse("invitations")))
    assert "guest-1" not in listed
    assert "guest-2" in listed
    for way in ("invitation_renew", "invitation_revoke"):
        assert as_ann.post(reverse(way, args=[made.pk])).status_code == 404
    give(ann, "kms:DescribeUser")
    listed = text(as_ann.get(reverse("invitations")))
    assert "guest-1" in listed
    assert "night-shift" not in listed + text(as_ann.get(reverse("invite")))
    give(ann, "kms:ListGroups")
    for page in ("invitations", "invite"):
        assert "night-shift" in text(as_ann.get(reverse(page)))


def test_the_permissions_of_a_secret_name_the_holders_that_their_reader_may_see(as_ann, give, ann, dot, hal):
    secret = factories.secret()
    group = users.create_group("night-shift", actor=dot.principal)
    cal = factories.user("cal-reads")
    users.join(group, [cal], actor=dot.principal)
    for whom in (cal, group):
        grants.grant(secret, whom, [Action.GET_SECRET_VALUE], actor=dot.principal)
    policies.attach(give(hal, "kms:RotateSecret"), group, actor=dot.principal)
    give(ann, "kms:DescribeSecret", "kms:ListGrants", "kms:RevokeGrant")
    tab = reverse("secret", args=["main", secret.pk]) + "?tab=permissions"
    revoke = reverse("secret_revoke", args=["main", secret.pk])
    pages = (tab, f"{revoke}?of=user:{cal.pk}", f"{revoke}?of=group:{group.pk}")
    shown = "".join(text(as_ann.get(page)) for page in pages)
    assert "cal-reads" not in shown
    assert "night-shift" not in shown
    assert "Grant to a group that you may not see" in shown
    assert "A user that you may not see" in shown
    assert ">ann<" in shown
    give(ann, "kms:DescribeUser", "kms:ListGroups")
    shown = "".join(text(as_ann.get(page)) for page in pages)
    assert "cal-reads" in shown
    assert "Grant to the group night-shift" in shown
    assert "that you may not see, by the group night-shift" in shown


def test_who_did_something_to_a_secret_is_told_to_all_who_may_see_the_secret(as_ann, give, ann, dot):
    secret = factories.secret()
    run = runs.start(secret, actor=dot.principal)
    users.rename(dot, "Dorothea", actor=dot.principal)
    give(ann, "kms:DescribeSecret", "kms:DescribeRotation")
    for page in (
        reverse("secret", args=["main", secret.pk]) + "?tab=history",
        reverse("run", args=["main", run.pk]),
    ):
        shown = text(as_ann.get(page))
        assert "dot" in shown
        assert "Dorothea" not in shown
        assert reverse("user", args=[dot.pk]) not in shown


def test_who_has_a_policy_is_named_to_who_may_see_them(as_ann, give, ann, hal, dot):
    made = give(hal, "kms:RotateSecret", name="rotators")
    policies.attach(made, users.create_group("night-shift", actor=dot.principal), actor=dot.principal)
    give(ann, "kms:DescribePolicy")
    where = reverse("policy", args=[made.pk])
    shown = text(as_ann.get(where))
    assert ">hal<" not in shown
    assert "night-shift" not in shown
    assert "2 users or groups that you may not see have it." in shown
    give(ann, "kms:ListUsers", "kms:DescribeUser", "kms:ListGroups")
    shown = text(as_ann.get(where))
    assert ">hal<" in shown
    assert "night-shift" in shown


def test_a_policy_that_cannot_be_deleted_names_those_whom_its_reader_may_list(give, ann, hal, dot):
    made = give(hal, "kms:RotateSecret", name="rotators")
    denied = {"Effect": "Deny", "Action": ["kms:ListUsers"], "Resource": "*"}
    document = json.dumps({"Version": "1", "Statement": [denied]})
    policies.attach(policies.create("blind", document, actor=dot.principal), dot, actor=dot.principal)
    with pytest.raises(policies.StillAttached, match="attached to 1 user or group"):
        policies.delete(made, actor=dot.principal)


def test_policies_and_groups_of_a_person_are_named_to_who_may_see_those(as_ann, give, ann, hal, dot):
    give(hal, "kms:RotateSecret", name="rotators")
    give(ann, "kms:ListUsers", "kms:DescribeUser")
    for page in (reverse("user", args=[hal.pk]), reverse("users")):
        shown = text(as_ann.get(page))
        assert "helpdesk" not in shown.lower()
        assert "rotators" not in shown
        assert "that you may not see" in shown


def test_policies_of_a_group_are_named_to_who_may_see_those(as_ann, give, ann, hal):
    group = hal.groups.get()
    give(ann, "kms:ListGroups")
    shown = text(as_ann.get(reverse("group", args=[group.pk])))
    assert "1 policy that you may not see." in shown
    assert "Helpdesk" not in shown


def test_the_permissions_of_a_secret_name_the_policies_that_their_reader_may_see(as_ann, give, ann, dot):
    secret = factories.secret()
    give(ann, "kms:DescribeSecret", "kms:ListGrants", name="mine")
    where = reverse("secret", args=["main", secret.pk]) + "?tab=permissions"
    shown = text(as_ann.get(where))
    assert "KMSFullAccess" not in shown
    assert "A policy that you may not see" in shown
    give(ann, "kms:DescribePolicy")
    assert "KMSFullAccess" in text(as_ann.get(where))


def test_the_access_review_names_the_people_that_its_reader_may_see(as_ann, give, ann, dot):
    secret = factories.secret()
    cal = factories.user("cal-reads")
    grants.grant(secret, cal, [Action.GET_SECRET_VALUE], actor=dot.principal)
    give(ann, "kms:ListUsers", "kms:ListPolicies", "kms:ListSecrets", "kms:DescribeSecret", "kms:ListGrants")
    where = reverse("access_review")
    assert "cal-reads" not in text(as_ann.get(where))
    give(ann, "kms:DescribeUser")
    assert "cal-reads" in text(as_ann.get(where))
