"""Policies, what they are attached to, grants, and the seals of sets."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Now
from guardian.managers import BaseObjectPermissionManager, GroupObjectPermissionManager
from guardian.models import BaseObjectPermission, GroupObjectPermissionBase

from secrets_app import actions
from secrets_app.models.base import Identified
from secrets_app.models.people import Account, Principal
from secrets_app.models.secrets import Secret
from secrets_app.seals import SealedManager, SealedRow


class Policy(SealedRow, Identified):
    """A RAM policy document, attached to users and groups. Writer: `policies`."""

    SEALED = ("id", "account_id", "name", "kind", "document", "revision")

    class Kind(models.TextChoices):
        SYSTEM = "system", "System policy"  # comes with Keyturn and is read-only
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
    """That a policy holds for a principal, or for all members of a group. Writer: `policies`."""

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
