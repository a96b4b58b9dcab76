"""Where the product opens: the first steps until there is a secret, then the overview."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from console.access import resources
from console.http import OperatorRequest
from rotation.models import HostKey, Run
from secrets_app.models import Secret
from secrets_app.policy.decisions import Action

#: What the steps need, as their templates call it.
RIGHTS = {
    "may_grant": Action.CREATE_CREDENTIAL,
    "may_register": Action.REGISTER_INSTANCE,
    "may_create": Action.CREATE_SECRET,
    "may_manage": Action.MANAGE_ACCOUNT,
    "may_list": Action.LIST_SECRETS,
    "may_watch": Action.LIST_RUNS,
    "may_rotate": Action.ROTATE_SECRET,
    "may_reveal": Action.GET_SECRET_VALUE,
}


@dataclass(frozen=True)
class Step:
    """One of the first steps, and whether it is taken."""

    name: str  # of its template
    title: str
    is_done: bool


@dataclass(frozen=True)
class Progress:
    """The first steps that this person has a right for, and which of them are taken."""

    steps: tuple[Step, ...]
    has_credential: bool
    has_instance: bool

    @property
    def done(self) -> int:
        return sum(step.is_done for step in self.steps)

    @property
    def is_complete(self) -> bool:
        return self.done == len(self.steps)

    @property
    def next_step(self) -> str:
        """The first step that is not taken; nothing where all are."""
        return next((step.name for step in self.steps if not step.is_done), "")


@login_required
@require_safe
def home(request: OperatorRequest) -> HttpResponse:
    begins = resources.may(request, Action.CREATE_SECRET) and not resources.seen_secrets(request).exists()
    if not begins and resources.may_open(request, "overview"):
        return redirect("overview", region=resources.ALL_REGIONS)
    if not begins and resources.may_open(request, "secrets"):
        return redirect("secrets", region=resources.ALL_REGIONS)
    return redirect("get_started")


@login_required
@require_safe
def get_started(request: OperatorRequest) -> HttpResponse:
    rights = {name: resources.may(request, action) for name, action in RIGHTS.items()}
    context = {
        "progress": progress(request, rights),
        "region": _only_region(request),
        "newest": _newest(request),
        **rights,
    }
    return render(request, "home/get_started.html", context)


def progress(request: OperatorRequest, rights: dict[str, bool]) -> Progress:
    """Ask the database, so that a step completes whichever user performed it; of what this user may see."""
    seen = resources.seen_instances(request)
    has_instance = seen.filter(credential__isnull=False, host_keys__state=HostKey.State.APPROVED).exists()
    has_credential = has_instance or (
        resources.may(request, Action.LIST_CREDENTIALS) and resources.credentials(request).exists()
    )
    # The steps lead to a value that an instance accepts: a generic secret is none of them.
    kept = resources.seen_secrets(request).filter(managed__isnull=False)
    rotated = Run.objects.filter(kind=Run.Kind.ROTATE, outcome=Run.Outcome.SUCCEEDED, secret__in=kept)
    possible = (
        (("may_grant", "may_register"), "grant", "Grant permissions", has_instance),
        (("may_create",), "create", "Create Secret", kept.exists()),
        (("may_rotate", "may_watch"), "monitor", "Monitor its rotation", rotated.exists()),
        (
            ("may_reveal",),
            "log_on",
            "Log on with the current secret",
            kept.filter(last_read_at__isnull=False).exists(),
        ),
    )
    steps = [
        Step(name, title, done) for one_of, name, title, done in possible if any(map(rights.get, one_of))
    ]
    return Progress(tuple(steps), has_credential, has_instance)


def _only_region(request: OperatorRequest) -> str:
    """The one region that this person sees; All regions where there are more."""
    codes = [region.code for region in resources.shown_regions(request)]
    return codes[0] if len(codes) == 1 else resources.ALL_REGIONS


def _newest(request: OperatorRequest) -> Secret | None:
    """The secret that the later steps are about; none for who sees no list."""
    if not resources.may(request, Action.LIST_SECRETS):
        return None
    seen = resources.secrets(request, resources.ALL_REGIONS).filter(deletion_planned_at__isnull=True)
    return seen.filter(managed__isnull=False).order_by("-created_at").first()
