"""Whole rotations of key pairs on real hosts; what breaks stands in tests/faults."""

from __future__ import annotations

import pytest

from lab import Host
from rotation import runs
from rotation.connectors.base import Login, Verdict
from rotation.connectors.ssh.connector import SshConnector
from rotation.inventory.management import endpoint
from rotation.models import ManagedAccount, Run
from secrets_app.crypto import key_pairs
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import factories, lab_instances
from tests.lab_fixtures import KeyPair
from tests.wires.test_rotation import advance

pytestmark = pytest.mark.django_db(transaction=True)
OTHER = key_pairs.generate("ed25519").public_key + " somebody@else"


@pytest.fixture
def old() -> key_pairs.KeyPair:
    return key_pairs.generate("ed25519")


@pytest.fixture
def secret(host: Host, management_key: KeyPair, old: key_pairs.KeyPair) -> Secret:
    host.add_account("svc", authorized_keys=[OTHER, f"no-pty {old.public_key} svc", OTHER])
    made = factories.secret(
        instance=lab_instances.register(host, management_key),
        kind="key_pair",
        initial=old.private_key.reveal(),
    )
    factories.settle(made)
    return made


def rotate(secret: Secret) -> Run:
    return runs.start(secret, actor=factories.administrator())


def verdict(secret: Secret, pair: key_pairs.KeyPair | versions.Value) -> Verdict:
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


def test_an_initial_key_is_verified_without_a_login(secret, host):
    before = host.sshd_log().count(" svc ")
    run = runs.verify(secret, actor=factories.administrator())
    assert advance(run).outcome == "succeeded"
    assert ManagedAccount.objects.get(secret=secret).verified_level == "listed"
    assert host.sshd_log().count(" svc ") == before
