"""A writer of the database who lacks the seal key gains no right and no connection, and is named."""

from __future__ import annotations

import io
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Group, Permission
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, models, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from console.models import Subscription
from console.notices import subscriptions
from rotation import runs
from rotation.bulk import bulk_actions
from rotation.connectors.memory.connector import MemoryHost
from rotation.inventory import identities, management
from rotation.models import BulkAction, HostKey, Instance, ManagedAccount, ManagementCredential
from secrets_app import keyring, origin, seals
from secrets_app.actions import Action
from secrets_app.crypto import key_files
from secrets_app.crypto.passwords import Policy as Rules
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.integrity import seal_check
from secrets_app.keys import key_states
from secrets_app.models import (
    AccessKey,
    Account,
    Attachment,
    AuditEvent,
    GroupSeal,
    Invitation,
    KeyVersion,
    Policy,
    Principal,
    Region,
    Replica,
    RootKeyMove,
    Secret,
    SecretGroupGrant,
    SecretPrincipalGrant,
    Tag,
    User,
)
from secrets_app.people import access_keys, invitations, users
from secrets_app.policy import decisions, grants, policies
from secrets_app.secrets import lifecycle, versions
from tests import factories
from tests.domain.rig import drive, simulated_host

pytestmark = pytest.mark.django_db
VALUE = "the-value-of-svc-1"
GET, DESCRIBE = Action.GET_SECRET_VALUE, Action.DESCRIBE_SECRET


def written(model: type[models.Model]) -> models.QuerySet[Any]:
    """This table as a writer of the database has it: past Keyturn's managers, saves and signals."""
    return models.QuerySet(model)


def erased(rows: models.QuerySet[Any]) -> int:
    return rows._raw_delete(rows.db)


def document(effect: str, actions: list[str], condition: dict[str, Any] | None = None) -> str:
    statement: dict[str, Any] = {"Effect": effect, "Action": actions, "Resource": "*"}
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "1", "Statement": [statement]})


def policy(name: str, *given: Any) -> Policy:
    return policies.create(name, document(*given), actor=factories.administrator())


def may(user: User, action: str, secret: Secret) -> bool:
    """Decide as the next request would, which reads everything anew."""
    fresh = User.objects.select_related("principal").get(pk=user.pk)
    return decisions.allows(fresh.principal, action, Secret.objects.get(pk=secret.pk))


def named() -> set[str]:
    """What `verify` names, by the kind of record."""
    return {one.name.rpartition(":")[0] for one in seal_check.broken()}


@pytest.fixture
def host() -> MemoryHost:
    return simulated_host(VALUE)


@pytest.fixture
def secret() -> Secret:
    made = factories.secret(initial=VALUE)
    factories.settle(made)
    return made


@pytest.fixture
def eve(secret: Secret) -> User:
    """Return somebody who may look at the secret, and nothing else."""
    made = factories.user("eve")
    actor = factories.administrator()

    def make() -> None:
        policies.attach(policy("looks", "Allow", [DESCRIBE.value]), made, actor=actor)

    factories.once(make, "who may look", made)
    assert may(made, DESCRIBE, secret)
    assert not may(made, GET, secret)
    return made


# ---------------------------------------------------------------- every column of every table


@pytest.fixture
def world(secret: Secret, eve: User) -> None:
    """A row in every table that is sealed."""
    admin = factories.administrator()

    def make() -> None:
        grants.grant(secret, eve, [Action.ROTATE_SECRET], actor=admin)
        office = users.create_group("office", actor=admin)
        grants.grant(secret, office, [Action.ROTATE_SECRET], actor=admin)
        invitations.invite("ivy", actor=admin)
        bulk_actions.start("verify", [secret.pk], actor=admin, token="t")
        access_keys.create(eve.principal, actor=admin)
        RootKeyMove.objects.create(
            source="file:", target="file:/a", total=0, requested_by=admin, state="done"
        )
        there = factories.region("eu-2")
        Replica.objects.create(primary=secret, region=there, key=secret.key, created_by=admin, state="failed")
        wanted = subscriptions.Wanted("Own", "mail", ("rotation.failed",))
        subscriptions.create(wanted, actor=admin, url=Plaintext(""))
        users.system()

    factories.once(make, "a row in every table", secret, eve)


def another(field: models.Field[Any, Any], value: Any) -> Any:
    """Some other value that this column takes."""
    if isinstance(field, models.ForeignKey | models.UUIDField):
        return uuid.uuid4() if isinstance(value, uuid.UUID) or value is None else value + 1
    if isinstance(field, models.GenericIPAddressField):
        return "192.0.2.1"
    if isinstance(field, models.BooleanField):
        return not value
    if isinstance(field, models.DateTimeField):
        return (value or timezone.now()) + timedelta(days=1)
    if isinstance(field, models.IntegerField):
        return value + 1
    if isinstance(field, models.JSONField):
        return ["administrators"]
    return f"{value}x"[-(field.max_length or 100) :]


def columns() -> list[tuple[type[seals.SealedRow], str]]:
    return [(model, column) for model in seal_check.tables() for column in model.SEALED]


@pytest.mark.parametrize(("model", "column"), columns(), ids=lambda part: getattr(part, "__name__", part))
def test_a_column_that_decides_and_was_written_without_the_key_breaks_the_seal(model, column, world):
    row = model._base_manager.first()
    assert row is not None
    assert seals.holds(row)
    if column == "permission.codename":
        written(Permission).filter(pk=row.permission_id).update(codename="kms:GetSecretValue ")
        assert not seals.holds(model._base_manager.get(pk=row.pk))
        return
    field = model._meta.get_field(column)
    changed = another(field, getattr(row, column))
    try:
        with transaction.atomic():
            written(model).filter(pk=row.pk).update(**{column: changed})
            found = model._base_manager.get(pk=changed if column == "id" else row.pk)
            assert not seals.holds(found)
            raise _Undone
    except _Undone:
        assert seals.holds(model._base_manager.get(pk=row.pk))
    except IntegrityError:
        # What the database refuses by itself; a foreign key is only looked at when all is done.
        refuses = {"is_superuser", "state", "id", "destruction_due_at"}
        assert column in refuses or isinstance(field, models.ForeignKey)


class _Undone(Exception):
    """The end of an attack that left no trace."""


def test_every_table_that_decides_is_sealed():
    tables = {
        Account, Region, User, Principal, Invitation, KeyVersion, Secret, Policy, SecretPrincipalGrant,
        SecretGroupGrant, Instance, HostKey, ManagementCredential, ManagedAccount, BulkAction, AccessKey,
        RootKeyMove, Replica, Subscription,
    }  # fmt: skip
    assert set(seal_check.tables()) == tables


def test_what_keyturn_writes_itself_holds(world):
    assert list(seal_check.broken()) == []


# ---------------------------------------------------------------- rights


def test_a_membership_that_was_written_gives_nothing(eve, secret):
    group = Group.objects.get(name="administrators")
    members = Principal.groups.through
    written(members).bulk_create([members(principal=eve.principal, group=group)])
    assert not may(eve, GET, secret)
    assert not may(eve, DESCRIBE, secret)
    assert named() == {"rights"}


def test_an_attachment_that_was_written_gives_nothing(eve, secret):
    full = Policy.objects.get(name=policies.FULL_ACCESS)
    written(Attachment).bulk_create([Attachment(policy=full, principal=eve.principal)])
    assert not may(eve, GET, secret)
    assert named() == {"rights"}


def test_an_attachment_that_was_written_for_a_group_gives_its_members_nothing(eve, secret):
    office = users.create_group("office", actor=factories.administrator())
    users.join(office, [eve], actor=factories.administrator())
    full = Policy.objects.get(name=policies.FULL_ACCESS)
    written(Attachment).bulk_create([Attachment(policy=full, group=office)])
    assert not may(eve, GET, secret)
    assert named() == {"group"}


def test_a_document_that_was_written_denies_everything(eve, secret):
    written(Policy).filter(name="looks").update(document=document("Allow", ["*"]))
    assert not may(eve, GET, secret)
    assert not may(eve, DESCRIBE, secret)
    assert named() == {"secrets_app.policy"}


def held_back(eve: User, secret: Secret) -> None:
    """Give eve the value, and take it away by a Deny."""
    admin = factories.administrator()
    policies.attach(policy("reads", "Allow", [GET.value]), eve, actor=admin)
    assert may(eve, GET, secret)


def test_a_deny_that_was_detached_in_the_database_still_denies(eve, secret):
    held_back(eve, secret)
    policies.attach(policy("never", "Deny", [GET.value]), eve, actor=factories.administrator())
    assert erased(written(Attachment).filter(policy__name="never").order_by())
    assert not may(eve, GET, secret)
    assert named() == {"rights"}


def test_a_deny_of_a_group_still_denies_when_the_membership_or_the_attachment_was_deleted(eve, secret):
    held_back(eve, secret)
    admin = factories.administrator()
    office = users.create_group("office", actor=admin)
    users.join(office, [eve], actor=admin)
    policies.attach(policy("never", "Deny", [GET.value]), office, actor=admin)
    memberships = written(Principal.groups.through).filter(principal=eve.principal)
    for rows in (memberships, written(Attachment).filter(group=office)):
        with transaction.atomic():
            assert erased(rows)
            assert not may(eve, GET, secret)
            assert named() in ({"rights"}, {"group"})
            transaction.set_rollback(True)


def test_a_group_whose_seal_was_deleted_gives_nothing(dot, secret):
    assert may(dot, GET, secret)
    erased(written(GroupSeal))
    assert not may(dot, GET, secret)
    assert "group" in named()


def test_a_grant_that_was_written_gives_nothing_and_lists_nothing(secret):
    ann = factories.user("ann")
    permission = Permission.objects.get(codename=GET.value)
    written(SecretPrincipalGrant).bulk_create(
        [SecretPrincipalGrant(principal=ann.principal, content_object=secret, permission=permission)]
    )
    assert not may(ann, GET, secret)
    shown = decisions.visible(ann.principal, GET, decisions.secret_rows())
    assert not Secret.objects.filter(shown).exists()
    assert named() == {"secrets_app.secretprincipalgrant"}


def test_a_written_grant_lists_nothing_beside_one_that_was_given(secret):
    ann, other = factories.user("ann"), factories.secret()
    grants.grant(other, ann, [DESCRIBE], actor=factories.administrator())
    permission = Permission.objects.get(codename=DESCRIBE.value)
    written(SecretPrincipalGrant).bulk_create(
        [SecretPrincipalGrant(principal=ann.principal, content_object=secret, permission=permission)]
    )
    shown = decisions.visible(ann.principal, DESCRIBE, decisions.secret_rows())
    assert list(Secret.objects.filter(shown)) == [other]


def test_a_grant_whose_conditions_were_taken_out_gives_nothing(secret):
    ann = factories.user("ann")
    grants.grant(secret, ann, [GET], actor=factories.administrator())
    assert may(ann, GET, secret)
    written(SecretPrincipalGrant).filter(principal=ann.principal).update(conditions="{}")
    assert not may(ann, GET, secret)


def test_a_secret_that_was_moved_to_another_region_gives_nothing_there(secret):
    ann, elsewhere = factories.user("ann"), factories.region("elsewhere")
    text = json.dumps(
        {"Version": "1", "Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "acs:kms:elsewhere:*:*"}
        ]}
    )  # fmt: skip
    admin = factories.administrator()
    policies.attach(policies.create("there", text, actor=admin), ann, actor=admin)
    written(Secret).filter(pk=secret.pk).update(region=elsewhere)
    assert not may(ann, GET, secret)
    assert named() == {"secrets_app.secret"}


def test_tags_that_were_written_open_nothing(secret):
    ann, admin = factories.user("ann"), factories.administrator()
    only = {"StringEquals": {"kms:tag/team": ["a"]}}
    policies.attach(policy("of-team-a", "Allow", [GET.value], only), ann, actor=admin)
    written(Tag).bulk_create([Tag(secret=secret, key="team", value="a")])
    assert not may(ann, GET, secret)
    assert named() == {"tags"}


def test_a_first_decision_asks_for_each_set_once(secret):
    """Two questions: for all rights of the user and its groups, and for the tags."""
    ann, admin = factories.user("ann"), factories.administrator()
    only = policy("of-team-a", "Allow", [GET.value], {"StringEquals": {"kms:tag/team": ["a"]}})
    for number in range(2):
        group = users.create_group(f"team-{number}", actor=admin)
        policies.attach(only, group, actor=admin)
        users.join(group, [ann], actor=admin)
    grants.grant(secret, ann, [DESCRIBE], actor=admin)
    principal = Principal.objects.select_related("user").get(user=ann)
    found = Secret.objects.select_related("region__account", "account").get(pk=secret.pk)
    with (
        origin.bind(address=None, is_secure=True, is_mfa=True, at=timezone.now()),
        CaptureQueriesContext(connection) as asked,
    ):
        assert not decisions.allows(principal, GET, found)
        assert len(asked) == 2
        assert decisions.allows(principal, DESCRIBE, found)


def test_a_tag_that_a_deny_looks_at_still_denies_when_it_was_deleted(secret):
    ann, admin = factories.user("ann"), factories.administrator()
    lifecycle.edit(
        secret,
        revision=secret.revision,
        description="",
        tags={"env": "prod"},
        password_policy=Rules(),
        actor=admin,
    )
    policies.attach(policy("reads", "Allow", [GET.value]), ann, actor=admin)
    never = {"StringEquals": {"kms:tag/env": ["prod"]}}
    policies.attach(policy("never", "Deny", [GET.value], never), ann, actor=admin)
    assert not may(ann, GET, secret)
    erased(written(Tag).filter(secret=secret))
    assert not may(ann, GET, secret)


# ---------------------------------------------------------------- who comes in


def test_a_user_who_was_enabled_in_the_database_stays_out(eve, secret):
    users.disable(eve, actor=factories.administrator())
    written(User).filter(pk=eve.pk).update(is_active=True)
    assert not may(eve, DESCRIBE, secret)
    assert named() == {"secrets_app.user"}


def test_a_password_that_was_written_signs_nobody_in(client, dot):
    written(User).filter(pk=dot.pk).update(password=make_password("a phrase of somebody else"))
    assert not client.login(username="dot", password="a phrase of somebody else")


def test_an_invitation_whose_groups_were_written_is_void(eve):
    _, token = invitations.invite("ivy", actor=factories.administrator())
    written(Invitation).update(groups=["administrators"])
    with pytest.raises(invitations.Void):
        invitations.find(token.reveal())
    assert named() == {"secrets_app.invitation"}


def test_an_invitation_that_was_opened_before_it_was_changed_makes_nobody(eve):
    _, token = invitations.invite("ivy", actor=factories.administrator())
    found = invitations.find(token.reveal())
    written(Invitation).update(groups=["administrators"])
    changed = Invitation.objects.get(pk=found.pk)
    with pytest.raises(invitations.Void):
        invitations.accept(changed, changed.token_hash, Plaintext("a long enough phrase"))
    assert not User.objects.filter(username="ivy").exists()


# ---------------------------------------------------------------- where a value goes


CONNECTION = {"address": "127.66.6.6", "port": 2222}


@pytest.mark.parametrize("column", CONNECTION)
def test_nothing_is_sent_to_an_address_that_was_written(column, secret, host):
    written(Instance).update(**{column: CONNECTION[column]})
    run = drive(runs.start(secret, actor=factories.administrator()), host)
    assert (run.outcome, run.code) == ("blocked", "record_changed")
    assert "changed outside Keyturn" in run.sentence
    assert host.accounts["svc"].password == VALUE
    assert named() == {"rotation.instance"}


def test_a_host_key_that_was_approved_in_the_database_is_not_trusted(secret, host):
    instance = secret.managed.instance
    identities.see_host_keys(instance, [factories.host_key()])
    written(HostKey).filter(state="seen").update(state="approved")
    run = drive(runs.start(secret, actor=factories.administrator()), host)
    assert (run.outcome, run.code) == ("blocked", "record_changed")
    assert named() == {"rotation.hostkey"}


def test_a_credential_that_was_attached_in_the_database_is_not_used(secret, host):
    written(Instance).update(credential=factories.credential())
    run = drive(runs.start(secret, actor=factories.administrator()), host)
    assert (run.outcome, run.code) == ("blocked", "record_changed")


def test_a_credential_whose_login_was_written_is_not_used(secret, host):
    written(ManagementCredential).update(username="mallory")
    run = drive(runs.start(secret, actor=factories.administrator()), host)
    assert (run.outcome, run.code) == ("blocked", "record_changed")


def test_an_account_that_was_moved_to_another_instance_sends_nothing_there(secret, host):
    other = factories.instance()
    written(ManagedAccount).update(instance=other)
    moved = Secret.objects.get(pk=secret.pk)
    run = drive(runs.start(moved, actor=factories.administrator()), host)
    assert (run.outcome, run.code) == ("blocked", "record_changed")


def test_a_run_that_was_sent_to_another_instance_sends_nothing_there(secret, host):
    run = runs.start(secret, actor=factories.administrator())
    written(type(run)).filter(pk=run.pk).update(instance=factories.instance())
    assert drive(run, host).code == "record_changed"
    assert host.accounts["svc"].password == VALUE


def test_a_key_that_was_enabled_in_the_database_opens_nothing(secret):
    key_states.disable(keyring.default_key(), actor=factories.administrator())
    written(KeyVersion).update(state="primary")
    with pytest.raises(keyring.KeyUnusable):
        versions.value(secret.labelled("current"))


# ---------------------------------------------------------------- what Keyturn does afterwards


def test_a_later_change_by_keyturn_seals_nothing_that_was_written(eve, secret):
    full = Policy.objects.get(name=policies.FULL_ACCESS)
    admin = factories.administrator()
    written(Attachment).bulk_create([Attachment(policy=full, principal=eve.principal)])
    policies.attach(policy("more", "Allow", [DESCRIBE.value]), eve, actor=admin)
    users.join(users.create_group("office", actor=admin), [eve], actor=admin)
    assert not may(eve, GET, secret)
    instance = secret.managed.instance
    written(Instance).filter(pk=instance.pk).update(address="127.66.6.6")
    found = Instance.objects.get(pk=instance.pk)
    management.attach(found, factories.credential(), actor=admin)
    with pytest.raises(management.ChangedOutside):
        management.endpoint(Instance.objects.get(pk=instance.pk))
    written(User).filter(pk=eve.pk).update(must_change_password=True)
    changed = User.objects.get(pk=eve.pk)
    changed.set_password("a long enough phrase")
    changed.save()
    assert not seals.holds(User.objects.get(pk=eve.pk))


def test_a_save_of_one_column_keeps_what_another_process_changed_meanwhile(eve):
    held = User.objects.get(pk=eve.pk)
    users.disable(eve, actor=factories.administrator())
    held.set_password("a long enough phrase")
    held.save(update_fields=["password"])
    found = User.objects.get(pk=eve.pk)
    assert not found.is_active
    assert seals.holds(found)


def test_verify_names_what_was_written_and_what_a_person_accepts_counts(eve, secret):
    written(Policy).filter(name="looks").update(document=document("Allow", [DESCRIBE.value, GET.value]))
    told = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("audit", "verify", stderr=told, stdout=io.StringIO())
    assert ended.value.code == 1
    name = f"secrets_app.policy:{Policy.objects.get(name='looks').pk}"
    assert f"The policy looks was changed outside Keyturn. {name}" in told.getvalue()
    call_command("audit", "accept", name, reason="compared with the ticket", stdout=io.StringIO())
    assert may(eve, GET, secret)
    event = AuditEvent.objects.filter(action="kms:AcceptRecord").get()
    assert (event.resource, event.reason) == (name, "compared with the ticket")
    call_command("audit", "verify", stdout=io.StringIO())


@pytest.mark.parametrize(
    "name", ["secrets_app.policy:nothing", "secrets_app.tag:1", "x", f"tags:{uuid.UUID(int=1)}"]
)
def test_a_record_that_is_not_there_is_not_accepted(name):
    with pytest.raises(CommandError):
        call_command("audit", "accept", name, reason="x")


def test_a_set_is_accepted_as_it_stands(eve, secret):
    full = Policy.objects.get(name=policies.FULL_ACCESS)
    written(Attachment).bulk_create([Attachment(policy=full, principal=eve.principal)])
    call_command("audit", "accept", f"rights:{eve.principal.pk}", reason="meant so", stdout=io.StringIO())
    assert may(eve, GET, secret)


# ---------------------------------------------------------------- the key


def test_without_the_seal_key_the_keyring_is_sealed_and_no_other_one_is_made(settings, tmp_path, eve):
    settings.SEAL_KEY_FILE = tmp_path / "gone.key"
    keyring.forget()
    assert keyring.is_sealed()
    with pytest.raises(keyring.Sealed, match=r"gone\.key"):
        keyring.ensure_root_key()
    assert not settings.SEAL_KEY_FILE.exists()


def test_another_seal_key_seals_the_keyring(settings, tmp_path, eve):
    settings.SEAL_KEY_FILE = tmp_path / "other.key"
    key_files.KeyFile(settings.SEAL_KEY_FILE, seals.MAGIC).create()
    keyring.forget()
    assert keyring.is_sealed()
    with pytest.raises(keyring.Sealed, match=r"other\.key is not the key"):
        keyring.ensure_root_key()
