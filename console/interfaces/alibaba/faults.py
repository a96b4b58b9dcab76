"""What goes wrong, in the words of Alibaba Cloud KMS: its clients match on code, status and text.

One table says what each error of the domain is called there. Source: the API's pages, and answers of it.
"""

from __future__ import annotations

from functools import partial

from secrets_app.errors import DomainError


class Fault(DomainError):
    """A request is refused with this code and this message."""

    code = "alibaba_fault"

    def __init__(self, name: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.name, self.status = name, status
        self.detail: dict[str, str] = {}  # of an access that was denied


class Throttled(Fault):
    """There were too many calls; `again_in` seconds later there is room."""

    code = "alibaba_throttled"

    def __init__(self, name: str, message: str, *, again_in: int = 10) -> None:
        super().__init__(name, message, status=429)
        self.again_in = again_in


DRY_RUN = "DryRunOperationError"
invalid = partial(Fault, "InvalidParameter")
incomplete = partial(Fault, "IncompleteSignature")
in_use = partial(Fault, "Rejected.ResourceInUse", status=409)
limit = partial(Fault, "Rejected.LimitExceeded")

INVALID = partial(invalid, "The specified parameter is not valid.")
# An old client splits this text at its colon to find what the service has signed. Never that: it may hold
# the value of a secret.
MISMATCH = partial(
    Fault,
    "SignatureDoesNotMatch",
    "Specified signature is not matched with our calculation: the string to sign is not repeated here.",
)
NONCE_USED = partial(Fault, "SignatureNonceUsed", "Specified signature nonce was used already.")
EXPIRED = partial(Fault, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
BAD_STAMP = partial(
    Fault, "InvalidTimeStamp.Format", "Specified time stamp or date value is not well formatted."
)
NO_SUCH_KEY = partial(Fault, "InvalidAccessKeyId.NotFound", "Specified access key is not found.", status=404)
KEY_UNUSABLE = partial(Fault, "Forbidden.AccessKey", "The access key is not valid now.", status=403)
NO_TOKENS = partial(
    Fault, "InvalidSecurityToken.Malformed", "Keyturn has no temporary credentials: send no SecurityToken."
)
NO_SUCH_ACTION = partial(
    Fault,
    "InvalidAction.NotFound",
    "Specified api is not found, please check your url and method.",
    status=404,
)
BAD_VERSION = partial(Fault, "InvalidVersion", "Specified parameter Version is not valid: use 2016-01-20.")
BAD_METHOD = partial(Fault, "UnsupportedHTTPMethod", "An action is called by GET or POST.", status=405)
NEEDS_TLS = partial(
    Fault, "InvalidProtocol.NeedSsl", "Your request is denied as lack of ssl protect: use https."
)
NO_SUCH_REGION = partial(
    Fault, "InvalidRegionId.NotFound", "There is no region of the name in the request.", status=404
)
TOO_LARGE = partial(Fault, "RequestEntityTooLarge", "The request has more than 100 KB.", status=413)
DENIED = partial(
    Fault, "Forbidden.NoPermission", "You are not authorized to perform the operation.", status=403
)
NOT_FOUND = partial(Fault, "Forbidden.ResourceNotFound", "The resource is not found.", status=404)
EXISTS = partial(Fault, "Rejected.ResourceExist", "The resource already exists.", status=409)
MARKED = partial(Fault, "Rejected.ResourceInDeleteWindow", "The secret is planned to be deleted.", status=409)
THROTTLED = partial(Throttled, "Rejected.Throttling", "The QPS upper limit is exceeded.")
INTERNAL = partial(Fault, "InternalFailure", "An internal error occurred.", status=500)
UNAVAILABLE = partial(
    Fault, "ServiceUnavailableTemporary", "The service is not available now. Try again later.", status=503
)

#: By the code of the error: the fault; one that no row names says the domain's own sentence.
BY_CODE: dict[str, partial[Fault] | partial[Throttled]] = {
    "secret_not_enabled": MARKED,
    "secret_name_taken": EXISTS,
    "version_token_taken": EXISTS,
    "secret_not_pending_deletion": partial(in_use, "restore normal secret"),
    "secret_is_managed": partial(
        Fault,
        "UnsupportedOperation",
        "Keyturn manages this secret: its value changes by RotateSecret.",
    ),
    "secret_unmanaged": partial(
        Fault, "UnsupportedOperation", "A generic secret belongs to no instance and does not rotate."
    ),
    "key_disabled": UNAVAILABLE,
    "key_unusable": UNAVAILABLE,
    "sealed": UNAVAILABLE,
    "reads_too_often": THROTTLED,
    "not_found": NOT_FOUND,
    "no_such_version": NOT_FOUND,
    "version_without_value": NOT_FOUND,
    "run_in_progress": in_use,
    "not_rotatable": in_use,
    "schedule_outdated": partial(in_use, "The rotation policy was changed just now. Try again."),
    "secret_outdated": partial(in_use, "The secret was changed just now. Try again."),
    "account_taken": in_use,
    "secret_is_login": in_use,
    "run_past_cancelling": in_use,
    "versions_at_most": limit,
    "labels_at_most": limit,
    "current_label_stays": partial(
        invalid, "ACSCurrent can be moved to another version, and not be removed: send MoveToVersion."
    ),
    "label_elsewhere": partial(invalid, "The label is on another version than RemoveFromVersion says."),
    "value_too_large": partial(invalid, "A secret value has 1 to 30720 bytes."),
    "recovery_window_invalid": partial(invalid, "RecoveryWindowInDays is a number from 7 to 30."),
    "period_invalid": partial(invalid, "RotationInterval is from 6 hours to 365 days."),
}


def of(error: DomainError) -> Fault:
    """What this error is called there."""
    if isinstance(error, Fault):
        return error
    known = BY_CODE.get(error.code)
    if known is None:
        return invalid(error.sentence)
    # A row without words says the domain's own.
    return known() if len(known.args) > 1 else known(error.sentence)


def missing(name: str) -> Fault:
    """Say that a parameter is not there."""
    return Fault(
        "MissingParameter",
        f'The input parameter "{name}" that is mandatory for processing this request is not supplied.',
    )
