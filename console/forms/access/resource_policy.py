"""The form of a secret's own policy; what is wrong with the document is said line by line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from console.forms.access.policies import document_field, typed_lines
from secrets_app.policy import ram_documents


class Write(forms.Form):
    """The document, and which one it is written in the place of."""

    document = document_field(rows=14)
    replaces = forms.CharField(required=False, max_length=64, widget=forms.HiddenInput)

    def __init__(self, *args: Any, check: Callable[[str], object], **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "resource_policy_%s"} | kwargs)
        self._check = check
        self.problems: tuple[ram_documents.Problem, ...] = ()

    def clean_document(self) -> str:
        text = typed_lines(self.cleaned_data["document"])
        try:
            self._check(text)
        except ram_documents.BadDocument as error:
            self.problems = error.problems
            raise ValidationError([str(problem) for problem in error.problems]) from None
        return text

    @property
    def typed(self) -> str:
        return typed_lines(self["document"].value() or "")
