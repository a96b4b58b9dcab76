"""Permissions and their sources to a secret and through what, grants by form, and the reason on a refusal."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from secrets_app.actions import OF_A_SECRET, Action
from secrets_app.models import AuditEvent, SecretGroupGrant, SecretPrincipalGrant
from secrets_app.people import users
from secrets_app.policy import decisions, grants, reach
from tests import factories
from tests.statements import allow, give

pytestmark = pytest.mark.django_db


@pytest.fixture
def secret(open_keyring):
    return factories.secret(name="web/one", tags={"env": "prod"})


def page(response) -> str:
    return response.content.decode()


def url(name, secret):
    return reverse(name, args=["main", secret.pk])


# ---------------------------------------------------------------- who may what


def test_what_the_tab_says_is_what_the_decision_says(secret, dot, ann, hal, aud):
    other = factories.secret(tags={"env": "test"})
    give(ann, "web", allow("kms:*", on=secret.arn), actor=dot)
    give(ann, "no-delete", allow("kms:DeleteSecret") | {"Effect": "Deny"}, actor=dot)
    tagged = {"Condition": {"StringNotEquals": {"kms:tag/env": "prod"}}}
    give(Group.objects.get(name="helpdesk"), "test-only", allow("kms:GetSecretValue", **tagged), actor=dot)
    grants.grant(other, ann, [Action.ROTATE_SECRET], actor=dot.principal)
    grants.grant(secret, Group.objects.get(name="auditors"), [Action.GET_SECRET_VALUE], actor=dot.principal)
    everybody = reach.Everybody([secret, other])
    for one in (secret, other):
        said = {right.principal.user_id: set(right.actions) for right in everybody.with_rights(one)}
        for user in (dot, ann, hal, aud):
            expected = {a for a in OF_A_SECRET if decisions.allows(user.principal, a, one)}
            assert said.get(user.pk, set()) == expected, (user, one)


def test_conditions_of_a_request_count_as_met_and_a_deny_by_them_as_not(secret, dot, ann):
    office = {"Condition": {"IpAddress": {"acs:SourceIp": "10.0.0.0/8"}}}
    give(ann, "office", allow("kms:GetSecretValue", **office), actor=dot)
    give(
        ann,
        "no-http",
        allow("kms:*", Condition={"Bool": {"acs:SecureTransport": "false"}}) | {"Effect": "Deny"},
        actor=dot,
    )
    right = next(r for r in reach.Everybody([secret]).with_rights(secret) if r.principal.user == ann)
    assert list(right.actions) == [Action.GET_SECRET_VALUE]
    (source,) = right.actions[Action.GET_SECRET_VALUE]
    assert (source.label, source.is_conditional) == ("office", True)


def test_the_tab_names_every_source_of_a_right(as_dot, secret, ann, dot):
    operators = users.create_group("operators", actor=dot.principal)
    users.join(operators, [ann], actor=dot.principal)
    give(operators, "rotate", allow("kms:RotateSecret"), actor=dot)
    grants.grant(secret, ann, [Action.GET_SECRET_VALUE], actor=dot.principal)
    grants.grant(secret, operators, [Action.UPDATE_SECRET], actor=dot.principal)
    shown = page(as_dot.get(url("secret", secret), {"tab": "permissions"}))
    for words in ("rotate, by the group operators", "Grant to the group operators", "kms:UpdateSecret"):
        assert words in shown
    assert f"All {len(OF_A_SECRET)} actions" in shown


def test_the_tab_takes_the_right_to_list_grants(client, secret, hal, aud):
    client.force_login(hal)
    assert client.get(url("secret", secret), {"tab": "permissions"}).status_code == 403
    assert "tab=permissions" not in page(client.get(url("secret", secret)))
    client.force_login(aud)
    shown = page(client.get(url("secret", secret), {"tab": "permissions"}))
    assert "Permissions and their sources" in shown
    assert "/grant/" not in shown


# ---------------------------------------------------------------- grant and revoke


def test_a_grant_and_its_end_by_form(as_dot, secret, ann):
    typed = {"to": f"user:{ann.pk}", "actions": ["kms:DescribeSecret", "kms:RotateSecret"]}
    assert as_dot.post(url("secret_grant", secret), typed)["Location"].endswith("?tab=permissions")
    assert decisions.allows(ann.principal, Action.ROTATE_SECRET, secret)
    gone = {"of": f"user:{ann.pk}", "actions": ["kms:RotateSecret"]}
    as_dot.post(url("secret_revoke", secret), gone)
    assert not decisions.allows(ann.principal, Action.ROTATE_SECRET, secret)
    assert decisions.allows(ann.principal, Action.DESCRIBE_SECRET, secret)
    assert as_dot.post(url("secret_revoke", secret), gone).status_code == 422
    assert as_dot.post(url("secret_revoke", secret), {"of": "user:nobody"}).status_code == 404


def test_a_group_is_granted_too(as_dot, secret, hal):
    helpdesk = Group.objects.get(name="helpdesk")
    as_dot.post(url("secret_grant", secret), {"to": f"group:{helpdesk.pk}", "actions": ["kms:RotateSecret"]})
    assert decisions.allows(hal.principal, Action.ROTATE_SECRET, secret)


def test_p_06_a_form_hands_out_only_what_its_sender_may_do_now(client, secret, ann, hal, dot):
    give(
        ann,
        "giver",
        allow("kms:CreateGrant", "kms:RotateSecret", "kms:DescribeSecret", "kms:DescribeUser"),
        actor=dot,
    )
    client.force_login(ann)
    offered = {
        value
        for value, _ in client.get(url("secret_grant", secret)).context["form"].fields["actions"].choices
    }
    assert offered == {"kms:CreateGrant", "kms:RotateSecret", "kms:DescribeSecret"}
    for user in (hal, ann):
        for action in sorted({a.value for a in Action} - offered):
            sent = {"to": f"user:{user.pk}", "actions": ["kms:RotateSecret", action]}
            assert client.post(url("secret_grant", secret), sent).status_code == 422, action
    assert not SecretPrincipalGrant.objects.exists()
    client.post(url("secret_grant", secret), {"to": f"user:{hal.pk}", "actions": ["kms:RotateSecret"]})
    assert SecretPrincipalGrant.objects.get().principal == hal.principal


def test_the_conditions_of_a_grant_stand_beside_it(client, as_dot, secret, ann, hal, dot):
    give(ann, "see", allow("kms:CreateGrant", "kms:DescribeSecret", "kms:DescribeUser"), actor=dot)
    local = {"Condition": {"IpAddress": {"acs:SourceIp": "127.0.0.0/8"}}}
    give(ann, "local", allow("kms:GetSecretValue", **local), actor=dot)
    sent = {"to": f"user:{hal.pk}", "actions": ["kms:DescribeSecret", "kms:GetSecretValue"]}
    client.force_login(ann)
    assert client.post(url("secret_grant", secret), sent).status_code == 302
    client.force_login(dot)
    shown = page(client.get(url("secret", secret), {"tab": "permissions"}))
    assert shown.count("Only if acs:SourceIp IpAddress 127.0.0.0/8") == 1
    assert "If its conditions are met" in shown
    assert page(client.get(reverse("user", args=[hal.pk]))).count("On conditions") == 1


def test_one_cannot_choose_oneself_nor_a_group_of_ones_own(client, as_dot, secret, dot):
    choices = [
        value for value, _ in as_dot.get(url("secret_grant", secret)).context["form"]["to"].field.choices
    ]
    ours = f"group:{Group.objects.get(name='administrators').pk}"
    for to in (f"user:{dot.pk}", ours):
        assert to not in str(choices)
        assert (
            as_dot.post(url("secret_grant", secret), {"to": to, "actions": ["kms:RotateSecret"]}).status_code
            == 422
        )
    assert not SecretPrincipalGrant.objects.exists()
    assert not SecretGroupGrant.objects.exists()


def test_p_06_who_may_not_grant_or_revoke_changes_no_grant(client, secret, ann, hal, aud, dot):
    grants.grant(secret, ann, [Action.DESCRIBE_SECRET, Action.ROTATE_SECRET], actor=dot.principal)
    for user, status in ((ann, 403), (hal, 403), (aud, 403)):
        client.force_login(user)
        sent = {"to": f"user:{user.pk}", "of": f"user:{ann.pk}", "actions": ["kms:RotateSecret"]}
        for name in ("secret_grant", "secret_revoke"):
            assert client.post(url(name, secret), sent).status_code == status
    assert SecretPrincipalGrant.objects.count() == 2
    assert not SecretGroupGrant.objects.exists()


def test_whom_one_may_not_see_one_cannot_choose(client, secret, ann, hal, dot):
    give(ann, "giver", allow("kms:CreateGrant", "kms:RotateSecret", "kms:DescribeSecret"), actor=dot)
    client.force_login(ann)
    sent = {"to": f"user:{hal.pk}", "actions": ["kms:RotateSecret"]}
    assert client.post(url("secret_grant", secret), sent).status_code == 422


# ---------------------------------------------------------------- why not


def test_a_refusal_says_what_decided_it(client, secret, ann, dot):
    grants.grant(secret, ann, [Action.DESCRIBE_SECRET, Action.GET_SECRET_VALUE], actor=dot.principal)
    give(ann, "no-reveal", allow("kms:GetSecretValue") | {"Effect": "Deny"}, actor=dot)
    client.force_login(ann)
    shown = page(client.get(url("secret_reveal", secret)))
    assert "Deny by statement 1 of the policy no-reveal." in shown
    assert "simulator" not in shown
    shown = page(client.get(url("secret_rotate", secret)))
    assert "No policy of ann and no grant allows kms:RotateSecret here." in shown
    dialog = client.get(url("secret_reveal", secret), headers={"HX-Request": "true", "HX-Target": "dialog"})
    assert "Deny by statement 1" in page(dialog)
    part = client.get(url("secret_reveal", secret), headers={"HX-Request": "true", "HX-Target": "rows"})
    assert "Deny by statement 1" in part["HX-Trigger"]


def test_who_may_simulate_finds_the_same_question_there(client, secret, aud, dot):
    give(aud, "sim", allow("kms:SimulatePolicy"), actor=dot)
    client.force_login(aud)
    shown = client.get(url("secret_rotate", secret))
    link = reverse("simulator")
    assert link in page(shown)
    there = page(shown).partition(f'href="{link}')[2].partition('"')[0].replace("&amp;", "&")
    answer = client.get(link + there).context["decision"]
    assert not answer.allowed
    assert "kms:RotateSecret" in answer.because
    assert AuditEvent.objects.filter(action=Action.ROTATE_SECRET, outcome="denied").count() == 1


# ---------------------------------------------------------------- buttons by row


def test_a_row_offers_what_is_allowed_on_that_row(client, ann, dot):
    web, db = factories.secret(name="web/one", tags={"env": "test"}), factories.secret(name="db/one")
    give(ann, "see", allow("kms:ListSecrets", "kms:DescribeSecret"), actor=dot)
    give(
        ann,
        "tests",
        allow("kms:RotateSecret", Condition={"StringEquals": {"kms:tag/env": "test"}}),
        actor=dot,
    )
    grants.grant(db, ann, [Action.DELETE_SECRET], actor=dot.principal)
    client.force_login(ann)
    row = page(client.get("/all/secrets/"))
    for name, secret, offered in (
        ("secret_rotate", web, True),
        ("secret_rotate", db, False),
        ("secret_delete", web, False),
        ("secret_delete", db, True),
        ("secret_reveal", web, False),
    ):
        shown = row + page(client.get(reverse("secret_menu", args=["all", secret.pk])))
        assert (reverse(name, args=["all", secret.pk]) in shown) is offered, (name, secret.name)


def test_rights_by_row_cost_no_query_by_row(client, ann, dot):
    give(ann, "see", allow("kms:ListSecrets", "kms:DescribeSecret"), actor=dot)
    give(
        ann,
        "tests",
        allow("kms:RotateSecret", Condition={"StringEquals": {"kms:tag/env": "test"}}),
        actor=dot,
    )
    client.force_login(ann)
    factories.secret(tags={"env": "test"})

    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            assert client.get("/all/secrets/").status_code == 200
        return len(seen)

    few = queries()
    for _ in range(4):
        factories.secret(tags={"env": "test"})
    assert queries() <= few


def test_the_review_of_many_people_reads_as_often_as_that_of_one(secret, dot):
    def queries() -> int:
        with CaptureQueriesContext(connection) as seen:
            reach.Everybody([secret]).with_rights(secret)
        return len(seen)

    few = queries()
    for n in range(6):
        factories.user(f"many{n}", "helpdesk")
    assert queries() == few
