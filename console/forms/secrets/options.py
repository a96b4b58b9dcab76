"""What a rotation does beside the change itself, and what happens when an instance drifts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from django import forms

from rotation.models import ManagedAccount

FIELDS: Final = ("ends_sessions", "proves_old_refused", "reconciles")


class Options(forms.Form):
    """Three choices of one secret; a key pair has two, as its old key is always proven refused."""

    ends_sessions = forms.BooleanField(
        label="End the account's sessions after each rotation",
        required=False,
        help_text="Sessions of this account by SSH are ended, with the programs that run in them. "
        "Services, scheduled jobs and sessions of other kinds continue.",
    )
    proves_old_refused = forms.BooleanField(
        label="Prove once that the old password is refused",
        required=False,
        help_text="After each rotation, one login is attempted with the old password. It counts as a "
        "failed login on the instance.",
    )
    reconciles = forms.BooleanField(
        label="Set the current value again when the instance has drifted",
        required=False,
        help_text="Applies if a drift check finds that the credential was changed on the instance. Off: the "
        "secret is listed under Needs attention, and you decide.",
    )

    def chosen_options(self) -> dict[str, bool]:
        """The three as they are kept; one that was not asked is off."""
        return {name: bool(self.cleaned_data.get(name)) for name in FIELDS}


def shown(account: ManagedAccount) -> dict[str, bool]:
    """The options as a form shows them first."""
    return {name: bool(getattr(account, name)) for name in FIELDS}


def labels(chosen: Mapping[str, bool]) -> list[str]:
    """What is turned on, in the words of the form."""
    return [str(Options.base_fields[name].label) for name in FIELDS if chosen[name]]
