"""What is told to whom: by the trail, in order, with a signature, and only what the subscriber may see."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import parse_qs

import pytest
from django.db import connection, transaction
from django.utils import timezone

from console.models import Delivery, NotedCondition, NoticeCursor, Subscription
from console.notices import (
    addresses,
    conditions,
    deliveries,
    following,
    kinds,
    sending,
    subscriptions,
    tasks,
    webhooks,
)
from console.notices.subscriptions import Wanted
from console.process import health
from rotation.models import Schedule
from secrets_app import seals
from secrets_app.actions import Action
from secrets_app.audit import checkpoints, trail
from secrets_app.backups import backups
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Principal, Secret
from secrets_app.people import users
from secrets_app.policy import grants
from secrets_app.secrets import lifecycle
from tests import factories, web_receiver

pytestmark = pytest.mark.django_db
HOOK = Wanted("Pager", "webhook", kinds.DEFAULT, shape="keyturn")


@pytest.fixture
def receiver(settings) -> Iterator[web_receiver.Receiver]:
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    with web_receiver.running() as running:
        yield running


@pytest.fixture
def actor() -> Principal:
    following.follow()  # what happened before is told to no subscriber
    return factories.administrator()


def subscribe(
    receiver: web_receiver.Receiver, actor: Principal, **more: Any
) -> tuple[Subscription, Plaintext]:
    return subscriptions.create(replace(HOOK, **more), actor=actor, url=Plaintext(receiver.url))


def end_rotation(secret: Secret, outcome: str = "failed", code: str = "unreachable") -> AuditEvent:
    done = "succeeded" if outcome == "succeeded" else "failed"
    details = {"outcome": outcome, "truth": "old", "code": code}
    trail.record("kms:RotationEnded", secret, actor=users.system(), outcome=done, details=details)
    return AuditEvent.objects.latest("sequence")


def told(receiver: web_receiver.Receiver) -> list[tuple[str, str]]:
    return [(sent.content["event"], sent.content.get("name", "")) for sent in receiver.accepted]


def states() -> list[str]:
    return list(Delivery.objects.order_by("sequence").values_list("state", flat=True))


def make_due() -> None:
    Delivery.objects.filter(state="waiting").update(due_at=timezone.now())
    Subscription.objects.update(paused_until=None)


# ---------------------------------------------------------------- the trail is followed


def test_a_failed_rotation_is_told_once_and_a_successful_one_is_not_unless_it_is_chosen(receiver, actor):
    subscribe(receiver, actor)
    secret = factories.secret()
    end_rotation(secret)
    end_rotation(secret, "succeeded", "")
    for _ in range(3):
        tasks.tell()
    assert told(receiver) == [("rotation.failed", secret.name)]


def test_what_is_rolled_back_is_told_to_nobody(receiver, actor):
    subscribe(receiver, actor)
    secret = factories.secret()
    with transaction.atomic():
        end_rotation(secret)
        transaction.set_rollback(True)
    tasks.tell()
    assert told(receiver) == []
    end_rotation(secret)
    tasks.tell()
    assert len(told(receiver)) == 1


def test_the_cursor_and_what_it_has_lined_up_are_stored_together_or_not_at_all(receiver, actor, monkeypatch):
    subscribe(receiver, actor)
    end_rotation(factories.secret())
    before = NoticeCursor.objects.get().sequence

    def die(*_: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patched:
        patched.setattr(deliveries, "line_up", die)
        with pytest.raises(SystemExit):
            following.follow()
    assert NoticeCursor.objects.get().sequence == before
    tasks.tell()
    assert len(told(receiver)) == 1


def test_following_the_same_events_again_lines_nothing_up_twice(receiver, actor):
    subscribe(receiver, actor)
    end_rotation(factories.secret())
    begin = NoticeCursor.objects.get().sequence
    tasks.tell()
    NoticeCursor.objects.update(sequence=begin)
    tasks.tell()
    assert len(receiver.received) == 1


def test_a_subscription_chooses_by_region_tag_and_name(receiver, actor):
    main = factories.secret(name="db-main")
    west = factories.secret(instance=factories.instance(region=factories.region("west")), name="db-west")
    tagged = factories.secret(name="web-1", tags={"team": "a", "env": "live"})
    for number, more in enumerate(
        ({"regions": ("west",)}, {"name_pattern": "acs/ecs/db-*"}, {"tag_key": "team", "tag_value": "a"},
         {"tag_key": "team", "tag_value": "b"}, {"tag_key": "env"})
    ):  # fmt: skip
        subscribe(receiver, actor, name=f"{number}", **more)
    for secret in (main, west, tagged):
        end_rotation(secret)
    tasks.tell()
    found = sorted(
        (row.subscription.name, row.about) for row in Delivery.objects.select_related("subscription")
    )
    expected = [("0", west.pk), ("1", main.pk), ("1", west.pk), ("2", tagged.pk), ("4", tagged.pk)]
    assert found == sorted(expected)


def test_each_event_of_the_table_is_recognized():
    def of(action: str, came_of_it: str = "succeeded", **details: Any) -> list[str]:
        event = AuditEvent(action=action, outcome=came_of_it, details=details)
        return [kind.name for kind in kinds.of(event)]

    assert of("kms:RotationEnded", "failed", outcome="blocked", code="host_key_changed") == [
        "identity.changed", "rotation.blocked",
    ]  # fmt: skip
    assert of("kms:RotationMissed", "failed") == ["rotation.missed"]
    assert of("kms:DriftCheckEnded", "failed", code="changed_outside") == ["drift.found"]
    assert of("kms:DriftCheckEnded", "failed", code="unreachable") == []
    assert of("kms:DeleteSecret", days=7) == ["deletion.planned"]
    assert of("kms:DeleteSecret", immediately=True) == ["deletion.purged"]
    assert of("kms:PurgeSecret") == ["deletion.purged"]
    assert of("kms:RestoreSecret") == ["secret.restored"]
    assert of("kms:GetSecretValue") == ["value.revealed"]
    assert of("kms:GetSecretValue", access_key="AKIA") == []  # programs read all day long
    assert of("kms:GetSecretValue", "denied") == []
    assert of("kms:CreateGrant") == of("kms:SetSecretPolicy") == ["rights.changed"]
    assert of("kms:DisableKey") == ["key.disabled"]
    assert of("kms:NoticeChange", "failed") == ["integrity.changed"]
    assert {kind.name for kind in kinds.ALL if kind.is_default} == set(kinds.DEFAULT)


# ---------------------------------------------------------------- rights


def test_a_subscriber_is_told_only_what_they_may_see_when_it_is_sent(receiver, actor):
    secret = factories.secret()
    eve = factories.user("eve", "administrators")
    subscribe(receiver, eve.principal)
    end_rotation(secret)
    following.follow()
    factories.deny("kms:DescribeSecret")
    sending.send_due()
    assert receiver.received == []
    assert states() == ["withheld"]


def test_a_disabled_subscriber_is_told_nothing(receiver, actor):
    eve = factories.user("eve", "administrators")
    subscribe(receiver, eve.principal)
    end_rotation(factories.secret())
    users.disable(eve, actor=actor)
    tasks.tell()
    assert receiver.received == []


def test_a_webhook_ends_with_the_right_of_its_subscriber_to_manage_notifications(receiver, actor):
    eve = factories.user("eve", "administrators")
    subscribe(receiver, eve.principal)
    end_rotation(factories.secret())
    factories.deny("kms:ManageNotifications")
    tasks.tell()
    assert receiver.received == []


def test_what_belongs_to_the_trail_needs_the_right_to_read_the_trail(receiver, actor):
    eve = factories.user("eve", "administrators")
    subscribe(receiver, eve.principal, events=("value.revealed",))
    factories.deny("kms:ListAuditEvents")
    trail.record("kms:GetSecretValue", factories.secret(), actor=actor)
    tasks.tell()
    assert (receiver.received, states()) == ([], ["withheld"])


def test_who_edits_a_subscription_becomes_its_subscriber(receiver, actor):
    eve = factories.user("eve", "administrators")
    row, _ = subscribe(receiver, actor)
    subscriptions.edit(
        row, HOOK, revision=row.revision, actor=eve.principal, url=Plaintext(receiver.url + "2")
    )
    row.refresh_from_db()
    assert row.subscriber == eve.principal
    with pytest.raises(subscriptions.Outdated):
        subscriptions.edit(row, HOOK, revision=1, actor=actor)


def test_a_subscription_that_was_changed_in_the_database_sends_nothing(receiver, actor):
    subscribe(receiver, actor)
    end_rotation(factories.secret())
    following.follow()
    with connection.cursor() as cursor:
        eve = factories.user("eve", "administrators").principal.pk
        name = eve.hex if connection.vendor == "sqlite" else str(eve)
        cursor.execute("UPDATE console_subscription SET subscriber_id = %s", [name])
    sending.send_due()
    assert (receiver.received, states()) == ([], ["withheld"])
    assert Delivery.objects.get().problem == sending.CHANGED


# ---------------------------------------------------------------- what is sent


def test_a_request_is_signed_over_its_time_and_body_and_has_an_id_that_stays(receiver, actor):
    _, key = subscribe(receiver, actor)
    end_rotation(factories.secret())
    receiver.status = 500
    tasks.tell()
    receiver.status = 200
    make_due()
    tasks.tell()
    first, second = receiver.received
    assert first.headers["Keyturn-Delivery"] == second.headers["Keyturn-Delivery"] == second.content["id"]
    at, mac = (part.partition("=")[2] for part in second.headers["Keyturn-Signature"].split(","))
    expected = hmac.new(key.encode(), f"{at}.".encode() + second.body, hashlib.sha256).hexdigest()
    assert hmac.compare_digest(mac, expected)
    assert states() == ["sent"]
    assert Delivery.objects.get().attempts == 2


def test_cloudmonitor_is_told_how_rotations_ended_in_its_own_words(receiver, actor):
    subscribe(receiver, actor, shape="cloudmonitor", events=("rotation.failed", "rotation.succeeded"))
    secret = factories.secret()
    end_rotation(secret)
    end_rotation(secret, "succeeded", "")
    tasks.tell()
    bad, good = (sent.content for sent in receiver.accepted)
    assert (bad["name"], good["name"]) == ("Secret:RotateSecret:Failure", "Secret:RotateSecret:Success")
    assert bad["content"]["failureInfo"]["errorCode"] == "unreachable"
    assert (bad["content"]["secretName"], bad["resourceId"]) == (secret.name, secret.arn)
    with pytest.raises(subscriptions.Unfit):
        subscribe(receiver, actor, shape="cloudmonitor", events=("drift.found",))


def test_eventbridge_is_told_in_its_envelope(receiver, actor):
    subscribe(receiver, actor, shape="eventbridge")
    secret = factories.secret()
    end_rotation(secret)
    tasks.tell()
    (sent,) = receiver.accepted
    content = sent.content
    assert (content["version"], content["source"]) == ("0", "aws.secretsmanager")
    assert content["detail-type"] == "AWS Service Event via CloudTrail"
    assert content["detail"]["eventName"] == "RotationFailed"
    assert content["resources"] == [secret.arn]
    assert content["id"] == sent.headers["Keyturn-Delivery"]


@pytest.mark.parametrize("shape", ["slack", "teams", "dingtalk"])
def test_chats_are_told_in_a_message_that_they_accept(receiver, actor, shape):
    subscribe(receiver, actor, shape=shape)
    secret = factories.secret()
    end_rotation(secret)
    tasks.tell()
    (sent,) = receiver.accepted
    content = sent.content
    if shape == "slack":
        text = content["text"]
    elif shape == "teams":
        (part,) = content["attachments"]
        assert (part["contentType"], part["content"]["version"]) == (
            "application/vnd.microsoft.card.adaptive", "1.4",
        )  # fmt: skip
        text = "\n".join(block["text"] for block in part["content"]["body"])
    else:
        assert content["msgtype"] == "text"
        text = content["text"]["content"]
        assert "Keyturn" in text
    assert f"Rotation failed: {secret.name}" in text


def test_a_signed_robot_is_sent_the_signature_that_its_own_secret_makes(receiver, actor):
    secret = Plaintext("SEC-of-the-robot")
    wanted = replace(HOOK, shape="dingtalk")
    row, _ = subscriptions.create(wanted, actor=actor, url=Plaintext(receiver.url), robot=secret)
    end_rotation(factories.secret())
    tasks.tell()
    (sent,) = receiver.accepted
    path, _, query = sent.path.partition("?")
    given = parse_qs(query, strict_parsing=True)
    assert path == "/hook/a-token-in-the-path"
    assert given["sign"] == [robots_signature(given["timestamp"][0], "SEC-of-the-robot")]
    assert abs(int(given["timestamp"][0]) / 1000 - time.time()) < 3600
    assert b"SEC-of-the-robot" not in sent.body
    # A change of anything else keeps it; another address is another robot's.
    subscriptions.edit(row, wanted, revision=1, actor=actor)
    assert subscriptions.opened(Subscription.objects.get()).robot.reveal() == "SEC-of-the-robot"
    subscriptions.edit(row, wanted, revision=2, actor=actor, url=Plaintext(receiver.url + "/other"))
    assert not subscriptions.opened(Subscription.objects.get()).robot


def robots_signature(stamp: str, secret: str) -> str:
    """As DingTalk's page has it: the key is the secret, the text is the time, a line feed and the secret."""
    mac = hmac.digest(secret.encode(), f"{stamp}\n{secret}".encode(), "sha256")
    return base64.b64encode(mac).decode()


def test_a_robots_signature_is_added_to_the_query_that_there_is():
    target = webhooks.signed_by_robot(
        Plaintext("/robot/send?access_token=x"), Plaintext("SECx"), 1700000000000
    )
    path, _, query = target.reveal().partition("?")
    given = parse_qs(query, strict_parsing=True)
    assert (path, given["access_token"], given["timestamp"]) == ("/robot/send", ["x"], ["1700000000000"])
    assert given["sign"] == [robots_signature("1700000000000", "SECx")]


@pytest.mark.parametrize(
    ("shape", "secret"), [("slack", "SECx"), ("dingtalk", "SEC x"), ("dingtalk", "S" * 201)]
)
def test_a_secret_that_is_no_robots_is_refused(receiver, actor, shape, secret):
    with pytest.raises(subscriptions.Unfit):
        subscriptions.create(
            replace(HOOK, shape=shape), actor=actor, url=Plaintext(receiver.url), robot=Plaintext(secret)
        )
    assert not Subscription.objects.exists()


def test_an_error_that_dingtalk_reports_with_status_200_is_a_failure(receiver, actor):
    subscribe(receiver, actor, shape="dingtalk")
    end_rotation(factories.secret())
    receiver.answer = json.dumps({"errcode": 310000, "errmsg": "keywords not in content"}).encode()
    tasks.tell()
    row = Delivery.objects.get()
    assert (row.state, row.problem) == ("waiting", "The receiver reports error 310000.")


def test_no_message_holds_a_value_or_the_reason_that_a_user_gave(receiver, actor):
    secret = factories.secret(initial="A-value-0-that-nobody-reads")
    for shape in Subscription.Shape.values:
        events = kinds.OF_ROTATIONS if shape == "cloudmonitor" else tuple(kinds.BY_NAME)
        subscribe(receiver, actor, shape=shape, events=tuple(events))
    trail.record("kms:GetSecretValue", secret, actor=actor, reason="ticket A-value-0-that-nobody-reads")
    end_rotation(secret)
    tasks.tell()
    assert len(receiver.accepted) >= 11  # CloudMonitor has no word for a value that was shown
    assert not any(b"A-value-0-that-nobody-reads" in sent.body for sent in receiver.accepted)


def test_mail_arrives_at_the_subscribers_own_address_with_an_id_that_stays(mail_server, actor):
    eve = factories.user("eve", "administrators")
    users.readdress(eve, "eve@example.com", actor=actor)
    subscriptions.choose_own(eve.principal, ("rotation.failed",), None)
    secret = factories.secret()
    end_rotation(secret)
    mail_server.refuses = "DATA"
    tasks.tell()
    mail_server.refuses = ""
    make_due()
    tasks.tell()
    (message,) = mail_server.messages
    assert f"Subject: Keyturn: Rotation failed: {secret.name}" in message
    assert f"Message-ID: <{Delivery.objects.get().pk}@keyturn>" in message
    assert any("eve@example.com" in line for line in mail_server.heard)


def test_a_digest_is_one_message_whose_repeat_is_the_same_one(receiver, actor):
    subscribe(receiver, actor, digest=timedelta(hours=1))
    secrets = [factories.secret() for _ in range(3)]
    for secret in secrets:
        end_rotation(secret)
    tasks.tell()
    assert receiver.received == []  # its time has not come
    Delivery.objects.update(created_at=timezone.now() - timedelta(hours=2))
    receiver.status = 503
    tasks.tell()
    end_rotation(secrets[0])
    receiver.status = 200
    make_due()
    tasks.tell()
    first, second = receiver.received
    assert first.content == second.content
    assert [event["name"] for event in second.content["events"]] == [secret.name for secret in secrets]
    assert sorted(states()) == ["sent", "sent", "sent", "waiting"]


# ---------------------------------------------------------------- failures


def test_a_receiver_that_is_away_is_tried_again_with_growing_pauses_and_given_up_after_a_day(receiver, actor):
    row, _ = subscribe(receiver, actor)
    end_rotation(factories.secret())
    receiver.status = 500
    tasks.tell()
    delivery = Delivery.objects.get()
    assert (delivery.state, delivery.answer, delivery.attempts) == ("waiting", 500, 1)
    assert delivery.due_at > timezone.now()
    tasks.tell()
    assert len(receiver.received) == 1  # it is not asked before
    assert [deliveries.pause(n).total_seconds() for n in (0, 1, 2, 50)] == [10, 30, 60, 3600]
    assert delivery.give_up_at - delivery.created_at >= timedelta(hours=23, minutes=59)
    Delivery.objects.update(give_up_at=timezone.now())
    make_due()
    tasks.tell()
    assert states() == ["failed"]
    row.refresh_from_db()
    assert row.problem == "The receiver answers with status 500."


def test_of_one_secret_a_later_event_waits_for_the_earlier_one_and_other_secrets_do_not(receiver, actor):
    subscribe(receiver, actor, events=("rotation.failed", "rotation.succeeded"))
    stuck, free = factories.secret(name="stuck"), factories.secret(name="free")
    receiver.statuses = {'"acs/ecs/stuck"': 400}
    for secret in (stuck, free, stuck, free):
        end_rotation(secret)
    tasks.tell()
    assert told(receiver) == [("rotation.failed", free.name)] * 2
    # In this pass, and in the next one while the earlier one is put off.
    assert [sent.content["name"] for sent in receiver.received].count(stuck.name) == 1
    receiver.statuses = {}
    tried = Delivery.objects.filter(state="waiting", attempts=1)
    assert tried.update(due_at=timezone.now() + timedelta(hours=1)) == 1
    tasks.tell()
    assert [sent.content["name"] for sent in receiver.received].count(stuck.name) == 1
    make_due()
    tasks.tell()
    of_stuck = [sent.content["sequence"] for sent in receiver.accepted if sent.content["name"] == stuck.name]
    assert of_stuck == sorted(of_stuck)
    assert len(of_stuck) == 2


def test_a_redirect_is_not_followed(receiver, actor):
    subscribe(receiver, actor)
    end_rotation(factories.secret())
    receiver.status = 302
    tasks.tell()
    assert [sent.path for sent in receiver.received] == ["/hook/a-token-in-the-path"]
    assert Delivery.objects.get().problem.startswith("The receiver answers with a redirect")


def test_an_answer_that_never_ends_holds_the_process_for_a_limited_time(receiver, actor, monkeypatch):
    monkeypatch.setattr(webhooks, "SECONDS", 0.5)
    subscribe(receiver, actor)
    end_rotation(factories.secret())
    receiver.drips = True
    tasks.tell()
    assert "No complete answer" in Delivery.objects.get().problem


def test_a_certificate_that_is_not_trusted_gets_no_request(actor, settings, mail_server, monkeypatch):
    settings.WEBHOOK_NETWORKS = (ip_network("127.0.0.0/8"),)
    with web_receiver.running(mail_server.context) as receiver:
        subscribe(receiver, actor)
        end_rotation(factories.secret())
        monkeypatch.delenv("SSL_CERT_FILE")
        tasks.tell()
        assert receiver.received == []
        assert "certificate is not trusted" in Delivery.objects.get().problem
        monkeypatch.setenv("SSL_CERT_FILE", str(mail_server.certificate))
        make_due()
        tasks.tell()
        assert len(receiver.accepted) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/x", "https://10.1.2.3/", "https://169.254.169.254/latest", "https://[::1]/",
        "https://[::ffff:10.0.0.1]/", "http://hooks.example.com/", "ftp://example.com/",
        "https://user:word@example.com/", "https://exa mple.com/", "https://example.com\\@127.0.0.1/",
        "https://example.com:99999/", "//example.com/", "https://", "https://100.100.100.200/",
    ],
)  # fmt: skip
def test_a_private_or_odd_address_is_no_webhook(url):
    with pytest.raises(addresses.BadAddress):
        addresses.place(Plaintext(url))


def test_a_name_that_leads_to_a_private_address_is_not_connected_to(receiver, actor, settings):
    settings.WEBHOOK_NETWORKS = ()
    url = Plaintext(f"https://localhost:{receiver.port}/x")
    answer = webhooks.post(url, Plaintext("key"), b"{}", delivery=uuid.uuid4(), kind="test")
    assert "may not use" in answer.problem
    assert receiver.received == []


def test_only_the_hosts_that_are_named_are_webhooks_where_some_are(settings):
    settings.WEBHOOK_HOSTS = ["hooks.slack.com", "*.example.com"]
    assert addresses.place(Plaintext("https://hooks.slack.com/services/T/B/x")).host == "hooks.slack.com"
    assert addresses.place(Plaintext("https://a.b.example.com/")).host == "a.b.example.com"
    for host in ("example.com", "evil-example.com", "hooks.slack.com.evil.test"):
        with pytest.raises(addresses.BadAddress):
            addresses.place(Plaintext(f"https://{host}/"))


def test_the_address_and_the_key_stand_nowhere_in_the_clear(receiver, actor):
    row, key = subscribe(receiver, actor)
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM console_subscription")
        stored = str(cursor.fetchall())
    texts = [stored, repr(row), str(vars(row)), str(list(AuditEvent.objects.values()))]
    assert not any("a-token-in-the-path" in text or key.reveal() in text for text in texts)
    subscriptions.delete(row, actor=actor)
    assert not type(row.sealed).objects.filter(pk=row.sealed_id).exists()


# ---------------------------------------------------------------- what no action leaves in the trail


def events(action: str) -> int:
    return AuditEvent.objects.filter(action=action).count()


def test_an_overdue_rotation_is_recorded_once_for_each_date(actor):
    secret = factories.secret(is_on=True, period=timedelta(days=1))
    Schedule.objects.filter(secret=secret).update(next_at=timezone.now() - timedelta(hours=1))
    assert [conditions.look(), conditions.look()] == [1, 0]
    Schedule.objects.filter(secret=secret).update(next_at=timezone.now() - timedelta(minutes=30))
    assert (conditions.look(), events(kinds.OVERDUE)) == (1, 2)


def test_a_value_that_a_reminder_calls_overdue_is_recorded_once_for_each_period(actor):
    secret = factories.generic_secret()
    assert conditions.look() == 0
    lifecycle.remind(secret, 7)
    assert conditions.look() == 0

    def due(**ago: int) -> None:
        Secret.objects.filter(pk=secret.pk).update(reminder_due_at=timezone.now() - timedelta(**ago))

    due(hours=1)
    assert [conditions.look(), conditions.look()] == [1, 0]
    (event,) = AuditEvent.objects.filter(action=kinds.VALUE_OVERDUE)
    assert ([kind.name for kind in kinds.of(event)], event.resource_id) == (["value.overdue"], secret.pk)
    Secret.objects.filter(pk=secret.pk).update(reminder_days=30)
    due(days=15)
    assert [conditions.look(), conditions.look()] == [1, 0]
    # As if two more periods had passed: that it still is is told, and not for each of them.
    Secret.objects.filter(pk=secret.pk).update(reminder_days=7)
    assert [conditions.look(), conditions.look()] == [1, 0]
    Secret.objects.filter(pk=secret.pk).update(deletion_planned_at=timezone.now())
    due(days=30)
    assert conditions.look() == 0


def test_a_deletion_that_comes_within_three_days_is_recorded_once(actor):
    secret = factories.secret()
    Secret.objects.filter(pk=secret.pk).update(
        deletion_planned_at=timezone.now(), deletion_due_at=timezone.now() + timedelta(days=7)
    )
    assert conditions.look() == 0
    Secret.objects.filter(pk=secret.pk).update(deletion_due_at=timezone.now() + timedelta(days=2))
    assert [conditions.look(), conditions.look()] == [1, 0]


def test_a_checkpoint_that_is_not_exported_is_recorded(actor, settings, tmp_path, monkeypatch):
    settings.AUDIT_EXPORT_FILE = tmp_path / "checkpoints.jsonl"
    factories.secret()
    assert checkpoints.sign_and_export() is not None
    assert conditions.checkpoint_problem() == ""
    monkeypatch.setattr(conditions, "UNEXPORTED_FOR", timedelta(0))
    assert conditions.checkpoint_problem() == ""
    settings.AUDIT_EXPORT_FILE.unlink()
    assert conditions.checkpoint_problem() == "not_exported"
    assert (conditions.look(), conditions.look(), events(kinds.CHECKPOINT_FAILED)) == (1, 0, 1)


def test_a_backup_that_stays_away_is_recorded_once_a_day_and_one_that_is_just_due_is_not(
    actor, settings, tmp_path, monkeypatch
):
    settings.BACKUP_FOLDER, settings.BACKUP_RECIPIENTS = tmp_path, []
    assert (conditions.look(), conditions.is_backup_old()) == (0, False)  # none is taken
    settings.BACKUP_RECIPIENTS = ["age1example"]
    assert conditions.look() == 0  # none is there yet; the first one is taken within minutes
    monkeypatch.setattr(conditions, "BACKUP_LATE_FOR", timedelta(0))
    assert (conditions.look(), conditions.look(), events(kinds.BACKUP_OLD)) == (1, 0, 1)
    (tmp_path / f"keyturn-{timezone.now():%Y%m%dT%H%M%SZ}.backup").touch()
    assert conditions.look() == 0
    assert not NotedCondition.objects.filter(name="backup").exists()  # so that the next time is told too


def test_a_backup_folder_that_cannot_be_read_is_recorded_and_stops_no_other_look(
    actor, settings, tmp_path, monkeypatch
):
    def fail() -> datetime:
        raise PermissionError(13, "Permission denied")

    settings.BACKUP_RECIPIENTS = ["age1example"]
    monkeypatch.setattr(backups, "newest", fail)
    monkeypatch.setattr(conditions, "BACKUP_LATE_FOR", timedelta(0))
    assert conditions.look() == 1
    assert events(kinds.BACKUP_OLD) == 1


def test_beat_records_that_no_worker_runs_and_sends_what_is_due_itself(receiver, actor, monkeypatch):
    subscribe(receiver, actor)
    tasks.stand_in()
    assert events(kinds.WORKER_AWAY) == 0  # none was seen since the start
    health.beat("worker")
    end_rotation(factories.secret())
    tasks.stand_in()
    assert (events(kinds.WORKER_AWAY), receiver.received) == (0, [])  # a worker runs, and sends it
    monkeypatch.setattr(conditions, "WORKER_AWAY_FOR", timedelta(0))
    tasks.stand_in()
    tasks.stand_in()
    assert events(kinds.WORKER_AWAY) == 1
    assert [kind for kind, _ in told(receiver)] == ["rotation.failed", "worker.away"]
    monkeypatch.undo()
    tasks.stand_in()
    assert not NotedCondition.objects.filter(name="worker").exists()  # so that the next time is told too


# ---------------------------------------------------------------- by hand


def test_a_delivery_that_was_given_up_is_sent_again_with_the_same_id(receiver, actor):
    subscribe(receiver, actor)
    end_rotation(factories.secret())
    tasks.tell()
    row = Delivery.objects.get()
    with transaction.atomic():
        deliveries.send_again(row, actor=actor)
    with pytest.raises(deliveries.StillWaiting):
        deliveries.send_again(row, actor=actor)
    tasks.tell()
    first, second = receiver.received
    assert first.headers["Keyturn-Delivery"] == second.headers["Keyturn-Delivery"]


def test_the_log_of_what_was_told_is_kept_for_thirty_days(receiver, actor):
    subscribe(receiver, actor)
    end_rotation(factories.secret())
    tasks.tell()
    assert deliveries.prune() == 0
    Delivery.objects.update(ended_at=timezone.now() - timedelta(days=31))
    assert deliveries.prune() == 1


def test_a_right_that_a_grant_gives_is_enough_to_be_told_of_its_secret(receiver, actor, mail_server):
    eve = factories.user("eve")
    users.readdress(eve, "eve@example.com", actor=actor)
    subscriptions.choose_own(eve.principal, ("rotation.failed",), None)
    granted, other = factories.secret(), factories.secret()
    grants.grant(granted, eve, [Action.DESCRIBE_SECRET, Action.DESCRIBE_RUN], actor=actor)
    for secret in (granted, other):
        end_rotation(secret)
    tasks.tell()
    assert len(mail_server.messages) == 1
    assert granted.name in mail_server.messages[0]
    assert sorted(states()) == ["sent", "withheld"]


@pytest.mark.django_db(transaction=True)
def test_of_two_clicks_at_once_both_choose_and_one_row_remains():
    ann, start = factories.user("ann").principal, threading.Barrier(4)

    def click(name: str) -> None:
        try:
            start.wait(30)
            subscriptions.choose_own(ann, (name,), None)
        finally:
            connection.close()

    chosen = ("rotation.failed", "rotation.blocked", "drift.found", "key.disabled")
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(click, name) for name in chosen]:
            done.result(60)
    row = Subscription.objects.get(subscriber=ann)
    assert (row.events[0] in chosen, row.is_enabled, seals.holds(row)) == (True, True, True)
    assert AuditEvent.objects.filter(action=subscriptions.CHOOSE_OWN).count() == 4
