"""The question before a bulk action: the rows it is about, and what the single action asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django import forms

from console.forms.secrets import deletion
from console.forms.secrets.secrets import Press
from console.forms.secrets.secrets import Rotate as SingleRotate
from console.forms.secrets.tags import read_tags, write_tags
from rotation.models import BulkAction
from secrets_app.models import GENERIC_TAG_LIMIT


class Confirm(Press):
    """Which rows, as they were shown; and that they were shown."""

    ids = forms.CharField(required=False, widget=forms.HiddenInput)
    action = forms.CharField(widget=forms.HiddenInput)
    confirmed = forms.BooleanField(required=False, initial=True, widget=forms.HiddenInput)

    def __init__(self, data: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(data, auto_id="bulk_%s", **kwargs)

    def choices(self) -> dict[str, Any]:
        """What the user chose, as the bulk action keeps it."""
        return {}

    @classmethod
    def shown(cls, choices: Mapping[str, Any]) -> dict[str, Any]:
        """What an earlier action chose, as the fields begin with it."""
        return {}


class Rotate(Confirm):
    """Why the secrets rotate now."""

    reason = forms.ChoiceField(
        label="Reason",
        choices=SingleRotate.base_fields["reason"].choices,  # type: ignore[attr-defined]
        initial="routine",
        widget=forms.RadioSelect,
    )

    def choices(self) -> dict[str, Any]:
        return {"is_leak": self.cleaned_data["reason"] == "leaked"}

    @classmethod
    def shown(cls, choices: Mapping[str, Any]) -> dict[str, Any]:
        return {"reason": "leaked"} if choices.get("is_leak") else {}


class Delete(Confirm):
    """In how many days the values are destroyed, and why."""

    days = forms.IntegerField(
        label=f"Delete In ({deletion.LEAST}-{deletion.MOST} days)",
        initial=deletion.MOST,
        min_value=deletion.LEAST,
        max_value=deletion.MOST,
        help_text="Until then each can be restored as it is.",
        error_messages=dict.fromkeys(
            ("invalid", "required", "min_value", "max_value"), deletion.OUT_OF_RANGE
        ),
    )
    reason = forms.CharField(
        label="Reason",
        required=False,
        max_length=500,
        help_text="Shown to users who may restore them.",
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def choices(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("days", "reason")}

    @classmethod
    def shown(cls, choices: Mapping[str, Any]) -> dict[str, Any]:
        return dict(choices)


class EditTags(Confirm):
    """Tags that every secret gets, and keys that none keeps."""

    tags = forms.CharField(
        label="Tags to add or change",
        required=False,
        help_text="One key=value on each line. Other tags of a secret stay.",
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
    )
    removed = forms.CharField(
        label="Tags to remove",
        required=False,
        help_text="One key on each line.",
        widget=forms.Textarea(attrs={"rows": 2, "spellcheck": "false"}),
    )

    def clean_tags(self) -> dict[str, str]:
        # Each secret has the limit of its type.
        return read_tags(self.cleaned_data["tags"], most=GENERIC_TAG_LIMIT)

    def clean_removed(self) -> list[str]:
        lines = (line.strip() for line in self.cleaned_data["removed"].splitlines())
        return [line for line in lines if line]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        tags, removed = cleaned.get("tags", {}), cleaned.get("removed", [])
        if not self.errors and not tags and not removed:
            self.add_error("tags", "Enter a tag to add, or the key of one to remove.")
        if both := sorted(set(tags) & set(removed)):
            self.add_error("removed", f"The tag {both[0]} cannot be both added and removed.")
        return cleaned

    def choices(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in ("tags", "removed")}

    @classmethod
    def shown(cls, choices: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "tags": write_tags(choices.get("tags", {})),
            "removed": "\n".join(choices.get("removed", [])),
        }


#: The form of an action that asks more than whether it is meant.
FORMS: Final[Mapping[str, type[Confirm]]] = {
    BulkAction.Action.ROTATE: Rotate,
    BulkAction.Action.DELETE: Delete,
    BulkAction.Action.TAG: EditTags,
}


def read_ids(texts: list[str]) -> list[UUID]:
    """The ids in what a form sent, each once and in its order; what is no id names no row."""
    found: dict[UUID, None] = {}
    for text in " ".join(texts).split():
        try:
            found[UUID(text)] = None
        except ValueError:
            continue
    return list(found)
