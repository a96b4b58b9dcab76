"""Instances that are retired and management credentials that are deleted: what is kept, what stops them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from django.db import transaction

from rotation import instance_checks, leases
from rotation.inventory import holding, identities, instances, management, retirement
from rotation.managed import creation, deletion
from rotation.models import Instance, ManagementCredential, Run
from secrets_app.models import AuditEvent, SealedValue
from secrets_app.policy import decisions
from tests import factories
from tests.domain.rig import OLD
from tests.domain.test_leases import together
from tests.statements import allow, give

pytestmark = pytest.mark.django_db


def retire(instance: Instance) -> None:
    retirement.retire(instance, actor=factories.administrator(), reason="burnt down")


def delete(credential: ManagementCredential) -> None:
    management.delete_credential(credential, actor=factories.administrator(), reason="replaced")


def purge(secret) -> None:
    deletion.purge(secret, actor=factories.administrator())


def ended_scan(instance: Instance) -> Run:
    run = instance_checks.scan(instance, actor=factories.administrator())
    lease = leases.claim(run.pk, "tests")
    assert lease
    leases.end(lease, Run.Outcome.SUCCEEDED)
    return run


# ---------------------------------------------------------------- retired


def test_an_instance_on_which_nothing_depends_is_retired_and_keeps_its_row_and_its_history():
    instance = factories.instance()
    run = ended_scan(instance)
    retire(instance)
    found = Instance.objects.get(pk=instance.pk)
    assert found.retired_at
    assert (found.retired_by, found.retirement_reason) == (factories.administrator(), "burnt down")
    assert (found.credential, found.own_login) == (None, None)
    assert Run.objects.get(pk=run.pk).instance.name == instance.name
    event = AuditEvent.objects.get(action="kms:DeregisterInstance")
    assert (event.resource, event.reason) == (instance.arn, "burnt down")
    assert event.details["credential"] == str(instance.credential_id)


def test_its_name_and_address_can_be_registered_again():
    instance = factories.instance()
    retire(instance)
    again = instances.register(
        instance.name,
        region=instance.region,
        address=instance.address,
        port=instance.port,
        actor=factories.administrator(),
    )
    assert again.instance_id != instance.instance_id
    with pytest.raises(instances.NameTaken):
        instances.register(
            instance.name, region=instance.region, address="10.9.9.9", actor=factories.administrator()
        )


def test_a_secret_there_keeps_an_instance_until_it_is_purged():
    secret = factories.secret(initial=OLD)
    factories.settle(secret)
    instance = secret.managed.instance
    with pytest.raises(retirement.InUse, match=rf"1 secret manages an account on it: {secret.name}\."):
        retire(instance)
    deletion.plan_deletion(secret, actor=factories.administrator())
    with pytest.raises(retirement.InUse):
        retire(instance)
    deletion.restore(secret, actor=factories.administrator())
    factories.settle(secret)
    assert not Instance.objects.get(pk=instance.pk).retired_at
    purge(secret)
    retire(instance)
    assert secret.managed.instance.name == instance.name


def test_secrets_that_the_user_may_not_see_are_counted_and_not_named(dot):
    secret = factories.secret(initial=OLD)
    factories.settle(secret)
    eve = factories.user("eve")
    give(eve, "retires", allow("kms:DeregisterInstance", "kms:DescribeInstance"), actor=dot)
    with pytest.raises(retirement.InUse) as refused:
        retirement.retire(secret.managed.instance, actor=eve.principal)
    assert "1 secret manages an account on it." in str(refused.value)
    assert secret.name not in str(refused.value)


def test_a_run_that_has_not_ended_keeps_an_instance():
    instance = factories.instance()
    instance_checks.check(instance, actor=factories.administrator())
    with pytest.raises(retirement.InUse, match="1 run is under way on it"):
        retire(instance)
    assert not Instance.objects.get(pk=instance.pk).retired_at


@pytest.mark.parametrize("who", ["ann", "hal", "aud"])
def test_an_instance_is_retired_and_a_credential_deleted_by_who_may(request, who):
    principal = request.getfixturevalue(who).principal
    instance, credential = factories.instance(), factories.credential()
    with pytest.raises(decisions.NotAllowed):
        retirement.retire(instance, actor=principal)
    with pytest.raises(decisions.NotAllowed):
        management.delete_credential(credential, actor=principal)
    assert not Instance.objects.get(pk=instance.pk).retired_at
    assert not ManagementCredential.objects.get(pk=credential.pk).deleted_at


# Each of these was begun by somebody who saw the instance before it was retired.
AFTERWARDS: dict[str, Callable[[Instance], object]] = {
    "a secret": lambda it: creation.create(
        "late", region=it.region, instance=it, username="svc", actor=factories.administrator()
    ),
    "a scan": lambda it: instance_checks.scan(it, actor=factories.administrator()),
    "a test": lambda it: instance_checks.check(it, actor=factories.administrator()),
    "a check": lambda it: instance_checks.check_account(
        it, "svc", "password", actor=factories.administrator()
    ),
    "a credential": lambda it: management.attach(it, factories.credential(), actor=factories.administrator()),
    "a name": lambda it: instances.change(
        it, revision=it.revision, name="x", address=it.address, port=it.port, actor=factories.administrator()
    ),
    "a host key": lambda it: identities.approve_host_keys(
        it, [key.fingerprint for key in it.host_keys.all()], actor=factories.administrator()
    ),
    "an end": retire,
}


@pytest.mark.parametrize("what", AFTERWARDS)
def test_a_retired_instance_gets_nothing_more(what):
    instance = factories.instance()
    retire(Instance.objects.get(pk=instance.pk))
    before = Instance.objects.values().get(pk=instance.pk)
    with pytest.raises(holding.Retired, match="was retired on"):
        AFTERWARDS[what](instance)
    assert Instance.objects.values().get(pk=instance.pk) == before
    assert not instance.runs.exists()
    assert not instance.managed_accounts.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("which", ["a secret", "a scan"])
def test_what_is_made_at_the_same_moment_is_seen_by_a_retirement(which):
    """On PostgreSQL the row that is not committed is invisible: only the lock makes the retirement wait."""
    instance = factories.instance()
    made, tried = threading.Event(), threading.Event()

    def make() -> None:
        with transaction.atomic():
            AFTERWARDS[which](instance)
            made.set()
            tried.wait(1)  # in vain, unless the retirement did not wait

    def end() -> None:
        assert made.wait(60)
        with suppress(retirement.InUse):
            retire(instance)
        tried.set()

    together([make, end])
    assert not Instance.objects.get(pk=instance.pk).retired_at
    assert instance.runs.active().exists() or instance.managed_accounts.exists()


# ---------------------------------------------------------------- management credentials


def test_a_credential_that_nobody_uses_is_deleted_with_its_values_and_keeps_its_row():
    credential = factories.credential()
    delete(credential)
    found = ManagementCredential.objects.get(pk=credential.pk)
    assert found.deleted_at
    assert (found.deleted_by, found.deletion_reason) == (factories.administrator(), "replaced")
    assert (found.name, found.public_key) == (credential.name, credential.public_key)
    assert found.sealed is None
    assert not SealedValue.objects.filter(owner_id=credential.pk).exists()
    event = AuditEvent.objects.get(action="kms:DeleteManagementCredential")
    assert (event.resource, event.reason) == (credential.arn, "replaced")


def test_its_name_can_be_used_again():
    credential = factories.credential()
    delete(credential)
    again = management.create_credential(
        credential.name, "keyturn", sudo="passwordless", actor=factories.administrator()
    )
    assert again.pk != credential.pk
    with pytest.raises(instances.NameTaken):
        management.create_credential(
            credential.name, "keyturn", sudo="passwordless", actor=factories.administrator()
        )


def test_an_instance_that_logs_in_with_it_keeps_a_credential_until_it_is_retired():
    instance = factories.instance()
    credential = instance.credential
    with pytest.raises(management.CredentialInUse, match=rf"1 instance logs in with .*: {instance.name}\."):
        delete(credential)
    assert ManagementCredential.objects.get(pk=credential.pk).sealed
    retire(instance)
    delete(credential)


def test_instances_that_the_user_may_not_see_are_counted_and_not_named(dot):
    instance = factories.instance()
    eve = factories.user("eve")
    give(eve, "deletes", allow("kms:DeleteManagementCredential"), actor=dot)
    with pytest.raises(management.CredentialInUse) as refused:
        management.delete_credential(instance.credential, actor=eve.principal)
    assert f"1 instance logs in with {instance.credential.name}." in str(refused.value)
    assert instance.name not in str(refused.value)


def test_a_deleted_credential_is_attached_to_no_instance():
    credential, instance = factories.credential(), factories.instance()
    delete(ManagementCredential.objects.get(pk=credential.pk))
    with pytest.raises(holding.CredentialDeleted, match="was deleted on"):
        management.attach(instance, credential, actor=factories.administrator())
    with pytest.raises(holding.CredentialDeleted):
        instances.register(
            "new-1",
            region=instance.region,
            address="10.0.0.9",
            credential=credential,
            actor=factories.administrator(),
        )
    with pytest.raises(holding.CredentialDeleted):
        delete(credential)
    assert Instance.objects.get(pk=instance.pk).credential == instance.credential
    assert not Instance.objects.filter(name="new-1").exists()


@pytest.mark.django_db(transaction=True)
def test_a_credential_that_is_attached_at_the_same_moment_is_not_deleted():
    credential, instance = factories.credential(), factories.instance()
    made, tried = threading.Event(), threading.Event()

    def attach() -> None:
        with transaction.atomic():
            management.attach(instance, credential, actor=factories.administrator())
            made.set()
            tried.wait(1)  # in vain, unless the deletion did not wait

    def end() -> None:
        assert made.wait(60)
        with suppress(management.CredentialInUse):
            delete(credential)
        tried.set()

    together([attach, end])
    assert ManagementCredential.objects.get(pk=credential.pk).sealed
    assert Instance.objects.get(pk=instance.pk).credential == credential
