"""Kill what runs at random while it rotates, and count what is lost: `./keyturn chaos --rotations 1000`.

Workers, web, beat, broker, database and the hosts' sshd are killed or restarted; with `--windows 5`, the
WinRM of so many simulated Windows hosts beside them is cut, away, or loses its answers. A naive rotator
(generate, chpasswd, then store) works beside them, killed at random moments of its own, as the positive
control: a run in which it loses nothing has proved nothing, and fails.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from pathlib import Path

from lab import Fleet
from tests import services


def main() -> int:
    parser = argparse.ArgumentParser(prog="keyturn chaos", description=__doc__)
    parser.add_argument(
        "--on", choices=["sqlite", "postgresql"], default="sqlite", help="the store and its broker"
    )
    parser.add_argument("--rotations", type=int, default=100)
    parser.add_argument("--hosts", type=int, default=10)
    parser.add_argument("--windows", type=int, default=0, help="simulated Windows hosts beside them")
    parser.add_argument(
        "--outages", type=float, default=0, metavar="MINUTES",
        help="ask through the proxy for so long while PostgreSQL, Redis and web processes go",
    )  # fmt: skip
    parser.add_argument("--rate", type=float, default=50, help="requests a second with --outages")
    parser.add_argument("--seed", type=int, default=None, help="of the choice and the times of the faults")
    options = parser.parse_args()
    if reason := Fleet.supported():
        sys.exit(reason)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="keyturn-chaos-")))
        store = queue = None
        if options.on == "postgresql":
            store = stack.enter_context(services.postgres())
            queue = stack.enter_context(services.redis_server())
            os.environ["KEYTURN_TEST_DATABASE_URL"] = store.url
            os.environ["KEYTURN_BROKER_URL"] = queue.url
        else:
            for name in ("KEYTURN_TEST_DATABASE_URL", "KEYTURN_BROKER_URL"):
                os.environ.pop(name, None)
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.chaos.settings"
        os.environ["KEYTURN_TEST_DATA"] = str(folder / "kept")
        os.environ["KEYTURN_WORKER_THREADS"] = "4"
        os.environ.pop("PYTEST_XDIST_WORKER", None)
        if options.outages:
            return _outages(folder, options, store, queue)

        import django

        django.setup()
        from tests.chaos.storm import Storm

        counts = (options.rotations, options.hosts, options.windows)
        return Storm(folder, *counts, options.seed, store, queue).run()


def _outages(
    folder: Path, options: argparse.Namespace, store: services.Postgres | None, queue: services.Redis | None
) -> int:
    """Run with the settings of the product, which the servers are told by the environment."""
    if store is None or queue is None:
        sys.exit("The outages are those of PostgreSQL and Redis: --on postgresql.")
    for name in [name for name in os.environ if name.startswith("KEYTURN_")]:
        del os.environ[name]
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "console.settings",
        "KEYTURN_DATA": str(folder / "kept"), "KEYTURN_ROOT_KEY_FILE": str(folder / "keys" / "root.key"),
        "KEYTURN_DATABASE_URL": store.url, "KEYTURN_BROKER_URL": queue.url,
        "KEYTURN_ALLOWED_NETWORKS": "127.0.0.0/8", "KEYTURN_READS_AT_MOST": "10000",
    }  # fmt: skip
    import django

    django.setup()
    from tests.chaos.outages import Outages

    return Outages(options.outages, options.rate, options.seed, store, queue).run(folder, options.hosts)


if __name__ == "__main__":
    sys.exit(main())
