"""Generic secrets for the gallery: one by its keys, one that is overdue, and their forms."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Secret, SecretVersion
from secrets_app.secrets import generic, lifecycle, versions
from tests import factories


def seed() -> None:
    """Make them, once on each site."""
    if Secret.objects.filter(name="shop/db").exists():
        return
    actor = factories.administrator()
    shop = factories.generic_secret(name="shop/db", value='{"user": "shop", "password": "a-value-1"}')
    value = versions.Value("", text=Plaintext('{"user": "shop", "password": "a-value-2"}'))
    new = generic.put(shop, value, actor=actor, version_id="blue-2026-11")
    generic.relabel(new, ["blue"], becomes_current=False, actor=actor)
    old = factories.generic_secret(name="partner/token", value="a-value-3")
    SecretVersion.objects.filter(secret=old).update(created_at=timezone.now() - timedelta(days=120))
    lifecycle.remind(old, 90)


def paths() -> dict[str, str]:
    shop, old = (Secret.objects.get(name=name) for name in ("shop/db", "partner/token"))
    current = shop.labelled("current")
    assert current
    one = f"/main/secrets/{shop.pk}/"
    return {
        "generic-create": "/main/secrets/create/generic/",
        "generic": one,
        "generic-versions": f"{one}?tab=versions",
        "generic-value": f"{one}value/",
        "generic-edit-value": f"{one}value/edit/",
        "generic-labels": f"{one}versions/{current.pk}/labels/",
        "generic-edit": f"{one}edit/",
        "generic-overdue": f"/main/secrets/{old.pk}/",
    }
