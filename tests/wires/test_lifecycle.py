"""Deletion, restore and the way back, with a real host at the other end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.utils import timezone

from lab import Host
from rotation import runs, tasks
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from rotation.engine import engine, failpoints
from rotation.managed import deletion
from rotation.models import ManagedAccount, Run
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import factories, lab_instances
from tests.lab_fixtures import KeyPair

pytestmark = pytest.mark.django_db(transaction=True)
OLD = "the-old-password-1"


@pytest.fixture
def secret(host: Host, management_key: KeyPair) -> Secret:
    host.add_account("svc", password=OLD)
    instance = lab_instances.register(host, management_key)
    made = factories.secret(instance=instance, initial=OLD)
    factories.settle(made)
    return made


@pytest.fixture(autouse=True)
def _inert() -> Iterator[None]:
    yield
    failpoints.disarm()


def advance(run: Run) -> Run:
    past = Now() - timedelta(seconds=1)
    Run.objects.filter(pk=run.pk).update(due_at=past, leased_until=past)
    engine.advance(run.pk, worker=tasks.worker_name(), connect=SshConnector, scanner=SshScanner())
    run.refresh_from_db()
    return run


def plan(secret: Secret) -> None:
    deletion.plan_deletion(secret, actor=factories.administrator())


def restore(secret: Secret, actor=None) -> Run:
    run = deletion.restore(secret, actor=actor or factories.administrator()).run
    assert run is not None
    return advance(run)


def credential(secret: Secret) -> str:
    return ManagedAccount.objects.get(secret=secret).credential


def failed_logins(host: Host) -> int:
    return host.sshd_log().count("Failed password for svc ")


def test_a_restored_value_that_still_works_is_still_valid(secret, host, hal):
    plan(secret)
    run = restore(secret, hal.principal)
    assert (run.outcome, run.sentence[:11], credential(secret)) == ("succeeded", "Still valid", "in_sync")
    assert host.shadow_accepts("svc", OLD)


def test_a_value_that_was_changed_on_the_host_meanwhile_is_stale_and_stays_changed(secret, host, hal):
    plan(secret)
    host.set_password("svc", "changed-by-somebody")
    run = restore(secret, hal.principal)
    assert (run.outcome, run.sentence[:5], credential(secret)) == ("failed", "Stale", "out_of_sync")
    assert host.shadow_accepts("svc", "changed-by-somebody")
    assert failed_logins(host) == 0


def test_a_purge_changes_nothing_on_the_host(secret, host):
    plan(secret)
    Secret.objects.filter(pk=secret.pk).update(deletion_due_at=timezone.now())
    tasks.purge_due()
    assert Secret.objects.get(pk=secret.pk).status == "deleted"
    assert host.shadow_accepts("svc", OLD)


def test_a_plan_between_check_and_intent_keeps_the_host_from_hearing_anything(secret, host):
    failpoints.arm("after_preflight", lambda: plan(secret))
    run = advance(runs.start(secret, actor=factories.administrator()))
    assert (run.outcome, run.attempts) == ("cancelled", 0)
    assert host.shadow_accepts("svc", OLD)


def test_the_way_back_gives_the_host_its_earlier_password(secret, host):
    first = secret.labelled("current")
    assert advance(runs.start(secret, actor=factories.administrator())).outcome == "succeeded"
    assert not host.shadow_accepts("svc", OLD)
    run = advance(runs.start(secret, actor=factories.administrator(), from_version=first))
    assert run.outcome == "succeeded", run.sentence
    assert host.shadow_accepts("svc", OLD)
    assert versions.value(secret.labelled("current")).password.reveal() == OLD
    assert failed_logins(host) == 0
