"""The simulator answers as the decision would, and tells nothing that its reader may not see."""

from __future__ import annotations

import json

import pytest
from django.test import Client

from secrets_app.actions import Action
from secrets_app.models import AuditEvent
from secrets_app.people import users
from secrets_app.policy import decisions, grants, policies
from tests import factories

pytestmark = pytest.mark.django_db
URL = "/access/simulator/"


@pytest.fixture
def office(dot, ann):
    """Let ann read values from an office by https with a second factor."""
    statements = [
        {"Effect": "Allow", "Action": "kms:DescribeSecret", "Resource": "*"},
        {
            "Effect": "Allow",
            "Action": "kms:GetSecretValue",
            "Resource": "*",
            "Condition": {
                "IpAddress": {"acs:SourceIp": "10.0.0.0/8"},
                "Bool": {"acs:MFAPresent": "true", "acs:SecureTransport": "true"},
                "DateLessThan": {"acs:CurrentTime": "2030-01-01T00:00:00Z"},
            },
        },
    ]
    text = json.dumps({"Version": "1", "Statement": statements}, indent=2)
    made = policies.create("office", text, actor=dot.principal)
    policies.attach(made, ann, actor=dot.principal)
    return made


def asked(name: str, **changes: str) -> dict[str, str]:
    return {
        "user": "ann", "action": "kms:GetSecretValue", "resource": name, "address": "10.1.2.3",
        "mfa": "true", "https": "true", "at": "2029-05-05T12:00",
    } | changes  # fmt: skip


def test_the_answer_is_that_of_the_decision_with_the_statement_marked(as_dot, office):
    secret = factories.secret(name="web/one")
    shown = as_dot.get(URL, asked(secret.name)).context
    assert shown["decision"].allowed
    assert shown["decision"].because == "Allow by statement 2 of the policy office."
    marked = "\n".join(line.text for line in shown["lines"] if line.is_marked)
    assert json.loads(marked)["Action"] == "kms:GetSecretValue"
    assert shown["first_line"] == next(line.number for line in shown["lines"] if line.is_marked)


@pytest.mark.parametrize(
    "change",
    [
        {"address": "192.0.2.1"},
        {"mfa": "false"},
        {"https": "false"},
        {"at": "2031-01-01T00:00"},
        {"address": ""},
    ],
)
def test_each_fact_of_the_request_counts(as_dot, office, change):
    shown = as_dot.get(URL, asked(factories.secret().arn, **change)).context
    assert not shown["decision"].allowed
    assert "No policy of ann" in shown["decision"].because


def test_tags_and_grants_are_the_secrets_own(as_dot, dot, ann):
    tagged = (
        policies.document(["kms:RotateSecret"])[:-7]
        + ',\n"Condition": {"StringEquals": {"kms:tag/env": "prod"}}}]}'
    )
    policies.attach(policies.create("prod", tagged, actor=dot.principal), ann, actor=dot.principal)
    prod, test = factories.secret(tags={"env": "prod"}), factories.secret(tags={"env": "test"})
    grants.grant(test, ann, [Action.GET_SECRET_VALUE], actor=dot.principal)

    def allowed(secret, action):
        return as_dot.get(URL, asked(secret.name, action=action)).context["decision"].allowed

    assert [allowed(one, "kms:RotateSecret") for one in (prod, test)] == [True, False]
    assert [allowed(one, "kms:GetSecretValue") for one in (prod, test)] == [False, True]


def test_lists_are_asked_of_a_region_and_people_by_name(as_dot, dot, hal):
    factories.region("main")
    shown = as_dot.get(URL, asked("", user="hal", action="kms:ListSecrets", region="main")).context
    assert shown["decision"].allowed
    shown = as_dot.get(URL, asked("ann", user="hal", action="kms:UpdateUser")).context
    assert not shown["decision"].allowed
    shown = as_dot.get(URL, asked("ann", user="dot", action="kms:UpdateUser")).context
    assert shown["decision"].allowed


def test_a_disabled_person_may_nothing(as_dot, office, ann, dot):
    users.disable(ann, actor=dot.principal)
    decision = as_dot.get(URL, asked(factories.secret().name)).context["decision"]
    assert decision == decisions.Decision(False, "This user is disabled.")


@pytest.mark.parametrize(
    "typed",
    [{"user": "nobody"}, {"resource": "no/such"}, {"resource": ""}, {"action": "kms:Nothing"},
     {"address": "300.1.1.1"}, {"at": "soon"}, {"user": ""}],
)  # fmt: skip
def test_what_does_not_exist_is_said_beside_its_field(as_dot, ann, typed):
    response = as_dot.get(URL, asked(factories.secret().name) | typed)
    assert "decision" not in response.context
    assert response.context["form"].errors


def test_simulating_takes_its_right_and_changes_nothing(client, ann, hal, office):
    secret = factories.secret()
    both = [client, Client()]
    for one, user in zip(both, (ann, hal), strict=True):
        one.force_login(user)
    before = AuditEvent.objects.exclude(outcome="denied").count()
    for one in both:
        assert one.get(URL, asked(secret.name)).status_code == 403
    assert AuditEvent.objects.exclude(outcome="denied").count() == before


def test_a_hidden_secret_and_a_missing_one_look_the_same(client, hal, dot, office):
    document = policies.document(["kms:SimulatePolicy"])
    policies.attach(policies.create("sim", document, actor=dot.principal), hal, actor=dot.principal)
    deny = policies.document(["kms:DescribeSecret"]).replace("Allow", "Deny")
    policies.attach(policies.create("hide", deny, actor=dot.principal), hal, actor=dot.principal)
    hidden = factories.secret().name
    client.force_login(hal)
    answers = [
        client.get(URL, asked(name, user="hal")).context["form"].errors.as_json()
        for name in (hidden, "no/such")
    ]
    assert answers[0] == answers[1]
    assert client.get(URL, asked(hidden)).context["form"].errors.keys() == {"user"}


def test_who_may_not_see_the_policy_is_shown_the_sentence_and_no_document(client, hal, dot):
    document = policies.document(["kms:SimulatePolicy", "kms:RotateSecret"])
    policies.attach(policies.create("sim", document, actor=dot.principal), hal, actor=dot.principal)
    client.force_login(hal)
    shown = client.get(URL, asked(factories.secret().name, user="hal", action="kms:RotateSecret")).context
    assert shown["decision"].because == "Allow by statement 1 of the policy sim."
    assert "lines" not in shown


def test_an_account_and_a_secret_that_is_not_made_yet_are_asked_about_by_name(as_dot, dot, ann):
    instance = factories.instance(name="edge-01")
    statements = [
        {"Effect": "Allow", "Action": "kms:ManageAccount", "Resource": f"{instance.arn}/user/svc"},
        {"Effect": "Allow", "Action": "kms:CreateSecret", "Resource": "acs:kms:main:*:secret/acs/ecs/web/*"},
    ]
    text = json.dumps({"Version": "1", "Statement": statements})
    policies.attach(policies.create("web", text, actor=dot.principal), ann, actor=dot.principal)
    arn = f"acs:kms:main:{instance.account.number}:secret/acs/ecs/web/new"
    for action, name, allowed in (
        ("kms:ManageAccount", "edge-01/user/svc", True),
        ("kms:ManageAccount", f"{instance.arn}/user/svc", True),
        ("kms:ManageAccount", "edge-01/user/root", False),
        ("kms:ManageAccount", "edge-01", False),
        ("kms:CreateSecret", "acs/ecs/web/new", True),
        ("kms:CreateSecret", arn, True),
        ("kms:CreateSecret", "acs/ecs/db/new", False),
    ):
        shown = as_dot.get(URL, asked(name, action=action, region="main")).context
        assert shown["decision"].allowed is allowed, (action, name)
