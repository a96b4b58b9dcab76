"""Take each safety rule out of a copy of the code and see its test fail: `python -m tests.breaks [--only 7]`.

Every test is first run on the copy as it is, where it must pass. A break that no test notices, or that only
breaks the program's loading, is a failure of this run.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.breaks.table import BREAKS, Break

CHECKOUT = Path(__file__).resolve().parents[2]
BOUND = 600.0  # seconds that one test may take
FAILED = 1  # pytest's exit status where tests ran and one failed


def run(tree: Path, test: str) -> int:
    """Run one test in `tree`; return pytest's exit status. The first one makes the database for all."""
    kept = tree / "kept"
    environment = os.environ | {"KEYTURN_TEST_DATA": str(kept), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--reuse-db", "-p", "no:cacheprovider", test]
    try:
        return subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, timeout=BOUND, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        shutil.rmtree(kept, ignore_errors=True)  # who knows what it left there
        return FAILED  # it hangs where it passed before: noticed


def copied(folder: Path) -> Path:
    tree = folder / "tree"
    shutil.copytree(
        CHECKOUT, tree, ignore=shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", "kept")
    )
    return tree


def notices(tree: Path, rule: Break, passed: set[str]) -> str:
    """Return what is wrong with a break: nothing where its test notices it.

    `passed` are the tests that pass on the code as it is; one that several rules name is tried there once.
    """
    file = tree / rule.file
    whole = file.read_text()
    if whole.count(rule.old) != 1:
        return f"its text stands {whole.count(rule.old)} times in {rule.file}"
    if rule.test not in passed:
        if status := run(tree, rule.test):
            return f"its test does not pass on the code as it is ({status})"
        passed.add(rule.test)
    file.write_text(whole.replace(rule.old, rule.new))
    try:
        status = run(tree, rule.test)
    finally:
        file.write_text(whole)
    if status == 0:
        return "NOT NOTICED"
    return "" if status == FAILED else f"the copy does not run ({status})"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.breaks", description=__doc__)
    parser.add_argument("--only", default="", help="the number of one rule, or of the first and last: 7-12")
    first, _, last = parser.parse_args().only.partition("-")
    chosen = list(enumerate(BREAKS, start=1))
    if first:
        chosen = chosen[int(first) - 1 : int(last or first)]
    bad = 0
    passed: set[str] = set()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="keyturn-breaks-") as folder:
        tree = copied(Path(folder))
        for number, rule in chosen:
            problem = notices(tree, rule, passed)
            bad += bool(problem)
            print(f"{number:3d}  {rule.rule}: {problem or 'noticed by ' + rule.name}", flush=True)
    print(f"{len(chosen) - bad} of {len(chosen)} noticed, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
