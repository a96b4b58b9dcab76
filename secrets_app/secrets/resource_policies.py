"""The only writer of the policies that stand on one secret, and of their history.

Such a policy gives rights to others and denies rights to others, as a policy of users does, so it asks for
the same: full access. What it says is decided in `policy.deciding`; `lifecycle` writes the row of the secret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from uuid import UUID

from django.db import transaction

from secrets_app import regions
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.errors import DomainError
from secrets_app.models import PolicyRevision, Principal, Secret
from secrets_app.policy import decisions, policies, resource_documents
from secrets_app.secrets import lifecycle


class Public(DomainError):
    """This policy allows something to all users who has an access key or a user of Keyturn."""

    code = "resource_policy_public"


def put(
    secret: Secret,
    text: str,
    *,
    actor: Principal,
    also_called: Collection[str] = (),
    block_public: bool = False,
    replaces: str | None = None,
) -> None:
    """Have this be the policy of the secret; it takes effect immediately.

    A document may call the secret by its ARN or as in `also_called`. With `replaces`, only in the place of
    the document of that `mark`. Raises `ram_documents.BadDocument`, `resource_documents.UnknownPrincipal`,
    `Public` if `block_public`, `lifecycle.Outdated`, `lifecycle.NotEnabled` or `decisions.NotAllowed`.
    """
    _require(secret, actor)
    kept = checked(text, secret=secret, actor=actor, also_called=also_called)
    if block_public and resource_documents.is_public(text):
        raise Public
    _keep(secret, kept, text, actor, replaces)


def delete(secret: Secret, *, actor: Principal, replaces: str | None = None) -> None:
    """Take the policy of the secret away; with `replaces`, only the document of that `mark`.

    Raises `lifecycle.Outdated`, `lifecycle.NotEnabled` or `decisions.NotAllowed`.
    """
    _require(secret, actor)
    _keep(secret, None, "", actor, replaces)


def checked(text: str, *, secret: Secret | None, actor: Principal, also_called: Collection[str] = ()) -> str:
    """Return how this document would be kept on this secret, or on any.

    Whether a name is a user's is said to administrators alone: others could ask for every name that there is.
    Raises as `put` for a document that is none.
    """
    number = regions.account().number
    accounts = {number, number[-12:].zfill(12)}  # a client of AWS knows twelve digits of it
    resources = (secret.arn, *also_called) if secret is not None else None
    find = _principal if policies.has_full_access(actor) else _anyone
    named = resource_documents.read(text, resources=resources, accounts=accounts, find=find)
    return resource_documents.stored(text, named)


def mark(secret: Secret) -> str:
    """What stands for the present document in a form that is opened: its digest, or empty for none."""
    return _digest(resource_documents.document(secret.resource_policy))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def locks_out(kept: str, actor: Principal) -> bool:
    """Whether `actor` could not change this policy again, once it stands."""
    statements = resource_documents.about(kept, actor.pk)
    denies = any(s.effect == "Deny" and s.concerns(Action.SET_SECRET_POLICY) for s in statements)
    return denies and not policies.has_full_access(actor)


def end(secret: Secret) -> None:
    """Take away the policy of a secret that is purged, and its history; the caller holds the secret."""
    PolicyRevision.objects.filter(secret=secret).delete()
    lifecycle.keep_policy(secret, None)


def _require(secret: Secret, actor: Principal) -> None:
    decisions.require(actor, Action.SET_SECRET_POLICY, secret)
    policies.require_full_access(actor, Action.SET_SECRET_POLICY, secret)


def _anyone(name: str) -> UUID | None:
    return UUID(int=0)


def _principal(name: str) -> UUID | None:
    rows = Principal.objects.exclude(kind=Principal.Kind.SYSTEM).filter(name=name)
    return rows.values_list("pk", flat=True).first()


def _keep(secret: Secret, kept: str | None, text: str, actor: Principal, replaces: str | None) -> None:
    with transaction.atomic():
        held = lifecycle.held(secret.pk)
        lifecycle.require_enabled(held)
        if replaces is not None and replaces != mark(held):
            raise lifecycle.Outdated
        lifecycle.keep_policy(held, kept)
        PolicyRevision.objects.create(secret=held, document=text, set_by=actor)
        details = {"policy": _digest(text) or "none"}
        trail.record(Action.SET_SECRET_POLICY, secret, actor=actor, details=details)
    decisions.forget()
