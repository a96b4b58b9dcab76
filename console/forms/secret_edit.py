"""What may change of a secret: description, tags, password policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from console.forms.tags import read_tags, write_tags
from console.forms.wizard import SET_LABELS
from secrets_app import lifecycle, passwords
from secrets_app.models import TAG_LIMIT, Secret

POLICY = ("length", "sets", "excluded")


class Edit(forms.Form):
    """A change of a secret, made on what was shown at `revision`."""

    description = forms.CharField(
        label="Secret Description",
        required=False,
        max_length=lifecycle.DESCRIPTION_LENGTH,
        widget=forms.Textarea(attrs={"rows": 3}),
    )
    tags = forms.CharField(
        label="Tags",
        required=False,
        help_text=f"One key=value on each line, at most {TAG_LIMIT}.",
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
    )
    length = forms.IntegerField(
        label="Length",
        help_text=f"{passwords.LEAST_LENGTH} to {passwords.MOST_LENGTH} characters.",
        error_messages={"required": "Enter a number.", "invalid": "Enter a whole number."},
    )
    sets = forms.MultipleChoiceField(
        label="Characters",
        choices=SET_LABELS,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one set."},
    )
    excluded = forms.CharField(
        label="Excluded characters",
        required=False,
        max_length=64,
        strip=False,
        help_text="For example 0O1lI, where people read passwords aloud.",
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    revision = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, data: Mapping[str, Any] | None = None, *, secret: Secret) -> None:
        super().__init__(data, auto_id="edit_%s", initial=_shown(secret))
        self.kept = passwords.policy(secret.password_policy)
        self.has_policy = secret.kind == Secret.Kind.PASSWORD
        if not self.has_policy:
            for name in POLICY:
                del self.fields[name]

    def clean_tags(self) -> dict[str, str]:
        return read_tags(self.cleaned_data["tags"])

    def clean(self) -> dict[str, Any]:
        found = super().clean() or self.cleaned_data
        if not set(POLICY) & set(self.errors):
            try:
                self.policy().check()
            except passwords.Unfit as unfit:
                self.add_error("length" if self.has_policy else None, str(unfit))
        return found

    def policy(self) -> passwords.Policy:
        """What later rotations make."""
        if not self.has_policy:
            return self.kept
        typed = self.cleaned_data
        return passwords.Policy(typed["length"], tuple(typed["sets"]), typed["excluded"])


def _shown(secret: Secret) -> dict[str, object]:
    rules = passwords.policy(secret.password_policy)
    return {
        "description": secret.description,
        "tags": write_tags({tag.key: tag.value for tag in secret.tags.all()}),
        "length": rules.length,
        "sets": list(rules.sets),
        "excluded": rules.excluded,
        "revision": secret.revision,
    }
