"""The tests' settings, but production's own: a commit is on the disk, an old key stays for a moment."""

from tests import settings as _tests
from tests.settings import *  # noqa: F403

KEY_OVERLAP = _tests.PRODUCTION_OVERLAP
if hasattr(_tests, "PRODUCTION_OPTIONS"):  # SQLite
    DATABASES = {"default": _tests.DATABASES["default"] | {"OPTIONS": _tests.PRODUCTION_OPTIONS}}
