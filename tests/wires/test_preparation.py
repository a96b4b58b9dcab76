"""The command that an operator runs on a server lets Keyturn in; its opposite takes that away again."""

from __future__ import annotations

import pytest

from lab import Management
from rotation.connectors import base
from rotation.connectors.ssh.connector import SshConnector
from rotation.inventory import management, preparation
from tests import factories

pytestmark = pytest.mark.django_db


def facts(instance) -> base.Facts:
    connector = SshConnector(management.endpoint(instance))
    return connector.preflight(management.manager(instance, over=management.endpoint(instance)), timeout=15)


@pytest.fixture
def bare(new_host):
    """A server that has never heard of Keyturn."""
    return new_host(management=Management.NONE)


def run_there(host, command: str) -> None:
    host.run(["sh"], input=command.encode())


def registered(host, credential=None):
    lines = [line.split() for line in host.host_keys()]
    keys = [base.HostKey(kind, blob, f"SHA256:{blob[-43:]}") for kind, blob, *_ in lines]
    return factories.instance(address=host.address, port=host.port, keys=keys, credential=credential)


def test_the_command_lets_keyturn_in_and_its_opposite_takes_it_away(bare):
    instance = registered(bare)
    assert facts(instance).blocked.code == "login_refused"
    run_there(bare, preparation.command(instance.credential))
    run_there(bare, preparation.command(instance.credential))  # twice is once
    assert facts(instance).blocked is None
    run_there(bare, preparation.opposite(instance.credential))
    assert facts(instance).blocked.code == "login_refused"
    assert b"keyturn" not in bare.run(["sh", "-c", "cat /etc/passwd; ls /etc/sudoers.d"]).stdout


def test_an_account_that_was_there_before_keeps_its_home_and_its_other_keys(bare, management_key):
    bare.add_account("keyturn", password="some-password-1", authorized_keys=[management_key.public])
    bare.write("/home/keyturn/.ssh/authorized_keys", management_key.public.strip(), 0o600)  # no final newline
    instance = registered(bare)
    run_there(bare, preparation.command(instance.credential))
    assert facts(instance).blocked is None
    run_there(bare, preparation.opposite(instance.credential))
    kept = [line for line in bare.authorized_keys("keyturn").splitlines() if line]
    assert kept == [management_key.public.strip()]
    assert bare.shadow_accepts("keyturn", "some-password-1")


def test_two_credentials_on_one_server_do_not_undo_each_other(bare):
    first = registered(bare)
    second = management.create_credential(
        "other", "other.one", sudo="passwordless", actor=factories.administrator()
    )
    run_there(bare, preparation.command(first.credential))
    run_there(bare, preparation.command(second))
    assert facts(first).blocked is None
    run_there(bare, preparation.opposite(second))
    assert facts(first).blocked is None
