"""The form in which a user confirms that values may be sent to another machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from console.forms.secrets.resolve import reason_field


class Rebind(forms.Form):
    """Why the values may go there, and which machine the user was shown."""

    stamp = forms.CharField(max_length=64, widget=forms.HiddenInput)
    reason = reason_field()

    def __init__(self, data: Mapping[str, Any] | None = None, *, stamp: str) -> None:
        super().__init__(data, auto_id="rebind_%s", initial={"stamp": stamp})
