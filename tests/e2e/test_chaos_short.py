"""A short storm: processes, store, broker and hosts are killed while the product rotates."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import amounts
from tests.e2e.site import CHECKOUT

pytestmark = pytest.mark.xdist_group("storms")
ROTATIONS = 24
BOUND = 570
#: The other store has the kills of `test_kills`, and a storm of its own with `--long`.
STORES = ("postgresql", "sqlite")[: amounts.cases(1, long=2)]


@pytest.mark.parametrize("store", STORES)
def test_a_storm_of_faults_loses_nothing_where_a_naive_script_loses_credentials(store):
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", f"--on={store}", f"--rotations={ROTATIONS}", "--hosts=3",
         "--windows=2"],
        cwd=CHECKOUT, capture_output=True, timeout=BOUND, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr[-3000:]).decode()
