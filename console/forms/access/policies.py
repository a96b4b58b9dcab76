"""The forms that write, attach and detach policies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.contrib.auth.models import Group
from django.core.exceptions import ValidationError

from secrets_app import names
from secrets_app.actions import Action
from secrets_app.models import Policy, Principal, User
from secrets_app.policy import ram_documents

EXAMPLE = """{
  "Version": "1",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": ["kms:DescribeSecret", "kms:RotateSecret"],
      "Resource": "acs:kms:*:*:secret/acs/ecs/web/*"
    }
  ]
}"""


def document_field(*, rows: int) -> forms.CharField:
    """A field for a policy's document."""
    return forms.CharField(
        label="Document",
        strip=False,
        error_messages={"required": "Enter the document."},
        widget=forms.Textarea(
            attrs={"rows": rows, "spellcheck": "false", "autocomplete": "off", "wrap": "off"}
        ),
    )


def typed_lines(text: object) -> str:
    """A document as it was typed: a form sends each line end as CR LF."""
    return str(text).replace("\r\n", "\n").replace("\r", "\n")


class Write(forms.Form):
    """A policy's description and document; what is wrong with the document is said line by line."""

    description = forms.CharField(
        label="Description",
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    document = document_field(rows=18)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"auto_id": "policy_%s"} | kwargs)
        self.problems: tuple[ram_documents.Problem, ...] = ()

    def clean_document(self) -> str:
        text = typed_lines(self.cleaned_data["document"])
        try:
            ram_documents.read(text, actions=tuple(Action))
        except ram_documents.BadDocument as error:
            self.problems = error.problems
            raise ValidationError([str(problem) for problem in error.problems]) from None
        return text

    @property
    def typed(self) -> str:
        return typed_lines(self["document"].value() or "")


class Create(Write):
    """A new policy."""

    field_order = ("name", "description", "document")
    name = forms.CharField(
        label="Name",
        max_length=128,
        help_text="Letters, digits and -.",
        validators=[names.Only("A-Za-z0-9-", "Use letters, digits and -.")],
        error_messages={"required": "Enter a name."},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )


class Change(Write):
    """An edit, which says on which revision it was made."""

    revision = forms.IntegerField(widget=forms.HiddenInput)


def holders(
    people: Iterable[User], groups: Iterable[Group], machines: Iterable[Principal]
) -> list[tuple[str, list[tuple[str, str]]]]:
    """Choices of users, applications and groups together, as `user:ID`, `machine:ID` and `group:ID`."""
    kinds = [
        ("Users", [(f"user:{user.pk}", user.username) for user in people]),
        ("Applications", [(f"machine:{machine.pk}", machine.name) for machine in machines]),
        ("Groups", [(f"group:{group.pk}", group.name) for group in groups]),
    ]
    return [(label, options) for label, options in kinds if options]


def holder(word: str) -> User | Principal | Group:
    """Whom a checked choice means."""
    kind, _, key = word.partition(":")
    if kind == "machine":
        return Principal.objects.get(kind=Principal.Kind.MACHINE, pk=key)
    return User.objects.get(pk=key) if kind == "user" else Group.objects.get(pk=key)


class Attach(forms.Form):
    """Which policy, and to whom."""

    policy = forms.ChoiceField(label="Policy", error_messages={"required": "Choose a policy."})
    to = forms.ChoiceField(
        label="User, application or group",
        error_messages={"required": "Choose a user, an application or a group."},
    )

    def __init__(
        self,
        *args: Any,
        policies: Iterable[Policy],
        people: Iterable[User],
        groups: Iterable[Group],
        machines: Iterable[Principal],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **{"auto_id": "attach_%s"} | kwargs)
        first = ("", "Choose…")
        self.fields["policy"].choices = [first, *((str(policy.pk), policy.name) for policy in policies)]  # type: ignore[attr-defined]
        self.fields["to"].choices = [first, *holders(people, groups, machines)]  # type: ignore[attr-defined]

    @property
    def whom(self) -> User | Principal | Group:
        return holder(self.cleaned_data["to"])
