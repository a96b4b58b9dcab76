"""What `./keyturn bench` counts, and that it starts at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection, transaction

from secrets_app.models import Region
from tests import factories
from tests.bench.counted_worker import Counts

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def counts(tmp_path: Path) -> Iterator[tuple[Counts, Path]]:
    """Return what counts on the connection of this test, and its file."""
    path = tmp_path / "counts"
    made = Counts(str(path))
    connection.ensure_connection()
    made.watch(connection)
    yield made, path
    connection.execute_wrappers.clear()
    del connection._commit


def last_line(counts: Counts, path: Path) -> list[int]:
    counts.write()
    return [int(word) for word in path.read_text().splitlines()[-1].split()]


def test_a_transaction_counts_once_and_a_write_outside_of_one_too(counts):
    counted, path = counts
    region = factories.region()
    counted.begin()
    with transaction.atomic():
        assert Region.objects.filter(pk=region.pk).exists()
        Region.objects.filter(pk=region.pk).update(name="One")
    assert last_line(counted, path) == [2, 1]
    Region.objects.filter(pk=region.pk).update(name="Two")
    assert last_line(counted, path) == [3, 2]
    assert Region.objects.exists()
    assert last_line(counted, path) == [4, 2]


def test_a_thread_without_a_task_counts_nothing(counts):
    counted, path = counts
    factories.region()
    assert last_line(counted, path) == [0, 0]


def test_every_part_of_the_bench_can_be_loaded():
    checkout = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "tests.bench", "--help"]
    asked = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=300, check=False)
    assert asked.returncode == 0, asked.stderr
    assert "throughput" in asked.stdout
