"""The fields for a key pair: a private key that a person pastes, and the algorithm of later ones.

A private key becomes a `Plaintext` as it is read and is never written into a page again.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError

from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext

LIMIT_CHARACTERS = 16_000  # of an RSA key of 16384 bits, with room to spare


class Unrendered(forms.Textarea):
    """A text area that never shows what was sent, and that no browser keeps or corrects."""

    def __init__(self) -> None:
        super().__init__(
            attrs={
                "rows": 6,
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "class": "textarea input-mono",
            }
        )

    def format_value(self, value: Any) -> None:
        return None


class PrivateKeyField(forms.Field):
    """A private key in OpenSSH or PEM form, not protected by a passphrase."""

    widget = Unrendered

    def to_python(self, value: Any) -> Plaintext | None:
        return Plaintext(value) if value and value.strip() else None

    def validate(self, value: Plaintext | None) -> None:
        if value is None:
            if self.required:
                raise ValidationError("Paste the private key.")
            return
        if len(value) > LIMIT_CHARACTERS:
            raise ValidationError("This is too long for a private key. Paste the file of one key.")
        try:
            key_pairs.read(value)
        except key_pairs.Unreadable as unreadable:
            raise ValidationError(str(unreadable)) from None


class KeyAlgorithmField(forms.ChoiceField):
    """Which key pairs later rotations make."""

    def __init__(self) -> None:
        super().__init__(
            label="Key algorithm",
            required=False,  # out of sight for a password; then nothing is sent
            choices=list(key_pairs.ALGORITHMS.items()),
            initial=lambda: settings.KEY_ALGORITHM,
            help_text="For key pairs that rotations generate. The instance's sshd must accept it.",
        )


class PublicHalf(forms.Form):
    """A private key whose public half is asked for; nothing is kept."""

    private_key = PrivateKeyField()

    def public_key(self) -> str:
        """The public half in OpenSSH form; empty where the key cannot be read."""
        return key_pairs.read(self.cleaned_data["private_key"]).public_key if self.is_valid() else ""
