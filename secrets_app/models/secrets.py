"""Secrets, their versions, labels and tags."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Upper
from django.utils import timezone

from secrets_app import actions, prepared
from secrets_app.actions import OF_A_SECRET
from secrets_app.models.base import Identified
from secrets_app.models.keys import Key, SealedValue
from secrets_app.models.people import Account, Principal, Region
from secrets_app.seals import SealedQuerySet, SealedRow

#: KMS CreateSecret (help.aliyun.com): 1 to 192 of these for an ECS secret; the column holds the
#: largest wire's 512.
NAME_CHARACTERS = "A-Za-z0-9/_+=.@-"
NAME_PATTERN = rf"^[{NAME_CHARACTERS}]+\Z"


NAME_LENGTH = 192


ECS_PREFIX = "acs/ecs/"


VALUE_LIMIT_BYTES = 30_720


#: Of a generic secret, as AWS Secrets Manager has them (API reference, CreateSecret, and its quotas).
GENERIC_NAME_LENGTH, GENERIC_VALUE_LIMIT_BYTES, GENERIC_TAG_LIMIT = 512, 65_536, 50


TAG_LIMIT = 20


RECOVERY_WINDOW_DAYS = (7, 30)


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

    SEALED = ("id", "account_id", "region_id", "name", "type", "kind", "resource_policy")

    class Type(models.TextChoices):
        ECS = "ecs", "Managed ECS secret"
        GENERIC = "generic", "Generic secret"  # belongs to no instance: kept and shown, never rotated

    class Kind(models.TextChoices):
        PASSWORD = "password", "Password"
        KEY_PAIR = "key_pair", "Key pair"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="secrets")
    region = models.ForeignKey(Region, on_delete=models.PROTECT, related_name="secrets")
    name = models.CharField(max_length=512)
    type = models.CharField(max_length=16, choices=Type, default=Type.ECS)
    kind = models.CharField(max_length=16, choices=Kind, blank=True)  # of an account's credential
    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="secrets")
    description = models.TextField(blank=True, max_length=4096)
    password_policy = models.JSONField(default=dict, blank=True)  # passwords.Policy.as_json()
    key_algorithm = models.CharField(max_length=16, blank=True)
    custom_data = models.JSONField(default=dict, editable=False)  # texts of a client: no part of a value
    created_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")
    revision = models.PositiveIntegerField(default=1)  # an edit says which one it was made on
    # A policy of its own, as `resource_documents.stored` writes it. NULL for none: the few that have
    # one are found by an index.
    resource_policy = models.TextField(null=True, blank=True, editable=False)  # noqa: DJ001
    tags_seal = models.CharField(max_length=64, default="", editable=False)  # of all of them: `seal_sets`
    changed_at = models.DateTimeField(default=timezone.now, editable=False)  # a program compares it
    reminder_days = models.PositiveSmallIntegerField(default=0, editable=False)  # 0: no reminder
    reminder_due_at = models.DateTimeField(null=True, editable=False)  # its value is to be replaced by then
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
            models.CheckConstraint(
                condition=models.Q(type="generic", kind="") | ~models.Q(type="generic") & ~models.Q(kind=""),
                name="only_a_generic_secret_has_no_kind",
            ),
        ]
        indexes = [
            models.Index(fields=["region", "created_at"]),
            # Counts of a region and of a key read these and no row; a reader's right to each is about its id.
            models.Index(
                fields=["region", "id"], condition=models.Q(purged_at__isnull=True), name="secret_of_region"
            ),
            models.Index(
                fields=["key", "id"], condition=models.Q(purged_at__isnull=True), name="secret_of_key"
            ),
            models.Index(
                fields=["deletion_due_at"], condition=models.Q(purged_at__isnull=True), name="secret_due"
            ),
            models.Index(
                fields=["reminder_due_at"],
                condition=models.Q(purged_at__isnull=True, reminder_due_at__isnull=False),
                name="secret_reminder",
            ),
            # A list in this order over all regions reads one page of the index. A search in it for a part of
            # a name compares capitals: PostgreSQL takes longer to make them than for all the rest.
            models.Index(
                "name", "id", Upper("name"), condition=models.Q(purged_at__isnull=True), name="secret_by_name"
            ),
            models.Index(
                fields=["created_at", "id"], condition=models.Q(purged_at__isnull=True), name="secret_newest"
            ),
            # Of runs by the name of their secret, which may be purged.
            models.Index("name", "id", Upper("name"), name="secret_by_any_name"),
            models.Index(
                fields=["type", "id"],
                condition=models.Q(purged_at__isnull=True, created_at__isnull=False),
                name="secret_by_type",
            ),
            models.Index(
                fields=["kind", "name", "id"],
                condition=models.Q(purged_at__isnull=True, created_at__isnull=False),
                name="secret_by_kind",
            ),
            models.Index(
                fields=["id"], condition=models.Q(resource_policy__isnull=False), name="secret_with_policy"
            ),
            models.Index(
                fields=["name", "id"], condition=models.Q(purged_at__isnull=False), name="secret_purged"
            ),
            models.Index(
                fields=["deletion_planned_at", "id"],
                condition=models.Q(purged_at__isnull=True, deletion_planned_at__isnull=False),
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
    def is_generic(self) -> bool:
        return self.type == self.Type.GENERIC

    @property
    def is_pending_deletion(self) -> bool:
        return self.deletion_planned_at is not None and self.purged_at is None

    @property
    def is_enabled(self) -> bool:
        return self.deletion_planned_at is None and self.purged_at is None

    @property
    def is_value_overdue(self) -> bool:
        """Whether a reminder says that its value should have been replaced."""
        due = self.reminder_due_at
        return due is not None and due < timezone.now() and self.is_enabled

    @property
    def status(self) -> str:
        """`enabled`, `pending_deletion` or `deleted`."""
        if self.purged_at:
            return "deleted"
        return "pending_deletion" if self.is_pending_deletion else "enabled"

    def labelled(self, role: str) -> SecretVersion | None:
        """The version with this role's label, or None."""
        label = _LABELLED.first(self.pk, str(role))
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
    policy_breach = models.CharField(max_length=500, blank=True)  # the rules that a chosen password broke
    breach_reason = models.CharField(max_length=500, blank=True)  # ... and why that was allowed
    offered_at = models.DateTimeField(null=True, blank=True)  # a host may have heard this value since
    verified_at = models.DateTimeField(null=True, blank=True)  # a host last accepted it
    dead_at = models.DateTimeField(null=True, blank=True)  # proven never to have become valid
    removed_at = models.DateTimeField(null=True, blank=True)  # of a key: since then the host refuses it
    refused_at = models.DateTimeField(null=True, blank=True)  # a login with it was refused
    destroyed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(fields=["secret", "version_id"], name="one_version_per_id"),
        ]

    @property
    def is_proven(self) -> bool:
        """Whether a host has accepted it, and refused no login with it since."""
        at = self.verified_at
        return at is not None and (self.refused_at is None or self.refused_at < at)

    @property
    def is_doubted(self) -> bool:
        """Whether a login with it was refused, and no host has accepted it since."""
        return self.refused_at is not None and not self.is_proven

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
    name = models.CharField(max_length=256, blank=True)  # of a custom one

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


_LABELLED = prepared.Question(
    lambda secret, role: (
        Label.objects.select_related("version").filter(secret=secret, role=role).order_by("pk")[:1]
    )
)


class Replica(SealedRow, Identified):
    """That a secret is copied to another region, and how that stands. Writer: `replicas`."""

    SEALED = ("id", "primary_id", "region_id", "secret_id")

    class State(models.TextChoices):
        IN_SYNC = "in_sync", "In sync"
        FAILED = "failed", "Failed"

    primary = models.ForeignKey(Secret, on_delete=models.PROTECT, related_name="replicas")
    region = models.ForeignKey(Region, on_delete=models.PROTECT, related_name="+")
    # The copy; none where it could not be made.
    secret = models.OneToOneField(Secret, null=True, on_delete=models.PROTECT, related_name="replica_of")
    state = models.CharField(max_length=8, choices=State)
    message = models.CharField(max_length=500, blank=True)  # why it failed
    key = models.ForeignKey(Key, on_delete=models.PROTECT, related_name="+")
    created_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ["region__code"]
        constraints = [
            models.UniqueConstraint(fields=["primary", "region"], name="one_replica_in_a_region"),
        ]

    def __str__(self) -> str:
        return f"{self.primary} in {self.region.code}"


class PolicyRevision(Identified):
    """A resource policy that a secret got, and from whom; decides nothing. Writer: `resource_policies`."""

    secret = models.ForeignKey(Secret, on_delete=models.CASCADE, related_name="policy_revisions")
    document = models.TextField(blank=True)  # empty where the policy was taken away
    set_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")

    class Meta:
        ordering = ["-created_at", "-id"]


class Tag(Identified):
    """A key and a value on a secret. Writer: `lifecycle`."""

    secret = models.ForeignKey(Secret, on_delete=models.CASCADE, related_name="tags")
    key = models.CharField(max_length=128)
    value = models.CharField(max_length=256, blank=True)

    class Meta:
        ordering = ["key"]
        constraints = [models.UniqueConstraint(fields=["secret", "key"], name="one_tag_per_key")]
        indexes = [
            models.Index(fields=["key", "value"], name="tag_by_key"),
            models.Index(fields=["value"], name="tag_by_value"),
        ]

    def __str__(self) -> str:
        return f"{self.key}={self.value}" if self.value else self.key
