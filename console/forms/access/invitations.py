"""Inviting a person, and the password that the invited one chooses."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth import password_validation
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError

from secrets_app import names
from secrets_app.models import Invitation, User
from secrets_app.people import users


def _groups() -> list[tuple[str, str]]:
    """Every group; those that come with the product are made with their first member."""
    names = {*users.GROUPS, *Group.objects.values_list("name", flat=True)}
    return [(name, name) for name in sorted(names)]


#: Says which character; what the model says of the same name is then left out.
USER_NAME = names.Only("A-Za-z0-9._@-", "Use letters, digits and . _ @ -")


class Invite(forms.ModelForm):  # type: ignore[type-arg]
    """Who is invited; the same names are allowed as for users."""

    groups = forms.MultipleChoiceField(
        choices=_groups, required=False, widget=forms.CheckboxSelectMultiple, label="Groups"
    )

    class Meta:
        model = Invitation
        fields = ("username", "display_name")
        labels = {"username": "User name", "display_name": "Name"}

    def __init__(self, *args: Any, with_groups: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].validators.insert(0, USER_NAME)
        if not with_groups:
            del self.fields["groups"]  # not every user may see their names


class ChoosePassword(forms.Form):
    """A password of one's own, twice."""

    password1 = forms.CharField(
        label="Password",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text="At least 12 characters; not a common password.",
        strip=False,
    )
    password2 = forms.CharField(
        label="Password, again",
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        strip=False,
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or {}
        first, second = given.get("password1", ""), given.get("password2", "")
        if first and second and first != second:
            self.add_error("password2", "The two passwords differ.")
        elif first:
            try:
                password_validation.validate_password(first, self.user)
            except ValidationError as error:
                self.add_error("password1", error)
        return given
