"""The forms of users and groups."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms

from secrets_app.models import Principal, User


class CreateGroup(forms.Form):
    """A group by its name."""

    name = forms.CharField(
        label="Name",
        max_length=64,
        help_text="Letters, digits and . _ @ - characters. It cannot be changed later.",
        error_messages={"required": "Enter a name."},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


class Join(forms.Form):
    """Who becomes a member."""

    members = forms.MultipleChoiceField(
        label="Users and applications",
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one user or application."},
    )

    def __init__(
        self, *args: Any, people: Iterable[User], machines: Iterable[Principal], **kwargs: Any
    ) -> None:
        super().__init__(*args, **{"auto_id": "join_%s"} | kwargs)
        others: list[User | Principal] = [*people, *machines]
        self._others = {str(one.pk): one for one in others}
        choices = [(key, _called(one)) for key, one in self._others.items()]
        self.fields["members"].choices = choices  # type: ignore[attr-defined]

    @property
    def chosen(self) -> list[User | Principal]:
        return [self._others[key] for key in self.cleaned_data["members"]]


def _called(one: User | Principal) -> str:
    if isinstance(one, Principal):
        return f"{one} (application)"
    return f"{one} ({one.display_name})" if one.display_name else str(one)


class EditUser(forms.Form):
    """What a person is called, and where their mail goes."""

    display_name = forms.CharField(
        label="Display name",
        required=False,
        max_length=80,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    email = forms.EmailField(
        label="E-mail",
        required=False,
        max_length=254,
        help_text="Only for messages from Keyturn; it is not a name to sign in with.",
        error_messages={"invalid": "Enter an address such as ann@example.com, or nothing."},
        widget=forms.EmailInput(attrs={"autocomplete": "off"}),
    )


class Reset(forms.Form):
    """The reason for a reset of the sign-in."""

    reason = forms.CharField(
        label="Reason",
        max_length=500,
        help_text="How you verified the identity of the user. Kept in the audit trail.",
        error_messages={"required": "Enter how you verified the identity of the user."},
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class Reason(forms.Form):
    """The reason for disabling or enabling a user."""

    reason = forms.CharField(
        label="Reason",
        required=False,
        max_length=500,
        help_text="Kept in the audit trail.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
