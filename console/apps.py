"""The console as a Django app: its template tags, commands, checks and the broker's table."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"

    def ready(self) -> None:
        from console import durability  # noqa: F401  # its receiver and its check register themselves
