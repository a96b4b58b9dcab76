"""Codes of a second factor: each counts once, however it is spelled, and none is kept in a session."""

from __future__ import annotations

import base64
import secrets
from typing import Any

from allauth.core import context
from allauth.mfa.base.forms import AuthenticateForm, BaseAuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.webauthn.forms import AddWebAuthnForm, AuthenticateWebAuthnForm, ReauthenticateWebAuthnForm
from django import forms
from django.core.exceptions import ValidationError
from django.utils.crypto import salted_hmac

from console.private_apis import totp
from console.sessions import records
from secrets_app.models import User
from secrets_app.people import second_factors

_NUMBER = "second_factor_number"
#: What reading something raises that only looks like a browser's answer.
_NO_ANSWER = (LookupError, TypeError, ValueError, AttributeError)


class _Once(BaseAuthenticateForm):  # type: ignore[misc]
    """A code of an app is refused from its second use on, for as long as it would be right.

    allauth remembers it for one period, in a cache; with a clock that may be off, it is right for three.
    """

    def clean_code(self) -> str:
        code: str = self.cleaned_data["code"]
        factor = Authenticator.objects.filter(user=self.user, type=Authenticator.Type.TOTP).first()
        counter = _period(factor, code) if factor else None
        if factor and counter is not None and not second_factors.counts_once(factor, counter):
            self.cleaned_data["code"] = ""  # goes the way of a wrong one, limits and signals included
        cleaned: str = super().clean_code()
        return cleaned


class Authenticate(_Once, AuthenticateForm):  # type: ignore[misc]
    """The code at sign-in."""


class Reauthenticate(_Once, ReauthenticateForm):  # type: ignore[misc]
    """The code that confirms who it is."""


class _Credential(forms.JSONField):
    """What a browser says of a passkey; numbers without end and deep nests are errors of the form."""

    def to_python(self, value: Any) -> Any:
        try:
            credential = super().to_python(value)
        except (ValueError, RecursionError):
            credential = None
        # allauth takes 0 for one that was not sent, and adds a passkey that proved nothing.
        if not isinstance(credential, dict) or not credential:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None
        return credential

    def bound_data(self, data: Any, initial: Any) -> None:
        """Never shown again: the next one answers another challenge."""


class AddPasskey(AddWebAuthnForm):  # type: ignore[misc]
    """A new passkey."""

    credential = _Credential(widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        try:
            cleaned: dict[str, Any] = super().clean()
        except _NO_ANSWER:
            raise ValidationError("This is not a valid passkey response.") from None
        return cleaned


class _PasskeyRecorded(AuthenticateWebAuthnForm):  # type: ignore[misc]
    """A passkey that is not right is recorded, as allauth has it recorded only of codes."""

    credential = _Credential(widget=forms.HiddenInput)

    def clean_credential(self) -> Authenticator:
        try:
            try:
                return super().clean_credential()
            except _NO_ANSWER:
                raise ValidationError("This is not a valid passkey response.") from None
        except ValidationError as error:
            if error.code != "too_many_login_attempts":
                records.factor_failed(self.user, is_confirming=self.reauthenticated)
            raise


class AuthenticatePasskey(_PasskeyRecorded):
    """The passkey at sign-in."""


class ReauthenticatePasskey(_PasskeyRecorded, ReauthenticateWebAuthnForm):  # type: ignore[misc]
    """The passkey that confirms who it is."""


class ActivateTotp(ActivateTOTPForm):  # type: ignore[misc]
    """The first code of a new app. The code that proved it does not sign in as well.

    Until then the session holds a number, and the app's secret follows from it only with the key file.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.user: User = kwargs.pop("user")
        forms.Form.__init__(self, *args, **kwargs)
        session = context.request.session
        if not self.is_bound or _NUMBER not in session:
            session[_NUMBER] = secrets.token_hex(20)
        digest = salted_hmac(_NUMBER, f"{self.user.pk}:{session[_NUMBER]}", algorithm="sha256").digest()
        self.secret = base64.b32encode(digest[:20]).decode()

    def used_counter(self) -> int:
        """The period whose code proved the app."""
        counter = _matching(self.secret, self.cleaned_data["code"])
        assert counter is not None
        context.request.session.pop(_NUMBER, None)
        return counter


class Reset(forms.Form):
    """The reason for removing a user's second factor."""

    reason = forms.CharField(max_length=500, help_text="Recorded in the audit trail with your name.")


def _period(factor: Authenticator, code: str) -> int | None:
    return _matching(totp.decrypt(factor.data["secret"]), code)


def _matching(secret: str, code: str) -> int | None:
    """The period that `code` belongs to, of those that are accepted now."""
    counter: int
    for counter in totp.yield_hotp_counters_from_time():
        expected = totp.format_hotp_value(totp.hotp_value(secret, counter))
        if totp.compare_user_code(actual=code, expected=expected):
            return counter
    return None
