"""`./keyturn test --changed` leaves out nothing that a change can have broken, and something."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import changed
from tests.breaks.table import BREAKS

#: One process reads each module once.
pytestmark = pytest.mark.xdist_group("sources")
EVERYTHING = sorted(changed._tests().values())


@pytest.mark.parametrize("file", sorted({rule.file for rule in BREAKS}))
def test_a_change_of_a_file_runs_every_test_that_notices_a_break_in_it(file):
    noticing = {rule.test.partition("::")[0] for rule in BREAKS if rule.file == file}
    assert noticing <= set(changed.broken([Path(file)]))


@pytest.mark.parametrize(
    "file", ["pyproject.toml", "keyturn", "requirements.lock", "rotation/gone.py", "tests/conftest.py"]
)
def test_a_change_that_can_have_broken_anything_runs_everything(file):
    assert changed.broken([Path(file)]) == EVERYTHING


def test_a_template_runs_the_pages_and_not_the_engine():
    found = changed.broken([Path("templates/base.html")])
    assert {"tests/screens/test_secrets.py", "tests/e2e/test_screens.py"} <= set(found)
    assert "tests/domain/test_engine.py" not in found


def test_a_document_runs_what_reads_it():
    assert "tests/test_fault_table.py" in changed.broken([Path("docs/faults.md")])
    assert "tests/unit/test_ram.py" in changed.broken([Path("docs/actions.md")])
    assert "tests/domain/test_engine.py" not in changed.broken([Path("docs/faults.md")])


def test_a_test_file_runs_itself_and_what_imports_it():
    assert changed.broken([Path("tests/domain/test_recurrence.py")]) == ["tests/domain/test_recurrence.py"]
    assert "tests/domain/test_ram_sql.py" in changed.broken([Path("tests/unit/test_ram.py")])
