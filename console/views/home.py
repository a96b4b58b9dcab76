"""Where the product opens: the first steps until there is a secret, then the overview."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from console import access
from console.http import OperatorRequest
from rotation.models import HostKey, Instance, ManagementCredential, Run
from secrets_app.models import Region, Secret
from secrets_app.policies import Action


@dataclass(frozen=True)
class Progress:
    """Which of the first steps this installation has taken."""

    has_credential: bool
    has_instance: bool
    has_secret: bool
    has_rotated: bool
    has_read: bool

    @property
    def is_granted(self) -> bool:
        return self.has_credential and self.has_instance

    @property
    def done(self) -> int:
        return sum([self.is_granted, self.has_secret, self.has_rotated, self.has_read])

    @property
    def is_complete(self) -> bool:
        return self.done == 4

    @property
    def next_step(self) -> int:
        """The first step that is not taken, counted from 1; 0 where all are."""
        ticks = [self.is_granted, self.has_secret, self.has_rotated, self.has_read]
        return ticks.index(False) + 1 if False in ticks else 0


@login_required
@require_safe
def home(request: OperatorRequest) -> HttpResponse:
    begins = access.may(request, Action.CREATE_SECRET) and not progress().has_secret
    if not begins and access.may_open(request, "overview"):
        return redirect("overview", region=access.ALL_REGIONS)
    if not begins and access.may_open(request, "secrets"):
        return redirect("secrets", region=access.ALL_REGIONS)
    return redirect("get_started")


@login_required
@require_safe
def get_started(request: OperatorRequest) -> HttpResponse:
    newest = _newest(request)
    context = {
        "progress": progress(),
        "region": _only_region(),
        "newest": newest,
        "may_grant": access.may(request, Action.CREATE_CREDENTIAL),
        "may_register": access.may(request, Action.REGISTER_INSTANCE),
        "may_create": access.may(request, Action.CREATE_SECRET),
        "may_list": access.may(request, Action.LIST_SECRETS),
        "may_watch": access.may(request, Action.LIST_RUNS),
        "may_rotate": access.may(request, Action.ROTATE_SECRET),
        "may_reveal": access.may(request, Action.GET_SECRET_VALUE),
    }
    return render(request, "home/get_started.html", context)


def progress() -> Progress:
    """Ask the store, so that a step is ticked whoever took it, and however."""
    ready = Instance.objects.filter(credential__isnull=False, host_keys__state=HostKey.State.APPROVED)
    kept = Secret.objects.kept()
    rotated = Run.objects.filter(kind=Run.Kind.ROTATE, outcome=Run.Outcome.SUCCEEDED)
    return Progress(
        has_credential=ManagementCredential.objects.exists(),
        has_instance=ready.exists(),
        has_secret=kept.exists(),
        has_rotated=rotated.exists(),
        has_read=kept.filter(last_read_at__isnull=False).exists(),
    )


def _only_region() -> str:
    """The one region there is; All regions where there are more."""
    codes = list(Region.objects.filter(retired_at__isnull=True).values_list("code", flat=True)[:2])
    return codes[0] if len(codes) == 1 else access.ALL_REGIONS


def _newest(request: OperatorRequest) -> Secret | None:
    """The secret that the later steps are about; none for who sees no list."""
    if not access.may(request, Action.LIST_SECRETS):
        return None
    seen = access.secrets(request, access.ALL_REGIONS).filter(deletion_planned_at__isnull=True)
    return seen.order_by("-created_at").first()
