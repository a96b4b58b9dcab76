"""What is kept: people, regions, secrets, their versions and labels, sealed values, keys, events.

Every table has one writer, named in its docstring. A row here never holds a plaintext.
"""

from __future__ import annotations

import uuid
from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, Group, PermissionsMixin, UserManager
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower, Now
from guardian.managers import BaseObjectPermissionManager, GroupObjectPermissionManager
from guardian.models import BaseObjectPermission, GroupObjectPermissionBase

from secrets_app import actions
from secrets_app.actions import OF_A_SECRET
from secrets_app.seals import SealedManager, SealedQuerySet, SealedRow

#: KMS CreateSecret (help.aliyun.com): 1 to 192 of these for an ECS secret; the column holds the
#: largest wire's 512.
NAME_PATTERN = r"^[A-Za-z0-9/_+=.@-]+\Z"
NAME_LENGTH = 192
ECS_PREFIX = "acs/ecs/"
VALUE_LIMIT_BYTES = 30_720
TAG_LIMIT = 20
RECOVERY_WINDOW_DAYS = (7, 30)


class Identified(models.Model):
    """A row whose name in ciphertexts, URLs and messages is a UUID that never changes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True


class Account(SealedRow, Identified):
    """The installation: one row. Its id names this console on every host. Writer: `regions`."""

    SEALED = ("id", "number")

    number = models.CharField(max_length=16, unique=True)  # the account part of every ARN


class Region(SealedRow, Identified):
    """A namespace of secrets and instances. Writer: `regions`."""

    SEALED = ("id", "account_id", "code")

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="regions")
    code = models.SlugField(max_length=40)  # never changes: it is part of every ARN
    name = models.CharField(max_length=80)
    retired_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["code"]
        constraints = [models.UniqueConstraint(fields=["account", "code"], name="one_region_per_code")]

    def __str__(self) -> str:
        return self.name


class Users(SealedManager["User"], UserManager["User"]):
    """People, whose rows are sealed as they are written."""

    use_in_migrations = False


class User(SealedRow, AbstractBaseUser, PermissionsMixin, Identified):
    """A person who signs in. Writer: `users`; of the seals of sets, `seal_sets`."""

    SEALED = ("id", "username", "password", "is_active", "is_superuser", "must_change_password")

    username = models.CharField(
        max_length=64, validators=[RegexValidator(r"^[A-Za-z0-9._@-]+\Z", "Use letters, digits and . _ @ -")]
    )
    display_name = models.CharField(max_length=80, blank=True)
    email = models.EmailField(blank=True)
    time_zone = models.CharField(max_length=64, default="UTC")
    is_active = models.BooleanField(default=True)
    must_change_password = models.BooleanField(default=False)
    # Of the set around this row, which a deleted row of another table would make smaller: `seal_sets`.
    ways_in_seal = models.CharField(max_length=64, default="", editable=False)

    objects = Users()  # type: ignore[misc]

    USERNAME_FIELD = "username"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [
            models.UniqueConstraint(
                Lower("username"), name="one_user_per_name", violation_error_message="This name is taken."
            ),
            # Django lets a superuser past every permission; nobody is one.
            models.CheckConstraint(condition=models.Q(is_superuser=False), name="nobody_is_superuser"),
        ]

    def __str__(self) -> str:
        return self.username

    @property
    def groups(self) -> Any:  # type: ignore[override]  # in the place of Django's: rights belong to the principal
        """The groups that this person is in, as a principal."""
        return self.principal.groups


class Principal(SealedRow, Identified):
    """Who acts: a person, a machine, or Keyturn itself on a schedule.

    Writer: `users`; of the seal of its rights, `seal_sets`.
    """

    SEALED = ("id", "kind", "name", "user_id")

    class Kind(models.TextChoices):
        USER = "user", "User"
        MACHINE = "machine", "Machine"
        SYSTEM = "system", "Keyturn"  # the schedule and the sweeper

    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=80)  # as it stands in history, after the user is gone too
    user = models.OneToOneField(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="principal"
    )
    groups = models.ManyToManyField(Group, blank=True, related_name="members")
    # Of its groups and policies, of which a deleted row of another table would make fewer: `seal_sets`.
    rights_seal = models.CharField(max_length=64, default="", editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind"], condition=models.Q(kind="system"), name="one_system_principal"
            ),
        ]

    def __str__(self) -> str:
        return self.name


class Invitation(SealedRow, Identified):
    """A link by which one person may join, or come in again, kept as its hash. Writer: `invitations`."""

    SEALED = (
        "id",
        "user_id",
        "username",
        "display_name",
        "groups",
        "token_hash",
        "invited_by_id",
        "expires_at",
        "used_at",
        "revoked_at",
    )

    user = models.ForeignKey(User, null=True, blank=True, on_delete=models.PROTECT, related_name="+")
    username = models.CharField(max_length=64, validators=User._meta.get_field("username").validators)
    display_name = models.CharField(max_length=80, blank=True)
    groups = models.JSONField(default=list)  # their names
    token_hash = models.CharField(max_length=64, unique=True)  # a keyed hash; the link has 256 random bits
    invited_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)


class Key(Identified):
    """A key that seals values; its versions hold the material. Writer: `keystates`."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="keys")
    alias = models.CharField(max_length=80)  # never changes: it is part of the ARN
    description = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(
        Principal, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["alias"]
        constraints = [models.UniqueConstraint(fields=["account", "alias"], name="one_key_per_alias")]

    def __str__(self) -> str:
        return self.alias

    @property
    def arn(self) -> str:
        return actions.arn(actions.Kind.KEY, self.alias, account=self.account.number)

    @property
    def state(self) -> str:
        """`enabled`, `disabled`, `scheduled` or `destroyed`, as its versions say together."""
        found = {version.state for version in self.versions.all()}
        State = KeyVersion.State
        if State.PRIMARY in found:
            return "enabled"
        return next((str(s) for s in (State.DISABLED, State.SCHEDULED) if s in found), "destroyed")


class KeyVersion(SealedRow, Identified):
    """Key material, wrapped by the root key. Writer: `keystates`."""

    SEALED = ("id", "key_id", "number", "state", "destruction_due_at")

    class State(models.TextChoices):
        PRIMARY = "primary", "Primary"  # seals and opens; exactly one per key that is enabled
        ENABLED = "enabled", "Enabled"  # opens only
        DISABLED = "disabled", "Disabled"  # nothing: the kill switch
        SCHEDULED = "scheduled", "Scheduled for destruction"
        DESTROYED = "destroyed", "Destroyed"

    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="versions")
    number = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=12, choices=State)
    wrapped = models.BinaryField(max_length=256, null=True)  # none once destroyed
    destruction_due_at = models.DateTimeField(null=True, blank=True)
    destroyed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-number"]
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=models.Q(state="primary"), name="one_primary_version_per_key"
            ),
            models.UniqueConstraint(fields=["key", "number"], name="one_key_version_per_number"),
            models.CheckConstraint(
                condition=models.Q(state="destroyed", wrapped=None)
                | (~models.Q(state="destroyed") & models.Q(wrapped__isnull=False)),
                name="destroyed_has_no_material",
            ),
            models.CheckConstraint(
                condition=models.Q(state="scheduled", destruction_due_at__isnull=False)
                | (~models.Q(state="scheduled") & models.Q(destruction_due_at=None)),
                name="scheduled_has_a_date",
            ),
        ]


class SealedValue(Identified):
    """A ciphertext and the wrapped data key that opens it. Writer: `keyring`."""

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    owner_id = models.UUIDField(db_index=True)  # the secret or credential it is bound to
    subject_id = models.UUIDField()  # the version of it, or the credential again: for a rewrap, never trusted
    field = models.CharField(max_length=32)
    key_version = models.ForeignKey(KeyVersion, on_delete=models.PROTECT, related_name="sealed_values")
    wrapped_key = models.BinaryField(max_length=256)
    ciphertext = models.BinaryField()


class Rewrap(Identified):
    """The move of one key's values to a newer version, or to another key. Writer: `rewraps`."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"

    source = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="rewraps")
    target = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=8, choices=State, default=State.RUNNING)
    total = models.PositiveIntegerField()
    done = models.PositiveIntegerField(default=0)
    damaged = models.JSONField(default=list)  # ids of sealed values that do not open
    sentence = models.CharField(max_length=500, blank=True)  # why it waits
    requested_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")
    carried_until = models.DateTimeField(null=True)  # a worker is at it until then
    ended_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["source"], condition=models.Q(state="running"), name="one_rewrap_of_a_key_at_a_time"
            ),
        ]

    @property
    def is_running(self) -> bool:
        return self.state == Rewrap.State.RUNNING


class SecretQuerySet(SealedQuerySet["Secret"]):
    """Secrets, by what is true of them."""

    def kept(self) -> SecretQuerySet:
        """Those that are not purged: the ones a list shows."""
        return self.filter(purged_at__isnull=True)

    def enabled(self) -> SecretQuerySet:
        """Those that rotate and reveal."""
        return self.kept().filter(deletion_planned_at__isnull=True)


class Secret(SealedRow, Identified):
    """A credential by name, with its versions. Writer: `lifecycle`; of the seal of its tags, `seal_sets`."""

    SEALED = ("id", "account_id", "region_id", "name", "type", "kind")

    class Type(models.TextChoices):
        ECS = "ecs", "Managed ECS secret"

    class Kind(models.TextChoices):
        PASSWORD = "password", "Password"
        KEY_PAIR = "key_pair", "Key pair"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="secrets")
    region = models.ForeignKey(Region, on_delete=models.PROTECT, related_name="secrets")
    name = models.CharField(max_length=512)
    type = models.CharField(max_length=16, choices=Type, default=Type.ECS)
    kind = models.CharField(max_length=16, choices=Kind)
    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="secrets")
    description = models.TextField(blank=True, max_length=4096)
    password_policy = models.JSONField(default=dict, blank=True)  # passwords.Policy.as_json()
    key_algorithm = models.CharField(max_length=16, blank=True)
    created_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")
    revision = models.PositiveIntegerField(default=1)  # an edit says which one it was made on
    tags_seal = models.CharField(max_length=64, default="", editable=False)  # of all of them: `seal_sets`
    last_read_at = models.DateTimeField(null=True, blank=True)
    last_read_by = models.ForeignKey(
        Principal, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    deletion_planned_at = models.DateTimeField(null=True, blank=True)
    deletion_due_at = models.DateTimeField(null=True, blank=True)
    deletion_planned_by = models.ForeignKey(
        Principal, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    deletion_reason = models.CharField(max_length=500, blank=True)
    purged_at = models.DateTimeField(null=True, blank=True)  # a tombstone: values gone, history kept
    purged_by = models.ForeignKey(
        Principal, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    objects = SecretQuerySet.as_manager()  # type: ignore[misc, assignment]

    class Meta:
        ordering = ["name"]
        default_permissions = ()
        # For grants on one secret: django-guardian's codename is the action.
        permissions = [(action.value, action.value) for action in OF_A_SECRET]
        constraints = [
            models.UniqueConstraint(
                fields=["region", "name"],
                condition=models.Q(purged_at__isnull=True),
                name="one_secret_per_name",
                violation_error_message="This name is in use in this region. Choose another one.",
            ),
        ]
        indexes = [
            models.Index(fields=["region", "created_at"]),
            models.Index(
                fields=["deletion_due_at"], condition=models.Q(purged_at__isnull=True), name="secret_due"
            ),
            # A list in this order over all regions reads one page of the index.
            models.Index(
                fields=["name", "id"], condition=models.Q(purged_at__isnull=True), name="secret_by_name"
            ),
            models.Index(
                fields=["-created_at", "id"], condition=models.Q(purged_at__isnull=True), name="secret_newest"
            ),
            models.Index(
                fields=["deletion_planned_at", "id"],
                condition=models.Q(purged_at__isnull=True),
                name="secret_by_status",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def arn(self) -> str:
        return actions.arn(
            actions.Kind.SECRET, self.name, account=self.account.number, region=self.region.code
        )

    @property
    def is_pending_deletion(self) -> bool:
        return self.deletion_planned_at is not None and self.purged_at is None

    @property
    def is_enabled(self) -> bool:
        return self.deletion_planned_at is None and self.purged_at is None

    @property
    def status(self) -> str:
        """`enabled`, `pending_deletion` or `deleted`."""
        if self.purged_at:
            return "deleted"
        return "pending_deletion" if self.is_pending_deletion else "enabled"

    def labelled(self, role: str) -> SecretVersion | None:
        """The version with this role's label, or None."""
        label = self.labels.select_related("version").filter(role=role).first()
        return label.version if label else None


class SecretVersion(Identified):
    """One value of a secret, sealed. Writer: `versions`."""

    class Origin(models.TextChoices):
        INITIAL = "initial", "Entered at creation"
        GENERATED = "generated", "Generated"
        CUSTOM = "custom", "Entered by hand"
        EARLIER = "earlier", "An earlier value again"

    secret = models.ForeignKey(Secret, on_delete=models.PROTECT, related_name="versions")
    version_id = models.CharField(max_length=64)  # the client's idempotency token, or ours
    origin = models.CharField(max_length=12, choices=Origin)
    created_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")
    sealed = models.OneToOneField(SealedValue, null=True, on_delete=models.PROTECT, related_name="+")
    public_key = models.TextField(blank=True)  # OpenSSH form; not secret
    value_mark = models.CharField(max_length=64, blank=True, db_index=True)  # an HMAC: "was this ever ours?"
    offered_at = models.DateTimeField(null=True, blank=True)  # a host may have heard this value since
    verified_at = models.DateTimeField(null=True, blank=True)  # a host last accepted it
    dead_at = models.DateTimeField(null=True, blank=True)  # proven never to have become valid
    removed_at = models.DateTimeField(null=True, blank=True)  # of a key: since then the host refuses it
    refused_at = models.DateTimeField(null=True, blank=True)  # of a password: a login with it was refused
    destroyed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["secret", "version_id"], name="one_version_per_id"),
        ]

    def __str__(self) -> str:
        return self.version_id


class Label(Identified):
    """A name that points at one version of a secret. Writer: `versions`."""

    class Role(models.TextChoices):
        CURRENT = "current", "ACSCurrent"  # what the host accepts, as far as we have proof
        PENDING = "pending", "ACSPending"  # stored, on its way to the host
        PREVIOUS = "previous", "ACSPrevious"  # what the host accepted before
        CUSTOM = "custom", "Custom"

    secret = models.ForeignKey(Secret, on_delete=models.PROTECT, related_name="labels")
    version = models.ForeignKey(SecretVersion, on_delete=models.PROTECT, related_name="labels")
    role = models.CharField(max_length=8, choices=Role)
    name = models.CharField(max_length=64, blank=True)  # of a custom one

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["secret", "role"], condition=~models.Q(role="custom"), name="one_version_per_role"
            ),
            models.UniqueConstraint(
                fields=["secret", "name"],
                condition=models.Q(role="custom"),
                name="one_version_per_custom_label",
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.get_role_display()


class Tag(Identified):
    """A key and a value on a secret. Writer: `lifecycle`."""

    secret = models.ForeignKey(Secret, on_delete=models.CASCADE, related_name="tags")
    key = models.CharField(max_length=128)
    value = models.CharField(max_length=256, blank=True)

    class Meta:
        ordering = ["key"]
        constraints = [models.UniqueConstraint(fields=["secret", "key"], name="one_tag_per_key")]

    def __str__(self) -> str:
        return f"{self.key}={self.value}" if self.value else self.key


class Policy(SealedRow, Identified):
    """A RAM policy document, attached to users and groups. Writer: `rulebook`."""

    SEALED = ("id", "account_id", "name", "kind", "document", "revision")

    class Kind(models.TextChoices):
        SYSTEM = "system", "System policy"  # comes with the product, and is nobody's to edit
        CUSTOM = "custom", "Custom policy"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="policies")
    name = models.CharField(
        max_length=128, validators=[RegexValidator(r"^[A-Za-z0-9-]+\Z", "Use letters, digits and -")]
    )
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.CUSTOM)
    description = models.CharField(max_length=500, blank=True)
    document = models.TextField()
    revision = models.PositiveIntegerField(default=1)
    changed_at = models.DateTimeField(db_default=Now())
    created_by = models.ForeignKey(
        Principal, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        ordering = ["kind", "name"]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "name"],
                name="one_policy_per_name",
                violation_error_message="A policy with this name exists. Choose another name.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def arn(self) -> str:
        return actions.arn(actions.Kind.POLICY, self.name, account=self.account.number)


class Attachment(Identified):
    """That a policy holds for a principal, or for all members of a group. Writer: `rulebook`."""

    policy = models.ForeignKey(Policy, on_delete=models.PROTECT, related_name="attachments")
    principal = models.ForeignKey(
        Principal, null=True, blank=True, on_delete=models.CASCADE, related_name="attachments"
    )
    group = models.ForeignKey(
        Group, null=True, blank=True, on_delete=models.CASCADE, related_name="attachments"
    )
    attached_by = models.ForeignKey(
        Principal, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(principal=None, group__isnull=False)
                | models.Q(principal__isnull=False, group=None),
                name="attached_to_one",
            ),
            models.UniqueConstraint(fields=["policy", "principal"], name="attached_to_a_principal_once"),
            models.UniqueConstraint(fields=["policy", "group"], name="attached_to_a_group_once"),
        ]


class GroupSeal(models.Model):
    """The seal of a group: its name and the policies that are attached to it. Writer: `seal_sets`."""

    group = models.OneToOneField(Group, primary_key=True, on_delete=models.CASCADE, related_name="sealed")
    seal = models.CharField(max_length=64)


class ChangedRecord(models.Model):
    """A record or set whose seal did not hold when all were last checked. Writer: `seal_check`."""

    name = models.CharField(max_length=120, primary_key=True)  # its table and id
    sentence = models.CharField(max_length=300)
    noticed_at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ["noticed_at", "name"]


class PrincipalGrants(SealedManager[Any], BaseObjectPermissionManager):
    """Grants as guardian writes them, sealed as they are written; guardian itself knows no principal."""

    @property
    def user_or_group_field(self) -> str:
        return "principal"


class SecretPrincipalGrant(SealedRow, BaseObjectPermission):
    """One action on one secret, for a principal. Writer: `grants`."""

    SEALED = ("principal_id", "content_object_id", "permission.codename", "conditions")

    principal = models.ForeignKey(Principal, on_delete=models.CASCADE, related_name="+")
    content_object = models.ForeignKey(Secret, on_delete=models.CASCADE, related_name="principal_grants")
    granted_by = models.ForeignKey(Principal, null=True, on_delete=models.PROTECT, related_name="+")
    granted_at = models.DateTimeField(db_default=Now())
    conditions = models.TextField(blank=True, default="")  # ram.written(): its giver's, carried on

    objects = PrincipalGrants()  # type: ignore[misc]

    class Meta:
        unique_together = (("principal", "permission", "content_object"),)

    def __str__(self) -> str:
        return f"{self.content_object} | {self.principal} | {self.permission.codename}"


class GroupGrants(SealedManager[Any], GroupObjectPermissionManager):
    """Grants as guardian writes them, sealed as they are written."""


class SecretGroupGrant(SealedRow, GroupObjectPermissionBase):
    """One action on one secret, for all members of a group. Writer: `grants`."""

    SEALED = ("group_id", "content_object_id", "permission.codename", "conditions")

    content_object = models.ForeignKey(Secret, on_delete=models.CASCADE, related_name="group_grants")
    granted_by = models.ForeignKey(Principal, null=True, on_delete=models.PROTECT, related_name="+")
    granted_at = models.DateTimeField(db_default=Now())
    conditions = models.TextField(blank=True, default="")  # ram.written(): its giver's, carried on

    objects = GroupGrants()  # type: ignore[misc]

    class Meta(GroupObjectPermissionBase.Meta):
        abstract = False


class AuditEvent(models.Model):
    """What was done or refused, by whom, on what. Appended, never changed. Writer: `audit`."""

    class Outcome(models.TextChoices):
        SUCCEEDED = "succeeded", "Succeeded"
        DENIED = "denied", "Denied"
        FAILED = "failed", "Failed"

    # A column that is not in chain.encode is one that anybody may change unnoticed.
    sequence = models.BigIntegerField(primary_key=True)  # 1, 2, 3, ... without a gap
    at = models.DateTimeField(editable=False, db_index=True)  # the database's time
    actor = models.ForeignKey(Principal, null=True, on_delete=models.PROTECT, related_name="+")
    actor_name = models.CharField(max_length=80)
    action = models.CharField(max_length=64)  # kms:RotateSecret
    resource = models.CharField(max_length=700, db_index=True)  # its ARN
    resource_id = models.UUIDField(null=True)
    version_id = models.CharField(max_length=64, blank=True)
    outcome = models.CharField(max_length=12, choices=Outcome)
    decision = models.CharField(max_length=300, blank=True)  # the statement that allowed or denied it
    reason = models.CharField(max_length=500, blank=True)
    details = models.JSONField(default=dict)  # ids, names and numbers; never a value
    request_id = models.CharField(max_length=64, blank=True)
    session = models.CharField(max_length=64, blank=True)  # a hash: enough to group by, not to sign in with
    address = models.GenericIPAddressField(null=True)
    value_mark = models.CharField(max_length=64, blank=True)  # stands for the value that was revealed or set
    mac = models.CharField(max_length=64)  # over all of this and the mac of the event before

    class Meta:
        ordering = ["-sequence"]
        indexes = [
            # Each narrows the newest events without reading all of them.
            models.Index(fields=["resource_id", "-sequence"], name="event_of_resource"),
            models.Index(fields=["actor_name", "-sequence"], name="event_by_actor"),
            models.Index(fields=["action", "-sequence"], name="event_of_action"),
            models.Index(fields=["outcome", "-sequence"], name="event_with_outcome"),
            models.Index(fields=["address", "-sequence"], name="event_from_address"),
            models.Index(fields=["value_mark"], condition=~models.Q(value_mark=""), name="event_of_value"),
        ]

    def __str__(self) -> str:
        return f"{self.action} by {self.actor_name}: {self.outcome}"


class AuditHead(models.Model):
    """Where the chain of events ends: one row, locked by whoever appends. Writer: `audit`."""

    ONLY = 1

    id = models.PositiveSmallIntegerField(primary_key=True, default=ONLY)
    sequence = models.BigIntegerField(default=0)
    mac = models.CharField(max_length=64, default="0" * 64)
    key_name = models.CharField(max_length=32)  # which audit key it was; says nothing of the key

    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="one_head")]


class AuditCheckpoint(models.Model):
    """A signed statement of how far the chain went. Appended, never changed. Writer: `checkpoints`."""

    sequence = models.BigIntegerField(primary_key=True)
    mac = models.CharField(max_length=64)  # of the event with that sequence
    at = models.DateTimeField()  # the database's time
    previous = models.CharField(max_length=64)  # the hash of the checkpoint before
    signature = models.CharField(max_length=128)

    class Meta:
        ordering = ["sequence"]


class DatabaseRestore(Identified):
    """An older database that was put back, and who acknowledged it. Writer: `restores`."""

    exported_to = models.BigIntegerField()  # the event that the newest exported checkpoint signs
    exported_at = models.DateTimeField()
    found_to = models.BigIntegerField()  # where the trail of this database ended when it was noticed
    acknowledged_at = models.DateTimeField(null=True, blank=True)
    acknowledged_by = models.ForeignKey(Principal, null=True, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500, blank=True)
    verify_asked_at = models.DateTimeField(null=True, blank=True)  # somebody chose Verify all
    verify_asked_by = models.ForeignKey(Principal, null=True, on_delete=models.PROTECT, related_name="+")
    verified_at = models.DateTimeField(null=True, blank=True)  # every account was asked

    class Meta:
        ordering = ["created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["exported_to"],
                condition=models.Q(acknowledged_at__isnull=True),
                name="one_open_restore",
            ),
        ]


class Refusals(Identified):
    """How often the same was refused since its last event. Writer: `refusals`."""

    actor = models.ForeignKey(Principal, null=True, on_delete=models.CASCADE, related_name="+")
    action = models.CharField(max_length=64)
    resource = models.CharField(max_length=700)
    resource_id = models.UUIDField(null=True)
    address = models.GenericIPAddressField(null=True)
    name = models.CharField(max_length=64, unique=True)  # a hash of the four above
    since = models.DateTimeField(db_index=True)
    count = models.PositiveIntegerField(default=0)  # not recorded yet
    because = models.CharField(max_length=300, blank=True)
