"""What the lists of users, groups and policies are narrowed to."""

from __future__ import annotations

from django import forms

from console.forms.filters import Filters, Several
from secrets_app.models import Policy


class Groups(Filters):
    q = forms.CharField(required=False, max_length=200)


class Users(Filters):
    q = forms.CharField(required=False, max_length=200)
    state = forms.ChoiceField(
        label="Status",
        required=False,
        choices=[("", "Any status"), ("enabled", "Enabled"), ("disabled", "Disabled")],
    )


class Policies(Filters):
    q = forms.CharField(required=False, max_length=200)
    kind = Several("Kind", "Any kind", Policy.Kind.choices)


class Applications(Users):
    """As of users."""


class AccessKeys(Filters):
    q = forms.CharField(required=False, max_length=200)
    state = forms.ChoiceField(
        label="Status",
        required=False,
        choices=[
            ("", "Any status"),
            ("enabled", "Enabled"),
            ("disabled", "Disabled"),
            ("expired", "Expired"),
            ("owner", "Owner disabled"),
        ],
    )
    kind = forms.ChoiceField(
        label="Owner",
        required=False,
        choices=[("", "Any owner"), ("machine", "Applications"), ("user", "Users")],
    )
    used = forms.ChoiceField(
        label="Last used",
        required=False,
        choices=[("", "Any use"), ("never", "Never used"), ("late", "Not used for 90 days")],
    )
