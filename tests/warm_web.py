"""The product's settings of gunicorn, with all code loaded before the workers fork: they are often killed."""

from __future__ import annotations

from typing import Any

from console.process.web import *  # noqa: F403


def when_ready(server: Any) -> None:
    """Load what a worker would load with its first request; keep no connection that two would share."""
    from django.conf import settings
    from django.db import connections
    from django.template.loader import get_template
    from django.test import Client

    templates = settings.BASE_DIR / "templates"
    for name in ("secrets/_value.html", "base.html", "layout.html", "page.html"):
        if (templates / name).exists():
            get_template(name)
    Client().get("/sign-in/")
    connections.close_all()
