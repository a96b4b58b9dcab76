"""Give a user who lost the password or second factor access again, if no administrator can.

Users who can run this on Keyturn's machine can read the database and the root key anyway. It is recorded.
"""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from console.sign_in import first_password
from secrets_app.models import User
from secrets_app.people import second_factors, users


class Command(BaseCommand):
    help = (
        "Set a new password for a user, shown once, and remove the user's second factors. All sessions end."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *args: Any, username: str, **options: Any) -> None:
        user = User.objects.filter(username__iexact=username.strip()).first()
        if user is None:
            raise CommandError(f"There is no user {username}.")
        reason = "manage.py recover, on Keyturn's machine"
        with transaction.atomic():
            second_factors.reset(user, actor=users.system(), reason=reason)
            password = users.recover(user, reason=reason)
            if user.username == users.FIRST_NAME:
                transaction.on_commit(first_password.remove)
        self.stdout.write(f"Sign in as  {user.username}")
        self.stdout.write(f"Password    {password.reveal()}")
        self.stdout.write("            Shown only now; a new one must be chosen at the next sign-in.")
