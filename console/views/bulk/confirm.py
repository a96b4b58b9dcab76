"""One action on many rows: which rows, the question before it, and its start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID, uuid4

from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.views.decorators.http import require_POST

from console import errors
from console.access import resources
from console.forms.bulk import confirm as forms
from console.forms.rotations import rotations as run_forms
from console.http import OperatorRequest
from console.lists import run_filters, secret_filters
from console.presentation import bulk_states
from console.sessions import fresh
from console.views import dialogs
from rotation import tasks
from rotation.bulk import bulk_actions, deeds
from rotation.models import BulkAction, BulkItem, Run
from secrets_app.models import Secret
from secrets_app.policy.decisions import Action
from secrets_app.policy.requiring import NotFound

Kind = BulkAction.Action
MOST_NAMED = 5
#: What a single secret asks a fresh sign-in for.
ASKS_AGAIN = frozenset({Kind.DELETE.value, Kind.TAG.value})


@dataclass(frozen=True)
class Asked:
    """An action and the rows that its user may see, in order; and where the user comes from."""

    action: Kind
    ids: list[UUID]
    names: list[str]  # of the first few
    things: str
    back: str
    initial: Mapping[str, object]

    @property
    def unnamed(self) -> int:
        return len(self.ids) - len(self.names)


def asks_again(request: HttpRequest) -> bool:
    """True for what needs a fresh sign-in on a single secret too."""
    return request.POST.get("action", "") in ASKS_AGAIN


@login_required
@require_POST
@fresh.required(back="secrets", when=asks_again)
def of_secrets(request: OperatorRequest, region: str) -> HttpResponse:
    seen = resources.secrets(request, region)
    action = request.POST.get("action", "")
    if action not in Kind.values or action == Kind.RETRY:
        return _cannot(request, "Choose an action.")
    resources.require(request, deeds.RIGHTS[action])
    rows = _secrets(request, seen)
    back = reverse("secrets", args=[region])
    return _ask(request, Kind(action), rows, "name", "secret", back)


@login_required
@require_POST
def of_runs(request: OperatorRequest, region: str) -> HttpResponse:
    seen = resources.runs(request, region)
    if not any(resources.may(request, right) for right in (Action.ROTATE_SECRET, Action.CHECK_INSTANCE)):
        resources.require(request, Action.ROTATE_SECRET)
    rows = _runs(request, seen)
    return _ask(request, Kind.RETRY, rows, "-created_at", "run", reverse("rotations", args=[region]))


def _secrets(request: OperatorRequest, seen: QuerySet[Secret]) -> QuerySet[Secret]:
    """The rows that were ticked, or that match the filter, or that failed in an earlier action."""
    if again := _earlier(request):
        failed = _failed(again)
        return seen.filter(pk__in=failed.values("secret"))
    if request.POST.get("all"):
        chosen = secret_filters.read(request, QueryDict(request.POST.get("filter", ""))).chosen()
        # Nothing can be done to a purged one, and the filter alone would mean every other one.
        return seen.none() if chosen.get("status") == "deleted" else secret_filters.narrowed(seen, chosen)
    return seen.filter(pk__in=_ticked(request, "secret"))


def _runs(request: OperatorRequest, seen: QuerySet[Run]) -> QuerySet[Run]:
    if again := _earlier(request):
        failed = _failed(again)
        newest = [run or retried for run, retried in failed.values_list("run", "retried")]
        return seen.filter(pk__in=newest)
    ended = seen.filter(state=Run.State.ENDED).exclude(outcome__in=deeds.NOT_RETRIED)
    if request.POST.get("all"):
        chosen = run_forms.Filters(QueryDict(request.POST.get("filter", ""))).chosen()
        return run_filters.narrowed(ended, chosen)
    return ended.filter(pk__in=_ticked(request, "run"))


def _failed(bulk: BulkAction) -> QuerySet[BulkItem]:
    return bulk_states.with_result(BulkItem.objects.filter(bulk=bulk), *bulk_states.FAILED)


def _ticked(request: OperatorRequest, name: str) -> list[UUID]:
    """The rows of the question, or those that were ticked; more than may be are cut off after one more."""
    found = forms.read_ids(request.POST.getlist("ids") or request.POST.getlist(name))
    return found[: bulk_actions.MOST + 1]


def _earlier(request: OperatorRequest) -> BulkAction | None:
    """The user's own action whose failed rows are asked for. Raises `NotFound`."""
    if not (text := request.POST.get("again", "")) or request.POST.get("ids"):
        return None
    row = bulk_actions.of(request.principal).filter(pk__in=forms.read_ids([text])).first()
    if row is None:
        raise NotFound
    return row


def _ask(
    request: OperatorRequest, action: Kind, rows: QuerySet[Secret] | QuerySet[Run], order: str, thing: str,
    back: str,
) -> HttpResponse:  # fmt: skip
    ids = list(rows.order_by(order, "pk").values_list("pk", flat=True)[: bulk_actions.MOST + 1])
    if not ids:
        return _cannot(request, _none(thing))
    if len(ids) > bulk_actions.MOST:
        return _cannot(request, bulk_actions.TooMany.default())
    first = rows.model._default_manager.filter(pk__in=ids[:MOST_NAMED]).order_by(order, "pk")
    earlier = _earlier(request)
    asked = Asked(action, ids, [_name(row) for row in first], thing, back, earlier.choices if earlier else {})
    kind = forms.FORMS.get(action, forms.Confirm)
    if not request.POST.get("confirmed"):
        began = {"ids": " ".join(map(str, ids)), "action": action.value, "token": uuid4().hex}
        return _show(request, asked, kind(initial=began | kind.shown(asked.initial)))
    form = kind(request.POST)
    return _start(request, asked, form) if form.is_valid() else _show(request, asked, form, status=422)


def _cannot(request: OperatorRequest, sentence: str) -> HttpResponse:
    """409: what was selected is nothing, or too much."""
    problem = errors.Problem(
        409, "This bulk action cannot be started", sentence, "Change the selection and try again."
    )
    return errors.answer(request, problem)


def _none(thing: str) -> str:
    if thing == "run":
        return "Select at least one run that ended without success."
    return "Select at least one secret."


def _name(row: Secret | Run) -> str:
    if isinstance(row, Secret):
        return row.name
    return f"{row.label} of {row.secret.name if row.secret else row.instance.name}"


def _show(request: OperatorRequest, asked: Asked, form: forms.Confirm, *, status: int = 200) -> HttpResponse:
    context = {"asked": asked, "form": form}
    return dialogs.show(request, "bulk/_confirm.html", asked.action.label, context, status=status)


def _start(request: OperatorRequest, asked: Asked, form: forms.Confirm) -> HttpResponse:
    token = form.cleaned_data["token"] or uuid4().hex
    try:
        with transaction.atomic():
            bulk = bulk_actions.start(
                asked.action, asked.ids, actor=request.principal, token=token, choices=form.choices()
            )
            tasks.wake_bulk(bulk)
    except bulk_actions.NothingSelected:
        return _cannot(request, _none(asked.things))
    return dialogs.leave(request, reverse("bulk_action", args=[bulk.pk]))
