"""The forms of the list of secrets and of one secret: filters, rotation, reveal.

A value becomes a `Plaintext` as it is read and is never written into a page again, not even after an error.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from console.forms import filters
from console.forms.filters import Several
from console.forms.secrets.key_pair import PrivateKeyField
from console.presentation import secret_states
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.kinds import table as kinds
from secrets_app.models import Secret
from secrets_app.secrets import read_limits


class ValueField(forms.Field):
    """A password that a person types. Not a CharField: that one strips, and has other words for NUL."""

    widget = forms.PasswordInput(
        attrs={"autocomplete": "new-password", "spellcheck": "false", "class": "input input-mono"},
        render_value=False,
    )

    def to_python(self, value: Any) -> Plaintext | None:
        return Plaintext(value) if value else None

    def validate(self, value: Plaintext | None) -> None:
        if value is None:
            if self.required:
                raise ValidationError("Enter a password.")
            return
        try:
            passwords.check_value(value)
        except passwords.Unfit as unfit:
            raise ValidationError(str(unfit)) from None


class Filters(filters.Filters):
    """What the list of secrets is narrowed to."""

    q = forms.CharField(required=False, max_length=200)
    credential = Several("Credential", "All credentials", secret_states.CREDENTIAL_CHOICES)
    kind = Several("Kind", "All kinds", Secret.Kind.choices)
    status = forms.ChoiceField(
        label="Status", required=False, choices=[("", "All statuses"), *secret_states.STATUS_CHOICES]
    )

    automatic = forms.ChoiceField(
        label="Automatic rotation",
        required=False,
        choices=[("", "Any automatic rotation"), *secret_states.AUTOMATIC_CHOICES],
    )

    instance = forms.CharField(required=False, max_length=80)
    user = forms.CharField(required=False, max_length=64)
    tag = forms.CharField(required=False, max_length=400, strip=False)
    key = forms.ChoiceField(label="Key", required=False)

    #: Those that stand behind **More filters**.
    MORE: Final = ("instance", "user", "tag", "key")

    def __init__(self, data: Any, *, keys: Iterable[str]) -> None:
        """`keys` are the aliases that the reader may see: by no other can the list be narrowed.

        Without them a filter by key would be passed over, and every secret be meant.
        """
        super().__init__(data)
        self.fields["key"].choices = [("", "Any key"), *((alias, alias) for alias in keys)]  # type: ignore[attr-defined]

    @property
    def has_more(self) -> bool:
        """Whether one of `MORE` is set, or wrong."""
        return any(self.chosen().get(name) or name in self.errors for name in self.MORE)


class Press(forms.Form):
    """Pressing a button, which twice is once: the page made the token."""

    token = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)


def _new_password() -> forms.Field:
    return ValueField(
        label="New value", required=False, help_text="Exactly this password is set on the instance."
    )


def _new_private_key() -> forms.Field:
    return PrivateKeyField(
        label="New private key",
        required=False,
        help_text="In OpenSSH or PEM form and without a passphrase; the public key is set on the instance.",
    )


#: By kind, the field for a value that a user enters.
_NEW_VALUE: Final[Mapping[str, Callable[[], forms.Field]]] = MappingProxyType(
    {Secret.Kind.PASSWORD: _new_password, Secret.Kind.KEY_PAIR: _new_private_key}
)


class Rotate(Press):
    """Why a secret rotates now, and to which value."""

    reason = forms.ChoiceField(
        label="Reason",
        choices=[
            ("routine", "Routine"),
            ("leaked", "Leaked: another person may know the value"),
        ],
        initial="routine",
        widget=forms.RadioSelect,
    )
    use_custom = forms.BooleanField(label="Use Custom Secret", required=False)
    value = _new_password()  # replaced by the field of the secret's kind

    overrides_policy = forms.BooleanField(
        label="Use it even if it breaks the password policy",
        required=False,
        help_text="Shown on the secret, and recorded in the audit trail with your name.",
    )
    policy_reason = forms.CharField(
        label="Reason for breaking the password policy",
        required=False,  # only with the tick above it
        max_length=500,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(
        self, data: Mapping[str, Any] | None = None, *, kind: str = Secret.Kind.PASSWORD, **kwargs: Any
    ) -> None:
        super().__init__(data, auto_id="rotate_%s", **kwargs)
        self.what = kinds.TABLE[kind].ENTERED
        self.fields["value"] = _NEW_VALUE[kind]()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not cleaned.get("use_custom"):
            # The field is out of sight; what a browser filled in there was not meant.
            cleaned["value"] = None
            self.errors.pop("value", None)
        elif "value" not in self.errors and cleaned.get("value") is None:
            self.add_error("value", f"Enter the new {self.what}, or turn off Use Custom Secret.")
        return cleaned


class Reveal(forms.Form):
    """The reason for reading a value."""

    reason = forms.CharField(
        label="Reason",
        max_length=read_limits.REASON_AT_MOST,
        help_text="Recorded in the audit trail with your name.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        error_messages={"required": str(read_limits.NoReason())},
    )

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data, auto_id="reveal_%s")
        self.fields["reason"].required = settings.REVEAL_REASON == "required"

    def clean_reason(self) -> str:
        try:
            return read_limits.fit_reason(self.cleaned_data["reason"])
        except (read_limits.NoReason, read_limits.UnfitReason) as error:
            raise ValidationError(str(error)) from None
