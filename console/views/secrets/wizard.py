"""Create Secret, in three steps: one form that is checked step by step and carried out by the last.

Nothing is kept between the steps: each answer says only what is wrong, or which step comes next, and the
form with what was typed stays in the browser. So no answer ever holds the value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_safe

from console.access import resources
from console.forms.secrets import options
from console.forms.secrets.schedule import CRON_PRESETS, RecurrenceForm
from console.forms.secrets.wizard import STEPS, CreateSecret, OfferedKinds
from console.http import OperatorRequest
from console.sessions import fresh
from console.views import dialogs
from console.views.secrets import key_pair, schedule, wizard_check
from rotation import accounts, schedules, tasks
from rotation.inventory import holding, management
from rotation.managed import creation, dependants, rotation_options
from rotation.models import Instance, Run, Schedule
from secrets_app import keyring
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import ECS_PREFIX, Secret
from secrets_app.policy.decisions import Action
from secrets_app.secrets import lifecycle

STEP_NAMES = ("Create Secret", "Configuration rotation", "Review and confirm")
MOST_OFFERED = 500  # instances in the list of suggestions; any other can be typed


def is_step(request: HttpRequest) -> bool:
    """True for **Next**, which checks what was typed and does nothing with it."""
    is_part: bool = request.htmx  # type: ignore[attr-defined]
    return is_part and request.POST.get("step", "") in {"1", "2"}


def takes_an_account(request: HttpRequest) -> bool:
    """True when the secret is made: with any first value, the account is Keyturn's from then on."""
    return request.method == "POST" and not is_step(request)


@login_required
@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("value", "private_key")
@fresh.required(when=takes_an_account)
def create(request: OperatorRequest, region: str) -> HttpResponse:
    resources.require(request, Action.CREATE_SECRET)
    here = resources.region(request, region)
    if here is None:
        return choose_region(request)
    if request.POST.get("type") == Secret.Type.GENERIC:  # without script the choice leads on when it is sent
        return dialogs.leave(request, reverse("secret_create_generic", args=[region]))
    resources.require(request, Action.LIST_INSTANCES, here)
    form = CreateSecret(
        request.POST if request.method == "POST" else None,
        region=here,
        instances=resources.instances(request, resources.ALL_REGIONS),
        keys=resources.keys_to_seal_with(request),
        actor=request.principal,
    )
    if request.method == "GET":
        return _page(request, form)
    if is_step(request):
        return _checked(request, form, int(request.POST["step"]))
    if form.is_valid():
        secret = _create(request, form)
        if secret:
            return _created(request, *secret)
    return _refused(request, form)


@login_required
@require_safe
def instance(request: OperatorRequest, region: str) -> HttpResponse:
    """What is known of the instance that was just chosen, and the accounts found there."""
    chosen = resources.instances(request, region).filter(name=request.GET.get("instance", "")).first()
    kinds = creation.kinds_taken(chosen)
    context: dict[str, object] = {
        "chosen": chosen,
        "accounts": _accounts(request, chosen),
        "kinds_refused": creation.kinds_refused(chosen) if chosen else [],
        "kinds": " ".join(kinds),
        "region": region,
    }
    # Only where others are on the page: what is being chosen there meanwhile stays.
    if kinds and request.GET.get("kinds", context["kinds"]) != context["kinds"]:
        context["form"] = OfferedKinds(kinds, chosen=request.GET.get("kind", ""))
    return render(request, "secrets/_wizard_instance.html", context)


def _accounts(request: OperatorRequest, chosen: Instance | None) -> list[str]:
    """The accounts found there that this person may manage."""
    if chosen is None:
        return []
    return [name for name in chosen.accounts if accounts.may_manage(chosen, name, actor=request.principal)]


@login_required
@require_safe
def dates(request: OperatorRequest, region: str) -> HttpResponse:
    """The next five dates of the times that are being typed."""
    resources.require(request, Action.CREATE_SECRET)
    resources.region(request, region)
    return render(request, "secrets/_wizard_dates.html", schedule.preview(RecurrenceForm(request.GET)))


def choose_region(request: OperatorRequest) -> HttpResponse:
    """On All regions nothing says where the secret belongs: ask, unless there is only one answer."""
    regions = resources.shown_regions(request)
    codes = [region.code for region in regions]
    chosen = codes[0] if len(codes) == 1 else request.GET.get("to", "")
    if chosen in codes and request.method == "GET":
        return redirect("secret_create", region=chosen)
    status = 200 if request.method == "GET" else 422
    return dialogs.show(
        request, "secrets/_choose_region.html", "Create Secret", {"regions": regions}, status=status
    )


def _context(request: OperatorRequest, form: CreateSecret) -> dict[str, object]:
    instances = form.instances.filter(region=form.region)
    chosen = form.cleaned_data.get("instance") if form.is_bound else None
    kinds = creation.kinds_taken(chosen)
    form.offer(kinds)
    return {
        "form": form,
        "region": form.region.code,
        "place": form.region,
        "offered": list(instances.order_by("name")[:MOST_OFFERED]),
        "chosen": chosen,
        "accounts": _accounts(request, chosen),
        "kinds_refused": creation.kinds_refused(chosen) if chosen else [],
        "kinds": " ".join(kinds),
        "prefix": ECS_PREFIX,
        "step_names": STEP_NAMES,
        "presets": schedules.PRESETS_DAYS,
        "cron_presets": CRON_PRESETS,
        **schedule.preview(RecurrenceForm(form.data) if form.is_bound else None),
    }


def _page(request: OperatorRequest, form: CreateSecret, status: int = 200) -> HttpResponse:
    return dialogs.show(
        request, "secrets/_wizard.html", "Create Secret", _context(request, form), status=status
    )


def _checked(request: OperatorRequest, form: CreateSecret, step: int) -> HttpResponse:
    """Say what is wrong in the steps so far, or which one comes next."""
    errors = form.errors_until(step)
    if errors:
        return _refused(request, form, errors, step)
    response = _answer(request, form, errors, step)
    response["HX-Trigger"] = json.dumps({"wizardStep": {"step": step + 1}})
    return response


def _refused(
    request: OperatorRequest,
    form: CreateSecret,
    errors: Mapping[str, Any] | None = None,
    step: int = len(STEPS),
) -> HttpResponse:
    for error in form.refusals:
        resources.refused(request, error)
    if not request.htmx:
        return _page(request, form, status=422)
    response = _answer(request, form, form.errors if errors is None else errors, step, status=422)
    response["HX-Trigger"] = json.dumps({"wizardStep": {"step": min(form.step_of_first_error(), step)}})
    return response


def _answer(
    request: OperatorRequest, form: CreateSecret, errors: Mapping[str, Any], step: int, status: int = 200
) -> HttpResponse:
    """Errors and review, swapped beside the inputs: the form itself, with the value in it, is left alone."""
    fields = [(name, errors.get(name, [])) for names in STEPS for name in names]
    context = {"fields": fields, "form": form, "general": errors.get("__all__", [])}
    if step == 2 and not errors:
        context |= _review(request, form) | wizard_check.context(
            request, form.cleaned_data["instance"], form.cleaned_data["username"], form.cleaned_data["kind"]
        )
    response = render(request, "secrets/_wizard_answer.html", context, status=status)
    response["HX-Reswap"] = "none"
    return response


def _review(request: OperatorRequest, form: CreateSecret) -> dict[str, object]:
    cleaned = form.cleaned_data
    target: Instance = cleaned["instance"]
    own, shared = target.own_login, target.credential
    pasted: Plaintext | None = cleaned["private_key"]
    return {
        "review": cleaned,
        "target": target,
        "sees_own_login": own is not None and resources.may(request, Action.DESCRIBE_SECRET, own),
        "sees_credential": shared is not None and resources.may(request, Action.DESCRIBE_CREDENTIAL, shared),
        "option_labels": options.labels(form.chosen_options()),
        "policy": form.policy(),
        "policy_breach": form.policy_breach,
        "recurrence": form.chosen,
        "after_downtime": Schedule.CatchUp(form.after_downtime).label,
        "has_value": form.initial_value is not None,
        "is_key_pair": form.is_key_pair,
        "algorithm": key_pairs.ALGORITHMS[form.chosen_algorithm],
        **key_pair.described(key_pairs.read(pasted).public_key if pasted else ""),
        "key": cleaned["key"] or keyring.default_key(),
        "type_label": Secret.Type.ECS.label,
        "kind_label": Secret.Kind(cleaned["kind"]).label,
        "region": form.region.code,
    }


#: Where the wizard says what the domain refuses; any other refusal is no answer to a form.
FIELD_OF: dict[type[DomainError], str] = {
    lifecycle.NameTaken: "name",
    creation.AccountTaken: "username",
    creation.SharedAccount: "username",
    management.NoOwnLogin: "as_own_login",
    creation.RegionMismatch: "instance",
    holding.Retired: "instance",
    keyring.KeyUnusable: "key",
    creation.KindUnsupported: "kind",
}


def _create(request: OperatorRequest, form: CreateSecret) -> tuple[Secret, Run | None] | None:
    """Make the secret and wake a worker for its first run; None, with the form's errors, where it cannot."""
    cleaned = form.cleaned_data
    try:
        with transaction.atomic():
            secret, run = creation.create(
                cleaned["name"],
                region=form.region,
                instance=cleaned["instance"],
                username=cleaned["username"],
                actor=request.principal,
                kind=cleaned["kind"],
                initial=form.initial_value,
                description=cleaned["description"],
                password_policy=form.policy(),
                key_algorithm=form.chosen_algorithm,
                tags=cleaned["tags"],
                is_on=form.is_on,
                period=form.chosen.period,
                cron=form.chosen.cron,
                zone=form.chosen.zone,
                jitter=form.chosen.jitter,
                catch_up=form.after_downtime,
                rotate_now=cleaned["rotate_now"],
                as_own_login=cleaned["as_own_login"],
                key=cleaned["key"],
            )
            if any(form.chosen_options().values()):
                rotation_options.change_options(secret, actor=request.principal, **form.chosen_options())
            if cleaned["dependants"]:
                dependants.choose(secret, cleaned["dependants"], actor=request.principal, restarts=True)
            if run:
                tasks.wake(run)
    except DomainError as error:
        field = next((name for kind, name in FIELD_OF.items() if isinstance(error, kind)), None)
        if field is None:
            raise
        is_name = isinstance(error, lifecycle.NameTaken)
        form.add_error(field, form.name_taken(cleaned["name"]) if is_name else error.sentence)
        return None
    return secret, run


def _created(request: OperatorRequest, secret: Secret, run: Run | None) -> HttpResponse:
    if not request.htmx:
        messages.success(request, f"{secret.name} is created.")
        return redirect("secret", region=secret.region.code, pk=secret.pk)
    response = render(
        request, "secrets/_created.html", {"secret": secret, "run": run, "region": secret.region.code}
    )
    response["HX-Trigger"] = json.dumps({"secretsChanged": {}})
    return response
