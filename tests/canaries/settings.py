"""The tests' settings for a process that says all it can: every logger at DEBUG, SQL with its parameters."""

import copy

from django.db.backends.signals import connection_created

from tests.settings import *  # noqa: F403
from tests.settings import LOGGING as _USUAL

LOGGING = copy.deepcopy(_USUAL)
LOGGING["root"]["level"] = "DEBUG"
LOGGING["loggers"] = {"django": {"handlers": [], "level": "DEBUG"}}
# Static files from where they lie: nothing was collected.
WHITENOISE_AUTOREFRESH = True
WHITENOISE_USE_FINDERS = True


def _tell_sql(connection: object, **_: object) -> None:
    connection.force_debug_cursor = True  # type: ignore[attr-defined]


connection_created.connect(_tell_sql)
