"""The product's settings, with what a test may not share: data folder, cipher root, password hashing cost.

`KEYTURN_TEST_DATABASE_URL` runs the same tests on another database, `KEYTURN_TEST_BROKER_URL` on a Redis, in
which each test process has a database of its own.
"""

import atexit
import os
import shutil
import tempfile
from datetime import timedelta
from pathlib import Path


def _remove(folder: str, maker: int) -> None:
    """Remove the folder with the process that made it; a fork of that process leaves it there."""
    if os.getpid() == maker:
        shutil.rmtree(folder, ignore_errors=True)


# Those that this process starts have it too, each a folder within.
if "KEYTURN_TEST_DATA" not in os.environ:
    os.environ["KEYTURN_TEST_DATA"] = tempfile.mkdtemp(prefix="keyturn-tests-")
    atexit.register(_remove, os.environ["KEYTURN_TEST_DATA"], os.getpid())
_scratch = Path(os.environ["KEYTURN_TEST_DATA"])
_mine = _scratch / os.environ.get("PYTEST_XDIST_WORKER", "main")
_mine.mkdir(parents=True, exist_ok=True)
(_mine / "static").mkdir(exist_ok=True)  # whitenoise looks for it
os.environ["KEYTURN_DATA"] = str(_mine)
os.environ["KEYTURN_ROOT_KEY_FILE"] = str(_mine / "elsewhere" / "root.key")
os.environ["KEYTURN_PUBLIC_URL"] = "http://localhost"
# The lab's hosts, the simulated ones and the relays before them are all on this machine.
os.environ["KEYTURN_ALLOWED_NETWORKS"] = "0.0.0.0/0,::/0,127.0.0.0/8"
if "KEYTURN_TEST_DATABASE_URL" in os.environ:
    os.environ["KEYTURN_DATABASE_URL"] = os.environ["KEYTURN_TEST_DATABASE_URL"]
if _redis := os.environ.get("KEYTURN_TEST_BROKER_URL"):
    _number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw-1").removeprefix("gw")) + 1
    os.environ["KEYTURN_BROKER_URL"] = f"{_redis.rpartition('/')[0]}/{_number}"

from console.settings import *  # noqa: E402, F403
from console.settings import DATABASES, KEY_OVERLAP  # noqa: E402

# A file, since the tests' worker processes open it too.
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": str(_mine / "test.sqlite3")}
    # A test outlives its process and no power failure; what the product asks for is kept for its own test.
    PRODUCTION_OPTIONS = DATABASES["default"]["OPTIONS"]
    _begins = PRODUCTION_OPTIONS["init_command"].replace("synchronous=FULL", "synchronous=OFF")
    DATABASES["default"]["OPTIONS"] = PRODUCTION_OPTIONS | {"init_command": _begins}
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
PASSWORD_HASHERS = ["tests.hashers.QuickArgon2"]
FAILPOINTS_ALLOWED = True
# In a test nobody fetches a key while it changes; a bench does.
PRODUCTION_OVERLAP, KEY_OVERLAP = KEY_OVERLAP, timedelta()
ALLOWED_HOSTS = ["*"]
# A quick test calls more often than a program; those of the limits say their own.
API_READS = API_OTHERS = API_KEY_READS = API_KEY_OTHERS = 1_000_000
