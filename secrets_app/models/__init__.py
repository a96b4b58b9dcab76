"""What is kept: people, regions, secrets, their versions and labels, sealed values, keys, events.

Every table has one writer, named in its docstring. A row here never holds a plaintext.
"""

from secrets_app.models.access_keys import AccessKey
from secrets_app.models.audit import AuditCheckpoint, AuditEvent, AuditHead, DatabaseRestore, Refusals
from secrets_app.models.base import Identified
from secrets_app.models.keys import Key, KeyVersion, Rewrap, RootKeyMove, SealedValue
from secrets_app.models.people import Account, Invitation, Principal, Region, User, Users
from secrets_app.models.policy import (
    Attachment,
    ChangedRecord,
    GroupGrants,
    GroupSeal,
    Policy,
    PrincipalGrants,
    SecretGroupGrant,
    SecretPrincipalGrant,
)
from secrets_app.models.secrets import (
    ECS_PREFIX,
    GENERIC_NAME_LENGTH,
    GENERIC_TAG_LIMIT,
    GENERIC_VALUE_LIMIT_BYTES,
    NAME_CHARACTERS,
    NAME_LENGTH,
    NAME_PATTERN,
    RECOVERY_WINDOW_DAYS,
    TAG_LIMIT,
    VALUE_LIMIT_BYTES,
    Label,
    PolicyRevision,
    Replica,
    Secret,
    SecretQuerySet,
    SecretVersion,
    Tag,
)

__all__ = [
    "ECS_PREFIX",
    "GENERIC_NAME_LENGTH",
    "GENERIC_TAG_LIMIT",
    "GENERIC_VALUE_LIMIT_BYTES",
    "NAME_CHARACTERS",
    "NAME_LENGTH",
    "NAME_PATTERN",
    "RECOVERY_WINDOW_DAYS",
    "TAG_LIMIT",
    "VALUE_LIMIT_BYTES",
    "AccessKey",
    "Account",
    "Attachment",
    "AuditCheckpoint",
    "AuditEvent",
    "AuditHead",
    "ChangedRecord",
    "DatabaseRestore",
    "GroupGrants",
    "GroupSeal",
    "Identified",
    "Invitation",
    "Key",
    "KeyVersion",
    "Label",
    "Policy",
    "PolicyRevision",
    "Principal",
    "PrincipalGrants",
    "Refusals",
    "Region",
    "Replica",
    "Rewrap",
    "RootKeyMove",
    "SealedValue",
    "Secret",
    "SecretGroupGrant",
    "SecretPrincipalGrant",
    "SecretQuerySet",
    "SecretVersion",
    "Tag",
    "User",
    "Users",
]
