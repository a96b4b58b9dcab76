"""The simulated Windows hosts: what they refuse, what they write down, and that they run nothing unknown."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import requests
import winrm
from winrm.exceptions import InvalidCredentialsError, WinRMTransportError, WSManFaultError
from winrm.protocol import Protocol

from lab.windows import wsman
from lab.windows.certificates import Authority
from lab.windows.hosts import WindowsHost
from lab.windows.wsman import Endpoint

ADMIN, PASSWORD = "Administrator", "Admin-Word:1"
VALUE = "Canary-Value-17"
POWERSHELL = "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe"
ECHO = "[Console]::Out.WriteLine('said ' + [Console]::In.ReadLine())"


@pytest.fixture
def host() -> WindowsHost:
    made = WindowsHost()
    made.add_account(ADMIN, PASSWORD, is_admin=True, rid=500)
    made.add_account("svc", "The-old-word-1")
    return made


@pytest.fixture
def endpoint(host: WindowsHost) -> Iterator[Endpoint]:
    with Endpoint(host, "127.0.40.1") as made:
        yield made


def client(endpoint: Endpoint, user: str = ADMIN, password: str = PASSWORD, **options: object) -> Protocol:
    return Protocol(
        f"http://{endpoint.address}:{endpoint.port}/wsman",
        transport="ntlm",
        username=user,
        password=password,
        **{"message_encryption": "always", "proxy": None, "ca_trust_path": None, **options},
    )


def run(protocol: Protocol, script: str, given: str = "") -> tuple[str, int]:
    shell = protocol.open_shell(codepage=65001)
    coded = base64.b64encode(script.encode("utf-16-le")).decode()
    command = protocol.run_command(
        shell, POWERSHELL, ["-EncodedCommand", coded], console_mode_stdin=False, skip_cmd_shell=True
    )
    protocol.send_command_input(shell, command, f"{given}\n".encode(), end=True)
    out, err, code = protocol.get_command_output(shell, command)
    protocol.cleanup_command(shell, command)
    protocol.close_shell(shell)
    return (out + err).decode(), code


def test_a_logon_is_judged_by_the_password_that_the_account_has_now(host, endpoint):
    assert run(client(endpoint), ECHO, "hello") == ("said hello\r\n", 0)
    host.reset(ADMIN, "Another-Word-2")
    with pytest.raises(InvalidCredentialsError):
        client(endpoint).open_shell()
    assert run(client(endpoint, password="Another-Word-2"), ECHO, "x")[1] == 0
    assert [code for _, code in host.logons] == [0, 1326, 0]
    assert endpoint.shells == {}


def test_too_many_wrong_passwords_lock_the_account(host, endpoint):
    host.rules.threshold = 3
    for _ in range(3):
        with pytest.raises(InvalidCredentialsError):
            client(endpoint, password="wrong").open_shell()
    with pytest.raises(InvalidCredentialsError):
        client(endpoint).open_shell()
    assert [code for _, code in host.logons] == [1326, 1326, 1326, 1909]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"is_enabled": False}, 1331),
        ({"must_change": True}, 1907),
        ({"expires": datetime.now(UTC) - timedelta(days=1)}, 1793),
        ({"network_logon": False}, 1385),
    ],
)
def test_an_account_that_may_not_log_on_is_refused_with_the_right_password(host, endpoint, change, code):
    vars(host.accounts["administrator"]).update(change)
    with pytest.raises(InvalidCredentialsError):
        client(endpoint).open_shell()
    assert host.logons == [("administrator", code)]


def test_a_message_in_clear_gets_no_answer_over_http(endpoint):
    with pytest.raises(WinRMTransportError) as refused:
        client(endpoint, message_encryption="never").open_shell()
    assert (refused.value.code, refused.value.response_text) == (500, "")


def test_an_account_without_rights_is_known_and_gets_no_shell(endpoint):
    with pytest.raises(WSManFaultError) as refused:
        client(endpoint, "svc", "The-old-word-1").open_shell()
    assert refused.value.wsman_fault_code == 5


def test_shells_are_counted_and_one_that_is_gone_has_a_fault_of_its_own(host, endpoint):
    host.shell_quota = 1
    protocol = client(endpoint)
    shell = protocol.open_shell()
    with pytest.raises(WSManFaultError) as refused:
        protocol.open_shell()
    assert refused.value.wmierror_code == 2150859173
    protocol.close_shell(shell, close_session=False)
    with pytest.raises(WSManFaultError) as gone:
        protocol.run_command(shell, POWERSHELL, skip_cmd_shell=True)
    assert gone.value.wsman_fault_code == 2150858843


@pytest.mark.parametrize(
    "script",
    [
        "Get-Process",
        "[Environment]::Exit(0)",
        "'a' | Out-Null",
        "try { Invoke-Expression 'x' } catch { 'caught' }",
        "$a = { 1 }",
        "$value.Nowhere()\n$x.y(",
        "`e",
    ],
)
def test_what_is_not_modelled_fails_loudly_and_is_caught_by_no_script(host, endpoint, script):
    said, code = run(client(endpoint), f"$value = [Console]::In\n{script}")
    assert (code, "caught" in said) == (99, False)
    assert host.record.of("unsupported")


def test_a_value_in_a_script_is_found_in_the_record_and_one_on_standard_input_only_there(host, endpoint):
    run(client(endpoint), "[Console]::In.ReadLine().EndsWith('x')", VALUE)
    assert host.record.places(VALUE) == {"stdin"}
    session = winrm.Session(
        endpoint.address, auth=(ADMIN, PASSWORD), transport="ntlm", message_encryption="always"
    )
    session.protocol = client(endpoint)
    session.run_ps(f"$value = '{VALUE}'")
    assert {"command line", "event 4688", "event 400", "event 4104"} <= host.record.places(VALUE)


def test_a_value_that_is_given_to_a_command_is_found_as_module_logging_writes_it(host, endpoint):
    run(client(endpoint), "ConvertTo-Json ([Console]::In.ReadLine()) -Compress", VALUE)
    assert "event 4103" in host.record.places(VALUE)


@pytest.mark.parametrize("operation", wsman.OPERATIONS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_each_operation_can_lose_its_answer_before_and_after_it_is_done(endpoint, operation, when):
    endpoint.arm(operation, when, "drop")
    with pytest.raises(requests.ConnectionError):
        run(client(endpoint), ECHO, "x")
    assert endpoint.requests[-1] == operation
    assert endpoint.opened == ((operation, when) != ("Create", "before"))


@pytest.mark.parametrize(("kind", "is_trusted"), [("good", True), ("expired", False), ("wrong_name", False)])
def test_a_certificate_is_judged_before_anyone_logs_on(host, tmp_path, kind, is_trusted):
    authority = Authority()
    trusted = tmp_path / "ca.pem"
    trusted.write_text(authority.pem)
    with Endpoint(host, "127.0.40.2", certificate=authority.issue(kind, "127.0.40.2")) as endpoint:
        protocol = Protocol(
            f"https://{endpoint.address}:{endpoint.port}/wsman",
            transport="ntlm",
            username=ADMIN,
            password=PASSWORD,
            ca_trust_path=str(trusted),
            proxy=None,
        )
        if is_trusted:
            assert run(protocol, ECHO, "x") == ("said x\r\n", 0)
        else:
            with pytest.raises(requests.exceptions.SSLError):
                protocol.open_shell()
        assert endpoint.attempts == is_trusted
