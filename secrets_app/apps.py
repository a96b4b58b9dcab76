"""What is kept, as a Django app."""

from django.apps import AppConfig


class SecretsConfig(AppConfig):
    name = "secrets_app"
