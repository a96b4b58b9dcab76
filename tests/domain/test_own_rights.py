"""Ways to a value around the right to see it: a second secret, a name of one's choice, other tags."""

import itertools

import pytest

from rotation import accounts, instance_checks
from rotation.managed import creation
from rotation.models import Instance, ManagedAccount
from secrets_app import origin
from secrets_app.actions import Action
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Secret, Tag
from secrets_app.policy import decisions, grants
from secrets_app.secrets import lifecycle
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]
_numbers = itertools.count()
GET = Action.GET_SECRET_VALUE


@pytest.fixture
def instance(open_keyring) -> Instance:
    return factories.instance(name="edge-01")


def create(instance, actor, name="mine", username="svc", **fields):
    return creation.create(
        name,
        region=instance.region,
        instance=instance,
        username=username,
        actor=actor.principal,
        **fields,
    )[0]


# ---------------------------------------------------------------- managing an account


def test_a_secret_beside_somebody_elses_is_not_made_without_the_right_to_the_account(instance, give, ann):
    factories.secret(instance=instance, initial="a-first-password-1")
    give(ann, "kms:CreateSecret", "kms:RotateSecret", "kms:DescribeInstance", "kms:CheckInstance")
    for kind in ("key_pair", "password"):
        with pytest.raises(decisions.NotAllowed) as refused:
            create(instance, ann, kind=kind)
        assert refused.value.action == Action.MANAGE_ACCOUNT
        with pytest.raises(decisions.NotAllowed):
            instance_checks.check_account(instance, "svc", kind, actor=ann.principal)
    assert ManagedAccount.objects.count() == 1


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("*/user/svc", True),
        ("*/user/s*", True),
        ("*/user/?vc", True),
        ("*", True),
        ("*/user/SVC", False),
        ("*/user/root", False),
        ("*/user", False),
    ],
)
def test_the_right_is_to_an_instance_and_a_user_by_name(instance, give, ann, pattern, allowed):
    give(ann, "kms:ManageAccount", on=f"acs:kms:main:*:instance/{pattern}")
    assert accounts.may_manage(instance, "svc", actor=ann.principal) is allowed
    elsewhere = factories.instance(region=factories.region("north"))
    assert not accounts.may_manage(elsewhere, "svc", actor=ann.principal)


def test_p_08_no_name_that_an_account_cannot_have_is_managed(instance, dot):
    for name in ("", "*", "svc/user/root", "a:b", "svc\n", " svc"):
        assert not accounts.may_manage(instance, name, actor=dot.principal)


def test_an_account_of_windows_is_one_however_it_is_written(give, ann, open_keyring):
    windows = factories.instance(os=Instance.OS.WINDOWS)
    give(ann, "kms:ManageAccount", on=f"{windows.arn}/user/*")
    give(ann, "kms:ManageAccount", effect="Deny", on=f"{windows.arn}/user/administrator")
    for name in ("Administrator", "ADMINISTRATOR"):
        assert not accounts.may_manage(windows, name, actor=ann.principal)


def test_beside_a_secret_that_one_may_not_see_neither_kind_is_made_and_both_hear_the_same(
    instance, give, ann
):
    hidden = factories.secret(instance=instance, name="hidden", initial="a-first-password-1")
    give(ann, "kms:CreateSecret", "kms:ManageAccount", "kms:DescribeInstance")
    heard = set()
    for kind in ("password", "key_pair"):
        with pytest.raises(creation.AccountTaken) as taken:
            create(instance, ann, kind=kind)
        heard.add(str(taken.value))
    (sentence,) = heard
    assert "hidden" not in sentence
    assert "Another secret manages svc on edge-01 already." in sentence
    give(ann, "kms:DescribeSecret", on=hidden.arn)
    with pytest.raises(creation.AccountTaken, match=hidden.name):
        create(instance, ann)
    assert create(instance, ann, kind="key_pair").managed.username == "svc"


def test_another_row_of_the_machine_is_not_named_to_who_may_not_see_it(instance, give, ann):
    key = factories.host_key()
    one, two = factories.instance(name="one", keys=[key]), factories.instance(name="two", keys=[key])
    Instance.objects.filter(pk__in=[one.pk, two.pk]).update(machine_id="same")
    two.refresh_from_db()
    factories.secret(instance=one, name="hidden")
    give(ann, "kms:CreateSecret", "kms:ManageAccount", "kms:DescribeSecret")
    with pytest.raises(creation.AccountTaken) as taken:
        create(two, ann)
    assert "one" not in str(taken.value).replace("Choose another", "")
    assert "hidden" not in str(taken.value)


def test_the_name_of_a_shared_credential_is_told_to_who_may_see_it(instance, give, ann, dot):
    give(ann, "kms:CreateSecret", "kms:ManageAccount")
    for user, is_told in ((ann, False), (dot, True)):
        with pytest.raises(creation.SharedAccount) as shared:
            create(instance, user, username="keyturn")
        assert (instance.credential.name in str(shared.value)) is is_told


def test_who_may_create_under_some_names_creates_under_those(instance, give, ann):
    give(ann, "kms:ManageAccount", "kms:DescribeInstance")
    give(ann, "kms:CreateSecret", on="acs:kms:*:*:secret/acs/ecs/team-a/*")
    assert decisions.may_somewhere(ann.principal, Action.CREATE_SECRET)
    for name in ("team-b/svc", "team-a", "svc"):
        with pytest.raises(decisions.NotAllowed):
            create(instance, ann, name)
    assert create(instance, ann, "team-a/svc").name == "acs/ecs/team-a/svc"


# ---------------------------------------------------------------- tags


@pytest.fixture
def secret(instance) -> Secret:
    return factories.secret(
        instance=instance, initial="a-first-password-1", tags={"team": "b", "env": "prod"}
    )


def retag(secret, tags, actor):
    secret.refresh_from_db()
    lifecycle.edit(
        secret,
        revision=secret.revision,
        description="",
        tags=tags,
        password_policy=passwords.Policy(),
        actor=actor.principal,
    )


def others_tag(secret, **wanted):
    """Somebody who may sets a tag."""
    retag(secret, {**tags(secret), **wanted}, factories.user(f"tagger-{next(_numbers)}", "administrators"))


def tags(secret):
    return dict(Tag.objects.filter(secret=secret).values_list("key", "value"))


def test_who_may_edit_a_secret_does_not_choose_its_tags(secret, give, ann):
    give(ann, "kms:UpdateSecret")
    for wanted in ({"team": "a", "env": "prod"}, {"team": "b"}, {}, {**tags(secret), "more": "x"}):
        with pytest.raises(decisions.NotAllowed):
            retag(secret, wanted, ann)
    retag(secret, tags(secret), ann)  # nothing changes
    assert tags(secret) == {"team": "b", "env": "prod"}


@pytest.mark.parametrize(
    ("action", "wanted"),
    [("kms:TagResource", {"team": "b"}), ("kms:UntagResource", {"team": "c", "env": "prod"})],
)
def test_to_set_a_tag_and_to_take_one_away_are_two_rights(secret, give, ann, action, wanted):
    give(ann, "kms:UpdateSecret", action)
    with pytest.raises(decisions.NotAllowed):
        retag(secret, wanted, ann)
    give(ann, {"kms:TagResource": "kms:UntagResource"}.get(action, "kms:TagResource"))
    retag(secret, wanted, ann)
    assert tags(secret) == wanted


def test_the_right_to_tag_is_asked_with_the_old_tags_and_with_the_new_ones(secret, give, ann):
    give(ann, "kms:UpdateSecret")
    give(ann, "kms:TagResource", StringEquals={"kms:tag/team": "a"})
    with pytest.raises(decisions.NotAllowed):
        retag(secret, {"team": "a", "env": "prod"}, ann)  # it is not a's yet
    others_tag(secret, team="a")
    with pytest.raises(decisions.NotAllowed):
        retag(secret, {"team": "c", "env": "prod"}, ann)  # it would not be a's any more
    retag(secret, {"team": "a", "env": "live"}, ann)
    assert tags(secret) == {"team": "a", "env": "live"}


@pytest.mark.parametrize("address", [None, "10.1.1.1", "192.0.2.1"])
def test_nobody_reads_a_value_by_rewriting_the_tags_that_conditions_hang_on(secret, give, ann, address):
    give(ann, "kms:UpdateSecret", "kms:TagResource", "kms:UntagResource")
    give(ann, GET, StringEquals={"kms:tag/team": "a"}, IpAddress={"acs:SourceIp": "10.0.0.0/8"})
    give(ann, GET, effect="Deny", StringEquals={"kms:tag/env": "prod"})
    asked = origin.bind(address=address, is_secure=True, is_mfa=False)
    with asked, pytest.raises(lifecycle.Widens, match="kms:GetSecretValue"):
        retag(secret, {"team": "a", "env": "test"}, ann)
    others_tag(secret, team="a")
    with pytest.raises(lifecycle.Widens):
        retag(secret, {"team": "a", "env": "test"}, ann)  # the Deny alone stands in the way
    assert tags(secret) == {"team": "a", "env": "prod"}
    retag(secret, {"team": "c", "env": "prod"}, ann)  # less is no matter


def test_a_grant_that_hangs_on_a_tag_is_not_widened_by_the_tag(secret, give, ann, dot):
    boss = factories.user("boss")
    give(boss, "kms:CreateGrant")
    give(boss, GET, StringEquals={"kms:tag/env": "prod"})
    grants.grant(secret, ann, [GET], actor=boss.principal)
    give(ann, "kms:UpdateSecret", "kms:TagResource")
    others_tag(secret, env="test")
    with pytest.raises(lifecycle.Widens):
        retag(secret, {"team": "b", "env": "prod"}, ann)


def test_a_secret_is_made_with_tags_by_who_may_tag_it(instance, give, ann):
    give(ann, "kms:CreateSecret", "kms:ManageAccount")
    with pytest.raises(decisions.NotAllowed) as refused:
        create(instance, ann, tags={"team": "a"})
    assert refused.value.action == Action.TAG_RESOURCE
    give(ann, "kms:TagResource", StringEquals={"kms:tag/team": "a"})
    with pytest.raises(decisions.NotAllowed):
        create(instance, ann, tags={"team": "b"})
    assert tags(create(instance, ann, tags={"team": "a"})) == {"team": "a"}


def test_a_condition_on_tags_holds_for_what_is_to_be_created(instance, give, ann):
    give(ann, "kms:ManageAccount", "kms:TagResource")
    give(ann, "kms:CreateSecret", StringEquals={"kms:tag/team": "a"})
    for wanted in ({}, {"team": "b"}):
        with pytest.raises(decisions.NotAllowed):
            create(instance, ann, tags=wanted)
    assert create(instance, ann, tags={"team": "a"}, initial=Plaintext("the-first-value"))
    assert AuditEvent.objects.filter(action=Action.CREATE_SECRET).count() == 1
