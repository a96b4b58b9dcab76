"""What the operator sees, and the project package."""

from console.process import start

# Every process of Keyturn imports this package first and reads the settings later.
start.watch()

# Here, so that a task called from a view goes to this application's broker and not to Celery's default one.
from console.celery import app as celery_app  # noqa: E402

__all__ = ["celery_app"]
