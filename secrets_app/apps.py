"""What is kept, as a Django app."""

from django.apps import AppConfig


class SecretsConfig(AppConfig):
    name = "secrets_app"

    def ready(self) -> None:
        from secrets_app import factors  # noqa: F401  # its receivers register themselves
