"""What is kept, as a Django app."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class SecretsConfig(AppConfig):
    name = "secrets_app"

    def ready(self) -> None:
        from secrets_app import append_only  # it needs the models

        post_migrate.connect(append_only.after_migration, sender=self, dispatch_uid="secrets_app.append_only")
