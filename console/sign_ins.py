"""Who came and went, in the audit trail: signing in, failing to, signing out, a session that is over.

Nobody is signed in without an event. Signing out is never refused: where it cannot be recorded,
the log says so. A name that somebody typed and that nobody has is not kept: it may be a password in the
wrong field.
"""

from __future__ import annotations

import logging

from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from console import http
from secrets_app import audit, refusals, regions
from secrets_app.actions import Kind, arn
from secrets_app.models import User

log = logging.getLogger(__name__)

SIGN_IN = "kms:SignIn"
SIGN_OUT = "kms:SignOut"
END_SESSION = "kms:EndSession"


def _signed_in(request: HttpRequest, user: User, **_: object) -> None:
    try:
        audit.record(SIGN_IN, _arn(user), actor=user.principal, resource_id=user.pk)
    except audit.NotRecorded:
        request.session.flush()
        request.user = AnonymousUser()
        raise


def _failed(credentials: dict[str, object], request: HttpRequest | None = None, **_: object) -> None:
    name = str(credentials.get("username") or "").strip()
    user = User.objects.filter(username__iexact=name).first() if name else None
    is_disabled = user is not None and not user.is_active
    refusals.note(
        SIGN_IN,
        _arn(user),
        actor=None,
        because="This user is disabled." if is_disabled else "The name or the password was wrong.",
        resource_id=user.pk if user else None,
    )


def _signed_out(request: HttpRequest, user: User | None, **_: object) -> None:
    if user is not None:
        _note(SIGN_OUT, user)


def ended(request: HttpRequest, user: User) -> None:
    """Record that a session was over when its browser came back."""
    with audit.bind(address=http.client_address(request)):
        _note(END_SESSION, user)


def _arn(user: User | None) -> str:
    return arn(Kind.USER, user.username if user else "", account=regions.account().number)


def _note(action: str, user: User) -> None:
    try:
        audit.record(action, _arn(user), actor=user.principal, resource_id=user.pk)
    except audit.NotRecorded:
        log.critical("%s of %s could not be recorded.", action, user.pk)


user_logged_in.connect(_signed_in, dispatch_uid="console.sign_ins in")
user_login_failed.connect(_failed, dispatch_uid="console.sign_ins failed")
user_logged_out.connect(_signed_out, dispatch_uid="console.sign_ins out")
