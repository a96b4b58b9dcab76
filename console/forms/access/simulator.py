"""The question that the simulator answers: who, what, on what, in which request."""

from __future__ import annotations

import ipaddress
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone

from secrets_app.actions import Action, Kind, named

YES_NO = [("true", "Yes"), ("false", "No")]
_PLAIN = {"autocomplete": "off", "spellcheck": "false", "autocapitalize": "none", "class": "input-mono"}


def _by_kind() -> list[tuple[str, list[tuple[str, str]]]]:
    return [(kind.value.title(), [(a.value, a.value) for a in Action if a.kind == kind]) for kind in Kind]


class Simulate(forms.Form):
    """A request that a user could send."""

    user = forms.CharField(
        label="User",
        max_length=64,
        error_messages={"required": "Enter the name of a user."},
        widget=forms.TextInput(attrs={**_PLAIN, "list": "simulator-people"}),
    )
    action = forms.ChoiceField(
        label="Action", choices=_by_kind, error_messages={"required": "Choose an action."}
    )
    resource = forms.CharField(
        label="Resource",
        required=False,
        max_length=700,
        help_text="Its name or ARN; for an account INSTANCE/user/NAME. Actions on a list, or that create "
        "something other than a secret, have none.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    region = forms.ChoiceField(
        label="Region", required=False, help_text="Used for lists and for new resources."
    )
    address = forms.CharField(
        label="Source address", required=False, max_length=45, widget=forms.TextInput(attrs=_PLAIN)
    )
    mfa = forms.ChoiceField(label="Second factor", choices=YES_NO, initial="false", required=False)
    https = forms.ChoiceField(label="https", choices=YES_NO, initial="true", required=False)
    reason = forms.CharField(
        label="Reason",
        required=False,
        max_length=500,
        help_text="Used if a value is read.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    at = forms.DateTimeField(
        label="Time",
        required=False,
        help_text="Empty for now.",
        error_messages={"invalid": "Enter a time such as 2026-01-31 17:00."},
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"],
    )

    def __init__(self, *args: Any, regions: list[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "simulate_%s"} | kwargs)
        self.fields["region"].choices = regions  # type: ignore[attr-defined]

    def clean_address(self) -> str:
        text = str(self.cleaned_data["address"]).strip()
        if text:
            try:
                ipaddress.ip_address(text)
            except ValueError:
                raise ValidationError("Enter an address such as 192.0.2.1.") from None
        return text

    @property
    def chosen_action(self) -> Action:
        action = named(self.cleaned_data["action"])
        assert action is not None
        return action

    @property
    def facts(self) -> dict[str, str]:
        """What the request would say of itself, under the names of conditions."""
        cleaned = self.cleaned_data
        facts = {
            "acs:MFAPresent": cleaned["mfa"] or "false",
            "acs:SecureTransport": cleaned["https"] or "false",
            "acs:CurrentTime": (cleaned["at"] or timezone.now()).isoformat(),
        }
        if cleaned["action"] == Action.GET_SECRET_VALUE:
            facts["kms:Reason"] = cleaned["reason"]
        return facts | ({"acs:SourceIp": cleaned["address"]} if cleaned["address"] else {})
