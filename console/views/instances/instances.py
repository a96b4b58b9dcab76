"""Instances: the list, register, the page with its live part, and having a host looked at."""

from __future__ import annotations

import json
from collections.abc import Callable
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from console import errors
from console.access import resources
from console.forms.instances import instances as forms
from console.http import OperatorRequest
from console.lists import instance_list, paging, preferences
from console.presentation.instance_states import HostKeys
from console.sessions import fresh
from console.views import dialogs
from console.views.secrets import rebind
from rotation import instance_checks, tasks
from rotation.inventory import holding, identities, instances, patience
from rotation.models import Instance, Run
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action

RECENT_RUNS = 10


#: Looking at a host, as against changing an account on it; the live part of the page follows these.
LOOKS = (Run.Kind.SCAN, Run.Kind.CHECK)
_OFFERED = {
    "check": Action.CHECK_INSTANCE,
    "approve": Action.APPROVE_HOST_KEY,
    "attach": Action.USE_CREDENTIAL,
    "edit": Action.UPDATE_INSTANCE,
    "retire": Action.DEREGISTER_INSTANCE,
}


@login_required
@require_safe
def index(request: OperatorRequest, region: str) -> HttpResponse:
    filters = forms.Filters(request.GET)
    rows = resources.instances(request, region, with_retired=filters.shows_retired)
    seen, sees_all = resources.seen_secrets(request), resources.sees_all_secrets(request)
    is_whole = not filters.is_set and resources.sees_all_instances(request, region)
    matching = instance_list.narrowed(rows, filters.chosen())
    shown = preferences.of(request.principal, "instances")
    context = {
        "heading": "Instances",
        "things": "instances",
        "region": region,
        "page": paging.page(
            matching,
            request.GET,
            sorts=instance_list.sorts(seen, sees_all=sees_all, is_whole=is_whole),
            default="name",
            read=instance_list.reader(seen, sees_all=sees_all),
            size=shown.rows,
        ),
        "shown": shown,
        "filters": filters,
        "is_filtered": filters.is_set,
        "may_register": resources.may(request, Action.REGISTER_INSTANCE),
        "may_see_credentials": resources.may(request, Action.LIST_CREDENTIALS),
    }
    return render(request, "instances/list.html", context)


def names_a_credential(request: HttpRequest) -> bool:
    """True when the new instance would get a management credential: that is an attachment."""
    return bool(request.POST.get("credential"))


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required(when=names_a_credential)
def register(request: OperatorRequest, region: str) -> HttpResponse:
    here = resources.region(request, region)
    resources.require(request, Action.REGISTER_INSTANCE, here)
    regions = resources.shown_regions(request)
    form = forms.Register(
        request.POST if request.method == "POST" else None,
        here=here,
        regions=[row for row in regions if resources.may(request, Action.REGISTER_INSTANCE, row)],
        credentials=resources.credentials(request),
    )
    if request.method == "POST" and form.is_valid():
        instance = _register(request, form)
        if instance is not None:
            messages.success(request, _registered(instance))
            return dialogs.leave(request, reverse("instance", args=[region, instance.pk]))
    return dialogs.ask(
        request,
        "instances/_register.html",
        "Register Instance",
        {"form": form, "region": region, "here": here},
    )


def _registered(instance: Instance) -> str:
    if host_keys(instance).authority:
        return f"{instance.name} is registered. What the authority signs for its address is trusted."
    return f"{instance.name} is registered. Compare its {instance.shown.one} and approve it."


def _register(request: OperatorRequest, form: forms.Register) -> Instance | None:
    """Register and have the host keys read; None where the form now says why not."""
    cleaned = form.cleaned_data
    try:
        with transaction.atomic():
            instance = instances.register(
                cleaned["name"],
                region=form.chosen_region,
                address=cleaned["address"],
                port=cleaned["port"],
                os=form.chosen_wire.os,
                wire=form.chosen_wire.name,
                credential=cleaned["credential"],
                actor=request.principal,
            )
            if cleaned["authority"]:
                identities.trust_authority(instance, cleaned["authority"], actor=request.principal)
            _wake(instance_checks.scan(instance, actor=request.principal))
    except instances.NameTaken as error:
        form.add_error("name", str(error))
    except (instances.AddressTaken, instances.AddressForbidden) as error:
        form.add_error("address", str(error))
    except patience.TooOften as error:
        form.add_error("address", str(error))
    except holding.OtherSystem as error:
        form.add_error("credential", str(error))
    except decisions.NotAllowed as error:
        resources.refused(request, error)
        form.add_error(None, str(error))
    else:
        return instance
    return None


def _wake(run: Run) -> Run:
    tasks.wake(run)
    return run


@login_required
@require_safe
def show(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    instance = resources.instance(request, region, pk, Action.DESCRIBE_INSTANCE)
    return render(request, "instances/instance.html", _context(request, region, instance))


@login_required
@require_safe
def live(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    """The part of the page that changes while its host is being looked at; 204 while nothing did."""
    instance = resources.instance(request, region, pk, Action.DESCRIBE_INSTANCE)
    context = _context(request, region, instance)
    if request.GET.get("seen") == context["mark"]:
        return HttpResponse(status=204)
    response = render(request, "instances/_live.html", context)
    if not context["is_looking"]:
        response["HX-Trigger"] = json.dumps({"toast": _toast(instance)})
    return response


def _toast(instance: Instance) -> dict[str, str]:
    """What to say aloud when the look at the host has ended."""
    last = (
        instance.runs.filter(kind__in=LOOKS, username="", state=Run.State.ENDED).order_by("-ended_at").first()
    )
    if last is None:
        return {"tone": "info", "text": "Done."}
    tone = "ok" if last.outcome == Run.Outcome.SUCCEEDED else "warning"
    return {"tone": tone, "text": f"{last.label}: {last.sentence or last.get_outcome_display()}"}


def _context(request: OperatorRequest, region: str, instance: Instance) -> dict[str, object]:
    looks = [_newest(instance, kind) for kind in LOOKS]
    scan, check = looks
    keys = host_keys(instance)
    seen = [f"{run.pk}{run.state}{run.lease}" for run in looks if run]
    return {
        "region": region,
        "instance": instance,
        "keys": keys,
        "scan": scan,
        "check": check,
        "evidence": _evidence(instance, check),
        "is_looking": any(run and run.is_active for run in looks),
        "mark": "-".join([*seen, str(len(keys.keys)), str(len(keys.approved))]),
        "secrets": _secrets(request, instance),
        "rebindable": rebind.rebindable(request, instance),
        "runs": _recent(request, instance),
        "may": _may(request, instance),
    }


def _may(request: OperatorRequest, instance: Instance) -> dict[str, bool]:
    """What the page offers; of a retired instance nothing is left but its history."""
    is_registered = instance.retired_at is None
    return {
        "see_own_login": resources.sees_own_login(request, instance),
        "see_credential": resources.may(request, Action.DESCRIBE_CREDENTIAL, instance.credential),
        **{
            name: is_registered and resources.may(request, action, instance)
            for name, action in _OFFERED.items()
        },
    }


def _newest(instance: Instance, kind: str) -> Run | None:
    # A check of one account is about that account, and not the test of the instance.
    return instance.runs.filter(kind=kind, username="").order_by("-created_at").first()


def host_keys(instance: Instance) -> HostKeys:
    scans = instance.runs.filter(kind=Run.Kind.SCAN, outcome=Run.Outcome.SUCCEEDED)
    scanned_at = scans.order_by("-created_at").values_list("started_at", flat=True).first()
    return HostKeys(instance, list(instance.host_keys.select_related("decided_by")), scanned_at)


def _evidence(instance: Instance, check: Run | None) -> list[dict[str, str]]:
    """What the newest connection test found; without one, what a rotation found on its way."""
    if check is None:
        return list(instance.checks)
    return [line for step in check.steps.all() for line in step.evidence]


def _secrets(request: OperatorRequest, instance: Instance) -> object:
    rows = resources.seen_secrets(request).filter(managed__instance=instance)
    rotating = Run.objects.active().filter(secret=OuterRef("pk"), kind=Run.Kind.ROTATE)
    return rows.select_related("managed").annotate(is_rotating=Exists(rotating)).order_by("name")


def _recent(request: OperatorRequest, instance: Instance) -> object:
    if not resources.may(request, Action.LIST_RUNS):
        return []
    rows = resources.runs(request, resources.ALL_REGIONS).filter(instance=instance)
    return rows.order_by("-created_at")[:RECENT_RUNS]


@login_required
@require_POST
def scan(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    instance = resources.instance(request, region, pk, Action.CHECK_INSTANCE)
    return _look(request, region, instance, instance_checks.scan)


@login_required
@require_POST
def check(request: OperatorRequest, region: str, pk: UUID) -> HttpResponse:
    instance = resources.instance(request, region, pk, Action.CHECK_INSTANCE)
    return _look(request, region, instance, instance_checks.check)


def _look(request: OperatorRequest, region: str, instance: Instance, ask: Callable[..., Run]) -> HttpResponse:
    try:
        with transaction.atomic():
            _wake(ask(instance, actor=request.principal))
    except patience.TooOften as error:
        return errors.too_often(request, str(error), error.again_at)
    if not request.htmx:
        return redirect("instance", region, instance.pk)
    return render(request, "instances/_live.html", _context(request, region, instance), status=202)
