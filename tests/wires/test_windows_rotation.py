"""Whole rotations of local Windows passwords on simulated hosts, by the ordinary engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.windows.wsman import Endpoint
from rotation import instance_checks, runs
from rotation.models import ManagedAccount, Run
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import factories, windows_instances
from tests.windows_instances import advance

pytestmark = pytest.mark.django_db(transaction=True)
OLD = "The-old-Password-1"


@pytest.fixture
def at() -> Iterator[Endpoint]:
    with windows_instances.running("127.0.42.1") as made:
        made.host.add_account("svc", OLD)
        yield made
        assert made.shells == {}


@pytest.fixture
def secret(at: Endpoint) -> Secret:
    made = factories.secret(instance=windows_instances.register(at), initial=OLD)
    factories.settle(made)
    return made


def rotate(secret: Secret) -> Run:
    return runs.start(Secret.objects.get(pk=secret.pk), actor=factories.administrator())


def current(secret: Secret) -> str:
    return versions.value(Secret.objects.get(pk=secret.pk).labelled("current")).password.reveal()


def test_a_rotation_gives_a_windows_host_the_new_value_and_takes_the_old_one(secret, at):
    before = at.host.accounts["svc"].state
    run = advance(rotate(secret))
    assert run.outcome == "succeeded", f"{run.code}: {run.sentence}"
    assert at.host.accepts("svc", current(secret))
    assert not at.host.accepts("svc", OLD)
    assert at.host.failed_logons("svc") == 0
    assert at.host.accounts["svc"].state == before
    assert at.host.record.places(current(secret)) == {"stdin"}
    account = ManagedAccount.objects.get(secret=secret)
    assert (account.credential, account.verified_level, account.generation) == ("in_sync", "login", 1)


def test_a_connection_test_shows_what_a_windows_host_has(secret, at):
    run = advance(instance_checks.check(secret.managed.instance, actor=factories.administrator()))
    assert run.outcome == "succeeded", run.sentence
    instance = type(secret.managed.instance).objects.get(pk=secret.managed.instance.pk)
    assert instance.state == "ready"
    assert {"reachable", "host_key", "login", "administrator", "powershell"} <= {
        check["name"] for check in instance.checks
    }
    assert "svc" in instance.accounts
    assert instance.os_name == "Simulated Windows Server"
