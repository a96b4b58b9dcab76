"""A policy's document as numbered lines, some of them marked."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from secrets_app.models import Policy
from secrets_app.policy import ram_documents, ram_statements


@dataclass(frozen=True)
class Line:
    """One line of a document."""

    number: int  # from 1
    text: str
    is_marked: bool


def lines(text: str, marked: Container[int] = ()) -> list[Line]:
    """The lines of a document; those in `marked` stand out."""
    return [Line(n, line, n in marked) for n, line in enumerate(text.split("\n"), start=1)]


def deciding(statement: ram_statements.Statement | None) -> tuple[Policy, range] | None:
    """The policy that holds a statement, and the lines it stands on; None where a grant made it."""
    if statement is None or not statement.number:
        return None
    policy = Policy.objects.select_related("account").filter(name=policy_name(statement)).first()
    return (policy, ram_documents.lines_of(policy.document, statement.number)) if policy else None


def policy_name(statement: ram_statements.Statement) -> str:
    """The name in `the policy NAME`, as `policies.compiled` says it."""
    return statement.source.removeprefix("the policy ")
