"""The access review, and the values that somebody knows when they leave."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from console.reports import access_review, revealed
from rotation.bulk import bulk_actions
from rotation.models import BulkAction, Run
from secrets_app.actions import EQUAL_REVEAL, Action
from secrets_app.audit import append_only, trail
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, SecretGroupGrant, SecretPrincipalGrant
from secrets_app.people import users
from secrets_app.policy import grants, policies, reach
from secrets_app.secrets import versions
from tests import factories, times
from tests.statements import allow, give

pytestmark = pytest.mark.django_db
URL = "/access/review/"


@pytest.fixture
def secret(open_keyring):
    made = factories.secret(name="web/one", initial="a-first-password-1")
    factories.settle(made)
    return made


def page(response) -> str:
    return response.content.decode()


# ---------------------------------------------------------------- review


def test_the_review_names_everybody_who_can_read_a_value(as_dot, secret, dot, ann, hal):
    other = factories.secret(name="db/one")
    grants.grant(other, ann, [Action.GET_SECRET_VALUE], actor=dot.principal)
    shown = {one.secret.name: one.names for one in as_dot.get(URL).context["readers"]}
    assert "ann" in shown[other.name]
    assert "ann" not in shown[secret.name]
    assert "dot" in shown[secret.name]
    assert "hal" not in shown[secret.name]
    only = as_dot.get(URL, {"q": "db/"}).context["readers"]
    assert [one.secret.name for one in only] == [other.name]


def test_a_user_who_may_send_a_value_to_another_machine_counts_as_its_reader(as_dot, secret, dot, ann):
    grants.grant(secret, ann, [Action.REBIND_ACCOUNT], actor=dot.principal)
    (one,) = access_review.readers([secret], lambda principal: True)
    assert "ann" in one.names


def test_no_system_policy_hands_out_what_equals_a_reveal_without_the_reveal():
    for name, (_, actions) in policies.SYSTEM.items():
        held = {str(action) for action in EQUAL_REVEAL} & set(actions)
        assert not held or str(Action.GET_SECRET_VALUE) in held, name


def test_a_statement_that_reaches_every_secret_is_found_and_a_narrower_one_is_not(as_dot, secret, dot, ann):
    region = secret.arn.rpartition(":secret/")[0]
    for name, statement in {
        "all": allow("kms:GetSecretValue"),
        "by-arn": allow("kms:RotateSecret", on="acs:kms:*:*:secret/*"),
        "looks": allow("kms:Describe*", "kms:List*"),
        "denies": allow("*") | {"Effect": "Deny"},
        "only-web": allow("kms:GetSecretValue", on=f"{region}:secret/web/*"),
    }.items():
        give(ann, name, statement, actor=dot)
    found = {one.policy.name: one for one in reach.wildcards() if one.policy.kind == "custom"}
    assert found.keys() == {"all", "by-arn"}
    assert (found["all"].reads_values, found["by-arn"].reads_values) == (True, False)
    assert found["all"].holders == 1
    factories.region("elsewhere")
    give(ann, "one-region", allow("kms:GetSecretValue", on=f"{region}:secret/*"), actor=dot)
    assert "one-region" not in {one.policy.name for one in reach.wildcards()}
    shown = page(as_dot.get(URL))
    assert "by-arn" in shown
    assert "only-web" not in shown


def age(days: int) -> None:
    for table in (SecretPrincipalGrant, SecretGroupGrant):
        table.objects.update(granted_at=timezone.now() - timedelta(days=days))


def test_a_grant_is_unused_when_its_action_was_not_done_for_90_days(as_dot, secret, dot, ann, hal):
    helpdesk = hal.groups.get()
    grants.grant(secret, ann, [Action.GET_SECRET_VALUE, Action.DESCRIBE_SECRET], actor=dot.principal)
    grants.grant(secret, helpdesk, [Action.GET_SECRET_VALUE], actor=dot.principal)

    def unused():
        return {(one.whom, one.action) for one in access_review.unused(dot.principal, str)}

    assert unused() == set()
    age(89)
    assert unused() == set()
    age(91)
    assert unused() == {("ann", "kms:GetSecretValue"), ("helpdesk", "kms:GetSecretValue")}
    assert "Grants unused for 90 days" in page(as_dot.get(URL))
    versions.reveal(secret.labelled("current"), actor=hal.principal, reason="test")
    assert unused() == {("ann", "kms:GetSecretValue")}
    append_only.lift()  # to be able to make an event older
    AuditEvent.objects.filter(action=Action.GET_SECRET_VALUE).update(at=timezone.now() - timedelta(days=91))
    append_only.install()
    assert len(unused()) == 2


def test_a_use_of_another_secret_or_a_refused_one_is_no_use(secret, dot, ann):
    other = factories.secret(initial="a-first-password-2")
    for one in (secret, other):
        grants.grant(one, ann, [Action.GET_SECRET_VALUE], actor=dot.principal)
    age(91)
    versions.reveal(other.labelled("current"), actor=ann.principal, reason="test")
    trail.record(Action.GET_SECRET_VALUE, secret, actor=ann.principal, outcome="denied")
    assert [one.secret for one in access_review.unused(dot.principal, str)] == [secret]


def test_the_review_is_for_those_who_may_see_users_and_policies(client, secret, hal, ann, aud):
    for user, status in ((hal, 403), (ann, 403), (aud, 200)):
        client.force_login(user)
        assert client.get(URL).status_code == status


# ---------------------------------------------------------------- a leaver


def reveal(secret, user):
    versions.reveal(secret.labelled("current"), actor=user.principal, reason="test")


def renew(secret, origin="generated"):
    times.tick()
    held = versions.Value(secret.managed.username, password=Plaintext("a-second-value-1"))
    versions.promote(versions.stage(secret, held, origin=origin, actor=factories.administrator()))


@pytest.fixture
def eve(dot):
    user = factories.user("eve")
    give(user, "reader", allow("kms:DescribeSecret", "kms:GetSecretValue"), actor=dot)
    return user


def test_a_leaver_knows_what_she_read_or_entered_until_a_new_value_is_current(secret, eve, dot):
    unread = factories.secret(initial="a-first-password-2")
    reveal(secret, eve)
    reveal(secret, eve)
    (one,) = revealed.known(eve.principal)
    assert (one.secret, one.times, one.typed, one.is_over) == (secret, 2, False, False)
    renew(secret)
    assert [known.is_over for known in revealed.known(eve.principal)] == [True]
    times.tick()
    reveal(secret, eve)
    assert [known.is_over for known in revealed.known(eve.principal)] == [False]
    typed = {known.secret: known.typed for known in revealed.known(factories.administrator())}
    assert typed[unread]


def test_an_earlier_value_that_was_put_back_counts_as_known(secret, eve):
    reveal(secret, eve)
    renew(secret, origin="earlier")
    assert [known.is_over for known in revealed.known(eve.principal)] == [False]


def test_chosen_secrets_are_rotated_each_by_its_own_right(client, secret, eve, dot, ann):
    other = factories.secret(name="db/one", initial="a-first-password-2")
    factories.settle(other)
    for one in (secret, other):
        reveal(one, eve)
    give(ann, "some", allow("kms:DescribeUser", "kms:ListAuditEvents", "kms:DescribeSecret"), actor=dot)
    grants.grant(secret, ann, [Action.ROTATE_SECRET], actor=dot.principal)
    client.force_login(ann)
    url = reverse("user_revealed", args=[eve.pk])
    assert {(row[0].secret.name, row[1]) for row in client.get(url).context["rows"]} == {
        (secret.name, True),
        (other.name, False),
    }
    form = {"secret": [secret.pk, other.pk, factories.administrator().pk], "token": "press"}
    answer = client.post(url, form)
    assert not Run.objects.filter(kind=Run.Kind.ROTATE).exists()  # a worker starts them
    bulk = BulkAction.objects.get()
    assert answer["Location"] == client.post(url, form)["Location"] == reverse("bulk_action", args=[bulk.pk])
    bulk_actions.carry(bulk.pk, wake=lambda run: None)
    assert dict(bulk.items.values_list("secret", "state")) == {secret.pk: "done", other.pk: "refused"}
    run = Run.objects.get(kind=Run.Kind.ROTATE)
    assert (run.secret, run.requested_by) == (secret, ann.principal)
    assert client.post(url, {}, follow=True).redirect_chain == [(url, 302)]


def test_what_somebody_read_is_told_to_those_who_may_read_the_trail(client, secret, eve, hal, aud, dot):
    reveal(secret, eve)
    url = reverse("user_revealed", args=[eve.pk])
    give(hal, "people", allow("kms:DescribeUser"), actor=dot)
    client.force_login(hal)
    assert client.get(url).status_code == 403
    client.force_login(aud)
    assert secret.name in page(client.get(url))
    assert client.post(url, {"secret": [secret.pk]}).status_code == 403
    assert not Run.objects.filter(kind=Run.Kind.ROTATE).exists()


def test_a_secret_that_the_reader_may_not_see_is_only_counted(client, secret, eve, aud, dot):
    reveal(secret, eve)
    give(aud, "blind", allow("kms:DescribeSecret") | {"Effect": "Deny"}, actor=dot)
    client.force_login(aud)
    shown = client.get(reverse("user_revealed", args=[eve.pk]))
    assert secret.name not in page(shown)
    assert shown.context["hidden"] == 1


def test_disabling_does_not_end_what_is_known(secret, eve, dot):
    reveal(secret, eve)
    users.disable(eve, actor=dot.principal)
    assert len(revealed.known(eve.principal)) == 1
