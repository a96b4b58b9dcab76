"""Who there is, and where: the account, its regions, users, principals, invitations."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, Group, PermissionsMixin, UserManager
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower

from secrets_app.models.base import Identified
from secrets_app.seals import SealedManager, SealedRow


class Account(SealedRow, Identified):
    """The installation: one row. Its id names this console on every host. Writer: `regions`."""

    SEALED = ("id", "number")

    number = models.CharField(max_length=16, unique=True)  # the account part of every ARN

    @property
    def short_number(self) -> str:
        """The 12 digits that clients of AWS know an account by."""
        return self.number[-12:].zfill(12)

    def is_called(self, number: str) -> bool:
        """Whether an ARN that a client sends, with 12 or 16 digits, is of this account."""
        return number in {self.short_number, self.number.zfill(16)}


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
    """A user who signs in. Writer: `users`; of the seals of sets, `seal_sets`."""

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
            # Django gives a superuser every permission; no user is one.
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

    Writer: `users`; of a machine, `machines`; of the seal of its rights, `seal_sets`.
    """

    SEALED = ("id", "kind", "name", "user_id", "is_active")

    class Kind(models.TextChoices):
        USER = "user", "User"
        MACHINE = "machine", "Machine"
        SYSTEM = "system", "Keyturn"  # the schedule and the sweeper

    kind = models.CharField(max_length=8, choices=Kind)
    name = models.CharField(max_length=80)  # as it stands in history, after the user is gone too
    user = models.OneToOneField(
        User, null=True, blank=True, on_delete=models.PROTECT, related_name="principal"
    )
    is_active = models.BooleanField(default=True)  # of a machine; a person's is the user's
    groups = models.ManyToManyField(Group, blank=True, related_name="members")
    # Of its groups and policies, of which a deleted row of another table would make fewer: `seal_sets`.
    rights_seal = models.CharField(max_length=64, default="", editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["kind"], condition=models.Q(kind="system"), name="one_system_principal"
            ),
            # A policy names either by its name alone. No user is ever deleted, nor signs in by a new name.
            models.UniqueConstraint(
                Lower("name"), condition=~models.Q(kind="system"), name="one_principal_per_name"
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
