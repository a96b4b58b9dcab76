"""The console as a Django app: its template tags, commands, checks and the broker's table."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ConsoleConfig(AppConfig):
    name = "console"

    def ready(self) -> None:
        from console import trigrams

        # Receivers and checks register themselves.
        from console.process import durability, planning  # noqa: F401
        from console.sessions import records  # noqa: F401  # receivers and checks register themselves
        from console.sign_in import failed_sign_ins, known_devices  # noqa: F401  # receivers and checks register themselves

        post_migrate.connect(trigrams.after_migration, sender=self, dispatch_uid="console.trigrams")
