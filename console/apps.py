"""The console as a Django app: its template tags, commands, checks and the broker's table."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"

    def ready(self) -> None:
        from console.process import durability  # noqa: F401  # receivers and checks register themselves
        from console.sessions import records  # noqa: F401  # receivers and checks register themselves
        from console.sign_in import failed_sign_ins, known_devices  # noqa: F401  # receivers and checks register themselves
