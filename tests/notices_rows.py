"""A subscription with one delivery, for tests of screens: nothing is sent."""

from __future__ import annotations

from django.utils import timezone

from console.models import Delivery, Subscription
from console.notices import deliveries, kinds, subscriptions
from console.notices.subscriptions import Wanted
from secrets_app.audit import trail
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Principal, Secret
from secrets_app.people import users
from tests import factories

ADDRESS = "https://hooks.example.com/services/a-token-in-the-path"


def subscription(
    name: str = "Pager", *, channel: str = "webhook", actor: Principal | None = None
) -> Subscription:
    """By mail, a test message leaves this machine in no case: no mail server is configured."""
    wanted = Wanted(name, channel, kinds.DEFAULT, shape="slack")
    made, _ = subscriptions.create(wanted, actor=actor or factories.administrator(), url=Plaintext(ADDRESS))
    return made


def delivery(of: Subscription, secret: Secret | None = None) -> Delivery:
    """One that was not accepted within a day."""
    about = secret or "acs:kms:::settings"
    details = {"outcome": "failed", "code": "unreachable"}
    trail.record("kms:RotationEnded", about, actor=users.system(), outcome="failed", details=details)
    event = AuditEvent.objects.latest("sequence")
    deliveries.line_up([(of, event, kinds.BY_NAME["rotation.failed"])])
    row = Delivery.objects.get(sequence=event.sequence, subscription=of)
    Delivery.objects.filter(pk=row.pk).update(give_up_at=timezone.now())
    row.refresh_from_db()
    deliveries.note_failed([row], timezone.now(), 503, "The receiver answers with status 503.")
    row.refresh_from_db()
    return row
