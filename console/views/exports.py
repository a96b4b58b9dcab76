"""Lists as files: what the filter shows, without its pages, and never a value."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.views.decorators.http import require_safe

from console.access import resources, rights
from console.forms.access import lists as access_forms
from console.forms.credentials import credentials as credential_forms
from console.forms.instances import instances as instance_forms
from console.forms.rotations import rotations as run_forms
from console.http import OperatorRequest
from console.lists import (
    access_lists,
    credential_list,
    exports,
    instance_list,
    key_list,
    region_list,
    run_filters,
    secret_filters,
    secret_rows,
)
from console.models import Delivery
from console.notices import deliveries, subscriptions
from console.presentation import access_key_states, bulk_states, key_states, run_states, secret_states
from console.presentation.instance_states import instance_badge, listed_host_keys
from console.reports import access_review
from rotation import accounts
from rotation.bulk import bulk_actions
from rotation.models import BulkItem, Instance, ManagementCredential, Run
from secrets_app import actions
from secrets_app.actions import Action
from secrets_app.audit import trail
from secrets_app.models import AccessKey, Invitation, Key, Policy, Principal, Region, Secret, User
from secrets_app.policy.requiring import NotFound

RUN_COLUMNS = (
    "run_id", "started", "ended", "kind", "secret", "instance", "instance_id", "region", "trigger",
    "requested_by", "outcome", "reason", "sentence", "duration_seconds", "attempts",
    "date", "last_date_missed", "dates_missed",
)  # fmt: skip
SECRET_COLUMNS = (
    "name", "arn", "type", "region", "instance", "instance_id", "address", "user", "kind", "credential",
    "automatic_rotation", "next_rotation", "last_rotation", "last_outcome", "status", "created",
)  # fmt: skip
INSTANCE_COLUMNS = (
    "instance_id", "name", "region", "os", "address", "account", "host_key", "secrets", "last_contact",
    "status", "sentence",
)  # fmt: skip
CREDENTIAL_COLUMNS = ("name", "account", "sudo", "login", "instances", "created", "created_by")
USER_COLUMNS = ("name", "display_name", "groups", "last_sign_in", "status")
GROUP_COLUMNS = ("name", "members", "policies")
APPLICATION_COLUMNS = ("name", "groups", "access_keys", "last_used", "status", "created")
ACCESS_KEY_COLUMNS = (
    "id", "owner", "kind", "status", "expires", "networks", "last_used", "last_used_from", "last_used_for",
    "created", "created_by",
)  # fmt: skip
POLICY_COLUMNS = ("name", "kind", "description", "attached_to", "changed")
KEY_COLUMNS = (
    "alias", "description", "state", "primary_version", "made", "secrets", "next_rotation", "created",
)  # fmt: skip
INVITATION_COLUMNS = ("user_name", "display_name", "kind", "groups", "invited_by", "valid_until")
REVIEW_COLUMNS = ("secret", "arn", "region", "readers", "readers_that_you_may_not_see", "readers_in_all")
REVIEWED_AT_ONCE = 100  # secrets whose readers are decided together
REGION_COLUMNS = ("code", "name", "secrets", "instances", "created", "retired")
DELIVERY_COLUMNS = (
    "delivery_id", "created", "event", "audit_sequence", "state", "attempts", "answer", "problem", "due",
    "ended",
)  # fmt: skip
BULK_COLUMNS = ("number", "secret", "instance", "result", "sentence", "done", "run_id")


@login_required
@require_safe
def runs(request: OperatorRequest, region: str, form: str) -> HttpResponseBase:
    rows = run_filters.narrowed(resources.runs(request, region), run_forms.Filters(request.GET).chosen())
    _record(request, "kms:ExportRotations", region, form)
    return exports.stream(rows.order_by("-created_at", "-pk"), _run, RUN_COLUMNS, name="rotations", form=form)


@login_required
@require_safe
def all_secrets(request: OperatorRequest, region: str) -> HttpResponseBase:
    chosen = secret_filters.read(request, request.GET).chosen()
    seen = resources.secrets(request, region, purged=chosen.get("status") == "deleted")
    rows = secret_rows.with_runs(seen.select_related("managed__instance__region", "schedule"))
    secrets = secret_filters.narrowed(rows, chosen).order_by("name", "pk")
    _record(request, "kms:ExportSecrets", region, "csv")
    return exports.stream(secrets, _secret, SECRET_COLUMNS, name="secrets", form="csv")


@login_required
@require_safe
def all_instances(request: OperatorRequest, region: str) -> HttpResponseBase:
    filters = instance_forms.Filters(request.GET)
    seen = resources.instances(request, region, with_retired=filters.shows_retired)
    sees_all = resources.sees_all_secrets(request)
    rows = instance_list.with_figures(seen, resources.seen_secrets(request), sees_all=sees_all)
    instances = instance_list.narrowed(rows, filters.chosen()).order_by("name", "pk")
    _record(request, "kms:ExportInstances", region, "csv")
    return exports.stream(instances, _instance, INSTANCE_COLUMNS, name="instances", form="csv")


@login_required
@require_safe
def all_credentials(request: OperatorRequest) -> HttpResponseBase:
    chosen = credential_forms.Filters(request.GET).chosen()
    rows = credential_list.credentials(request, chosen).order_by("name", "pk")
    _record(request, "kms:ExportManagementCredentials", resources.ALL_REGIONS, "csv")
    return exports.stream(rows, _credential, CREDENTIAL_COLUMNS, name="management-credentials", form="csv")


@login_required
@require_safe
def all_users(request: OperatorRequest) -> HttpResponseBase:
    rows = access_lists.users(request, access_forms.Users(request.GET).chosen()).order_by("username", "pk")
    cells = partial(_user, sees_groups=resources.may(request, Action.LIST_GROUPS))
    _record(request, "kms:ExportUsers", resources.ALL_REGIONS, "csv")
    return exports.stream(rows, cells, USER_COLUMNS, name="users", form="csv")


@login_required
@require_safe
def all_groups(request: OperatorRequest) -> HttpResponseBase:
    rows = access_lists.groups(request, access_forms.Groups(request.GET).chosen()).order_by("name", "pk")
    _record(request, "kms:ExportGroups", resources.ALL_REGIONS, "csv")
    return exports.stream(rows, _group, GROUP_COLUMNS, name="groups", form="csv")


@login_required
@require_safe
def all_applications(request: OperatorRequest) -> HttpResponseBase:
    chosen = access_forms.Applications(request.GET).chosen()
    rows = access_lists.applications(request, chosen).order_by("name", "pk")
    cells = partial(_application, sees_groups=resources.may(request, Action.LIST_GROUPS))
    _record(request, "kms:ExportApplications", resources.ALL_REGIONS, "csv")
    return exports.stream(rows, cells, APPLICATION_COLUMNS, name="applications", form="csv")


@login_required
@require_safe
def all_access_keys(request: OperatorRequest) -> HttpResponseBase:
    chosen = access_forms.AccessKeys(request.GET).chosen()
    rows = access_lists.access_keys(request, chosen).order_by("principal__name", "pk")
    _record(request, "kms:ExportAccessKeys", resources.ALL_REGIONS, "csv")
    return exports.stream(rows, _access_key, ACCESS_KEY_COLUMNS, name="access-keys", form="csv")


@login_required
@require_safe
def all_policies(request: OperatorRequest) -> HttpResponseBase:
    rows = access_lists.policies(request, access_forms.Policies(request.GET).chosen()).order_by("name", "pk")
    _record(request, "kms:ExportPolicies", resources.ALL_REGIONS, "csv")
    return exports.stream(rows, _policy, POLICY_COLUMNS, name="policies", form="csv")


@login_required
@require_safe
def all_keys(request: OperatorRequest) -> HttpResponseBase:
    rows = key_list.keys(request).order_by("alias", "pk")
    _record(request, "kms:ExportKeys", resources.ALL_REGIONS, "csv")
    return exports.stream(rows, _key, KEY_COLUMNS, name="keys", form="csv")


@login_required
@require_safe
def all_regions(request: OperatorRequest) -> HttpResponseBase:
    resources.require(request, Action.DESCRIBE_SETTINGS)
    rows = region_list.regions(request).order_by("code", "pk")
    _record(request, "kms:ExportRegions", resources.ALL_REGIONS, "csv")
    return exports.stream(rows, _region, REGION_COLUMNS, name="regions", form="csv")


@login_required
@require_safe
def all_invitations(request: OperatorRequest) -> HttpResponseBase:
    rows = rights.open_invitations(request)
    cells = partial(_invitation, sees_groups=resources.may(request, Action.LIST_GROUPS))
    _record(request, "kms:ExportInvitations", resources.ALL_REGIONS, "csv")
    return exports.csv_of(map(cells, rows), INVITATION_COLUMNS, name="invitations")


@login_required
@require_safe
def review(request: OperatorRequest) -> HttpResponseBase:
    """Who can read each value, of the secrets that the search on the page leaves."""
    rows = rights.reviewed_secrets(request).order_by("name", "pk")
    names = rights.ShownNames(request)
    _record(request, "kms:ExportAccessReview", resources.ALL_REGIONS, "csv")
    return exports.csv_of(_reviewed(rows, names.shows), REVIEW_COLUMNS, name="access-review")


def _reviewed(rows: QuerySet[Secret], shows: Callable[[Principal], bool]) -> Iterator[exports.Cells]:
    secrets = rows.prefetch_related("tags", "region__account").iterator(chunk_size=REVIEWED_AT_ONCE)
    while some := list(islice(secrets, REVIEWED_AT_ONCE)):
        for found in access_review.readers(some, shows):
            contents = (
                found.secret.name, found.secret.arn, found.secret.region.code, ", ".join(found.names),
                found.hidden, found.count,
            )  # fmt: skip
            yield dict(zip(REVIEW_COLUMNS, contents, strict=True))


@login_required
@require_safe
def bulk_rows(request: OperatorRequest, pk: UUID) -> HttpResponseBase:
    """The result of each row of a background action of this user, of the rows that the user may see."""
    bulk = bulk_actions.of(request.principal).filter(pk=pk).first()
    if bulk is None:
        raise NotFound
    items = bulk_actions.seen_items(request.principal, [bulk]).order_by("number")
    rows = items.select_related(
        "secret", "run__secret__region__account", "run__instance__region__account", "retried__instance"
    )
    _record(request, "kms:ExportBulkAction", resources.ALL_REGIONS, "csv")
    return exports.stream(rows, partial(_item, request), BULK_COLUMNS, name="background-action", form="csv")


@login_required
@require_safe
def all_deliveries(request: OperatorRequest, pk: UUID) -> HttpResponseBase:
    """The delivery log of one subscription."""
    resources.require(request, Action.DESCRIBE_SETTINGS)
    resources.require(request, Action.MANAGE_NOTIFICATIONS)
    row = subscriptions.all_of_installation(request.principal).filter(pk=pk).first()
    if row is None:
        raise NotFound
    _record(request, "kms:ExportDeliveries", resources.ALL_REGIONS, "csv")
    rows = deliveries.of(row).order_by("-created_at", "-pk")
    return exports.stream(rows, _delivery, DELIVERY_COLUMNS, name="deliveries", form="csv")


def _record(request: OperatorRequest, action: str, region: str, form: str) -> None:
    """Who took a list away is written down before the first line leaves."""
    if request.method == "HEAD":
        return
    asked = {name: given for name, given in request.GET.lists() if name not in {"page", "sort"}}
    filters = {name: exports.said(given) for name, given in asked.items()}
    trail.record(
        action,
        actions.arn("*", "", account="*", region="*" if region == resources.ALL_REGIONS else region),
        actor=request.principal,
        details={"format": form, "filters": dict(list(filters.items())[:10])},
    )


def _invitation(row: Invitation, *, sees_groups: bool) -> exports.Cells:
    groups = ", ".join(row.groups) if sees_groups else f"{len(row.groups)} that you may not see"
    contents = (
        row.username, row.display_name, "New way in" if row.user_id else "Invitation",
        "" if row.user_id or not row.groups else groups, row.invited_by.name, exports.utc(row.expires_at),
    )  # fmt: skip
    return dict(zip(INVITATION_COLUMNS, contents, strict=True))


def _run(run: Run) -> exports.Cells:
    took = run.duration
    contents = (
        run.pk, exports.utc(run.started_at or run.created_at), exports.utc(run.ended_at),
        run.label, run.secret.name if run.secret else "", run.instance.name,
        run.instance.instance_id, run.instance.region.code, run.get_trigger_display(), run.requested_by.name,
        run_states.run_badge(run).label, run.code, run.sentence,
        round(took.total_seconds(), 3) if took else None, run.attempts,
        exports.utc(run.date_at), exports.utc(run.last_date_at), run.dates or None,
    )  # fmt: skip
    return dict(zip(RUN_COLUMNS, contents, strict=True))


def _secret(secret: Secret) -> exports.Cells:
    account, plan = accounts.of(secret), getattr(secret, "schedule", None)
    instance = account.instance if account else None
    facts = secret_states.facts(secret, is_rotating=secret.is_rotating)  # type: ignore[attr-defined]
    outcome, ended_at = secret.last_outcome, secret.last_ended_at  # type: ignore[attr-defined]
    contents = (
        secret.name, secret.arn, secret.get_type_display(), secret.region.code,
        instance.name if instance else "", instance.instance_id if instance else "",
        instance.where if instance else "", account.username if account else "", secret.get_kind_display(),
        facts.credential.label, facts.automatic.label, exports.utc(plan.next_at if plan else None),
        exports.utc(ended_at), Run.Outcome(outcome).label if outcome else "", facts.status.label,
        exports.utc(secret.created_at),
    )  # fmt: skip
    return dict(zip(SECRET_COLUMNS, contents, strict=True))


def _account_of(instance: Instance) -> str:
    """Return the account that Keyturn works as there; of a secret that the reader may not see none."""
    if instance.own_login and not instance.sees_own_login:  # type: ignore[attr-defined]
        return ""
    if instance.own_login:
        return accounts.needed(instance.own_login).username
    return instance.credential.username if instance.credential else ""


def _instance(instance: Instance) -> exports.Cells:
    keys = listed_host_keys(instance)
    state = instance_badge(instance)
    contents = (
        instance.instance_id, instance.name, instance.region.code, instance.get_os_display(), instance.where,
        _account_of(instance), keys.badge.label,
        instance.secret_count, exports.utc(instance.last_contact_at), state.label, state.sentence,  # type: ignore[attr-defined]
    )  # fmt: skip
    return dict(zip(INSTANCE_COLUMNS, contents, strict=True))


def _credential(row: ManagementCredential) -> exports.Cells:
    contents = (
        row.name, row.username, row.sudo_label, row.login_label,
        row.instance_count, exports.utc(row.created_at), row.created_by.name,  # type: ignore[attr-defined]
    )  # fmt: skip
    return dict(zip(CREDENTIAL_COLUMNS, contents, strict=True))


def _user(row: User, *, sees_groups: bool) -> exports.Cells:
    groups = ", ".join(sorted(group.name for group in row.groups.all())) if sees_groups else ""
    status = "Enabled" if row.is_active else "Disabled"
    contents = (row.username, row.display_name, groups, exports.utc(row.last_login), status)
    return dict(zip(USER_COLUMNS, contents, strict=True))


def _group(row: Group) -> exports.Cells:
    contents = (row.name, row.member_count, row.policy_count)  # type: ignore[attr-defined]
    return dict(zip(GROUP_COLUMNS, contents, strict=True))


def _application(row: Principal, *, sees_groups: bool) -> exports.Cells:
    groups = ", ".join(sorted(group.name for group in row.groups.all())) if sees_groups else ""
    status = "Enabled" if row.is_active else "Disabled"
    count, used_at = row.key_count, row.used_at  # type: ignore[attr-defined]
    contents = (row.name, groups, count, exports.utc(used_at), status, exports.utc(row.created_at))
    return dict(zip(APPLICATION_COLUMNS, contents, strict=True))


def _access_key(row: AccessKey) -> exports.Cells:
    contents = (
        row.key_id, row.principal.name, "User" if row.principal.user_id else "Application",
        access_key_states.of_key(row).label, exports.utc(row.expires_at), ", ".join(row.networks),
        exports.utc(row.last_used_at), row.last_used_from or "", row.last_used_for,
        exports.utc(row.created_at), row.created_by.name,
    )  # fmt: skip
    return dict(zip(ACCESS_KEY_COLUMNS, contents, strict=True))


def _policy(row: Policy) -> exports.Cells:
    holders = row.holder_count  # type: ignore[attr-defined]
    contents = (row.name, row.get_kind_display(), row.description, holders, exports.utc(row.changed_at))
    return dict(zip(POLICY_COLUMNS, contents, strict=True))


def _region(row: Region) -> exports.Cells:
    counts = (row.secret_count, row.instance_count)  # type: ignore[attr-defined]
    contents = (row.code, row.name, *counts, exports.utc(row.created_at), exports.utc(row.retired_at))
    return dict(zip(REGION_COLUMNS, contents, strict=True))


def _delivery(row: Delivery) -> exports.Cells:
    contents = (
        row.pk, exports.utc(row.created_at), row.kind, row.sequence, row.state, row.attempts,
        row.answer or "", row.problem, exports.utc(row.due_at), exports.utc(row.ended_at),
    )  # fmt: skip
    return dict(zip(DELIVERY_COLUMNS, contents, strict=True))


def _item(request: OperatorRequest, row: BulkItem) -> exports.Cells:
    may_open = row.run is not None and resources.may(request, Action.DESCRIBE_RUN, row.run)
    state = bulk_states.item_badge(row, shows_run=may_open)
    contents = (
        row.number + 1, row.secret.name if row.secret else "",
        row.retried.instance.name if row.retried else "", state.label, row.sentence or state.sentence,
        exports.utc(row.done_at), row.run_id if may_open else "",
    )  # fmt: skip
    return dict(zip(BULK_COLUMNS, contents, strict=True))


def _key(row: Key) -> exports.Cells:
    primary = key_states.primary(row)
    contents = (
        row.alias, row.description, key_states.of_key(row).label, primary.number if primary else "",
        exports.utc(primary.created_at if primary else None), row.secret_count,  # type: ignore[attr-defined]
        exports.utc(key_states.renewed_at(row)), exports.utc(row.created_at),
    )  # fmt: skip
    return dict(zip(KEY_COLUMNS, contents, strict=True))
