"""The forms that grant and revoke actions on one secret."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib.auth.models import Group

from console.forms.access.policies import holder, holders
from secrets_app.actions import Action, named
from secrets_app.models import Principal, User


class _Actions(forms.Form):
    """Some actions out of those that are offered."""

    actions = forms.MultipleChoiceField(
        label="Actions",
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one action."},
    )

    def __init__(self, *args: Any, offered: Iterable[str], **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "grant_%s"} | kwargs)
        self.fields["actions"].choices = [(str(action), str(action)) for action in offered]  # type: ignore[attr-defined]

    @property
    def chosen(self) -> list[Action]:
        return [action for name in self.cleaned_data["actions"] if (action := named(name))]


class Grant(_Actions):
    """To whom, and what."""

    field_order = ("to", "actions")
    to = forms.ChoiceField(
        label="User, application or group",
        error_messages={"required": "Choose a user, an application or a group."},
    )

    def __init__(
        self,
        *args: Any,
        people: Iterable[User],
        groups: Iterable[Group],
        machines: Iterable[Principal],
        offered: Iterable[str],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, offered=offered, **kwargs)
        self.fields["to"].choices = [("", "Choose…"), *holders(people, groups, machines)]  # type: ignore[attr-defined]

    @property
    def whom(self) -> User | Principal | Group:
        return holder(self.cleaned_data["to"])


class Revoke(_Actions):
    """Which of the granted actions."""
