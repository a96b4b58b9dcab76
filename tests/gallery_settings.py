"""What was retired or deleted, a second region, and the screens of the settings."""

from __future__ import annotations

from console.models import Subscription
from rotation.inventory import management, retirement
from rotation.models import Instance, ManagementCredential
from secrets_app.models import Region
from secrets_app.people import users
from tests import factories, notices_rows


def seed() -> None:
    actor = factories.administrator()
    factories.region("west")
    unused = factories.credential()
    management.delete_credential(factories.credential(), actor=actor, reason="Replaced by another key")
    notices_rows.delivery(notices_rows.subscription("On call"))
    gone = factories.instance(name="old-01", credential=unused)
    retirement.retire(gone, actor=actor, reason="Replaced by web-01")
    users.readdress(factories.user("mia", "administrators"), "mia@example.com", actor=actor)


def paths() -> dict[str, str]:
    gone, used = Instance.objects.get(name="old-01"), Instance.objects.get(name="web-01")
    idle = Instance.objects.get(name="new-01")
    deleted = ManagementCredential.objects.get(deleted_at__isnull=False)
    unused = ManagementCredential.objects.filter(instances=None, deleted_at=None).first()
    assert unused
    west, main = Region.objects.get(code="west"), Region.objects.get(code="main")
    return {
        "settings-regions": "/settings/regions/", "region-create": "/settings/regions/create/",
        "region-rename": f"/settings/regions/{west.pk}/rename/",
        "region-retire": f"/settings/regions/{west.pk}/retire/",
        "region-needed": f"/settings/regions/{main.pk}/retire/",
        "settings-mail": "/settings/mail/", "settings-rules": "/settings/sessions/",
        "settings-notifications": "/settings/notifications/",
        "notification": f"/settings/notifications/{Subscription.objects.get().pk}/",
        "notification-create": "/settings/notifications/create/",
        "own-notifications": "/notifications/",
        "settings-about": "/settings/about/", "settings-health": "/settings/health/",
        "instances-retired": "/all/instances/?status=retired",
        "instance-retired": f"/main/instances/{gone.pk}/",
        "instance-retire": f"/main/instances/{idle.pk}/retire/",
        "instance-needed": f"/main/instances/{used.pk}/retire/",
        "credentials-deleted": "/credentials/?status=deleted",
        "credential-deleted": f"/credentials/{deleted.pk}/",
        "credential-delete": f"/credentials/{unused.pk}/delete/",
        "credential-needed": f"/credentials/{used.credential_id}/delete/",
    }  # fmt: skip
