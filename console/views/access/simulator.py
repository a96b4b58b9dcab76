"""The simulator: would this request be allowed, and which statement decides it?

It tells nothing of what its reader may not see: an unknown secret and a hidden one get the same answer.
"""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from console import http
from console.access import resources, rights
from console.forms.access.simulator import Simulate
from console.http import OperatorRequest
from console.presentation import documents
from rotation import accounts
from rotation.models import Instance
from secrets_app import regions
from secrets_app.actions import Action, Kind, arn
from secrets_app.models import Region, Secret, User
from secrets_app.people import users
from secrets_app.policy import decisions

LISTED_PEOPLE = 500


class Unseen(ValueError):
    """You can see no resource with this name."""


@login_required
@require_safe
def show(request: OperatorRequest) -> HttpResponse:
    resources.require(request, Action.SIMULATE_POLICY)
    codes = [(region.code, region.name) for region in resources.shown_regions(request)]
    asked = "action" in request.GET
    form = Simulate(request.GET if asked else None, regions=codes, initial=_initial(request))
    context: dict[str, object] = {"form": form}
    if asked and form.is_valid():
        context |= _answer(request, form)
    if resources.may(request, Action.LIST_USERS):
        context["people"] = rights.seen_users(request).order_by("username")[:LISTED_PEOPLE]
    status = 422 if asked and not form.is_valid() else 200
    return render(request, "access/simulator.html", context, status=status)


def _initial(request: OperatorRequest) -> dict[str, str]:
    return {
        "user": request.user.username,
        "action": Action.GET_SECRET_VALUE,
        "address": http.client_address(request) or "",
    }


def _answer(request: OperatorRequest, form: Simulate) -> dict[str, object]:
    user = _user(request, form.cleaned_data["user"])
    if user is None:
        form.add_error("user", "You can see no user with this name.")
        return {}
    action = form.chosen_action
    try:
        resource = _resource(
            request, action, form.cleaned_data["resource"].strip(), form.cleaned_data["region"]
        )
    except Unseen as error:
        form.add_error("resource", str(error))
        return {}
    decision = decisions.simulate(user, action, resource, form.facts)
    return {"decision": decision, "who": user, **_decided(request, decision)}


def _decided(request: OperatorRequest, decision: decisions.Decision) -> dict[str, object]:
    """The document with the statement marked, for those who may see it."""
    deciding = documents.deciding(decision.statement)
    if deciding is None or not resources.may(request, Action.DESCRIBE_POLICY, deciding[0]):
        return {}
    policy, marked = deciding
    return {"policy": policy, "lines": documents.lines(policy.document, marked), "first_line": marked.start}


def _user(request: OperatorRequest, name: str) -> User | None:
    user = User.objects.select_related("principal").filter(username__iexact=name).first()
    if user is None or not (user == request.user or rights.may_describe(request, user)):
        return None
    return user


def _resource(request: OperatorRequest, action: Action, name: str, region: str) -> object:
    """What the action is asked of. Raises `Unseen`."""
    if action.on_container:
        return Region.objects.filter(code=region).first() if action.kind.is_regional else None
    if not name:
        raise Unseen("Enter the name of the resource.")
    last = name.partition(f":{action.kind}/")[2] or name
    if action == Action.CREATE_SECRET:
        return _to_be_made(name, last, region)
    if action == Action.MANAGE_ACCOUNT:
        where, _, username = last.partition("/user/")
        instance = _one(request, _instances(name.partition("/user/")[0], where), Action.DESCRIBE_INSTANCE)
        assert isinstance(instance, Instance)
        return accounts.Named(instance, username)
    if action.kind == Kind.SECRET:
        return _one(request, _secrets(name, last), Action.DESCRIBE_SECRET)
    if action.kind == Kind.INSTANCE:
        return _one(request, _instances(name, last), Action.DESCRIBE_INSTANCE)
    # By name alone: nothing of it has tags or grants, so there is nothing to look up.
    return users.Named(arn(action.kind, last, account=regions.account().number))


def _to_be_made(name: str, last: str, region: str) -> decisions.Tagged:
    """A secret of this name in this region, without tags; an ARN says the region itself."""
    code = name.split(":")[2] if name != last and name.count(":") >= 2 else region
    where = Region.objects.select_related("account").filter(code=code).first()
    if where is None:
        raise Unseen("There is no such region.")
    return decisions.new_secret(where, last, {})


def _secrets(name: str, last: str) -> list[Secret | Instance]:
    rows = Secret.objects.kept().select_related("region", "account")
    return [row for row in rows.filter(name=last) if name in {last, row.arn}]


def _instances(name: str, last: str) -> list[Secret | Instance]:
    rows = Instance.objects.registered().select_related("region", "account")
    rows = rows.filter(Q(instance_id=last) | Q(name=last))
    return [row for row in rows if name in {row.instance_id, row.name, row.arn}]


def _one(request: OperatorRequest, rows: list[Secret | Instance], describe: Action) -> Secret | Instance:
    seen = [row for row in rows if decisions.allows(request.principal, describe, row)]
    if not seen:
        raise Unseen("You can see no resource with this name.")
    if len(seen) > 1:
        raise Unseen("Several resources have this name. Enter the ARN of one.")
    return seen[0]
