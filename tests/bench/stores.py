"""Measure on PostgreSQL: in a process of its own, on a cluster of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import services


def on_postgres(part: str, *words: str, keep: Path | None = None) -> None:
    """Have another process measure this part of the bench; where there is no PostgreSQL, say so.

    With `keep` the cluster and Keyturn's own files stand in that folder, and stay there.
    """
    command = [sys.executable, "-m", "tests.bench", "--only", part, *words, "--here"]
    try:
        with services.postgres(keep=keep) as store, tempfile.TemporaryDirectory() as scratch:
            folder = str(keep / "keyturn") if keep else scratch
            environment = os.environ | {"KEYTURN_TEST_DATABASE_URL": store.url, "KEYTURN_TEST_DATA": folder}
            subprocess.run(command, env=environment, check=True)
    except services.Missing as missing:
        print(f"{part:<20}not measured on PostgreSQL: {missing}")
