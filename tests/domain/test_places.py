"""Where instances may be, and how often one person may have them looked at."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rotation import instance_checks, runs
from rotation.connectors.networks import EVERYWHERE
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from rotation.engine import engine
from rotation.inventory import instances, management, patience
from rotation.models import ManagedAccount, Run
from secrets_app.models import AuditEvent
from secrets_app.policy.decisions import Action
from tests import factories

pytestmark = [pytest.mark.django_db, pytest.mark.one_store]


@pytest.fixture
def instance():
    return factories.instance()


@pytest.fixture
def shut(instance, settings) -> None:
    """This machine's own addresses are allowed no more, as in a fresh installation."""
    settings.ALLOWED_NETWORKS = EVERYWHERE


def advance(run: Run) -> Run:
    engine.advance(run.pk, worker="w", connect=SshConnector, scanner=SshScanner())
    run.refresh_from_db()
    return run


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:127.0.0.1", "224.0.0.1"])
def test_nothing_is_registered_at_an_address_that_is_not_allowed(shut, dot, address):
    with pytest.raises(instances.AddressForbidden):
        instances.register("web-9", region=factories.region(), address=address, actor=dot.principal)


def test_nothing_is_moved_to_an_address_that_is_not_allowed_but_may_be_renamed(instance, shut, dot):
    stays = {"revision": instance.revision, "port": instance.port, "actor": dot.principal}
    with pytest.raises(instances.AddressForbidden):
        instances.change(instance, name="x", address="127.0.0.1", **stays)
    instances.change(instance, name="renamed", address=instance.address, **stays)
    assert instance.name == "renamed"


@pytest.mark.parametrize("kind", ["scan", "check", "rotate", "verify", "drift", "reconcile", "own login"])
def test_no_run_connects_to_an_address_that_is_allowed_no_more(instance, settings, dot, kind):
    secret = factories.secret(instance=instance, initial="an-old-value-1")
    factories.settle(secret)
    if kind == "own login":
        ManagedAccount.objects.update(credential=ManagedAccount.Credential.IN_SYNC)
        management.use_own_login(instance, secret, sudo="none", actor=dot.principal)
    settings.ALLOWED_NETWORKS = EVERYWHERE
    ask = {"rotate": runs.start, "own login": runs.start}.get(kind) or getattr(
        instance_checks if kind in {"scan", "check"} else runs, kind
    )
    run = ask(instance if kind in {"scan", "check"} else secret, actor=dot.principal)
    assert advance(run).code == "forbidden_address"
    assert run.outcome == "blocked"


def test_who_looks_too_often_is_asked_to_wait_and_others_are_not(dot, settings):
    settings.CHECKS_AT_MOST = 3
    for _ in range(3):
        instance_checks.scan(factories.instance(), actor=dot.principal)
    for ask in (instance_checks.scan, instance_checks.check):
        with pytest.raises(patience.TooOften, match="may start 3 scans"):
            ask(factories.instance(), actor=dot.principal)
    with pytest.raises(patience.TooOften):
        instance_checks.check_account(factories.instance(), "svc", "password", actor=dot.principal)
    instance_checks.scan(factories.instance(), actor=factories.user("eve", "administrators").principal)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "WITHIN", timedelta(0))
        instance_checks.scan(factories.instance(), actor=dot.principal)


@pytest.mark.both_stores
def test_hurrying_a_scan_that_waits_counts_and_is_told(instance, dot, settings):
    settings.CHECKS_AT_MOST = 3
    run = instance_checks.scan(instance, actor=dot.principal)
    asked = AuditEvent.objects.filter(action=Action.CHECK_INSTANCE, actor=dot.principal)
    assert (
        instance_checks.scan(instance, actor=dot.principal) == run
    )  # it is queued: nothing changes by asking again
    assert asked.count() == 1
    for count in (2, 3):
        Run.objects.filter(pk=run.pk).update(state=Run.State.WAITING)
        assert instance_checks.scan(instance, actor=dot.principal) == run
        assert asked.count() == count
    Run.objects.filter(pk=run.pk).update(state=Run.State.WAITING)
    with pytest.raises(patience.TooOften):
        instance_checks.scan(instance, actor=dot.principal)


def test_the_trail_says_what_was_looked_at(instance, dot):
    instance_checks.scan(instance, actor=dot.principal)
    event = AuditEvent.objects.filter(action=Action.CHECK_INSTANCE).first()
    assert (event.details["kind"], event.details["address"]) == ("scan", instance.where)
