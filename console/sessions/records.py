"""Who came and went, in the audit trail: signing in, failing to, confirming who it is, signing out.

No sign-in and no re-authentication counts without its event. Signing out is never refused:
where it cannot be recorded, the log says so. A typed name that belongs to no user is not kept:
it may be a password in the wrong field.
"""

from __future__ import annotations

import logging

from allauth.account.authentication import get_authentication_records
from allauth.account.signals import authentication_step_completed
from allauth.mfa.signals import authentication_failed
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.http import HttpRequest

from console import http
from console.sessions import proofs
from secrets_app import origin, regions
from secrets_app.actions import Kind, arn
from secrets_app.audit import refusals, trail
from secrets_app.models import Principal, User

log = logging.getLogger(__name__)

SIGN_IN = "kms:SignIn"
SIGN_OUT = "kms:SignOut"
END_SESSION = "kms:EndSession"
USE_SECOND_FACTOR = "kms:UseSecondFactor"
CONFIRM = "kms:ConfirmIdentity"
CHANGE_PASSWORD = "kms:ChangePassword"


def _signed_in(request: HttpRequest, user: User, **_: object) -> None:
    factors = [record for record in get_authentication_records(request, user) if record["method"] == "mfa"]
    details = {"second_factor": factors[-1]["type"]} if factors else {}
    if proofs.is_by_provider(request, user):
        details["by"] = "openid"
    try:
        trail.record(SIGN_IN, _arn(user), actor=user.principal, resource_id=user.pk, details=details)
    except trail.NotRecorded:
        request.session.flush()
        request.user = AnonymousUser()
        raise


def _failed(credentials: dict[str, object], request: HttpRequest | None = None, **_: object) -> None:
    if request is not None and isinstance(request.user, User):
        _refused(CONFIRM, request.user, "The password was wrong.", actor=request.user.principal)
        return
    user = _named(str(credentials.get("username") or ""))
    is_disabled = user is not None and not user.is_active
    _refused(
        SIGN_IN, user, "This user is disabled." if is_disabled else "The name or the password was wrong."
    )


def not_tried(request: HttpRequest, username: str) -> None:
    """Record that a password was not looked at, after too many wrong ones."""
    because = "There were too many failed attempts."
    if isinstance(request.user, User):
        _refused(CONFIRM, request.user, because, actor=request.user.principal)
    else:
        _refused(SIGN_IN, _named(username), because)


def _named(username: str) -> User | None:
    name = username.strip()
    return User.objects.filter(username__iexact=name).first() if name else None


def factor_failed(user: User, *, is_confirming: bool) -> None:
    """Record that a second factor was wrong: at sign-in, after the right password, or to confirm."""
    because = "The second factor was wrong, too old, or used before."
    if is_confirming:
        _refused(CONFIRM, user, because, actor=user.principal)
    else:
        _refused(USE_SECOND_FACTOR, user, because)


def old_password_failed(user: User) -> None:
    """Record a wrong current password at a change of the password in an open session."""
    _refused(CHANGE_PASSWORD, user, "The current password was wrong.", actor=user.principal)


def password_refused(request: HttpRequest, user: User) -> None:
    """Record that a right password was refused: this user signs in with the identity provider only."""
    because = "This user signs in with the identity provider only."
    if isinstance(request.user, User):
        _refused(CONFIRM, user, because, actor=user.principal)
    else:
        _refused(SIGN_IN, user, because)


def identity_failed(because: str, *, of: User | None = None, is_confirming: bool = False) -> None:
    """Record that an identity provider's answer led to no sign-in, or did not confirm the user."""
    if is_confirming and of is not None:
        _refused(CONFIRM, of, because, actor=of.principal)
    else:
        _refused(SIGN_IN, of, because)


def _code_failed(user: User, reauthentication: bool = False, **_: object) -> None:
    factor_failed(user, is_confirming=reauthentication)


def _confirmed(user: User, method: str, reauthenticated: bool = False, **more: object) -> None:
    if not reauthenticated:
        return
    details = {"by": str(more.get("type", method))}
    # Where it cannot be recorded the answer is 503, and of such a request Django stores no session.
    trail.record(CONFIRM, _arn(user), actor=user.principal, resource_id=user.pk, details=details)


def _signed_out(request: HttpRequest, user: User | None, **_: object) -> None:
    if user is not None:
        _note(SIGN_OUT, user)


def ended(request: HttpRequest, user: User) -> None:
    """Record that a session was over when its browser came back."""
    with origin.bind(address=http.client_address(request)):
        _note(END_SESSION, user)


def _refused(action: str, user: User | None, because: str, *, actor: Principal | None = None) -> None:
    whose = user.pk if user else None
    refusals.note(action, _arn(user), actor=actor, because=because, resource_id=whose)


def _arn(user: User | None) -> str:
    return arn(Kind.USER, user.username if user else "", account=regions.account().number)


def _note(action: str, user: User) -> None:
    try:
        trail.record(action, _arn(user), actor=user.principal, resource_id=user.pk)
    except trail.NotRecorded:
        log.critical("%s of %s could not be recorded.", action, user.pk)


user_logged_in.connect(_signed_in, dispatch_uid="console.sessions.records in")
user_login_failed.connect(_failed, dispatch_uid="console.sessions.records failed")
authentication_failed.connect(_code_failed, dispatch_uid="console.sessions.records code")
authentication_step_completed.connect(_confirmed, dispatch_uid="console.sessions.records confirmed")
user_logged_out.connect(_signed_out, dispatch_uid="console.sessions.records out")
