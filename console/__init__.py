"""What the operator sees, and the project package."""

# Here, so that a task called from a view goes to this application's broker and not to Celery's default one.
from console.celery import app as celery_app

__all__ = ["celery_app"]
