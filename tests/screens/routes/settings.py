"""Deeds on the settings of the installation."""

from __future__ import annotations

from console.notices import subscriptions
from console.notices.subscriptions import Wanted
from secrets_app.crypto.plaintext import Plaintext
from tests import factories, notices_rows
from tests.screens.routes.calls import Call, Cast, Make


def rename(cast: Cast) -> Call:
    made = factories.region("west")
    return Call([made.pk], {"name": "Far west", "was": made.name}, ("kms:UpdateRegion",))


def retire(cast: Cast) -> Call:
    factories.region("main")
    made = factories.region("west")
    return Call([made.pk], {"name": made.name, "reason": "moved"}, ("kms:RetireRegion",))


MANAGE = ("kms:ManageNotifications",)


def subscribe(cast: Cast) -> Call:
    given = {"name": "Pager", "channel": "mail", "shape": "keyturn", "events": ["rotation.failed"]}
    return Call([], given, MANAGE)


def resubscribe(cast: Cast) -> Call:
    made = notices_rows.subscription()
    given = {"name": "Chat", "shape": "slack", "events": ["rotation.failed"], "revision": "1"}
    return Call([made.pk], given, MANAGE)


def one_subscription(cast: Cast) -> Call:
    return Call([notices_rows.subscription().pk], {}, MANAGE)


def one_of_mail(cast: Cast) -> Call:
    wanted = Wanted("Own", "mail", ("rotation.failed",))
    made, _ = subscriptions.create(wanted, actor=cast.dot.principal, url=Plaintext(""))
    return Call([made.pk], {}, MANAGE)


def export_log(cast: Cast) -> Call:
    made = notices_rows.subscription()
    return Call([made.pk], {}, ("kms:ExportDeliveries",), "get", refused="kms:ManageNotifications")


def again(cast: Cast) -> Call:
    return Call([notices_rows.delivery(notices_rows.subscription()).pk], {}, MANAGE)


CHANGES: dict[str, Make] = {
    "notification_create": subscribe,
    "notification_edit": resubscribe,
    "notification_delete": one_subscription,
    "notification_test": one_of_mail,
    "delivery_again": again,
    "deliveries_export": export_log,
    "settings_mail_test": lambda cast: Call([], {}, ("kms:SendTestMail",)),
    "region_create": lambda cast: Call([], {"code": "north", "name": "North"}, ("kms:CreateRegion",)),
    "region_rename": rename,
    "region_retire": retire,
}
