"""Who a session belongs to, with what every decision asks of a person."""

from __future__ import annotations

from uuid import UUID

from allauth.account.auth_backends import AuthenticationBackend

from secrets_app import seals
from secrets_app.models import User


class Backend(AuthenticationBackend):  # type: ignore[misc]
    """allauth's, which reads the person and the principal in one question."""

    def user_can_authenticate(self, user: User) -> bool:
        """A user whose record was changed outside Keyturn is a disabled one."""
        return super().user_can_authenticate(user) and seals.holds(user)

    def get_user(self, user_id: UUID) -> User | None:
        user = User.objects.select_related("principal").filter(pk=user_id).first()
        return user if user is not None and self.user_can_authenticate(user) else None
