"""The forms of applications and of access keys."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from secrets_app import names
from secrets_app.models import Principal

_PLAIN = {"autocomplete": "off", "spellcheck": "false"}
USUAL_DAYS = "365"
LIFETIMES = [("30", "30 days"), ("90", "90 days"), ("180", "180 days"), ("365", "365 days"), ("", "Never")]


class CreateApplication(forms.Form):
    """An application by its name."""

    name = forms.CharField(
        label="Name",
        max_length=64,
        help_text="Letters, digits and . _ @ - characters. It cannot be changed later.",
        validators=[names.Only("A-Za-z0-9._@-", "Use letters, digits and . _ @ -")],
        error_messages={"required": "Enter a name."},
        widget=forms.TextInput(attrs=_PLAIN),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "application_%s"} | kwargs)


class _Limits(forms.Form):
    """Until when, and from where, requests with a key are accepted."""

    lifetime = forms.ChoiceField(
        label="Expires after",
        required=False,
        initial=USUAL_DAYS,
        choices=LIFETIMES,
        help_text="A request with an expired key is refused. Rotate the key before that.",
    )
    networks = forms.CharField(
        label="Address ranges",
        required=False,
        max_length=2000,
        help_text="One per line, such as 10.0.0.0/8 or 2001:db8::/32. Empty: from any address.",
        widget=forms.Textarea(attrs={"rows": 3, "class": "input-mono", **_PLAIN}),
    )
    reason = forms.CharField(
        label="Reason",
        required=False,
        max_length=500,
        help_text="Kept in the audit trail.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "access_key_%s"} | kwargs)

    @property
    def expires_at(self) -> datetime | None:
        days = self.cleaned_data["lifetime"]
        return timezone.now() + timedelta(days=int(days)) if days else None

    @property
    def ranges(self) -> list[str]:
        return str(self.cleaned_data["networks"]).replace(",", " ").split()


class CreateKey(_Limits):
    """Whose key, and its limits."""

    field_order = ("owner", "lifetime", "networks", "reason")
    owner = forms.ChoiceField(
        label="Application or user", error_messages={"required": "Choose an application or a user."}
    )

    def __init__(self, *args: Any, owners: Iterable[Principal], oneself: Principal, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        by_kind: dict[str, list[tuple[str, str]]] = {"Yourself": [], "Applications": [], "Users": []}
        for owner in owners:
            kind = "Applications" if owner.kind == Principal.Kind.MACHINE else "Users"
            by_kind["Yourself" if owner == oneself else kind].append((str(owner.pk), owner.name))
        groups = [(kind, sorted(found, key=lambda one: one[1])) for kind, found in by_kind.items() if found]
        self.fields["owner"].choices = [("", "Choose…"), *groups]  # type: ignore[attr-defined]


class SecondKey(_Limits):
    """The limits of the key that comes in the place of another one."""

    step = forms.CharField(widget=forms.HiddenInput)
