"""The version of the product."""

from __future__ import annotations

from django.conf import settings


def product_version() -> str:
    """The version in pyproject.toml, its one home, such as 1.2.0."""
    return str(settings.PRODUCT_VERSION)
