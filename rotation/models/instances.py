"""Instances, how to reach and log in to them, and the accounts managed there."""

from __future__ import annotations

from uuid import UUID

from django.db import models
from django.db.models.functions import Now, Upper

from rotation import wires
from rotation.connectors import base
from secrets_app import actions, prepared
from secrets_app.models import Account, Identified, Principal, Region, SealedValue, Secret
from secrets_app.seals import SealedQuerySet, SealedRow


class CredentialQuerySet(SealedQuerySet["ManagementCredential"]):
    """Management credentials, by what is true of them."""

    def kept(self) -> CredentialQuerySet:
        """Those that are not deleted: the ones a list shows."""
        return self.filter(deleted_at__isnull=True)


class ManagementCredential(SealedRow, Identified):
    """An account that Keyturn works as, shared by many instances. Writer: `management`."""

    SEALED = ("id", "account_id", "name", "wire", "username", "sudo", "sealed_id", "public_key")

    class Sudo(models.TextChoices):
        NONE = "none", "None: the account is root"
        PASSWORDLESS = "passwordless", "Passwordless"
        PASSWORD = "password", "With password"

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="credentials")
    name = models.CharField(max_length=80)
    wire = models.CharField(max_length=16, choices=wires.logins, default=wires.USUAL.name)
    username = models.CharField(max_length=64)
    sudo = models.CharField(max_length=12, choices=Sudo, default=Sudo.PASSWORDLESS)
    sealed = models.OneToOneField(SealedValue, null=True, on_delete=models.PROTECT, related_name="+")
    has_password = models.BooleanField(default=False)
    public_key = models.TextField(blank=True)  # OpenSSH form; set where it logs in with a key
    is_own = models.BooleanField(default=False)  # a key pair of Keyturn's own, which no user has seen
    created_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")
    deleted_at = models.DateTimeField(null=True, blank=True)  # a tombstone: values gone, history kept
    deleted_by = models.ForeignKey(
        Principal, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    deletion_reason = models.CharField(max_length=500, blank=True)

    objects = CredentialQuerySet.as_manager()  # type: ignore[misc, assignment]

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["account", "name"],
                condition=models.Q(deleted_at__isnull=True),
                name="one_credential_per_name",
                violation_error_message="A management credential with this name exists. Choose another name.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def arn(self) -> str:
        return actions.arn(actions.Kind.CREDENTIAL, self.name, account=self.account.number)

    @property
    def system(self) -> str:
        """What it is for, as forms call it."""
        return dict(wires.logins()).get(self.wire, self.wire)

    @property
    def elevates(self) -> bool:
        """Whether such an account may need sudo."""
        return wires.elevates(wires.logs_in_as(self.wire))

    @property
    def sudo_label(self) -> str:
        """How it becomes root; nothing where there is no root."""
        return self.get_sudo_display() if self.elevates else ""

    @property
    def login_label(self) -> str:
        """What it logs in with."""
        if self.is_own:
            return "Keyturn's own key"
        if self.public_key:
            return "Private key"
        return "Password" if self.has_password else ""


class InstanceQuerySet(SealedQuerySet["Instance"]):
    """Instances, by what is true of them."""

    def registered(self) -> InstanceQuerySet:
        """Those that are not retired: the ones a list shows."""
        return self.filter(retired_at__isnull=True)


class Instance(SealedRow, Identified):
    """A machine whose accounts are managed. Writers: `inventory.*`."""

    SEALED = (
        "id",
        "account_id",
        "region_id",
        "instance_id",
        "os",
        "wire",
        "address",
        "port",
        "credential_id",
        "own_login_id",
        "own_login_sudo",
        "machine_id",
    )

    class OS(models.TextChoices):
        LINUX = "linux", "Linux"
        WINDOWS = "windows", "Windows"

    class State(models.TextChoices):
        NEW = "new", "Not yet tested"
        READY = "ready", "Ready"  # the last check passed
        UNREACHABLE = "unreachable", "Unreachable"
        BLOCKED = "blocked", "Blocked"  # reached, but something must be put right first

    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="instances")
    region = models.ForeignKey(Region, on_delete=models.PROTECT, related_name="instances")
    instance_id = models.CharField(max_length=64, unique=True)  # i-...
    name = models.CharField(max_length=80)
    os = models.CharField(max_length=8, choices=OS, default=OS.LINUX)
    wire = models.CharField(max_length=16, choices=wires.choices, default=wires.USUAL.name)
    address = models.CharField(max_length=253)
    port = models.PositiveIntegerField(default=wires.USUAL.ports[0])
    credential = models.ForeignKey(
        ManagementCredential, null=True, blank=True, on_delete=models.PROTECT, related_name="instances"
    )
    detached_because = models.CharField(max_length=200, blank=True)
    # A secret of an account on this very instance, whose current value is the login instead of `credential`.
    own_login = models.OneToOneField(
        Secret, null=True, blank=True, on_delete=models.PROTECT, related_name="login_of"
    )
    own_login_sudo = models.CharField(max_length=12, choices=ManagementCredential.Sudo, blank=True)
    state = models.CharField(max_length=12, choices=State, default=State.NEW)
    state_sentence = models.CharField(max_length=500, blank=True)
    machine_id = models.CharField(max_length=64, blank=True)
    os_name = models.CharField(max_length=120, blank=True)
    accounts = models.JSONField(default=list, blank=True)  # OS users seen there, for suggestions
    checks = models.JSONField(default=list, blank=True)  # the last preflight: name, mark, sentence
    checked_at = models.DateTimeField(null=True, blank=True)
    control_at = models.DateTimeField(null=True, blank=True)  # it last refused a random wrong password
    # Its own check last refused all that it must refuse, and what that check stood on then.
    check_control_at = models.DateTimeField(null=True, blank=True)
    check_control = models.CharField(max_length=64, blank=True)
    last_contact_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(Principal, on_delete=models.PROTECT, related_name="+")
    revision = models.PositiveIntegerField(default=1)
    retired_at = models.DateTimeField(null=True, blank=True)  # only its history is left
    retired_by = models.ForeignKey(
        Principal, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )
    retirement_reason = models.CharField(max_length=500, blank=True)

    objects = InstanceQuerySet.as_manager()  # type: ignore[misc, assignment]

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["region", "name"],
                condition=models.Q(retired_at__isnull=True),
                name="one_instance_per_name",
                violation_error_message="An instance with this name is registered in this region.",
            ),
            models.UniqueConstraint(
                fields=["account", "address", "port"],
                condition=models.Q(retired_at__isnull=True),
                name="one_instance_per_address",
                violation_error_message="An instance with this address and port is registered.",
            ),
        ]
        indexes = [
            # With all that a search compares, and which are retired: one for two letters reads it all.
            models.Index(
                "name",
                "id",
                Upper("name"),
                "address",
                Upper("address"),
                "instance_id",
                Upper("instance_id"),
                "retired_at",
                name="instance_by_name",
            ),
            # Beside the keys of `account_on_instance`, in the same order, it shows which have no account.
            models.Index(
                fields=["id"], condition=models.Q(retired_at__isnull=True), name="instance_registered"
            ),
            models.Index(fields=["address", "id"], name="instance_by_address"),
            models.Index(fields=["state", "name"], name="instance_by_state"),
            models.Index(fields=["last_contact_at", "id"], name="instance_by_contact"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def arn(self) -> str:
        return actions.arn(
            actions.Kind.INSTANCE, self.instance_id, account=self.account.number, region=self.region.code
        )

    @property
    def shown(self) -> wires.Shown:
        """What that is called by which it shows that it is the same one."""
        return wires.shown(self.wire)

    @property
    def elevates(self) -> bool:
        """Whether an account that Keyturn works as there may need sudo."""
        return wires.elevates(self.wire)

    @property
    def where(self) -> str:
        """The address as one types it."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return host if self.port == wires.usual_port(self.wire) else f"{host}:{self.port}"


class HostKeyQuerySet(SealedQuerySet["HostKey"]):
    """What instances have shown."""

    def trusted(self, instance: Instance) -> HostKeyQuerySet:
        """What is pinned for an instance: approved, and of the kind that its wire shows."""
        return self.pinned(instance.pk, wires.identity(instance.wire))

    def pinned(self, instance: UUID, kind: str) -> HostKeyQuerySet:
        """What is approved for an instance, of this kind."""
        return self.filter(instance=instance, state=HostKey.State.APPROVED, kind=kind)


class HostKey(SealedRow, Identified):
    """By what an instance shows that it is the same one; trusted once approved. Writer: `identities`."""

    SEALED = ("id", "instance_id", "kind", "algorithm", "blob", "fingerprint", "state")

    class Kind(models.TextChoices):
        HOST_KEY = base.Identity.HOST_KEY.value, "Host key"
        CERTIFICATE = base.Identity.CERTIFICATE.value, "Certificate"
        NAME = base.Identity.NAME.value, "Computer name"

    class State(models.TextChoices):
        SEEN = "seen", "Seen"  # waits for a user to compare the fingerprint
        APPROVED = "approved", "Approved"  # pinned
        RETIRED = "retired", "Retired"  # was approved once

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="host_keys")
    kind = models.CharField(max_length=12, choices=Kind, default=Kind.HOST_KEY)
    algorithm = models.CharField(max_length=64)
    blob = models.TextField()
    fingerprint = models.CharField(max_length=64)
    state = models.CharField(max_length=10, choices=State, default=State.SEEN)
    seen_at = models.DateTimeField(db_default=Now())
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.ForeignKey(
        Principal, null=True, blank=True, on_delete=models.PROTECT, related_name="+"
    )

    objects = HostKeyQuerySet.as_manager()  # type: ignore[misc, assignment]

    class Meta:
        ordering = ["algorithm"]
        constraints = [
            models.UniqueConstraint(fields=["instance", "fingerprint"], name="one_row_per_host_key")
        ]
        indexes = [
            # Few wait for an approval, among many that have one.
            models.Index(fields=["instance"], condition=models.Q(state="seen"), name="host_key_seen")
        ]

    def __str__(self) -> str:
        return self.fingerprint

    @property
    def line(self) -> str:
        return f"{self.algorithm} {self.blob}"

    @property
    def is_authority(self) -> bool:
        """Whether it signs for instances, and is not the instance's own."""
        return wires.is_authority(self.algorithm)

    @staticmethod
    def trusted_by(instance: Instance) -> list[HostKey]:
        """Return what is pinned for an instance now, as `trusted`."""
        return _PINNED(instance.pk, str(wires.identity(instance.wire)))


_PINNED = prepared.Question(lambda instance, kind: HostKey.objects.pinned(instance, kind))


class ManagedAccount(SealedRow, Identified):
    """The OS account that a secret manages, and what is known of its credential.

    Writers: `managed.*`, `binding`.
    """

    #: The machine that its values may go to.
    BOUND = ("bound_wire", "bound_address", "bound_port", "bound_keys", "bound_machine_id", "bound_at")
    SEALED = ("id", "secret_id", "instance_id", "username", "kind", *BOUND)

    class Credential(models.TextChoices):
        NO_VALUE = "no_value", "No value yet"  # the first rotation makes one
        NOT_VERIFIED = "not_verified", "Not yet verified"  # entered by a person, never tried
        IN_SYNC = "in_sync", "In sync"  # the host accepted the current value
        UNVERIFIED = "unverified", "Unverified"  # the host may have either value
        OUT_OF_SYNC = "out_of_sync", "Out of sync"  # the host refuses the current value
        UNREACHABLE = "unreachable", "Instance unreachable"
        BLOCKED = "blocked", "Blocked"
        GONE = "gone", "Instance gone"  # a user said that the instance no longer exists

    secret = models.OneToOneField(Secret, on_delete=models.PROTECT, related_name="managed")
    instance = models.ForeignKey(Instance, on_delete=models.PROTECT, related_name="managed_accounts")
    username = models.CharField(max_length=64)
    kind = models.CharField(max_length=16, choices=Secret.Kind)
    released_at = models.DateTimeField(null=True, blank=True)  # its secret was purged
    credential = models.CharField(max_length=16, choices=Credential, default=Credential.NO_VALUE)
    credential_code = models.CharField(max_length=40, blank=True)  # why it is blocked, as `Run.code`
    credential_sentence = models.CharField(max_length=500, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    verified_level = models.CharField(max_length=10, blank=True)  # connectors.base.Level
    rotated_at = models.DateTimeField(null=True, blank=True)  # the last success
    generation = models.PositiveBigIntegerField(default=0)  # the newest that a host was told
    # What a rotation does beside the change itself, and what happens when the host drifts.
    ends_sessions = models.BooleanField(default=False)  # sessions of the account end after a rotation
    proves_old_refused = models.BooleanField(default=False)  # the old password is tried once afterwards
    reconciles = models.BooleanField(default=False)  # a drifted host gets the current value without asking
    restarts_dependants = models.BooleanField(default=True)  # those that run, once they have a new value
    traces = models.JSONField(default=dict, blank=True)  # connectors.base.Traces when it was last in sync
    drift_checked_at = models.DateTimeField(null=True, blank=True)
    # The machine that proved the value. No value of the account is sent to any other: see `binding`.
    bound_at = models.DateTimeField(null=True, blank=True)
    bound_wire = models.CharField(max_length=16, blank=True)
    bound_address = models.CharField(max_length=253, blank=True)
    bound_port = models.PositiveIntegerField(null=True, blank=True)
    bound_keys = models.JSONField(default=dict, blank=True)  # host keys: fingerprint -> `HostKey.line`
    bound_machine_id = models.CharField(max_length=64, blank=True)
    bindings = models.PositiveIntegerField(default=0)  # grows with every one: a proof belongs to one of them

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["instance", "username", "kind"],
                condition=models.Q(released_at__isnull=True),
                name="one_secret_per_account",
            ),
        ]
        indexes = [
            models.Index(fields=["credential", "secret"], name="account_by_credential"),
            models.Index(
                fields=["credential", "credential_code"],
                condition=models.Q(released_at__isnull=True),
                name="account_by_state",
            ),
            models.Index("username", "secret", Upper("username"), name="account_by_username"),
            models.Index(fields=["rotated_at", "secret"], name="account_by_rotation"),
            # To count those of every instance: a tenth of the size of the one with their names.
            models.Index(
                fields=["instance"],
                condition=models.Q(released_at__isnull=True),
                name="account_on_instance",
            ),
            models.Index(
                fields=["drift_checked_at"],
                condition=models.Q(released_at__isnull=True),
                name="account_by_drift_check",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.username}@{self.instance.name}"
