"""The account number of the settings is that of the first set-up, and stays."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.served import Served

NUMBER = "123456789012"


def test_the_first_set_up_takes_the_number_and_another_one_is_refused_later(tmp_path: Path) -> None:
    site = Served(tmp_path, KEYTURN_ACCOUNT=NUMBER)
    site.set_up()
    shown = site.manage("shell", "-c", "from secrets_app import regions; print(regions.account().number)")
    assert shown.communicate(timeout=300)[0].split()[-1] == NUMBER
    site.given = {"KEYTURN_ACCOUNT": "1234567890123456"}
    refused = site.manage("setup")
    _, said = refused.communicate(timeout=300)
    assert refused.returncode == 1
    assert f"the account number of this installation is {NUMBER}" in said
    site.given = {}
    site.set_up()
    site.given = {"KEYTURN_ACCOUNT": "12345"}
    _, said = site.manage("setup").communicate(timeout=300)
    assert "KEYTURN_ACCOUNT has 12 or 16 digits" in said
