"""What sshd said in a look, for the changes after it."""

from types import SimpleNamespace
from typing import Any

import pytest

from rotation.connectors.ssh import key_files
from rotation.connectors.ssh.findings import Findings

ASKS = {"later_sshd": "", "later_files": "", "later_setpriv": ""}


class Connection:
    """What two shells have in common, or not."""


@pytest.fixture
def connection() -> Connection:
    return Connection()


def shell(connection: Connection) -> Any:
    return SimpleNamespace(transport=connection)


def look(connection: Connection, *facts: str) -> key_files.Later | None:
    findings = Findings()
    for fact in facts:
        findings.put(fact)
    return key_files.later(shell(connection), "svc", findings)


WHOLE = ("later_sshd=usepam yes", "later_file=.ssh/a", "later_file=/etc/keys/%u", "later=3")


def test_a_change_goes_by_what_sshd_said_in_the_look_before_it(connection: Connection) -> None:
    later = look(connection, *WHOLE)
    assert later is not None
    known = {"later_sshd": "usepam yes\n", "later_files": ".ssh/a\n/etc/keys/%u", "later_setpriv": ""}
    assert later.arguments(shell(connection), "svc") == known
    more = look(connection, *WHOLE, "later_setpriv=yes")
    assert more is not None
    assert more.arguments(shell(connection), "svc") == known | {"later_setpriv": "yes"}


def test_what_sshd_said_of_one_account_is_not_taken_for_another(connection: Connection) -> None:
    later = look(connection, *WHOLE)
    assert later is not None
    assert later.arguments(shell(connection), "other") == ASKS


def test_what_sshd_said_counts_only_as_long_as_the_connection(connection: Connection) -> None:
    later = look(connection, *WHOLE)
    assert later is not None
    assert later.arguments(shell(Connection()), "svc") == ASKS


def test_what_sshd_said_does_not_count_for_long(
    connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = look(connection, *WHOLE)
    assert later is not None
    after = later.told_at + 31
    monkeypatch.setattr("time.monotonic", lambda: after)
    assert later.arguments(shell(connection), "svc") == ASKS


@pytest.mark.parametrize("facts", [WHOLE[:3], WHOLE[1:], (*WHOLE[:1], *WHOLE[2:]), (), ("later=0",)])
def test_what_did_not_come_whole_is_asked_for_again(connection: Connection, facts: tuple[str, ...]) -> None:
    assert look(connection, *facts) is None
