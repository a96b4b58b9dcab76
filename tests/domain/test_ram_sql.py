"""A list shows exactly what one may see one by one."""

import itertools
from contextlib import contextmanager

import pytest
from django.contrib.auth.models import Group, Permission
from django.db.models import OuterRef
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rotation import accounts
from rotation.models import Instance, ManagedAccount
from secrets_app import origin, seal_sets, seals
from secrets_app.actions import Action
from secrets_app.models import (
    Account,
    Attachment,
    Key,
    Policy,
    Principal,
    Region,
    Secret,
    SecretGroupGrant,
    SecretPrincipalGrant,
    Tag,
    User,
)
from secrets_app.policy import (
    deciding,
    decisions,
    ram_conditions,
    ram_statements,
    resource_documents,
    sql,
)
from tests import amounts
from tests.unit import policy_strategies as some
from tests.unit.test_ram import read

pytestmark = pytest.mark.django_db


@pytest.fixture
def rows(open_keyring):
    """Every name in every region, with every choice of tags somewhere."""
    account = Account.objects.create(number=some.ACCOUNT)
    regions = [Region.objects.create(account=account, code=code, name=code) for code in some.REGIONS]
    choices = itertools.cycle(itertools.product([*some.TAGS["env"], None], [*some.TAGS["team"], None]))
    actor = Principal.objects.create(kind=Principal.Kind.SYSTEM, name="Keyturn")
    systems = itertools.cycle(["linux", None, "windows", "windows", None, "linux", "windows"])
    for region, name in itertools.product(regions, some.NAMES):
        secret = Secret.objects.create(
            account=account, region=region, name=name, kind="password", created_by=actor,
            key=Key.objects.first(),
        )  # fmt: skip
        for key, value in zip(some.TAGS, next(choices), strict=True):
            if value is not None:
                Tag.objects.create(secret=secret, key=key, value=value)
        seal_sets.accept(secret)
        if system := next(systems):
            instance = Instance.objects.create(
                account=account, region=region, instance_id=f"i-{secret.pk}", name=str(secret.pk), os=system,
                address=f"{secret.pk}.example", created_by=actor,
            )  # fmt: skip
            made = ManagedAccount.objects.create(
                secret=secret, instance=instance, username="svc", kind="password"
            )
            seals.accept(instance)
            seals.accept(made)
    return sql.Rows(
        {region.pk: f"acs:kms:{region.code}:{some.ACCOUNT}:secret/" for region in regions},
        "name",
        tags=lambda key: Tag.objects.filter(secret=OuterRef("pk"), key=key),
        os=decisions.secret_rows().os,
    )


def one_by_one(statements, action, context):
    allowed = set()
    related = ("region", "account", "managed__instance")
    for secret in Secret.objects.select_related(*related).prefetch_related("tags"):
        facts = {f"kms:tag/{tag.key}": tag.value for tag in secret.tags.all()}
        if managed := accounts.of(secret):
            facts["kms:OSType"] = managed.instance.get_os_display()
        if ram_statements.decide(statements, action, secret.arn, {**context, **facts}).allowed:
            allowed.add(secret.arn)
    return allowed


@settings(
    max_examples=amounts.cases(120, long=600),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(found=some.policies, action=st.sampled_from(some.ACTIONS), context=some.request_contexts)
def test_p_07_the_condition_on_rows_allows_what_the_decision_on_each_allows(rows, found, action, context):
    statements = read(found)
    listed = Secret.objects.filter(sql.condition(statements, action, context, rows))
    assert {s.arn for s in listed.select_related("region", "account")} == one_by_one(
        statements, action, context
    )


@settings(
    max_examples=amounts.cases(30, long=60),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    found=some.policies,
    given_out=st.lists(st.tuples(some.conditions, st.booleans(), st.integers(0, 40)), min_size=1, max_size=6),
    their_own=st.lists(st.tuples(some.resource_policies, st.integers(0, 40)), max_size=6),
    action=st.sampled_from([Action.GET_SECRET_VALUE, Action.DESCRIBE_SECRET]),
    context=some.request_contexts,
)
def test_p_07_a_list_follows_the_conditions_of_grants_too(
    rows, holder, found, given_out, their_own, action, context
):
    group = holder.user.groups.get()
    for table in (SecretPrincipalGrant, SecretGroupGrant):
        table.objects.all().delete()
    secrets = list(Secret.objects.select_related("region", "account"))
    permission = Permission.objects.get(codename=action.value)
    for condition, to_group, place in given_out:
        table, whom = (
            (SecretGroupGrant, {"group": group})
            if to_group
            else (SecretPrincipalGrant, {"principal": holder})
        )
        table.objects.update_or_create(
            content_object=secrets[place % len(secrets)],
            permission=permission,
            **whom,
            defaults={"conditions": ram_conditions.written(conditions_of(condition))},
        )
    Policy.objects.filter(name="found").update(document=some.document(found))
    Secret.objects.update(resource_policy=None)
    for statements, place in their_own:
        kept = resource_documents.stored(some.document(statements), {some.ME: str(holder.pk)})
        secret = secrets[place % len(secrets)]
        Secret.objects.filter(pk=secret.pk).update(resource_policy=kept if statements else None)
    secrets = list(Secret.objects.select_related("region", "account"))
    with origin.bind(address=None, is_secure=True, is_mfa=False), saying(context):
        seen = set(Secret.objects.filter(decisions.visible(holder, action, decisions.secret_rows())))
        assert seen == {secret for secret in secrets if decisions.allows(holder, action, secret)}


@contextmanager
def saying(context):
    """Decisions inside the block are about a request with exactly these facts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deciding, "circumstances", lambda: dict(context))
        yield


def conditions_of(condition):
    return read([{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": condition}])[0].conditions


@pytest.fixture
def holder(rows):
    """Somebody with a policy, in a group."""
    user = User.objects.create(username="ann")
    held = Principal.objects.create(kind=Principal.Kind.USER, name="ann", user=user)
    held.groups.add(Group.objects.create(name="some"))
    policy = Policy.objects.create(
        account=Account.objects.get(number=some.ACCOUNT), name="found", kind="custom", document="{}"
    )
    Attachment.objects.create(policy=policy, principal=held)
    for owner in (held, held.groups.get()):
        seal_sets.accept(owner)
    return held


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("*", {"*"}),
        ("acs:kms:*", {"*"}),
        ("acs:kms:cn:1:secret/web*", {"web*"}),
        ("acs:kms:eu:1:secret/web*", set()),
        ("acs:kms:*:*:secret/w?b", {"w?b"}),
        ("acs:kms:cn:1:secret/", {""}),
        ("acs:kms:cn:1:secret", set()),
    ],
)
def test_what_is_left_of_a_pattern_after_the_prefix(pattern, left):
    assert sql.residuals(pattern, "acs:kms:cn:1:secret/") == left
