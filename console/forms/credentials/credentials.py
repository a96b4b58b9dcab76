"""The form that makes a management credential, and the filters of their list.

Its values become `Plaintext` as they are read and are never written into a page again, not even after
an error. The account's name is put into a command that root runs, so it is checked most strictly here.
"""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError

from console.forms import filters
from console.forms.secrets.key_pair import PrivateKeyField
from console.forms.secrets.secrets import ValueField
from rotation import wires
from rotation.connectors import base
from rotation.inventory import management
from rotation.models import ManagementCredential
from secrets_app import names

Sudo = ManagementCredential.Sudo
OWN, KEY, PASSWORD = "own", "key", "password"
_VALUE: Final = {"autocomplete": "new-password", "spellcheck": "false", "data-value": ""}


class Filters(filters.Filters):
    """What the list of management credentials is narrowed to."""

    q = forms.CharField(required=False, max_length=200)
    status = forms.ChoiceField(
        label="Status", required=False, choices=[("", "Not deleted"), ("deleted", "Deleted")]
    )


class Create(forms.Form):
    """An account that Keyturn works as, and how it logs in."""

    name = forms.CharField(
        label="Name",
        max_length=80,
        help_text="Letters, digits and . _ @ - characters.",
        validators=[names.Only("A-Za-z0-9._@-", "Use letters, digits and . _ @ - characters, no spaces.")],
        error_messages={"required": "Enter a name."},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    system = forms.ChoiceField(
        label="System",
        choices=wires.logins,
        initial=wires.USUAL.name,
        widget=forms.RadioSelect,
        required=False,
        error_messages={"invalid_choice": "Choose a system from the list."},
    )
    username = forms.CharField(
        label="Account",
        max_length=64,
        initial="keyturn",
        help_text="The OS account that Keyturn logs in as, on every instance that uses this credential. By "
        "Kerberos it is user@REALM.",
        error_messages={"required": "Enter the account's name."},
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "class": "input-mono",
            }
        ),
    )
    login = forms.ChoiceField(
        required=False,
        label="Login",
        choices=[
            (OWN, "Grant permissions: Keyturn makes its own key pair"),
            (KEY, "Paste a private key"),
            (PASSWORD, "Enter a password"),
        ],
        initial=OWN,
        widget=forms.RadioSelect,
    )
    private_key = PrivateKeyField(
        label="Private key",
        help_text="In OpenSSH or PEM form, without a passphrase. It is encrypted and never shown again.",
    )
    password = ValueField(label="Password", help_text="It is encrypted and never shown again.")
    sudo = forms.ChoiceField(
        required=False,
        label="Sudo",
        choices=Sudo.choices,
        initial=Sudo.PASSWORDLESS,
        widget=forms.RadioSelect,
    )
    sudo_password = ValueField(
        label="Sudo password",
        required=False,
        help_text="If sudo asks for the login password, leave this empty.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = "credential_%s"

    def clean_system(self) -> str:
        return str(self.cleaned_data["system"] or wires.USUAL.name)

    @property
    def wire(self) -> wires.Wire:
        """How the instances are reached that this account is for."""
        return wires.login(self.cleaned_data.get("system", wires.USUAL.name))

    def clean_username(self) -> str:
        try:
            return management.check_account_name(str(self.cleaned_data["username"]), self.wire.name)
        except management.BadAccount as error:
            raise ValidationError(str(error)) from None

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self._settle_what_the_system_decides()
        self._drop_what_was_not_chosen()
        if cleaned.get("sudo") == Sudo.PASSWORD and "sudo_password" not in self.errors:
            self._settle_sudo_password()
        return cleaned

    def _settle_what_the_system_decides(self) -> None:
        """A choice that a system does not leave is out of sight, and what its field holds was not meant."""
        if base.Kind.KEY not in self.wire.kinds:
            self._settle("login", PASSWORD)
        if not self.wire.elevates:
            self._settle("sudo", Sudo.NONE)
        for name, ask in (("login", "how the account logs in"), ("sudo", "how the account becomes root")):
            if not self.cleaned_data.get(name) and name not in self.errors:
                self.add_error(name, f"Choose {ask}.")

    def _settle(self, name: str, choice: str) -> None:
        self.errors.pop(name, None)
        self.cleaned_data[name] = choice

    def _drop_what_was_not_chosen(self) -> None:
        """A field out of sight may be empty, or hold what was typed before; neither was meant."""
        login = self.cleaned_data.get("login")
        not_meant = {
            name for name, choice in (("private_key", KEY), ("password", PASSWORD)) if login != choice
        }
        if self.cleaned_data.get("sudo") != Sudo.PASSWORD:
            not_meant.add("sudo_password")
        for name in not_meant:
            self.cleaned_data[name] = None
            self.errors.pop(name, None)

    def _settle_sudo_password(self) -> None:
        chosen = self.cleaned_data
        if chosen.get("login") == OWN:
            self.add_error(
                "sudo",
                "The command that prepares an instance lets this account use sudo without a password. "
                "Choose Passwordless, or log in with a key or password of your own.",
            )
        elif chosen.get("sudo_password") is None:
            chosen["sudo_password"] = chosen.get("password")
            if chosen["sudo_password"] is None and "password" not in self.errors:
                self.add_error("sudo_password", "Enter the password that sudo asks this account for.")
