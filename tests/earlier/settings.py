"""The product's settings, with the migrations of console in two: the first one makes the earlier database."""

from console.settings import *  # noqa: F403

MIGRATION_MODULES = {"console": "tests.earlier.migrations"}
# The tests' own PostgreSQL does not wait for the disk, and a set-up would refuse it.
SILENCED_SYSTEM_CHECKS = ["console.E001", "console.E002"]
