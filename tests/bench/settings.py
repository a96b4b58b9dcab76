"""The tests' settings with what production asks of its database: a commit is on the disk before it counts."""

from tests import settings as _tests
from tests.settings import *  # noqa: F403

if hasattr(_tests, "PRODUCTION_OPTIONS"):  # SQLite
    DATABASES = {"default": _tests.DATABASES["default"] | {"OPTIONS": _tests.PRODUCTION_OPTIONS}}
