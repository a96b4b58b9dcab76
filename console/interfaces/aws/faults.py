"""What goes wrong, in the words of AWS Secrets Manager: its clients match on code and text.

One table says what each error of the domain is called there.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from secrets_app.errors import DomainError


class Fault(DomainError):
    """A request is refused with this code and this message."""

    code = "aws_fault"

    def __init__(self, type: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.type, self.status = type, status


class Throttled(Fault):
    """There were too many calls; `again_in` seconds later there is room."""

    code = "aws_throttled"

    def __init__(self, type: str, message: str, *, again_in: int = 1) -> None:
        super().__init__(type, message)
        self.again_in = again_in


invalid_request = partial(Fault, "InvalidRequestException")
invalid_parameter = partial(Fault, "InvalidParameterException")
invalid = partial(Fault, "ValidationException")
not_found = partial(Fault, "ResourceNotFoundException")
exists = partial(Fault, "ResourceExistsException")
limit = partial(Fault, "LimitExceededException")
incomplete = partial(Fault, "IncompleteSignatureException")
serialization = partial(Fault, "SerializationException")
unknown_operation = partial(Fault, "UnknownOperationException")

MISSING_TOKEN = partial(Fault, "MissingAuthenticationTokenException", "Missing Authentication Token")
BAD_TOKEN = partial(
    Fault, "UnrecognizedClientException", "The security token included in the request is invalid."
)
MISMATCH = partial(
    Fault,
    "InvalidSignatureException",
    "The request signature we calculated does not match the signature you provided. "
    "Check your AWS Secret Access Key and signing method.",
)
BAD_SCOPE = partial(Fault, "InvalidSignatureException", "Credential should be scoped to a valid region.")
TOO_LARGE = partial(Fault, "RequestEntityTooLargeException", "The request has more than 100 KB.", status=413)
INTERNAL = partial(Fault, "InternalServiceError", "An internal error occurred. Try again later.", status=500)
UNAVAILABLE = partial(
    Fault, "ServiceUnavailable", "The service is not available now. Try again later.", status=503
)
THROTTLED = partial(Throttled, "ThrottlingException", "Rate exceeded")
SECRET_NOT_FOUND = partial(not_found, "Secrets Manager can't find the specified secret.")
MARKED = partial(
    invalid_request,
    "You can't perform this operation on the secret because it was marked for deletion.",
)
CREATE_MARKED = partial(
    invalid_request,
    "You can't create this secret because a secret with this name is already scheduled for deletion.",
)
BAD_NAME = partial(
    invalid,
    "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: "
    "-/_+=.@!",
)
NO_TOKEN = partial(
    invalid_request, "You must provide a ClientRequestToken value. We recommend a UUID-type value."
)
MANAGED = partial(
    invalid_request,
    "You can't perform this operation on a secret that Keyturn manages. Its value changes by RotateSecret.",
)

#: By the code of the error; one that is not here says the domain's own sentence.
BY_CODE: dict[str, Callable[[], Fault]] = {
    "secret_not_enabled": MARKED,
    "secret_is_managed": MANAGED,
    "secret_name_invalid": BAD_NAME,
    "key_disabled": INTERNAL,
    "key_unusable": INTERNAL,
    "sealed": UNAVAILABLE,
    "reads_too_often": THROTTLED,
    "current_label_stays": partial(
        invalid_parameter,
        "You can only move staging label AWSCURRENT to a different secret version. It can't be completely "
        "removed.",
    ),
    "versions_at_most": partial(
        limit, "You can't add more versions: this secret has the maximum number of versions."
    ),
    "labels_at_most": partial(limit, "A version can have at most 20 staging labels."),
    "policy_document_invalid": partial(
        Fault, "MalformedPolicyDocumentException", "This resource policy contains a syntax error."
    ),
    "policy_principal_unknown": partial(
        Fault, "MalformedPolicyDocumentException", "This resource policy contains an unsupported principal."
    ),
    "resource_policy_public": partial(
        Fault, "PublicPolicyException", "The resource policy allows broad access to the secret."
    ),
    "secret_is_replica": partial(
        invalid_parameter,
        "Operation not permitted on a replica secret. Call must be made in primary secret's region.",
    ),
    "replica_region_invalid": partial(invalid_parameter, "Invalid replica region."),
    "replica_unknown": partial(
        invalid_parameter, "The secret isn't replicated to that region, or it isn't a replica."
    ),
    "value_too_large": partial(invalid, "A secret value has 1 to 65536 bytes."),
    "recovery_window_invalid": partial(
        invalid_parameter, "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive)."
    ),
}
#: Those of which the domain's own sentence says what to give instead.
PARAMETERS = frozenset({"period_invalid", "cron_invalid", "jitter_invalid"})


def of(error: DomainError) -> Fault:
    """What this error is called there; an error that no row names says its own sentence."""
    if isinstance(error, Fault):
        return error
    if error.code in PARAMETERS:
        return invalid_parameter(error.sentence)
    known = BY_CODE.get(error.code)
    return known() if known else invalid_request(error.sentence)


def denied(user: str, operation: str, resource: str) -> Fault:
    """Say that no policy allows it; `user` and `resource` are as AWS names them."""
    return Fault(
        "AccessDeniedException",
        f"User: {user} is not authorized to perform: secretsmanager:{operation} on resource: {resource} "
        f"because no identity-based policy allows the secretsmanager:{operation} action",
    )


def expired(stamp: str, least: str, now: str) -> Fault:
    """Say that the request, or the clock of its client, is more than five minutes late."""
    message = f"Signature expired: {stamp} is now earlier than {least} ({now} - 5 min.)"
    return Fault("InvalidSignatureException", message)


def not_yet(stamp: str, most: str, now: str) -> Fault:
    """Say that the clock of the client is more than five minutes ahead."""
    message = f"Signature not yet current: {stamp} is still later than {most} ({now} + 5 min.)"
    return Fault("InvalidSignatureException", message)
