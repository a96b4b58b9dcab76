"""The list of secrets and the page of one."""

from __future__ import annotations

from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console.access import resources
from console.forms.secrets import options
from console.http import OperatorRequest
from console.lists import event_list, paging, preferences, secret_filters, secret_rows
from console.presentation import dependant_states, replica_states, secret_states
from console.reports import resolving
from console.views.access import grants
from console.views.secrets import key_pair
from rotation import accounts, missed
from rotation.engine.work import TELLS
from rotation.models import ManagedAccount, Run
from secrets_app.crypto import key_pairs
from secrets_app.crypto.passwords import policy
from secrets_app.kinds import table as kinds
from secrets_app.models import AuditEvent, Label, Secret, SecretVersion
from secrets_app.policy.decisions import Action

TABS = (
    ("overview", "Overview"),
    ("versions", "Versions"),
    ("history", "Rotation history"),
    ("permissions", "Permissions"),
    ("tags", "Tags"),
)


AUDIT_TAB = ("audit", "Audit")  # for users who may read the trail


SET_NAMES = {"lower": "lower case", "upper": "upper case", "digits": "digits", "symbols": "symbols"}


RUN_SORTS = {"started": "created_at"}


@login_required
@require_safe
def index(request: OperatorRequest, region: str) -> HttpResponse:
    filters = secret_filters.read(request, request.GET)
    chosen = filters.chosen()
    seen = resources.secrets(request, region, purged=chosen.get("status") == "deleted")
    matching = secret_filters.narrowed(seen, chosen)
    shown = preferences.of(request.principal, "secrets")
    page = paging.page(
        matching,
        request.GET,
        sorts=secret_filters.SORTS,
        default=secret_filters.DEFAULT_SORT,
        read=secret_rows.shown,
        size=shown.rows,
    )
    return render(
        request,
        "secrets/list.html",
        {
            "heading": "Secrets",
            "things": "secrets",
            "page": page,
            "shown": shown,
            "rows": secret_rows.cells(request, region, page.rows, with_tags="tags" in shown.columns),
            "region": region,
            "is_everywhere": region == resources.ALL_REGIONS,
            "default_sort": secret_filters.DEFAULT_SORT,
            "filters": filters,
            "is_filtered": filters.is_set,
            "is_any_rotating": any(secret.is_rotating for secret in page.rows),  # type: ignore[attr-defined]
            "may_create": resources.may(request, Action.CREATE_SECRET),
        },
    )


@login_required
@require_safe
def show(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    secret = resources.secret(request, region, pk, Action.DESCRIBE_SECRET)
    tab = request.GET.get("tab", "overview")
    tabs = _tabs(request, secret)
    if tab not in dict([*TABS, *tabs]):
        raise Http404
    context = _context(request, secret, region) | {"tab": tab, "tabs": tabs}
    if tab == "overview":
        context |= _overview(secret)
        context["replicas"] = replica_states.listed(secret, resources.shown_regions(request))
    elif tab == "versions":
        context["page"] = paging.page(
            secret.versions.select_related("created_by").prefetch_related("labels", "runs"),
            request.GET,
            sorts={"created": "created_at"},
            default="-created",
        )
        context["back_to"] = _back_to(secret, context)
        context["refused"] = _refused(secret)
    elif tab == "permissions":
        context |= grants.tab(request, secret)
    elif tab == "tags":
        context["tags"] = secret.tags.all()
    elif tab == "audit":
        of_secret = event_list.Events(AuditEvent.objects.filter(resource_id=secret.pk))
        context["page"] = event_list.page(of_secret, request.GET)
    else:
        rows = secret.runs.select_related("requested_by", "version", "instance")
        context["page"] = paging.page(rows, request.GET, sorts=RUN_SORTS, default="-started")
    return render(request, f"secrets/{tab}.html", context)


@login_required
@require_safe
def menu(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    """The menu of a row of the list, read when it is opened."""
    secret = resources.secret(request, region, pk, Action.DESCRIBE_SECRET)
    context = {"secret": secret, "region": region, **secret_rows.rights(request, secret)}
    return render(request, "secrets/_menu.html", context)


def _tabs(request: OperatorRequest, secret: Secret) -> list[tuple[str, str]]:
    """Those that this person may open."""
    may_list = resources.may(request, Action.LIST_GRANTS, secret)
    tabs = [(name, label) for name, label in TABS if name != "permissions" or may_list]
    return [*tabs, AUDIT_TAB] if resources.may(request, Action.LIST_EVENTS) else tabs


def _context(request: OperatorRequest, secret: Secret, region: str) -> dict[str, object]:
    """What the head of the page and its facts show."""
    active = secret.runs.active().filter(kind=Run.Kind.ROTATE).select_related("requested_by").first()
    account = accounts.of(secret)
    return {
        "secret": secret,
        "region": region,
        "active": active,
        "facts": secret_states.facts(secret, is_rotating=active is not None).told(
            lambda action: resources.may(request, action, secret)
        ),
        "missed": missed.last(secret),
        "account": account,
        "is_drifted": secret.is_enabled and secret_states.is_drifted(account),
        "is_on_other_machine": secret.is_enabled and secret_states.is_on_other_machine(account),
        "key_state": secret.key.state,
        "may_see_key": resources.may(request, Action.DESCRIBE_KEY, secret.key),
        "unresolved": resolving.unresolved(secret),
        **_permissions(request, secret),
        **_of_replica(request, secret),
    }


def _of_replica(request: OperatorRequest, secret: Secret) -> dict[str, object]:
    """The region that a replica follows; nothing of it is changed here."""
    place = replica_states.primary_of(secret, resources.shown_regions(request))
    return {"primary_region": place} | (dict.fromkeys(("may_put", "may_edit", "may_delete")) if place else {})


def _overview(secret: Secret) -> dict[str, object]:
    rules, account, kind = policy(secret.password_policy), accounts.of(secret), kinds.of(secret)
    labelled = secret.labelled(Label.Role.CURRENT)
    current = labelled if kind and kind.HAS_PUBLIC_HALF else None
    runs = secret.runs.select_related("requested_by", "instance__region", "secret__region", "version")
    # A check that ran by itself does not take the place of what was changed last; one from before that
    # change says nothing about the credential any more.
    run = runs.without_missed().filter(kind__in=TELLS).prefetch_related("steps").first()
    since = runs.filter(created_at__gt=run.created_at) if run else runs
    return {
        "run": run,
        "check": since.exclude(kind__in=TELLS).prefetch_related("steps").first(),
        "current": labelled,
        "policy": rules,
        "algorithm": key_pairs.ALGORITHMS.get(secret.key_algorithm, ""),
        **key_pair.described(current.public_key if current else ""),
        "set_names": [SET_NAMES[name] for name in rules.sets],
        "tags": secret.tags.all(),
        "options": options.labels(options.shown(account)) if account else [],
        "listed": dependant_states.listed(account),
    }


def _back_to(secret: Secret, context: dict[str, object]) -> set[UUID]:
    """The versions on this page whose value may be made the current one again."""
    may = context["may_rotate"] and context["may_put"] and not context["active"]
    if not (may and secret.is_enabled):
        return set()
    page: paging.Page[SecretVersion] = context["page"]  # type: ignore[assignment]
    return {
        version.pk
        for version in page.rows
        if not version.destroyed_at
        and not any(label.role in {"current", "pending"} for label in version.labels.all())
    }


def _refused(secret: Secret) -> UUID | None:
    """The version that the instance refuses: the current one, when the credential is out of sync."""
    account = accounts.of(secret)
    current = secret.labelled(Label.Role.CURRENT)
    is_refused = account is not None and account.credential == ManagedAccount.Credential.OUT_OF_SYNC
    return current.pk if current and is_refused else None


def _may_look(request: OperatorRequest, account: ManagedAccount) -> bool:
    """Whether the account may be looked at on its instance, as before it was managed."""
    return resources.may(request, Action.CHECK_INSTANCE, account.instance) and accounts.may_manage(
        account.instance, account.username, actor=request.principal
    )


def _permissions(request: OperatorRequest, secret: Secret) -> dict[str, bool]:
    """What the page of one secret needs beside."""
    account = accounts.of(secret)
    instance = account.instance if account else None
    return secret_rows.rights(request, secret) | {
        "may_create": resources.may(request, Action.CREATE_SECRET),
        "may_rebind": resources.may_of_account(request, Action.REBIND_ACCOUNT, secret),
        "may_look": account is not None and _may_look(request, account),
        "may_see_instance": instance is not None
        and resources.may(request, Action.DESCRIBE_INSTANCE, instance),
        "may_see_runs": resources.may(request, Action.DESCRIBE_RUN, secret),
    }
