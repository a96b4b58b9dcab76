"""Whole rotations of key pairs on real hosts: workers killed, sshd that refuses, files of several owners."""

from __future__ import annotations

import signal

import pytest

from lab import Host
from rotation import failpoints, runs
from rotation.connectors.base import Login, Verdict
from rotation.connectors.ssh import SshConnector
from rotation.inventory import endpoint
from rotation.models import ManagedAccount, Run
from secrets_app import keypairs, versions
from secrets_app.models import AuditEvent, Secret
from tests import factories
from tests.lab_fixtures import KeyPair
from tests.wires.test_rotation import advance, register, worker

pytestmark = pytest.mark.django_db(transaction=True)
PLACES = [
    "after_create", "after_preflight", "after_intent", "after_set", "after_test", "before_finish",
    "after_labels", "before_clean", "after_remove", "before_end",
]  # fmt: skip
OTHER = keypairs.generate("ed25519").public_key + " somebody@else"


@pytest.fixture(autouse=True)
def _inert():
    yield
    failpoints.disarm()


@pytest.fixture
def old() -> keypairs.KeyPair:
    return keypairs.generate("ed25519")


@pytest.fixture
def secret(host: Host, management_key: KeyPair, old: keypairs.KeyPair) -> Secret:
    host.add_account("svc", authorized_keys=[OTHER, f"no-pty {old.public_key} svc", OTHER])
    made = factories.secret(
        instance=register(host, management_key), kind="key_pair", initial=old.private_key.reveal()
    )
    factories.settle(made)
    return made


def rotate(secret: Secret) -> Run:
    return runs.start(secret, actor=factories.administrator())


def on_host(host: Host) -> set[str]:
    return {word for line in host.authorized_keys("svc").splitlines() for word in line.split()}


def blob(public_key: str) -> str:
    return public_key.split()[1]


def verdict(secret: Secret, pair: keypairs.KeyPair | versions.Value) -> Verdict:
    connector = SshConnector(endpoint(secret.managed.instance))
    return connector.prove_login(Login("svc", private_key=pair.private_key), timeout=15).verdict


def test_a_rotation_of_a_key_pair_replaces_one_line_and_nothing_else(secret, host, old):
    run = advance(rotate(secret))
    assert run.outcome == "succeeded", run.sentence
    new = versions.value(secret.labelled("current"))
    assert new.public_key.startswith("ssh-rsa ")
    assert host.authorized_keys("svc") == f"{OTHER}\nno-pty {new.public_key} svc\n{OTHER}\n"
    assert verdict(secret, new) == Verdict.ACCEPTED
    assert verdict(secret, old) == Verdict.REJECTED
    account = ManagedAccount.objects.get(secret=secret)
    assert (account.credential, account.verified_level) == ("in_sync", "command")
    assert host.shadow("svc").startswith("!")


@pytest.mark.parametrize("place", PLACES)
def test_fi_w_a_worker_killed_there_leaves_a_key_that_works_and_is_followed_to_success(
    secret, host, old, place
):
    run = rotate(secret)
    assert worker(run, place).wait(timeout=60) == -signal.SIGKILL
    stored = [versions.value(v) for v in secret.versions.all()]
    assert any(blob(value.public_key) in on_host(host) for value in stored)
    assert blob(secret.labelled("current").public_key) in on_host(host)
    run = advance(run)
    assert run.outcome == "succeeded", run.sentence
    assert secret.versions.count() == 2
    new = secret.labelled("current").public_key
    assert host.authorized_keys("svc") == f"{OTHER}\nno-pty {new} svc\n{OTHER}\n"
    assert verdict(secret, old) == Verdict.REJECTED
    assert AuditEvent.objects.filter(action="kms:RotationEnded").count() == 1


def test_fi_k_06_a_key_that_sshd_finds_too_short_is_taken_out_again(secret, host, old):
    host.write("/etc/ssh/sshd_config", "RequiredRSASize 3072\n" + host.read("/etc/ssh/sshd_config"))
    host.restart_sshd()
    before = host.authorized_keys("svc")
    run = advance(rotate(secret))
    assert (run.outcome, run.truth, run.code) == ("failed", "old", "key_refused"), run.sentence
    assert host.authorized_keys("svc") == before
    assert verdict(secret, old) == Verdict.ACCEPTED


def test_fi_k_02_a_host_cut_before_the_removal_has_both_keys_and_is_cleaned_later(secret, host, old):
    failpoints.arm("before_clean", host.cut)
    run = advance(rotate(secret))
    failpoints.disarm()
    assert (run.state, run.code) == ("waiting", "unreachable")
    assert {blob(old.public_key), blob(secret.labelled("current").public_key)} <= on_host(host)
    host.restore()
    assert advance(run).outcome == "succeeded"
    assert blob(old.public_key) not in on_host(host)


def test_fi_h_13_a_key_file_that_sshd_passes_over_blocks_before_anything_is_changed(secret, host):
    host.run(["chmod", "o+w", "/home/svc/.ssh"])
    before = host.authorized_keys("svc")
    run = advance(rotate(secret))
    assert (run.outcome, run.code) == ("blocked", "strict_modes")
    assert host.authorized_keys("svc") == before


def test_an_initial_key_is_verified_without_a_login(secret, host):
    before = host.sshd_log().count(" svc ")
    run = runs.verify(secret, actor=factories.administrator())
    assert advance(run).outcome == "succeeded"
    assert ManagedAccount.objects.get(secret=secret).verified_level == "listed"
    assert host.sshd_log().count(" svc ") == before
