"""The command that compares a Windows host with what the connector assumes, on a simulated host."""

from __future__ import annotations

import json

import pytest

from lab.windows.hosts import WindowsHost
from rotation.connectors.winrm.connector import WinRmScanner
from tests import windows_instances
from tests.command_lines import run
from tests.networks import endpoint
from tests.windows_instances import MANAGER, PASSWORD

pytestmark = pytest.mark.django_db
OLD = "The-old-Password-1"


def differ_in_three_places(host: WindowsHost) -> None:
    host.rules.complexity, host.rules.length = False, 0
    host.set_key("SOFTWARE\\Microsoft\\Cryptography", MachineGuid="")
    host.add_account("spare-0", OLD)


@pytest.mark.parametrize(
    ("change", "exit_code", "differing"),
    [
        (lambda host: None, 0, []),
        (
            differ_in_three_places,
            9,
            ["read who the host is", "look at an account that is not there",
             "set a password that the rules refuse"],
        ),
    ],
)  # fmt: skip
def test_every_call_that_is_not_as_assumed_is_named(tmp_path, change, exit_code, differing):
    file = tmp_path / "found.json"
    with windows_instances.running("127.0.46.1") as at:
        at.host.add_account("spare", OLD)
        change(at.host)
        (shown,) = WinRmScanner().scan(endpoint(at.address, at.port), timeout=30)
        line = f"confirm_windows {at.address} --port {at.port} --login {MANAGER} --account spare"
        line += f" --output {file} --fingerprint"
        ended = run(f"{line} {shown.fingerprint}", given=PASSWORD, asks_for_json=False)
        found = json.loads(file.read_text())
        assert [row["call"] for row in found if not row["is_as_assumed"]] == differing, ended.shown
        assert ended.exit == exit_code
        assert all(call in ended.shown for call in differing)
        for value in (PASSWORD, OLD, at.host.accounts["spare"].password):
            assert value not in ended.shown + file.read_text()
        before = len(at.host.logons)
        assert run(f"{line} {'0' * 64}", given=PASSWORD, asks_for_json=False).exit == 8
        assert len(at.host.logons) == before
