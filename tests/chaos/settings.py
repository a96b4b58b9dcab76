"""The tests' settings, with lease, waits and ticks short enough to meet many faults in a minute."""

from datetime import timedelta

from tests.settings import *  # noqa: F403

LEASE = timedelta(seconds=10)
FAILED_LOGINS_APART = timedelta(seconds=15)
CELERY_BEAT_SCHEDULE = {
    "start due rotations": {"task": "rotation.tasks.start_due", "schedule": 5.0},
    "find runs left behind": {"task": "rotation.tasks.sweep", "schedule": 1.0},
}
LOGGING_CONFIG = None
