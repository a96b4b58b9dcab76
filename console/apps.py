"""The console as a Django app: its template tags, commands and the broker's table."""

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"
