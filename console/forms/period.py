"""A list that is narrowed to a period: **From** and **To**, each of them optional."""

from __future__ import annotations

from typing import Any

from django import forms


class Period(forms.Form):
    """The fields `since` and `until` of a subclass, dates or times; a *To* before its *From* is an error."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        since, until = cleaned.get("since"), cleaned.get("until")
        if since and until and until < since:
            self.add_error("until", "To is earlier than From. Choose a later date.")
        return cleaned

    def chosen(self) -> dict[str, Any]:
        """The filters that are set and valid."""
        self.is_valid()
        return {name: chosen for name, chosen in self.cleaned_data.items() if chosen}
