"""The list of secrets and the page of one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from uuid import UUID, uuid4

from django.contrib.auth.decorators import login_required
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery, prefetch_related_objects
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import mark_safe
from django.views.decorators.http import require_safe

from console import access, lists, resolving, states
from console.forms import options
from console.forms.secrets import Filters
from console.http import OperatorRequest
from console.views import audit, grants, keys
from rotation import schedules
from rotation.models import GRACE, ManagedAccount, Run
from secrets_app import keypairs, policies
from secrets_app.models import AuditEvent, Label, Secret, SecretVersion
from secrets_app.passwords import policy
from secrets_app.policies import Action

TABS = (
    ("overview", "Overview"),
    ("versions", "Versions"),
    ("history", "Rotation history"),
    ("permissions", "Permissions"),
    ("tags", "Tags"),
)
ROW_ACTIONS = {
    "may_rotate": Action.ROTATE_SECRET,
    "may_reveal": Action.GET_SECRET_VALUE,
    "may_put": Action.PUT_SECRET_VALUE,
    "may_edit": Action.UPDATE_SECRET,
    "may_schedule": Action.UPDATE_ROTATION,
    "may_resolve": Action.RESOLVE_ROTATION,
    "may_delete": Action.DELETE_SECRET,
    "may_restore": Action.RESTORE_SECRET,
}
TYPES, KINDS = dict(Secret.Type.choices), dict(Secret.Kind.choices)
AUDIT_TAB = ("audit", "Audit")  # for whoever may read the trail
SORTS = {
    "name": "name",
    "type": "type",
    "instance": "managed__instance__name",
    "user": "managed__username",
    "kind": "kind",
    "credential": "managed__credential",
    "automatic": "schedule__period",
    "next": "schedule__next_at",
    "last": "managed__rotated_at",
    "status": "deletion_planned_at",
    "created": "created_at",
}
SET_NAMES = {"lower": "lower case", "upper": "upper case", "digits": "digits", "symbols": "symbols"}
DEFAULT_SORT = "name"
RUN_SORTS = {"started": "created_at"}


@login_required
@require_safe
def index(request: OperatorRequest, region: str) -> HttpResponse:
    filters = Filters(request.GET)
    chosen = filters.chosen()
    seen = access.secrets(request, region, purged=chosen.get("status") == "deleted")
    page = lists.page(narrowed(seen, chosen), request.GET, sorts=SORTS, default=DEFAULT_SORT, shown=_rows())
    # What is allowed nowhere is not asked of each row.
    possible = {name: action for name, action in ROW_ACTIONS.items() if access.may(request, action)}
    if policies.asks_for_tags(request.user.principal, possible.values()):
        prefetch_related_objects(page.rows, "tags")
    links = _Links(request, region)
    _place(page.rows)
    for secret in page.rows:
        _tell(secret)
        secret.rights = _row_permissions(request, secret, possible)  # type: ignore[attr-defined]
        links.add(secret)
    return render(
        request,
        "secrets/list.html",
        {
            "page": page,
            "region": region,
            "default_sort": DEFAULT_SORT,
            "filters": filters,
            "is_filtered": bool(chosen),
            "is_any_rotating": any(secret.is_rotating for secret in page.rows),  # type: ignore[attr-defined]
            "may_create": access.may(request, Action.CREATE_SECRET),
        },
    )


@login_required
@require_safe
def show(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = access.secret(request, region, pk, Action.DESCRIBE_SECRET)
    tab = request.GET.get("tab", "overview")
    tabs = _tabs(request, secret)
    if tab not in dict([*TABS, *tabs]):
        raise Http404
    context = _context(request, secret, region) | {"tab": tab, "tabs": tabs}
    if tab == "overview":
        context |= _overview(secret)
    elif tab == "versions":
        context["page"] = lists.page(
            secret.versions.select_related("created_by").prefetch_related("labels", "runs"),
            request.GET,
            sorts={"created": "created_at"},
            default="-created",
        )
        context["back_to"] = _back_to(secret, context)
    elif tab == "permissions":
        context |= grants.tab(request, secret)
    elif tab == "tags":
        context["tags"] = secret.tags.all()
    elif tab == "audit":
        context["page"] = audit.page(AuditEvent.objects.filter(resource_id=secret.pk), request.GET)
    else:
        rows = secret.runs.select_related("requested_by", "version", "instance")
        context["page"] = lists.page(rows, request.GET, sorts=RUN_SORTS, default="-started")
    return render(request, f"secrets/{tab}.html", context)


def _tabs(request: OperatorRequest, secret: Secret) -> list[tuple[str, str]]:
    """Those that this person may open."""
    may_list = access.may(request, Action.LIST_GRANTS, secret)
    tabs = [(name, label) for name, label in TABS if name != "permissions" or may_list]
    return [*tabs, AUDIT_TAB] if access.may(request, Action.LIST_EVENTS) else tabs


def _context(request: OperatorRequest, secret: Secret, region: str) -> dict[str, object]:
    """What the head of the page and its facts show."""
    active = secret.runs.active().filter(kind=Run.Kind.ROTATE).select_related("requested_by").first()
    return {
        "secret": secret,
        "region": region,
        "active": active,
        "facts": states.facts(secret, is_rotating=active is not None),
        "left_out_at": schedules.left_out(secret),
        "is_drifted": secret.is_enabled and states.is_drifted(secret.managed),
        "key_state": secret.key.state,
        "may_see_key": access.may(request, Action.DESCRIBE_KEY, secret.key),
        "is_unresolved": resolving.unresolved(secret) is not None,
        **_permissions(request, secret),
    }


def _overview(secret: Secret) -> dict[str, object]:
    rules = policy(secret.password_policy)
    current = secret.labelled(Label.Role.CURRENT) if secret.kind == Secret.Kind.KEY_PAIR else None
    runs = secret.runs.select_related("requested_by", "instance__region", "secret__region", "version")
    return {
        "run": runs.prefetch_related("steps").first(),
        "policy": rules,
        "algorithm": keypairs.ALGORITHMS.get(secret.key_algorithm, ""),
        **keys.described(current.public_key if current else ""),
        "set_names": [SET_NAMES[name] for name in rules.sets],
        "tags": secret.tags.all(),
        "options": options.labels(options.shown(secret.managed)),
    }


def _back_to(secret: Secret, context: dict[str, object]) -> set[UUID]:
    """The versions on this page whose value may be made the current one again."""
    may = context["may_rotate"] and context["may_put"] and not context["active"]
    if not (may and secret.is_enabled):
        return set()
    page: lists.Page[SecretVersion] = context["page"]  # type: ignore[assignment]
    return {
        version.pk
        for version in page.rows
        if not version.destroyed_at
        and not any(label.role in {"current", "pending"} for label in version.labels.all())
    }


def _row_permissions(
    request: OperatorRequest, secret: Secret, possible: Mapping[str, Action] = ROW_ACTIONS
) -> dict[str, bool]:
    """What a row's actions need. Statements and grants are read once for a request, tags once for a page."""
    principal = request.user.principal
    return {
        name: name in possible and policies.allows(principal, action, secret)
        for name, action in ROW_ACTIONS.items()
    }


class _Links:
    """Where a row's links lead, and its menu. Of two rows of the same state and rights, these differ in the
    row's id only: a page has few such menus, and each is put together once."""

    _PLACE = uuid4()  # stands where a row's id goes

    def __init__(self, request: OperatorRequest, region: str) -> None:
        self._request, self._region = request, region
        self._here = reverse("secret", args=[region, self._PLACE])
        self._rotate = reverse("secret_rotate", args=[region, self._PLACE])
        self._made: dict[tuple[object, ...], str] = {}

    def add(self, secret: Secret) -> None:
        """Give the row its links and its menu, by the rights that it has been given."""
        place, pk = str(self._PLACE), str(secret.pk)
        secret.url = self._here.replace(place, pk)  # type: ignore[attr-defined]
        secret.rotate_url = self._rotate.replace(place, pk)  # type: ignore[attr-defined]
        secret.menu = mark_safe(self._menu(secret).replace(place, pk))  # type: ignore[attr-defined]  # noqa: S308

    def _menu(self, secret: Secret) -> str:
        rights: dict[str, bool] = secret.rights  # type: ignore[attr-defined]
        alike = (secret.status, *rights.values())
        if alike not in self._made:
            stand_in = {"pk": self._PLACE, "is_enabled": secret.is_enabled}
            stand_in["is_pending_deletion"] = secret.is_pending_deletion
            context = {"secret": stand_in, "here": self._here, "region": self._region, **rights}
            self._made[alike] = render_to_string("secrets/_menu.html", context, self._request)
        return self._made[alike]


def _permissions(request: OperatorRequest, secret: Secret) -> dict[str, bool]:
    """What the page of one secret needs beside."""
    return _row_permissions(request, secret) | {
        "may_create": access.may(request, Action.CREATE_SECRET, secret),
        "may_see_instance": access.may(request, Action.DESCRIBE_INSTANCE, secret.managed.instance),
        "may_see_runs": access.may(request, Action.DESCRIBE_RUN, secret),
    }


def _tell(secret: Secret) -> None:
    """Give a row of the list what its cells say in words."""
    secret.facts = states.facts(secret, is_rotating=secret.is_rotating)  # type: ignore[attr-defined]
    secret.type_label, secret.kind_label = TYPES[secret.type], KINDS[secret.kind]  # type: ignore[attr-defined]
    outcome = secret.last_outcome  # type: ignore[attr-defined]
    secret.outcome_label = Run.Outcome(outcome).label if outcome else ""  # type: ignore[attr-defined]


def _is_rotating() -> Exists:
    return Exists(Run.objects.active().filter(secret=OuterRef("pk"), kind=Run.Kind.ROTATE))


def with_runs(rows: QuerySet[Secret]) -> QuerySet[Secret]:
    """Each row with whether it rotates now, and how its last rotation ended."""
    ended = Run.objects.filter(secret=OuterRef("pk"), kind=Run.Kind.ROTATE, state=Run.State.ENDED)
    last = ended.order_by("-created_at")
    return rows.annotate(
        is_rotating=_is_rotating(),
        last_outcome=Subquery(last.values("outcome")[:1]),
        last_ended_at=Subquery(last.values("ended_at")[:1]),
    )


@cache
def _rows() -> QuerySet[Secret]:
    """All secrets, with what a row of the list shows. Put together once: that takes longer than to ask."""
    return with_runs(Secret.objects.select_related("managed__instance", "schedule"))


def _place(rows: list[Secret]) -> None:
    """Say where each row is from the few regions that were read for this request already."""
    known = {region.pk: region for region in policies.every_region()}
    for secret in rows:
        instance = secret.managed.instance
        if secret.region_id in known and instance.region_id in known:
            secret.region, instance.region = known[secret.region_id], known[instance.region_id]
            secret.account = secret.region.account


def _is_on(text: str) -> Exists:
    """Whether the user or the instance is called like this; asked only of rows whose name is not."""
    named = Q(
        Q(username__icontains=text)
        | Q(instance__name__icontains=text)
        | Q(instance__instance_id__iexact=text)
        | Q(instance__address__icontains=text)
    )
    return Exists(ManagedAccount.objects.filter(named, secret=OuterRef("pk")))


def _turned(automatic: str) -> Q:
    """The rows that rotate by themselves (`on`), that should have (`overdue`), or that do not (`off`)."""
    if automatic == "off":
        return Q(schedule__is_on=False)
    on = Q(
        schedule__is_on=True,
        schedule__paused_at__isnull=True,
        schedule__stopped_at__isnull=True,
        deletion_planned_at__isnull=True,
    )
    return on & Q(schedule__next_at__lt=timezone.now() - GRACE) if automatic == "overdue" else on


def narrowed(rows: QuerySet[Secret], chosen: dict[str, str]) -> QuerySet[Secret]:
    text, credential, status = (chosen.get(name, "") for name in ("q", "credential", "status"))
    if text:
        rows = rows.filter(Q(name__icontains=text) | Q(_is_on(text)))
    if credential == "rotating":
        rows = rows.filter(_is_rotating())
    elif credential == "drifted":
        rows = rows.filter(
            ~_is_rotating(),
            managed__credential=ManagedAccount.Credential.OUT_OF_SYNC,
            managed__credential_code__in=states.DRIFTED,
        )
    elif credential:
        rows = rows.filter(~_is_rotating(), managed__credential=credential)
    if status in {"enabled", "pending_deletion"}:
        rows = rows.filter(deletion_planned_at__isnull=status == "enabled")
    if automatic := chosen.get("automatic"):
        rows = rows.filter(_turned(automatic))
    return rows
