"""All metrics as one text in Prometheus' format, made at most every few seconds however often it is read.

While the database is away `keyturn_up` is 0, and what only the database knows is missing: the numbers of
before would look like an installation at rest.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from typing import Final

from django.db import DatabaseError, InterfaceError
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from console.version import product_version
from console.watching import gauges
from console.watching.followed import Followed
from console.watching.gauges import gauge
from secrets_app import keyring

log = logging.getLogger(__name__)

KEPT_SECONDS: Final = 5.0


class Metrics(Collector):
    """The metrics of one process, which counts from its start."""

    def __init__(self, kept_seconds: float = KEPT_SECONDS) -> None:
        self._kept_seconds = kept_seconds
        self._looking = threading.Lock()
        self._text, self._made_at = b"", float("-inf")
        self._registry = CollectorRegistry(auto_describe=False)
        self._followed = Followed(self._registry)
        self._found: list[Metric] = []
        self._registry.register(self)

    def describe(self) -> list[Metric]:
        """Nothing beforehand: to be registered asks no database."""
        return []

    def text(self) -> bytes:
        """Return them. One thread at a time asks; the others wait for its answer, which is bounded."""
        with self._looking:
            if time.monotonic() - self._made_at >= self._kept_seconds:
                self._found = list(self._look())
                self._text = generate_latest(self._registry)
                self._made_at = time.monotonic()
            return self._text

    def collect(self) -> list[Metric]:
        return self._found

    def _look(self) -> Iterator[Metric]:
        began = time.monotonic()
        build = gauge("build_info", "The version that runs; always 1.", None, "version")
        build.add_metric([product_version()], 1)
        yield build
        of_database = self._of_database()
        says = "Whether the database answers. What only it knows is missing while it does not."
        yield gauge("up", says, int(of_database is not None))
        yield from of_database or ()
        yield from gauges.of_machine()
        yield gauge("collection_seconds", "How long it took to collect these.", time.monotonic() - began)

    def _of_database(self) -> list[GaugeMetricFamily] | None:
        """All that the database was asked, or None: half of it would look like an installation at rest."""
        try:
            with gauges.bounded():
                head, now = gauges.head()
                self._followed.follow(head.sequence if head else 0)
                found = list(gauges.of_database(head, now))
            found += gauges.of_broker()  # no transaction waits for a Redis
            says = "Whether a key is missing, so that no value opens."
            return [*found, gauge("sealed", says, int(keyring.is_sealed()))]
        except (DatabaseError, InterfaceError) as error:
            log.error("The metrics could not be collected.", exc_info=error)
            return None
