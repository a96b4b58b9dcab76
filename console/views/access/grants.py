"""A secret's permissions: who may do what and why, and Grant and Revoke."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from console.access import resources, rights
from console.forms.access import grants as forms
from console.http import OperatorRequest
from console.lists import paging
from console.sessions import fresh
from console.views import dialogs
from console.views.access import resource_policy
from secrets_app.actions import OF_A_SECRET, Action
from secrets_app.models import Principal, Secret, SecretGroupGrant, SecretPrincipalGrant
from secrets_app.policy import decisions, grants, ram_conditions, reach


@dataclass
class Holding:
    """What one principal or group was granted on a secret."""

    key: str  # as in a form: user:ID
    whom: Principal | Group
    name: str  # as the reader may see it
    rows: list[SecretPrincipalGrant | SecretGroupGrant] = field(default_factory=list)

    @property
    def is_group(self) -> bool:
        return isinstance(self.whom, Group)

    @property
    def kind(self) -> str:
        if isinstance(self.whom, Group):
            return "Group"
        return "Application" if self.whom.kind == Principal.Kind.MACHINE else "User"

    @property
    def actions(self) -> list[str]:
        return sorted(row.permission.codename for row in self.rows)

    @property
    def parts(self) -> list[tuple[list[str], tuple[ram_conditions.Condition, ...]]]:
        """The actions, with the conditions that they have in common."""
        parts: dict[str, list[str]] = {}
        for row in self.rows:
            parts.setdefault(row.conditions, []).append(row.permission.codename)
        return [(sorted(actions), ram_conditions.conditions(text)) for text, actions in sorted(parts.items())]


def holdings(secret: Secret, names: rights.ShownNames) -> list[Holding]:
    """The grants on a secret, by whom they are for."""
    by_holder: dict[str, Holding] = {}
    of_secret = {"content_object": secret}
    for grant in SecretPrincipalGrant.objects.filter(**of_secret).select_related(
        "principal", "permission", "granted_by"
    ):
        key = f"{grant.principal.kind}:{grant.principal.user_id or grant.principal_id}"
        holding = Holding(key, grant.principal, names.name(grant.principal))
        by_holder.setdefault(key, holding).rows.append(grant)
    for of_group in SecretGroupGrant.objects.filter(**of_secret).select_related(
        "group", "permission", "granted_by"
    ):
        key, name = f"group:{of_group.group_id}", names.name(of_group.group)
        by_holder.setdefault(key, Holding(key, of_group.group, name)).rows.append(of_group)
    return sorted(by_holder.values(), key=lambda holding: (holding.is_group, str(holding.whom)))


def tab(request: OperatorRequest, secret: Secret) -> dict[str, object]:
    """What the Permissions tab shows. Raises `requiring.Refused`."""
    resources.require(request, Action.LIST_GRANTS, secret)
    names = rights.ShownNames(request)
    return {
        "page": paging.of_list(reach.Everybody([secret]).with_rights(secret), request.GET),
        "holdings": holdings(secret, names),
        "names": names,
        "action_count": len(OF_A_SECRET),
        **resource_policy.tab(request, secret),
        "may_grant": secret.is_enabled and resources.may(request, Action.CREATE_GRANT, secret),
        "may_revoke": secret.is_enabled and resources.may(request, Action.REVOKE_GRANT, secret),
        "may_see_users": resources.may(request, Action.LIST_USERS),
        "seen_policies": set(rights.seen_policies(request).values_list("pk", flat=True)),
    }


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def grant(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.CREATE_GRANT)
    form = forms.Grant(
        request.POST if request.method == "POST" else None,
        people=rights.seen_users(request)
        .filter(is_active=True)
        .exclude(pk=request.user.pk)
        .order_by("username"),
        groups=_groups(request).exclude(members=request.principal),
        machines=rights.seen_machines(request).filter(is_active=True).order_by("name"),
        offered=[a for a in OF_A_SECRET if decisions.allows(request.principal, a, secret)],
    )
    if request.method == "POST" and form.is_valid():
        grants.grant(secret, form.whom, form.chosen, actor=request.principal)
        messages.success(request, f"Granted to {form.whom}. Takes effect on the user's next request.")
        return dialogs.leave(request, _back(region, secret))
    context = {"form": form, "secret": secret, "back": _back(region, secret)}
    return dialogs.ask(request, "access/_grant.html", "Grant", context)


def _groups(request: OperatorRequest) -> QuerySet[Group]:
    may = resources.may(request, Action.LIST_GROUPS)
    return Group.objects.order_by("name") if may else Group.objects.none()


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def revoke(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.REVOKE_GRANT)
    sent = request.POST if request.method == "POST" else None
    key = (sent or request.GET).get("of", "")
    holding = next((row for row in holdings(secret, rights.ShownNames(request)) if row.key == key), None)
    if holding is None:
        raise Http404
    form = forms.Revoke(sent, offered=holding.actions, initial={"actions": holding.actions})
    if sent is not None and form.is_valid():
        grants.revoke(secret, holding.whom, form.chosen, actor=request.principal)
        messages.success(request, f"Revoked from {holding.name}. Takes effect on the user's next request.")
        return dialogs.leave(request, _back(region, secret))
    context = {"form": form, "secret": secret, "holding": holding, "back": _back(region, secret)}
    status = 422 if sent is not None else 200
    return dialogs.show(request, "access/_revoke.html", "Revoke", context, status=status)


def _back(region: str, secret: Secret) -> str:
    return reverse("secret", args=[region, secret.pk]) + "?tab=permissions"
