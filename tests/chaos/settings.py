"""The tests' settings, with lease, waits and ticks short enough to meet many faults in a minute."""

from datetime import timedelta

from tests.settings import *  # noqa: F403

LEASE = timedelta(seconds=10)
FAILED_LOGINS_APART = timedelta(seconds=15)
CELERY_BEAT_SCHEDULE = {"do what is due": {"task": "rotation.tasks.tick", "schedule": 1.0}}
PERIODIC_WORK = {
    "start due rotations": ("rotation.tasks.start_due", timedelta(seconds=5)),
    "find runs left behind": ("rotation.tasks.sweep", timedelta(seconds=1)),
}
LOGGING_CONFIG = None
