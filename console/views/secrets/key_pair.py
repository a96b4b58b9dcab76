"""What a key pair needs beside a password's screens: the public half of a pasted key, and a file name."""

from __future__ import annotations

import re

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_POST

from console.access import resources
from console.forms.secrets.key_pair import PublicHalf
from console.http import OperatorRequest
from secrets_app.crypto import key_pairs
from secrets_app.models import ECS_PREFIX, Secret
from secrets_app.policy.decisions import Action


@login_required
@require_POST
@never_cache
@sensitive_post_parameters("private_key")
def public_half(request: OperatorRequest, region: str) -> HttpResponse:
    """The public key and the fingerprint of a private key that is being entered."""
    resources.require(request, Action.CREATE_SECRET)
    resources.region(request, region)
    form = PublicHalf(request.POST)
    return render(request, "secrets/_public_half.html", described(form.public_key()) | {"form": form})


def described(public_key: str) -> dict[str, str]:
    """What a screen shows of a public key; empty without one."""
    fingerprint = key_pairs.fingerprint(public_key) if public_key else ""
    return {"public_key": public_key, "fingerprint": fingerprint}


def file_name(secret: Secret, suffix: str = ".pem") -> str:
    """A name for the file of a value that no shell and no option parser mistakes."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", secret.name.removeprefix(ECS_PREFIX)).strip("-.")
    return f"{name[:80] or 'key'}{suffix}"
