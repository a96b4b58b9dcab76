"""What the filters of every list share: several values of a choice, and what is set and valid."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms

Choices = Iterable[tuple[str, str]]


class Several(forms.MultipleChoiceField):
    """Any number of its choices; others are passed over. `every` says what no choice at all shows."""

    widget = forms.CheckboxSelectMultiple

    def __init__(self, label: str, every: str, choices: Choices) -> None:
        self.every, self.options = every, [(str(value), str(name)) for value, name in choices]
        super().__init__(label=label, required=False, choices=self.options)

    def to_python(self, value: Any) -> list[str]:
        # A link of a report names one value and no list.
        given = [value] if isinstance(value, str) else value or []
        known = dict(self.options)
        return [name for name in dict.fromkeys(map(str, given)) if name in known]

    def validate(self, value: Any) -> None:
        """Nothing is left that could be wrong."""


class Filters(forms.Form):
    """What a list is narrowed to; what does not make sense narrows nothing."""

    def chosen(self) -> dict[str, Any]:
        """The filters that are set and valid."""
        self.is_valid()
        return {name: chosen for name, chosen in self.cleaned_data.items() if chosen}

    @property
    def is_set(self) -> bool:
        """Whether there is something to clear: a filter, or one that is wrong."""
        return bool(self.chosen() or self.errors)
