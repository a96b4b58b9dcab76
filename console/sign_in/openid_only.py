"""Where people sign in by the identity provider alone (`KEYTURN_OIDC_ONLY`): whose password still counts.

It locks no user out. Users without a linked identity can still use their password, and are led to
linking one before anything else; administrators without one stay as they are, for the day on which the
provider is away. And a password that `recover` printed on Keyturn's machine counts until it is changed.
"""

from __future__ import annotations

from django.conf import settings

from console import openid_settings
from secrets_app.models import User
from secrets_app.people import identities, users


def takes_password(user: User) -> bool:
    """Whether this person may sign in, or confirm who they are, with their password."""
    if settings.OIDC is None or not openid_settings.provider().is_only or user.must_change_password:
        return True
    return identities.of(user, openid_settings.provider().issuer) is None


def must_link(user: User) -> bool:
    """Whether this person links an identity before anything else."""
    if identities.of(user, openid_settings.provider().issuer):
        return False
    return not user.groups.filter(name=users.ADMINISTRATORS).exists()
