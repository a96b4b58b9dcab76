"""The version of the product: as pyproject.toml has it, its one home."""

from __future__ import annotations

import tomllib
from functools import cache

from django.conf import settings


@cache
def product_version() -> str:
    """The version of Keyturn, such as 1.2.0."""
    with (settings.BASE_DIR / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])
