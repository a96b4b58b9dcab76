"""Actions on the policy of one secret. There is one by the name `default`.

A secret without a policy of its own is described by the service's default policy, which leaves everything to
the policies of the account's users.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from console.fetching import users_and_policies
from console.interfaces.alibaba import faults
from console.interfaces.alibaba.calls import Call
from secrets_app import actions
from secrets_app.actions import Action
from secrets_app.models import Principal, Secret
from secrets_app.policy import decisions, requiring, resource_documents
from secrets_app.secrets import resource_policies

DEFAULT = "default"
LENGTH = 32_768


def set_secret_policy(call: Call) -> dict[str, Any]:
    """Put a policy on a secret; the default policy takes away what is there."""
    text = call.given.text("Policy", needed=True, most=LENGTH)
    _require_default(call)
    secret = call.secret(Action.SET_SECRET_POLICY)
    if _is_default(text, call):
        resource_policies.delete(secret, actor=call.actor)
    else:
        resource_policies.put(secret, text, actor=call.actor)
    return {}


def of_new(call: Call, name: str, tags: Mapping[str, str], *, os: str = "") -> str:
    """Return the policy that a secret is to have from the start; empty for none of its own.

    Asked before the creation begins, so that a refusal is recorded. Raises `faults.Fault` or
    `requiring.Refused`.
    """
    text = call.given.text("Policy", most=LENGTH)
    if not text or _is_default(text, call):
        return ""
    future = decisions.new_secret(call.region, name, tags, os)
    requiring.require_full_access(call.actor, Action.SET_SECRET_POLICY, future)
    return text


def put_first(secret: Secret, text: str, *, actor: Principal) -> None:
    """Put the policy `of_new` on a secret, in the transaction that makes it; nothing where it is empty.

    Raises as `resource_policies.put`.
    """
    if text:
        resource_policies.put(secret, text, actor=actor)


def get_secret_policy(call: Call) -> dict[str, Any]:
    """Return the policy; one of its own is seen by who may see the grants of the secret."""
    _require_default(call)
    secret = call.secret(Action.DESCRIBE_SECRET, while_marked=True)
    if secret.resource_policy is None:
        return {"Policy": json.dumps(_default(call))}
    requiring.require(call.actor, Action.LIST_GRANTS, secret)
    if not users_and_policies.sees_resource_policy(call.actor, secret):
        because = "The policy names a user or an application that you may not see."
        requiring.refuse(call.actor, decisions.NotAllowed(because, Action.LIST_GRANTS, secret))
    return {"Policy": resource_documents.document(secret.resource_policy)}


def _require_default(call: Call) -> None:
    if call.given.text("PolicyName", most=64) not in {"", DEFAULT}:
        raise faults.invalid("A secret has one policy, whose name is default.")


def _default(call: Call) -> dict[str, Any]:
    statement = {
        "Sid": "kms default secret policy",
        "Effect": "Allow",
        "Principal": {"RAM": [actions.all_users(call.region.account.number)]},
        "Action": ["kms:*"],
        "Resource": ["*"],
    }
    return {"Version": "1", "Statement": [statement]}


def _is_default(text: str, call: Call) -> bool:
    try:
        return bool(json.loads(text) == _default(call))
    except (ValueError, RecursionError):
        return False
