"""Where the metrics are served, as the environment says: a port with the file of its token, or nowhere.

The token stands in a file and is read for each request: no setting and no process' environment holds it, and
it can be replaced at any time.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.core.exceptions import ImproperlyConfigured

from console import env

PORT, BIND, TOKEN_FILE = "KEYTURN_METRICS_PORT", "KEYTURN_METRICS_BIND", "KEYTURN_METRICS_TOKEN_FILE"
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where they are served, and the file of the token that a reader has to show."""

    address: str
    port: int
    token_file: Path

    @property
    def bind(self) -> str:
        """The address and port as gunicorn takes them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


def read() -> Place | None:
    """The place that is configured, or None. Raises ImproperlyConfigured for half of one."""
    given = [name for name in (PORT, TOKEN_FILE, BIND) if env.text(name, "")]
    if not given:
        return None
    if lacking := [name for name in (PORT, TOKEN_FILE) if name not in given]:
        raise ImproperlyConfigured(
            f"{given[0]} is set, so {' and '.join(lacking)} must be set too; to serve no metrics, leave "
            "all of them unset."
        )
    return Place(
        address=env.text(BIND, LOOPBACK),
        port=env.number(PORT, 0, least=1, most=65535),
        token_file=env.path(TOKEN_FILE, Path("/")),
    )
