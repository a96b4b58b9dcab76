"""What happens, as a Django app."""

from django.apps import AppConfig


class RotationConfig(AppConfig):
    name = "rotation"
