"""A script takes a host over by commands alone, from its registration to a login with the new value."""

from __future__ import annotations

import pytest

from lab import Host
from lab.windows.certificates import Authority
from secrets_app.models import Secret
from secrets_app.secrets import versions
from tests import windows_instances
from tests.command_lines import run, with_a_worker
from tests.lab_fixtures import KeyPair, connect
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
OLD = "The-old-Password-1"


def take_over(instance: str, *, credential: str, given: str) -> str:
    """Hand the account svc of a host to Keyturn; return the value that works from then on."""
    place = "--region main --as dot"
    assert run(f"credential create fleet --account keyturn {credential} --as dot", given=given).exit == 0
    assert run(f"instance register web-1 {instance} --credential fleet {place}").exit == 0
    with with_a_worker():
        not_trusted = run(f"instance test web-1 --wait 60 {place}")
        scanned = run(f"instance scan web-1 --wait 60 {place}")
        keys = [key["fingerprint"] for key in scanned.said["instance"]["host_keys"]]
        approve = " ".join(f"--fingerprint {key}" for key in keys)
        approved = run(f"instance approve web-1 {approve} {place}")
        tested = run(f"instance test web-1 --wait 60 {place}")
        created = run(f"secret create svc --instance web-1 --account svc --wait 60 {place}", given=OLD + "\n")
        rotated = run(f"secret rotate svc --wait 60 {place}")
    assert (not_trusted.exit, scanned.exit, approved.exit) == (8, 0, 0), not_trusted.shown + scanned.shown
    assert (tested.exit, tested.said["instance"]["state"]) == (0, "ready"), tested.shown
    assert (created.exit, created.said["run"]["kind"]) == (0, "verify"), created.shown
    assert (rotated.exit, rotated.said["run"]["truth"]) == (0, "new"), rotated.shown
    assert rotated.said["secret"]["credential"] == "in_sync"
    value = versions.value(Secret.objects.get().labelled("current")).password.reveal()
    assert value != OLD
    for ended in (created, rotated, tested):
        assert value not in ended.shown
        assert OLD not in ended.shown
    return value


def test_a_script_takes_over_a_linux_host(dot, host: Host, management_key: KeyPair):
    host.add_account("svc", password=OLD)
    value = take_over(
        f"--address {host.address} --port {host.port}",
        credential="--login key",
        given=management_key.private,
    )
    connect(host, "svc", password=value).close()


def test_a_script_takes_over_a_windows_host(dot):
    with windows_instances.running("127.0.44.1") as at:
        at.host.add_account("svc", OLD)
        value = take_over(
            f"--os windows --address {at.address} --port {at.port}",
            credential="--wire winrm --login password",
            given=windows_instances.PASSWORD,
        )
        assert at.host.accepts("svc", value)
        assert not at.host.accepts("svc", OLD)
        wait_for(lambda: at.shells == {}, "the end of every shell")


def test_a_script_takes_over_a_windows_host_by_the_authority_that_signs_for_it(dot, tmp_path):
    authority, place = Authority(), "--region main --as dot"
    file = tmp_path / "authority.pem"
    file.write_text(authority.pem)
    with windows_instances.running("127.0.44.2") as at:
        at.certificate = authority.issue("good", at.address)
        line = "credential create fleet --account keyturn --wire winrm --login password --as dot"
        assert run(line, given=windows_instances.PASSWORD).exit == 0
        where = f"--os windows --address {at.address} --port {at.port}"
        registered = run(f"instance register win-1 {where} --authority {file} --credential fleet {place}")
        assert registered.exit == 0, registered.shown
        with with_a_worker():
            tested = run(f"instance test win-1 --wait 60 {place}")
            assert (tested.exit, tested.said["instance"]["state"]) == (0, "ready"), tested.shown
            at.certificate = Authority().issue("good", at.address)
            attempts = at.attempts
            refused = run(f"instance test win-1 --wait 60 {place}")
        assert refused.exit == 8
        assert refused.said["run"]["code"] == "certificate_untrusted"
        assert at.attempts == attempts
