"""What the list of events is narrowed to, and the text that is looked up."""

from __future__ import annotations

from typing import Any

from django import forms

from console.forms.filters import Several
from console.forms.period import Period
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent


class AddressField(forms.GenericIPAddressField):
    """A whole address, in any spelling; the library has two other sentences for one that is none."""

    def clean(self, value: Any) -> Any:
        try:
            return super().clean(value)
        except forms.ValidationError:
            raise forms.ValidationError(
                "Enter a whole IP address, such as 192.0.2.7 or 2001:db8::7."
            ) from None


class Filters(Period):
    """What does not make sense narrows nothing."""

    actor = forms.CharField(required=False, max_length=80)
    action = forms.CharField(required=False, max_length=64)
    resource = forms.CharField(required=False, max_length=700)
    outcome = Several("Outcome", "All outcomes", AuditEvent.Outcome.choices)
    address = AddressField(required=False)
    since = forms.DateTimeField(label="From", required=False)
    until = forms.DateTimeField(label="To", required=False)


class TextField(forms.Field):
    """Any text, as it stands: read into a `Plaintext`, and never written into a page again."""

    widget = forms.Textarea(attrs={"rows": "4", "autocomplete": "off", "spellcheck": "false"})

    def to_python(self, value: Any) -> Plaintext | None:
        return Plaintext(value) if value else None


class LookUp(forms.Form):
    """A text that may be a leaked value."""

    text = TextField(
        label="Value",
        help_text="A password, or a private key. It is compared and not stored; the audit trail records "
        "the request.",
    )

    def clean_text(self) -> Plaintext:
        text: Plaintext = self.cleaned_data["text"]
        if len(text.reveal()) > 100_000:
            raise forms.ValidationError("This is longer than any value can be.")
        return text
