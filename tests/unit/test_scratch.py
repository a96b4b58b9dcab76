"""What a run of the tests writes in the folder for temporary files goes with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: A fork ends first, then another process that has the folder too; printed: what is in it afterwards.
SCRIPT = """
import os, subprocess, sys
from tests import settings

if not (pid := os.fork()):
    sys.exit()
os.waitpid(pid, 0)
other = os.environ | {"PYTEST_XDIST_WORKER": "gw0"}
subprocess.run([sys.executable, "-c", "from tests import settings"], env=other, check=True)
print(sorted(os.listdir(os.environ["KEYTURN_TEST_DATA"])))
"""


def test_the_folder_of_a_run_goes_with_the_process_that_made_it_and_with_no_other(tmp_path):
    names = {"KEYTURN_TEST_DATA", "PYTEST_XDIST_WORKER"}
    environment = {name: text for name, text in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT, env=environment | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "['gw0', 'main']\n", done.stderr
    assert list(tmp_path.glob("keyturn-tests-*")) == []
