"""Settings, Notifications: subscriptions, their log, a test message, and the mails of one's own."""

from __future__ import annotations

import csv
import io
from ipaddress import ip_network

import pytest
from django.db import connection
from django.urls import reverse

from console.models import Delivery, Subscription
from console.notices import following, subscriptions, tasks
from secrets_app.models import AuditEvent
from tests import factories, notices_rows, web_receiver

pytestmark = pytest.mark.django_db
LIST = "/settings/notifications/"
GIVEN = {
    "name": "Pager",
    "channel": "webhook",
    "shape": "keyturn",
    "events": ["rotation.failed"],
    "is_enabled": "on",
}


@pytest.fixture
def receiver(settings):
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    with web_receiver.running() as running:
        yield running


def text(answer) -> str:
    return answer.content.decode()


def test_a_webhook_is_created_and_its_key_shown_once_and_its_address_never_again(as_dot, receiver):
    shown = text(as_dot.get(reverse("notification_create")))
    assert "Rotation failed" in shown
    shown = text(as_dot.post(reverse("notification_create"), GIVEN | {"url": receiver.url}))
    row = Subscription.objects.get()
    key = subscriptions.opened(row).key.reveal()
    assert key in shown
    for page in (LIST, reverse("notification", args=[row.pk]), reverse("notification_edit", args=[row.pk])):
        again = text(as_dot.get(page))
        assert "Pager" in again
        assert key not in again
        assert "a-token-in-the-path" not in again


def test_an_address_that_is_not_allowed_comes_back_beside_its_field(as_dot):
    answer = as_dot.post(reverse("notification_create"), GIVEN | {"url": "https://10.0.0.1/hook"})
    assert answer.status_code == 422
    assert "10.0.0.1 is a private address" in text(answer)
    answer = as_dot.post(reverse("notification_create"), GIVEN)
    assert answer.status_code == 422
    assert "Enter the address that the receiver gave you." in text(answer)
    assert not Subscription.objects.exists()
    mail = {name: value for name, value in GIVEN.items() if name != "shape"} | {"channel": "mail"}
    assert as_dot.post(reverse("notification_create"), mail).status_code == 302
    assert Subscription.objects.get().channel == "mail"


def test_the_secret_of_a_robot_is_kept_sealed_and_shown_on_no_page(as_dot, receiver):
    given = GIVEN | {"url": receiver.url, "robot": "SEC-of-the-robot"}
    answer = as_dot.post(reverse("notification_create"), given)
    assert (answer.status_code, Subscription.objects.count()) == (422, 0)
    assert "Only a robot of DingTalk has a secret of its own." in text(answer)
    assert "SEC-of-the-robot" not in text(answer)
    shown = [text(as_dot.post(reverse("notification_create"), given | {"shape": "dingtalk"}))]
    row = Subscription.objects.get()
    assert subscriptions.opened(row).robot.reveal() == "SEC-of-the-robot"
    for name in ("notification", "notification_edit"):
        shown.append(text(as_dot.get(reverse(name, args=[row.pk]))))
    assert not [page for page in shown if "SEC-of-the-robot" in page]
    assert "SEC-of-the-robot" not in str(list(AuditEvent.objects.values()))


def test_a_stale_edit_changes_nothing_and_an_edit_without_an_address_keeps_it(as_dot, receiver, dot):
    row = notices_rows.subscription()
    change = {name: value for name, value in GIVEN.items() if name != "channel"} | {"name": "Chat"}
    url = reverse("notification_edit", args=[row.pk])
    assert as_dot.post(url, change | {"revision": "7"}).status_code == 409
    assert as_dot.post(url, change | {"revision": "1"}).status_code == 302
    row.refresh_from_db()
    assert (row.name, row.revision, row.subscriber) == ("Chat", 2, dot.principal)
    assert subscriptions.opened(row).url.reveal() == notices_rows.ADDRESS
    old = subscriptions.opened(row).key
    shown = text(as_dot.post(url, change | {"revision": "2", "new_key": "on"}))
    row.refresh_from_db()
    new = subscriptions.opened(row).key
    assert new != old
    assert new.reveal() in shown


def test_a_test_message_says_what_the_receiver_answers(as_dot, receiver):
    as_dot.post(reverse("notification_create"), GIVEN | {"url": receiver.url})
    row = Subscription.objects.get()
    url = reverse("notification_test", args=[row.pk])
    assert "The test message was accepted." in text(as_dot.post(url, follow=True))
    receiver.status = 404
    assert "The receiver answers with status 404." in text(as_dot.post(url, follow=True))
    assert [sent.headers["Keyturn-Event"] for sent in receiver.received] == ["test", "test"]
    event = AuditEvent.objects.filter(action="kms:ManageNotifications").latest("sequence")
    assert (event.details["did"], event.details["answer"]) == ("send test", 404)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE console_subscription SET name_pattern = %s", ["other/*"])
    assert "changed outside Keyturn" in text(as_dot.post(url, follow=True))
    assert len(receiver.received) == 2


def test_the_log_shows_answers_and_sends_again(as_dot):
    row = notices_rows.subscription()
    delivery = notices_rows.delivery(row, factories.secret())
    shown = text(as_dot.get(reverse("notification", args=[row.pk])))
    for said in ("Rotation failed", "503", "Failed", "Send again"):
        assert said in shown
    answer = as_dot.post(reverse("delivery_again", args=[delivery.pk]))
    assert answer.status_code == 302
    delivery.refresh_from_db()
    assert delivery.state == Delivery.State.WAITING
    assert as_dot.post(reverse("delivery_again", args=[delivery.pk])).status_code == 409


def test_the_log_is_exported_and_holds_no_address(as_dot):
    row = notices_rows.subscription()
    delivery = notices_rows.delivery(row, factories.secret())
    url = reverse("deliveries_export", args=[row.pk])
    assert url in text(as_dot.get(reverse("notification", args=[row.pk])))
    answer = as_dot.get(url)
    assert answer.status_code == 200
    content = b"".join(answer.streaming_content).decode()
    (told,) = csv.DictReader(io.StringIO(content.removeprefix("\ufeff")))
    assert (told["delivery_id"], told["event"], told["state"]) == (
        str(delivery.pk),
        "rotation.failed",
        "failed",
    )
    assert told["answer"] == "503"
    assert notices_rows.ADDRESS not in content
    assert AuditEvent.objects.latest("sequence").action == "kms:ExportDeliveries"


def test_a_deleted_subscription_is_gone_with_its_log_and_not_from_the_trail(as_dot):
    row = notices_rows.subscription()
    notices_rows.delivery(row)
    assert "is not sent" in text(as_dot.get(reverse("notification_delete", args=[row.pk])))
    assert as_dot.post(reverse("notification_delete", args=[row.pk])).status_code == 302
    assert not Subscription.objects.exists()
    assert not Delivery.objects.exists()
    assert AuditEvent.objects.latest("sequence").details["did"] == "delete"


def test_a_user_chooses_their_own_mails_and_nobody_elses(client, ann, mail_server):
    client.force_login(ann)
    following.follow()
    url = reverse("own_notifications")
    assert "no e-mail address" in text(client.get(url))
    client.post(url, {"events": ["rotation.failed", "no.such"]})
    assert not Subscription.objects.exists()
    assert client.post(url, {"events": ["rotation.failed"], "digest": "60"}).status_code == 302
    row = Subscription.objects.get()
    assert (row.subscriber, row.is_own, row.events) == (ann.principal, True, ["rotation.failed"])
    assert "checked" in text(client.get(url))
    client.post(url, {})
    row.refresh_from_db()
    assert (row.is_enabled, row.events) == (False, [])
    tasks.tell()
    assert mail_server.messages == []


def test_the_mails_of_a_user_are_not_among_the_subscriptions_that_administrators_manage(as_dot, ann):
    subscriptions.choose_own(ann.principal, ("rotation.failed",), None)
    row = Subscription.objects.get()
    assert "Own mails" not in text(as_dot.get(LIST))
    for name in ("notification", "notification_edit", "notification_delete"):
        assert as_dot.get(reverse(name, args=[row.pk])).status_code == 404
