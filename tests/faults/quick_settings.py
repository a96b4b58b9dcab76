"""The tests' settings with ticks of a second, a lease of three, and messages that come again after one.

A worker says of each message that it came. `KEYTURN_TEST_LEASE` makes the lease as long as a test needs it.
"""

import os
from datetime import timedelta

from tests.settings import *  # noqa: F403
from tests.settings import CELERY_BEAT_SCHEDULE, LOGGING, PERIODIC_WORK

CELERY_BEAT_SCHEDULE = {name: entry | {"schedule": 1.0} for name, entry in CELERY_BEAT_SCHEDULE.items()}
PERIODIC_WORK = {name: (task, timedelta(seconds=1)) for name, (task, _) in PERIODIC_WORK.items()}
LEASE = timedelta(seconds=float(os.environ.get("KEYTURN_TEST_LEASE", "3")))
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 1,
    "unacked_restore_limit": 100,
    "polling_interval": 0.2,
}
LOGGING["loggers"]["celery.worker.strategy"] = {"level": "INFO"}
