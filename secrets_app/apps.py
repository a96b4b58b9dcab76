"""What is kept, as a Django app."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate


class SecretsConfig(AppConfig):
    name = "secrets_app"

    def ready(self) -> None:
        # They need the models; the receivers of `second_factors` and `seal_sets` register themselves.
        from secrets_app import seal_sets  # noqa: F401
        from secrets_app.audit import append_only
        from secrets_app.people import second_factors  # noqa: F401

        post_migrate.connect(
            append_only.after_migration, sender=self, dispatch_uid="secrets_app.audit.append_only"
        )
