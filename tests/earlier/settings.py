"""The product's settings, with the migrations of console in two: the first one makes the earlier database."""

from console.settings import *  # noqa: F403

MIGRATION_MODULES = {"console": "tests.earlier.migrations"}
