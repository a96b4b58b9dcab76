"""The console's gunicorn with what the product leaves off: an access log of whole request lines."""

from __future__ import annotations

import os

from console.process.web import *  # noqa: F403
from console.process.web import logconfig_dict
from tests.canaries.settings import LOGGING

workers = 1
accesslog = "-"
logger_class = "gunicorn.glogging.Logger"  # the product's own writes no such line
access_log_format = '%(h)s "%(r)s" %(s)s "%(f)s"'
logconfig_dict = logconfig_dict | {
    "root": LOGGING["root"],
    "loggers": {
        "gunicorn.error": {"handlers": [], "propagate": True, "level": "DEBUG"},
        "gunicorn.access": {"handlers": [], "propagate": True, "level": "INFO"},
    },
}
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.canaries.settings")
