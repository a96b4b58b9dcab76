"""Changing one's password: a wrong current one is recorded."""

from __future__ import annotations

from allauth.account.forms import ChangePasswordForm
from django.core.exceptions import ValidationError

from console.sessions import records


class ChangePassword(ChangePasswordForm):  # type: ignore[misc]
    """allauth's form; each guess of a user at a borrowed browser is recorded in the audit trail."""

    def clean_oldpassword(self) -> str:
        try:
            given: str = super().clean_oldpassword()
        except ValidationError:
            records.old_password_failed(self.user)
            raise
        return given
