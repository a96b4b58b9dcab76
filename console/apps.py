"""The console as a Django app: its template tags, commands, checks and the broker's table."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"

    def ready(self) -> None:
        from console import durability, guesses, known_devices, sign_ins  # noqa: F401  # receivers and checks register themselves
