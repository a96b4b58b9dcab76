"""Measure on PostgreSQL: in a process of its own, on a cluster of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile

from tests import services


def on_postgres(part: str, *words: str) -> None:
    """Have another process measure this part of the bench; where there is no PostgreSQL, say so."""
    command = [sys.executable, "-m", "tests.bench", "--only", part, *words, "--here"]
    try:
        with services.postgres() as store, tempfile.TemporaryDirectory() as folder:
            environment = os.environ | {"KEYTURN_TEST_DATABASE_URL": store.url, "KEYTURN_TEST_DATA": folder}
            subprocess.run(command, env=environment, check=True)
    except services.Missing as missing:
        print(f"{part:<20}not measured on PostgreSQL: {missing}")
