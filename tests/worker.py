"""A worker in a process of its own, for tests that kill it.

`python -m tests.worker RUN [FAILPOINT [ACTION]]`: takes the run up once; at the failpoint it kills
itself (`kill`) or stops itself (`stop`) as the operating system would, with no chance to clean up.
"""

import os
import signal
import sys
from uuid import UUID

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def main(run_id: str, place: str = "", action: str = "kill") -> None:
    django.setup()
    from rotation import tasks, wires
    from rotation.engine import engine, failpoints

    if place:
        failpoints.arm(place, lambda: os.kill(os.getpid(), SIGNALS[action]))
    engine.advance(UUID(run_id), worker=tasks.worker_name(), connect=wires.connect, scanner=wires.Scanner())


if __name__ == "__main__":
    main(*sys.argv[1:])
