"""The audit trail on the screen: the list and one event, whether it is whole, its export, and the look-up."""

from __future__ import annotations

import json
import logging
from typing import Any, Final
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from console.access import resources
from console.forms.audit import events as forms
from console.http import OperatorRequest
from console.lists import event_list, exports, preferences
from console.sessions import fresh
from console.siem import shapes
from console.version import product_version
from console.views import dialogs
from rotation.models import Instance, Run
from secrets_app.actions import Kind, arn
from secrets_app.audit import trail, verification
from secrets_app.models import AuditEvent, Secret
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action
from secrets_app.regions import account
from secrets_app.secrets import value_lookup

log = logging.getLogger(__name__)

EXPORT = "kms:ExportAuditEvents"
CHECKED_AT_ONCE = 10_000  # more is for the command line, which has the time
COLUMNS = (
    "sequence", "at", "actor", "action", "resource", "version", "outcome", "decision", "reason", "details",
    "request", "session", "address", "value_mark", "mac",
)  # fmt: skip


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.LIST_EVENTS)
    filters = forms.Filters(request.GET)
    chosen = filters.chosen()
    shown = preferences.of(request.principal, "audit")
    context = {
        "heading": "Audit",
        "things": "events",
        "page": event_list.page(event_list.narrowed(chosen), request.GET, shown.rows),
        "shown": shown,
        "filters": filters,
        "is_filtered": filters.is_set,
        "shapes": shapes.SHAPES.values(),
        "may_verify": resources.may(request, Action.VERIFY_AUDIT),
        "may_look_up": resources.may(request, Action.LOOK_UP_VALUE),
    }
    return render(request, "audit/list.html", context)


@login_required
@require_safe
def show(request: OperatorRequest, sequence: int) -> HttpResponse:
    resources.require(request, Action.LIST_EVENTS)
    event = AuditEvent.objects.filter(sequence=sequence).first()
    if event is None:
        raise Http404
    context = {
        "event": event,
        "details": _details(event),
        "run": _related(request, _run(event), Action.DESCRIBE_RUN),
        "secret": _related(request, _of(Secret, event), Action.DESCRIBE_SECRET),
        "instance": _related(request, _of(Instance, event), Action.DESCRIBE_INSTANCE),
    }
    return render(request, "audit/event.html", context)


def _details(event: AuditEvent) -> list[tuple[str, str]]:
    """What the event keeps beside, by names and values as a person writes them; nothing that is not known."""
    known = [(name, content) for name, content in sorted(event.details.items()) if content not in _NOTHING]
    return [(name.replace("_", " ").capitalize(), _in_words(content)) for name, content in known]


_NOTHING: Final[tuple[object, ...]] = (None, "", [], {})


def _in_words(content: object) -> str:
    match content:
        case bool():
            return "Yes" if content else "No"
        case list():
            return ", ".join(map(_in_words, content))
        case dict():
            return ", ".join(f"{name}: {_in_words(part)}" for name, part in content.items())
    return str(content)


def _run(event: AuditEvent) -> Run | None:
    try:
        number = UUID(str(event.details.get("run", "")))
    except ValueError:
        return None
    rows = Run.objects.select_related("secret__region", "secret__account", "instance__region")
    return rows.filter(pk=number).first()


def _of(model: type[Secret] | type[Instance], event: AuditEvent) -> Any:
    if event.resource_id is None:
        return None
    return model.objects.select_related("region", "account").filter(pk=event.resource_id).first()


def _related(request: OperatorRequest, row: Any, action: Action) -> Any:
    """What the event is about, if its reader may see that too."""
    if row is None:
        return None
    asked = (row.secret or row.instance) if isinstance(row, Run) else row
    return row if decisions.allows(request.principal, action, asked) else None


@login_required
@require_POST
def verify(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.VERIFY_AUDIT)
    report = verification.verify(newest=CHECKED_AT_ONCE)
    outcome = (
        AuditEvent.Outcome.SUCCEEDED
        if report.verdict == verification.Verdict.WHOLE
        else AuditEvent.Outcome.FAILED
    )
    details = {"verdict": report.verdict.name.lower(), "first_bad": report.first_bad}
    is_recorded = True
    try:
        trail.record(Action.VERIFY_AUDIT, _trail(), actor=request.principal, outcome=outcome, details=details)
    except trail.NotRecorded:  # a trail that takes no event must still be able to say so
        log.critical("The audit trail accepts no event.", exc_info=True)
        is_recorded = False
    context = {"report": report, "verdict": report.verdict.name.lower(), "is_recorded": is_recorded}
    return render(request, "audit/verify.html", context)


@login_required
@require_safe
def export(request: OperatorRequest, form: str) -> HttpResponseBase:
    resources.require(request, Action.LIST_EVENTS)
    if form not in {"csv", "jsonl", *shapes.SHAPES}:
        raise Http404
    chosen = forms.Filters(request.GET).chosen()
    rows = event_list.narrowed(chosen).every
    if request.method != "HEAD":
        filters = {name: exports.said(value) for name, value in chosen.items()}
        details = {"format": form, "filters": filters}
        trail.record(EXPORT, _trail(), actor=request.principal, details=details)
    rows = rows.order_by("-sequence")
    if shape := shapes.SHAPES.get(form):
        events = rows.select_related("actor").iterator(chunk_size=exports.CHUNK_ROWS)
        content = shapes.lines(events, shape, version=product_version())
        return exports.file_of(content, kind=shape.kind, name=f"audit-{form}", ending=shape.ending)
    cells = _flat if form == "csv" else _cells
    return exports.stream(rows, cells, COLUMNS, name="audit", form=form)


def _flat(event: AuditEvent) -> exports.Cells:
    return {**_cells(event), "details": json.dumps(event.details, ensure_ascii=False, sort_keys=True)}


def _cells(event: AuditEvent) -> exports.Cells:
    contents = (
        event.sequence, event.at.isoformat(), event.actor_name, event.action, event.resource,
        event.version_id, event.outcome, event.decision, event.reason, event.details,
        event.request_id, event.session, event.address, event.value_mark, event.mac,
    )  # fmt: skip
    return dict(zip(COLUMNS, contents, strict=True))


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
# The event must be durable before the answer leaves, so no transaction may be around it.
@transaction.non_atomic_requests
def look_up(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.LOOK_UP_VALUE)
    form = forms.LookUp(request.POST if request.method == "POST" else None)
    title = "Look up a value"
    if request.method == "GET" or not form.is_valid():
        # A new form: the typed text is not shown again, only its error.
        context: dict[str, object] = {"form": forms.LookUp(), "errors": form.errors.get("text", [])}
        return dialogs.ask(request, "audit/_look_up.html", title, context)
    matches = value_lookup.look_up(form.cleaned_data["text"], actor=request.principal)
    return dialogs.show(request, "audit/_look_up_result.html", title, {"matches": matches})


def _trail() -> str:
    return arn(Kind.AUDIT, "", account=account().number)
