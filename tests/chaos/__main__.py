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

        import django

        django.setup()
        from tests.chaos.storm import Storm

        counts = (options.rotations, options.hosts, options.windows)
        return Storm(folder, *counts, options.seed, store, queue).run()


if __name__ == "__main__":
    sys.exit(main())
