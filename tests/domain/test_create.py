"""Creating a secret: everything or nothing, and each refusal with its own sentence."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotation import recurrence
from rotation.inventory import identities, instances, management, preparation
from rotation.managed import creation
from rotation.models import Instance, ManagedAccount, Run, Schedule
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Secret, SecretVersion
from secrets_app.policy import decisions
from secrets_app.secrets import lifecycle
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]


def create(name: str = "web/svc", **fields: object):
    instance = fields.pop("instance", None) or factories.instance()
    given = {"region": instance.region, "username": "svc", "actor": factories.administrator()} | fields
    return creation.create(name, instance=instance, **given)


def test_a_secret_is_made_with_its_value_account_schedule_and_first_run():
    secret, run = create(initial=Plaintext("the-first-value"), is_on=True, period=timedelta(days=7))
    assert secret.name == "acs/ecs/web/svc"
    assert secret.arn == f"acs:kms:main:{secret.account.number}:secret/acs/ecs/web/svc"
    assert secret.labelled("current").origin == SecretVersion.Origin.INITIAL
    assert secret.managed.credential == ManagedAccount.Credential.NOT_VERIFIED
    assert (secret.schedule.is_on, secret.schedule.period) == (True, timedelta(days=7))
    assert (run.kind, run.trigger) == (Run.Kind.VERIFY, Run.Trigger.CREATION)
    assert AuditEvent.objects.filter(action="kms:CreateSecret", resource_id=secret.pk).count() == 1


def test_without_a_value_the_first_rotation_makes_one():
    secret, run = create(rotate_now=True)
    assert secret.labelled("current") is None
    assert run.kind == Run.Kind.ROTATE


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"name": "bad name"}, lifecycle.BadName),
        ({"name": "x" * 193}, lifecycle.BadName),
        ({"name": "x\n"}, lifecycle.BadName),
        ({"username": "-rf"}, creation.BadUsername),
        ({"username": "a;b"}, creation.BadUsername),
        ({"username": "svc\n"}, creation.BadUsername),
        ({"period": timedelta(hours=5)}, recurrence.BadPeriod),
        ({"period": timedelta(days=366)}, recurrence.BadPeriod),
        ({"initial": Plaintext("two\nlines")}, passwords.Unfit),
        ({"initial": Plaintext("nul\0")}, passwords.Unfit),
        ({"password_policy": passwords.Policy(length=5)}, passwords.Unfit),
        ({"tags": {str(n): "" for n in range(21)}}, ValueError),
    ],
)
def test_a_wrong_field_makes_nothing(fields, error):
    factories.administrator()
    with pytest.raises(error):
        create(**fields)
    assert not Secret.objects.exists()
    assert not ManagedAccount.objects.exists()
    assert not Schedule.objects.exists()
    assert not Run.objects.exists()


@pytest.mark.both_stores
def test_a_name_in_use_makes_nothing():
    create(initial=Plaintext("the-first-value"))
    with pytest.raises(lifecycle.NameTaken):
        create(username="other", initial=Plaintext("the-other-value"))
    assert (Secret.objects.count(), SecretVersion.objects.count()) == (1, 1)


def test_an_account_has_one_secret():
    secret, _ = create()
    with pytest.raises(creation.AccountTaken, match=secret.name):
        create("other", instance=secret.managed.instance)


def test_one_machine_registered_twice_is_recognised_by_its_identity():
    key = factories.host_key()
    one, two = factories.instance(keys=[key]), factories.instance(keys=[key])
    Instance.objects.update(machine_id="same-machine")
    two.refresh_from_db()
    create("one", instance=one)
    with pytest.raises(creation.AccountTaken):
        create("two", instance=two)


@pytest.mark.both_stores
def test_cloned_images_with_one_host_key_are_two_machines():
    key = factories.host_key()
    one, two = factories.instance(keys=[key]), factories.instance(keys=[key])
    for number, instance in enumerate((one, two)):
        Instance.objects.filter(pk=instance.pk).update(machine_id=f"machine-{number}")
        instance.refresh_from_db()
    create("one", instance=one)
    assert create("two", instance=two)


def test_a_secret_manages_only_instances_of_its_own_region():
    with pytest.raises(creation.RegionMismatch, match="North"):
        create(region=factories.region("north"), instance=factories.instance())


def test_who_may_not_create_creates_nothing(ann, hal, aud):
    for somebody in (ann, hal, aud):
        with pytest.raises(decisions.NotAllowed):
            create(actor=somebody.principal)
    assert not Secret.objects.exists()


def test_a_new_address_detaches_the_credential():
    instance = factories.instance()
    instances.change(
        instance,
        revision=1,
        name=instance.name,
        address="127.9.9.9",
        port=22,
        actor=factories.administrator(),
    )
    assert instance.credential is None
    assert "Attach" in instance.detached_because


def test_a_new_name_does_not():
    instance = factories.instance()
    instances.change(
        instance, revision=1, name="new", address=instance.address, port=22, actor=factories.administrator()
    )
    assert instance.credential is not None


def test_a_stale_form_changes_nothing():
    instance = factories.instance()
    actor = factories.administrator()
    instances.change(instance, revision=1, name="first", address=instance.address, port=22, actor=actor)
    with pytest.raises(instances.Outdated):
        instances.change(instance, revision=1, name="second", address="127.9.9.9", port=22, actor=actor)
    instance.refresh_from_db()
    assert instance.name == "first"


def test_another_host_key_detaches_the_credential():
    instance, new = factories.instance(), factories.host_key()
    identities.see_host_keys(instance, [new])
    identities.approve_host_keys(instance, [new.fingerprint], actor=factories.administrator())
    assert instance.credential is None
    assert management.endpoint(instance).host_keys == (new.line,)


def test_a_key_that_was_only_seen_is_not_trusted():
    instance = factories.instance(approved=False)
    with pytest.raises(management.NotAttached):
        management.endpoint(instance)


def test_a_credential_is_attached_only_by_somebody_who_may_use_it(aud):
    instance = factories.instance()
    with pytest.raises(decisions.NotAllowed):
        management.attach(instance, instance.credential, actor=aud.principal)


def test_a_credential_s_values_are_in_no_row_in_the_clear():
    made = factories.credential(
        sudo="password", password=Plaintext("login-canary"), sudo_password=Plaintext("sudo-canary")
    )
    stored = bytes(made.sealed.ciphertext) + bytes(made.sealed.wrapped_key)
    assert b"canary" not in stored
    instance = factories.instance(credential=made)
    opened = management.manager(instance, over=management.endpoint(instance))
    assert opened.login.password.reveal() == "login-canary"
    assert opened.sudo_password.reveal() == "sudo-canary"


def test_the_preparing_command_holds_only_the_public_half():
    made = factories.credential()
    assert made.public_key in preparation.command(made)
    assert "PRIVATE" not in preparation.command(made) + preparation.opposite(made)


@pytest.mark.parametrize("name", ["ALL", "a;b", "-x", "x$", "a b", "", "x\n"])
def test_an_account_name_that_a_shell_or_sudoers_would_misread_makes_no_credential(name):
    with pytest.raises(management.BadAccount):
        management.create_credential("fleet", name, sudo="none", actor=factories.administrator())
