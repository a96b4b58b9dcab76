"""Whole rotations of passwords on real hosts; what breaks stands in tests/faults, which shares `worker`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from lab import Host
from rotation import instance_checks, runs, tasks
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from rotation.engine import engine, failpoints
from rotation.models import ManagedAccount, Run
from secrets_app.models import AuditEvent, Secret
from secrets_app.secrets import versions
from tests import factories, forked, lab_instances, web_process
from tests.lab_fixtures import KeyPair
from tests.waiting import PATIENCE

pytestmark = pytest.mark.django_db(transaction=True)
OLD = "the-old-password-1"


def worker(run: Run, *arguments: str) -> forked.Forked:
    """A worker process on the same database as this test."""
    environment = os.environ | {"KEYTURN_TEST_DATABASE_URL": web_process.database_url()}
    return forked.start("tests.worker", str(run.pk), *arguments, environment=environment)


@pytest.fixture
def secret(host: Host, management_key: KeyPair) -> Secret:
    host.add_account("svc", password=OLD)
    made = factories.secret(instance=lab_instances.register(host, management_key), initial=OLD)
    factories.settle(made)
    return made


@pytest.fixture(autouse=True)
def _inert() -> Iterator[None]:
    yield
    failpoints.disarm()


def rotate(secret: Secret) -> Run:
    return runs.start(secret, actor=factories.administrator())


def advance(run: Run) -> Run:
    """Take the run up in this process, whatever it waits for, and whoever held it."""
    past = Now() - timedelta(seconds=1)
    Run.objects.filter(pk=run.pk).update(due_at=past, leased_until=past)
    engine.advance(run.pk, worker=tasks.worker_name(), connect=SshConnector, scanner=SshScanner())
    run.refresh_from_db()
    return run


def current(secret: Secret) -> str:
    return versions.value(secret.labelled("current")).password.reveal()


def failed_logins(host: Host, user: str = "svc") -> int:
    return host.sshd_log().count(f"Failed password for {user} ")


def test_a_rotation_gives_the_host_the_new_value_and_takes_the_old_one(secret, host):
    run = advance(rotate(secret))
    assert run.outcome == "succeeded", run.sentence
    assert host.shadow_accepts("svc", current(secret))
    assert not host.shadow_accepts("svc", OLD)
    assert failed_logins(host) == 0
    account = ManagedAccount.objects.get(secret=secret)
    assert (account.credential, account.verified_level, account.generation) == ("in_sync", "command", 1)


def test_a_worker_killed_after_its_last_commit_leaves_nothing_to_do(secret, host):
    run = rotate(secret)
    assert worker(run, "after_finish").wait(timeout=PATIENCE) == -signal.SIGKILL
    run = advance(run)
    assert (run.outcome, run.attempts, secret.versions.count()) == ("succeeded", 1, 2)
    assert host.shadow_accepts("svc", current(secret))
    assert AuditEvent.objects.filter(action="kms:RotationEnded").count() == 1


def test_an_initial_value_is_verified_without_a_failed_login(secret, host):
    wrong = factories.secret(instance=secret.managed.instance, username="other", initial="a-wrong-password")
    host.add_account("other", password=OLD)
    run = advance(wrong.runs.get())
    assert (run.kind, run.outcome) == ("verify", "failed")
    assert ManagedAccount.objects.get(secret=wrong).credential == "out_of_sync"
    assert failed_logins(host, "other") == 0


def test_a_connection_test_shows_each_check(secret, host):
    run = advance(instance_checks.check(secret.managed.instance, actor=factories.administrator()))
    assert run.outcome == "succeeded"
    instance = type(secret.managed.instance).objects.get(pk=secret.managed.instance.pk)
    assert instance.state == "ready"
    assert {"reachable", "host_key", "login", "sudo"} <= {check["name"] for check in instance.checks}
    assert "svc" in instance.accounts


def test_i7_a_rotation_changes_nothing_but_the_password(secret, host):
    def surroundings() -> tuple[str, ...]:
        shadow = host.shadow("svc").split(":")
        return (
            host.run(["passwd", "-S", "svc"]).stdout.decode().split()[1],
            host.run(["getent", "passwd", "svc"]).stdout.decode(),
            host.run(["id", "svc"]).stdout.decode(),
            host.run(
                ["sh", "-c", "ls -la /etc/sudoers.d /home/svc; stat -c '%a %U %G' /etc/shadow"]
            ).stdout.decode(),
            str(shadow[3:]),
        )

    before = surroundings()
    assert advance(rotate(secret)).outcome == "succeeded"
    assert surroundings() == before
