"""A real Celery worker on the tests' database, which a failpoint may hold up or kill.

`python -m tests.celery_worker POOL [FAILPOINT ACTION MARK]`: the first one to come to the failpoint makes the
file MARK and then hangs (`hang`), takes two seconds longer (`slow`) or dies at once (`die`).
"""

import os
import signal
import sys
import time
from pathlib import Path

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
ACTIONS = {
    "hang": lambda: time.sleep(300),
    "slow": lambda: time.sleep(2),
    "die": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def main(pool: str, place: str = "", action: str = "", mark: str = "") -> None:
    django.setup()
    from console.celery import app
    from rotation.engine import failpoints

    def once() -> None:
        try:
            Path(mark).touch(exist_ok=False)
        except FileExistsError:
            return
        ACTIONS[action]()

    if place:
        failpoints.arm(place, once)
    app.worker_main(["-q", "worker", "-P", pool, "-c", "2", "--without-gossip", "--without-mingle"])


if __name__ == "__main__":
    main(*sys.argv[1:])
