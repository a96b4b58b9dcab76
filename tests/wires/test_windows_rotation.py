"""Whole rotations of local Windows passwords on simulated hosts, by the ordinary engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.windows.hosts import WindowsHost
from lab.windows.records import Record
from lab.windows.wsman import Endpoint
from rotation import instance_checks, runs
from rotation.inventory import identities
from rotation.models import ManagedAccount, Run
from secrets_app.crypto.plaintext import Plaintext
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


def test_an_account_that_may_not_log_on_over_the_network_is_proven_by_the_hosts_own_check(secret, at):
    at.host.accounts["svc"].network_logon = False
    run = advance(rotate(secret))
    assert run.outcome == "succeeded", f"{run.code}: {run.sentence}"
    assert at.host.accepts("svc", current(secret))
    assert "may not log on over the network" in run.sentence
    assert at.host.accounts["svc"].bad_attempts == 0
    account = ManagedAccount.objects.get(secret=secret)
    assert (account.credential, account.verified_level) == ("in_sync", "hash")


def test_a_connection_test_shows_what_a_windows_host_has(secret, at):
    run = advance(instance_checks.check(secret.managed.instance, actor=factories.administrator()))
    assert run.outcome == "succeeded", run.sentence
    instance = type(secret.managed.instance).objects.get(pk=secret.managed.instance.pk)
    assert instance.state == "ready"
    assert {"reachable", "certificate", "login", "administrator", "powershell"} <= {
        check["name"] for check in instance.checks
    }
    assert "svc" in instance.accounts
    assert instance.os_name == "Simulated Windows Server"


def drift(secret: Secret) -> Run:
    return advance(runs.drift(Secret.objects.get(pk=secret.pk), actor=factories.administrator()))


def test_a_password_that_was_set_outside_is_noticed_and_put_right(secret, at):
    assert advance(rotate(secret)).outcome == "succeeded"
    assert drift(secret).outcome == "succeeded"
    kept = current(secret)
    at.host.reset("svc", "Set-by-0thers")
    run = drift(secret)
    assert (run.outcome, run.code) == ("failed", "changed_outside"), run.sentence
    assert ManagedAccount.objects.get(secret=secret).credential == "out_of_sync"
    run = advance(runs.reconcile(Secret.objects.get(pk=secret.pk), actor=factories.administrator()))
    assert run.outcome == "succeeded", run.sentence
    assert at.host.accepts("svc", kept)


def test_an_account_that_was_disabled_outside_is_noticed(secret, at):
    assert advance(rotate(secret)).outcome == "succeeded"
    at.host.accounts["svc"].is_enabled = False
    run = drift(secret)
    assert (run.outcome, run.code) == ("blocked", "disabled"), f"{run.code}: {run.sentence}"
    assert at.host.failed_logons("svc") == 0


def test_a_drift_check_of_what_is_as_it_was_is_no_logon_of_the_account(secret, at):
    assert advance(rotate(secret)).outcome == "succeeded"
    assert drift(secret).outcome == "succeeded"
    at.host.logons.clear()
    assert drift(secret).outcome == "succeeded"
    assert {user for user, _ in at.host.logons} == {windows_instances.MANAGER}


def test_nothing_that_is_logged_on_the_way_holds_a_value(secret, at, caplog):
    caplog.set_level("DEBUG")
    run = advance(rotate(secret))
    assert run.outcome == "succeeded"
    record = Record()
    record.add("log", caplog.text)
    assert caplog.text
    for value in (OLD, current(secret), windows_instances.PASSWORD):
        assert record.places(value) == set()


def test_over_http_a_host_of_another_name_hears_of_no_login():
    host = WindowsHost("WIN-01")
    host.add_account(windows_instances.MANAGER, windows_instances.PASSWORD, is_admin=True)
    host.add_account("svc", OLD)
    with Endpoint(host, "127.0.42.2") as at:
        login = factories.credential(password=Plaintext(windows_instances.PASSWORD), wire="winrm")
        instance = factories.instance(
            address=at.address, port=at.port, wire="winrm-http", os="windows", keys=[], credential=login
        )
        assert advance(instance_checks.scan(instance, actor=factories.administrator())).outcome == "succeeded"
        identities.approve_host_keys(instance, ["WIN-01"], actor=factories.administrator())
        assert at.attempts == 0
        secret = factories.secret(instance=instance, initial=OLD)
        factories.settle(secret)
        run = advance(rotate(secret))
        assert run.outcome == "succeeded", f"{run.code}: {run.sentence}"
        assert host.accepts("svc", current(secret))
        assert host.record.places(current(secret)) == {"stdin"}
        host.name, seen = "WIN-02", at.attempts
        run = advance(rotate(secret))
        assert (run.outcome, run.code) == ("blocked", "name_changed"), run.sentence
        assert at.attempts == seen
        assert host.record.of("unsupported") == []
