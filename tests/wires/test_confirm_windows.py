"""The command that compares a Windows host with what the connector assumes, on a simulated host."""

from __future__ import annotations

import inspect
import json

import pytest

from lab.windows.hosts import WindowsHost
from lab.windows.wsman import Endpoint
from rotation.connectors.winrm import confirming
from rotation.connectors.winrm.connector import WinRmConnector, WinRmScanner
from tests import windows_instances
from tests.command_lines import run
from tests.networks import endpoint
from tests.waiting import wait_for
from tests.windows_instances import MANAGER, PASSWORD

pytestmark = pytest.mark.django_db
OLD = "The-old-Password-1"


def differ_in_three_places(host: WindowsHost) -> None:
    host.rules.complexity, host.rules.length = False, 0
    host.set_key("SOFTWARE\\Microsoft\\Cryptography", MachineGuid="")
    host.add_account("spare-0", OLD)


def test_http_and_a_service_are_tried_where_they_are_named(tmp_path):
    file = tmp_path / "found.json"
    with windows_instances.running("127.0.46.3") as at, Endpoint(at.host, "127.0.46.3") as http:
        at.host.add_account("spare", OLD)
        service = at.host.add_dependant("service", "Spare", ".\\spare", is_running=True)
        (shown,) = WinRmScanner().scan(endpoint(at.address, at.port), timeout=30)
        line = f"confirm_windows {at.address} --port {at.port} --login {MANAGER} --account spare"
        line += f" --http-port {http.port} --service Spare --output {file}"
        ended = run(f"{line} --fingerprint {shown.fingerprint}", given=PASSWORD, asks_for_json=False)
        assert ended.exit == 0, ended.shown
        calls = {row["call"]: row["found"] for row in json.loads(file.read_text())}
        assert calls["update that service, and restart it"] == "updated and restarted"
        assert calls["connect where another name is approved"] == "blocked: name_changed"
        assert calls["look at the host over HTTP"] == "in order"
        assert at.host.accepts("spare", service.password)
        assert (service.starts, service.is_running) == (1, True)
        wait_for(lambda: (at.shells, http.shells) == ({}, {}), "the end of every shell")


def test_each_call_of_the_connector_is_walked():
    text = inspect.getsource(confirming)
    offered = [name for name, _ in inspect.getmembers(WinRmConnector, inspect.isfunction) if name[0] != "_"]
    assert {"set_password", "update_dependant", "lifeline"} < set(offered)
    assert [name for name in offered if f"wire.{name}(" not in text] == []


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
