"""Operations on the policy of one secret. There is one by the name `default`; another name is refused."""

from __future__ import annotations

import re
from typing import Any

from console.fetching import users_and_policies
from console.interfaces.aws import faults, listing
from console.interfaces.aws.calls import Call
from secrets_app.actions import Action
from secrets_app.models import Secret
from secrets_app.policy import decisions, ram_documents, requiring, resource_documents
from secrets_app.secrets import resource_policies

DEFAULT = "default"
_NAME = re.compile(r"[0-9A-Za-z\-_]+")


def get_resource_policy(call: Call) -> dict[str, Any]:
    """Who may describe a secret sees that it has no policy; a policy is seen by who may see its grants."""
    secret = call.secret(Action.DESCRIBE_SECRET, while_marked=True)
    if _name(call) != DEFAULT:
        raise faults.not_found("Secrets Manager can't find the specified resource policy.")
    answer = _named(call, secret)
    if secret.resource_policy is None:
        return answer
    requiring.require(call.actor, Action.LIST_GRANTS, secret)
    if not users_and_policies.sees_resource_policy(call.actor, secret):
        because = "The policy names a user or an application that you may not see."
        requiring.refuse(call.actor, decisions.NotAllowed(because, Action.LIST_GRANTS, secret))
    return answer | {"ResourcePolicy": resource_documents.document(secret.resource_policy)}


def list_resource_policies(call: Call) -> dict[str, Any]:
    secret = call.secret(Action.DESCRIBE_SECRET, while_marked=True)
    names = [DEFAULT] if secret.resource_policy is not None else []
    page, token = listing.cut(names, call.given.get("NextToken", ""), call.given.get("MaxResults", 100))
    answer = _named(call, secret) | {"ResourcePolicies": [{"PolicyName": name} for name in page]}
    return answer | ({"NextToken": token} if token else {})


def put_resource_policy(call: Call) -> dict[str, Any]:
    secret = call.secret(Action.SET_SECRET_POLICY)
    _require_default(call)
    resource_policies.put(
        secret,
        str(call.given["ResourcePolicy"]),
        actor=call.actor,
        also_called=_called(call, secret),
        block_public=bool(call.given.get("BlockPublicPolicy")),
    )
    return _named(call, secret)


def delete_resource_policy(call: Call) -> dict[str, Any]:
    """Take the policy away; of a secret that has none, nothing is done, as in the service."""
    secret = call.secret(Action.SET_SECRET_POLICY)
    _require_default(call)
    resource_policies.delete(secret, actor=call.actor)
    return _named(call, secret)


def validate_resource_policy(call: Call) -> dict[str, Any]:
    """Say what is wrong with a document: its syntax, access for all users, a caller who locks itself out."""
    text = str(call.given["ResourcePolicy"])
    errors, secret = [], None
    if "SecretId" in call.given:
        secret = call.secret(Action.DESCRIBE_SECRET, while_marked=True)
    also_called = _called(call, secret) if secret else ()
    try:
        kept = resource_policies.checked(text, secret=secret, actor=call.actor, also_called=also_called)
        is_public = resource_documents.is_public(text)
    except ram_documents.BadDocument as error:
        errors += [_error("SYNTAX", str(problem)) for problem in error.problems]
    else:
        if is_public:
            errors.append(_error("PUBLIC_ACCESS", "The resource policy allows broad access to the secret."))
        if resource_policies.locks_out(kept, call.actor):
            errors.append(_error("LOCKOUT", "You could not change this resource policy again."))
    return {"PolicyValidationPassed": not errors, "ValidationErrors": errors}


def _error(check: str, message: str) -> dict[str, str]:
    return {"CheckName": check, "ErrorMessage": message}


def _name(call: Call) -> str:
    name = str(call.given.get("PolicyName", DEFAULT))
    if not _NAME.fullmatch(name):
        raise faults.invalid(
            "1 validation error detected: Value at 'policyName' failed to satisfy constraint: Member must "
            "satisfy regular expression pattern: [0-9A-Za-z\\-_]+"
        )
    return name


def _require_default(call: Call) -> None:
    if _name(call) != DEFAULT:
        raise faults.invalid_parameter("A secret has one resource policy, whose name is default.")


def _called(call: Call, secret: Secret) -> tuple[str, ...]:
    """What clients call this secret in a document: its ARN, and the one without its last letters."""
    arns = [call.arn_of(secret.name), call.arn(secret)]
    number = call.region.account.number
    return tuple(
        arn.replace(f":{call.account}:", f":{own}:", 1) for arn in arns for own in (call.account, number)
    )


def _named(call: Call, secret: Secret) -> dict[str, Any]:
    return {"ARN": call.arn(secret), "Name": secret.name}
