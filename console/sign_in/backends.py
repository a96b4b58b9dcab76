"""Who a session belongs to, with what every decision asks of a person."""

from __future__ import annotations

from uuid import UUID

from allauth.account.auth_backends import AuthenticationBackend

from secrets_app import prepared, seals
from secrets_app.models import User

_PERSON: prepared.Question[User] = prepared.Question(
    lambda pk: User.objects.select_related("principal").filter(pk=pk)
)


class Backend(AuthenticationBackend):  # type: ignore[misc]
    """allauth's, which reads the person and the principal in one question."""

    def user_can_authenticate(self, user: User) -> bool:
        """A user whose record was changed outside Keyturn is a disabled one."""
        return super().user_can_authenticate(user) and seals.holds(user)

    def get_user(self, user_id: UUID) -> User | None:
        user = _PERSON.first(user_id)
        return user if user is not None and self.user_can_authenticate(user) else None
