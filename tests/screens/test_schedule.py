"""Configuration rotation: the same fields as in the wizard, at any later time."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from rotation import tasks
from rotation.models import Schedule
from secrets_app.models import Secret
from tests import factories

pytestmark = pytest.mark.django_db

HTMX = {"HX-Request": "true", "HX-Target": "dialog-content"}
WEEK = timedelta(days=7)
ON = {"rotation": "on", "period": "7", "unit": "days", "revision": "1"}


@pytest.fixture
def secret() -> Secret:
    return factories.secret(is_on=True, period=WEEK)


def url(secret: Secret, name: str = "secret_schedule") -> str:
    return reverse(name, args=["main", secret.pk])


def text(response) -> str:
    return response.content.decode()


def plan(secret: Secret) -> Schedule:
    return Schedule.objects.get(secret=secret)


def shown(client: Client, secret: Secret) -> str:
    return text(client.get(url(secret, "secret")))


def test_the_dialog_shows_how_it_stands(as_dot, secret):
    page = text(as_dot.get(url(secret), headers=HTMX))
    for words in (
        "Configuration rotation", "Turn on automatic rotation", "Turn off automatic rotation",
        "Rotation Period", "7 days", "90 days", "The next five dates", "Next rotation", "Pause",
        f"{plan(secret).next_at:%Y-%m-%dT%H:%M}",
    ):  # fmt: skip
        assert words in page


def test_the_dates_follow_what_is_typed(as_dot, secret):
    where = url(secret, "secret_schedule_dates")
    due = timezone.now() + timedelta(days=60)
    assert f"{due:%Y-%m-%d}" in text(as_dot.get(where, {"period": "60", "unit": "days"}))
    assert "6 hours to 365 days" in text(as_dot.get(where, {"period": "5", "unit": "hours"}))


def test_a_period_is_changed_and_the_page_says_so(as_dot, secret):
    as_dot.post(url(secret), ON | {"period": "12", "unit": "hours"}, headers=HTMX)
    assert plan(secret).period == timedelta(hours=12)
    page = shown(as_dot, secret)
    assert "rotates automatically, next on" in page
    assert "On, every 12 hours" in page


def test_sending_the_form_back_as_it_was_keeps_the_exact_date(as_dot, secret):
    before = plan(secret).next_at
    as_dot.post(url(secret), ON | {"next_at": f"{before:%Y-%m-%dT%H:%M}"})
    assert plan(secret).next_at == before


def test_a_date_is_read_in_the_time_zone_of_who_types_it(client, secret):
    eve = factories.user("eve", "administrators", time_zone="Asia/Shanghai")
    client.force_login(eve)
    assert "In Asia/Shanghai." in text(client.get(url(secret)))
    day = f"{timezone.now() + timedelta(days=3):%Y-%m-%d}"
    client.post(url(secret), ON | {"next_at": f"{day}T06:30"})
    assert f"{plan(secret).next_at:%H:%M}" == "22:30"


@pytest.mark.parametrize(
    ("given", "label"),
    [({"rotation": "off"}, "is off."), ({"is_paused": "on"}, "is paused.")],
)
def test_it_is_turned_off_or_paused(as_dot, secret, given, label):
    as_dot.post(url(secret), ON | given)
    assert label in shown(as_dot, secret)
    assert not plan(secret).is_overdue


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"period": "366"}, "6 hours to 365 days"),
        ({"period": ""}, "Enter a number."),
        ({"next_at": "2020-01-01T00:00"}, "a moment ahead"),
        ({"next_at": "soon"}, "Enter a date and a time."),
        ({"rotation": "maybe"}, "Select a valid choice"),
    ],
)
def test_what_cannot_be_gets_its_sentence_and_changes_nothing(as_dot, secret, wrong, sentence):
    before = plan(secret)
    answer = as_dot.post(url(secret), ON | wrong, headers=HTMX)
    assert answer.status_code == 422
    assert sentence in text(answer)
    assert (plan(secret).revision, plan(secret).next_at) == (before.revision, before.next_at)


# ---------------------------------------------------------------- set times

CRON = ON | {
    "recurrence": "cron", "cron": "0 2 * * 0", "zone": "Europe/Berlin", "jitter": "10", "catch_up": "skip",
}  # fmt: skip


def test_set_times_are_kept_and_said_in_words(as_dot, secret):
    as_dot.post(url(secret), CRON, headers=HTMX)
    kept = plan(secret)
    assert (kept.cron, kept.zone, kept.jitter, kept.catch_up) == (
        "0 2 * * 0", "Europe/Berlin", timedelta(minutes=10), "skip",
    )  # fmt: skip
    assert kept.next_at.weekday() == 6
    page = shown(as_dot, secret)
    for words in (
        "On, at 02:00 on Sunday (Europe/Berlin)", "Times: 0 2 * * 0.", "delayed by up to 10 min",
        "A date that passes while Keyturn is not running is skipped.", "Rotation times",
    ):  # fmt: skip
        assert words in page
    assert "At 02:00 on Sunday (Europe/Berlin)" in text(as_dot.get(reverse("secrets", args=["main"])))
    dialog = text(as_dot.get(url(secret), headers=HTMX))
    for words in (
        'value="0 2 * * 0"',
        'value="Europe/Berlin"',
        "in Europe/Berlin",
        "between 02:00 and 02:10",
    ):
        assert words in dialog
    assert "data-own-zone" not in dialog


def test_going_back_to_a_period_forgets_the_times(as_dot, secret):
    as_dot.post(url(secret), CRON)
    as_dot.post(
        url(secret), CRON | {"recurrence": "period", "revision": "2", "cron": "nonsense", "zone": "Mars"}
    )
    assert (plan(secret).cron, plan(secret).period, plan(secret).zone) == ("", WEEK, "UTC")
    assert "On, every 7 days" in shown(as_dot, secret)


def test_turned_off_it_keeps_its_times_for_another_day(as_dot, secret):
    as_dot.post(url(secret), CRON)
    off = {"rotation": "off", "revision": "2", "recurrence": "cron", "cron": "nonsense", "jitter": "x"}
    assert as_dot.post(url(secret), off).status_code == 302
    assert (plan(secret).is_on, plan(secret).cron, plan(secret).catch_up) == (False, "0 2 * * 0", "skip")


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"cron": ""}, "Write five fields"),
        ({"cron": "0 2,5 * * *"}, "are 3 hours apart"),
        ({"cron": "0 2 29 2 *"}, "at most a year apart"),
        ({"cron": "0 2 30 2 *"}, "never comes"),
        ({"cron": "<b>"}, "Write five fields"),
        ({"zone": "Mars/Olympus"}, "No time zone has this name"),
        ({"jitter": "1441"}, "0 to 1440 minutes"),
        ({"jitter": "-1"}, "0 to 1440 minutes"),
        ({"jitter": "9" * 30}, "0 to 1440 minutes"),
        ({"jitter": "soon"}, "Enter a whole number"),
        ({"catch_up": "twice"}, "Select a valid choice"),
        ({"recurrence": "moon"}, "Select a valid choice"),
    ],
)
def test_times_that_cannot_be_are_named_while_they_are_typed_and_when_they_are_sent(
    as_dot, secret, wrong, sentence
):
    before = plan(secret)
    assert sentence in text(as_dot.get(url(secret, "secret_schedule_dates"), CRON | wrong))
    answer = as_dot.post(url(secret), CRON | wrong)
    assert answer.status_code == 422
    assert sentence in text(answer)
    assert plan(secret).revision == before.revision


def test_the_zone_of_who_asks_is_proposed(client, secret):
    client.force_login(factories.user("eve", "administrators", time_zone="Asia/Shanghai"))
    page = text(client.get(url(secret)))
    assert 'name="zone" value="Asia/Shanghai"' in page
    assert '<option value="Europe/Berlin">' in page


def test_dates_of_a_period_say_until_when_a_delay_may_put_them_off(as_dot, secret):
    where = url(secret, "secret_schedule_dates")
    page = text(as_dot.get(where, {"recurrence": "period", "period": "7", "unit": "days", "jitter": "30"}))
    assert page.count("between <time") == 5
    assert page.count('data-when="time"') == 5
    assert "between" not in text(as_dot.get(where, {"period": "7", "unit": "days", "jitter": "0"}))


def test_a_date_that_was_left_out_is_named(as_dot, secret):
    as_dot.post(url(secret), CRON)
    gone = timezone.now() - timedelta(days=9)
    Schedule.objects.filter(secret=secret).update(next_at=gone)
    tasks.start_due()
    for page in (shown(as_dot, secret), text(as_dot.get(url(secret), headers=HTMX))):
        assert "Missed" in page
        assert f"{gone:%Y-%m-%d %H:%M}" in page


def test_a_stale_form_changes_nothing_and_says_who_changed_what(as_dot, dot, secret, client):
    as_dot.post(url(secret), ON | {"period": "60"})
    answer = as_dot.post(url(secret), ON | {"period": "90"}, headers=HTMX)
    assert answer.status_code == 409
    for words in ("Nothing was saved", "dot saved a change", "every 60 days", 'value="90"'):
        assert words in text(answer)
    assert plan(secret).period == timedelta(days=60)
    as_dot.post(url(secret), ON | {"period": "90", "revision": "2"})
    assert plan(secret).period == timedelta(days=90)


def test_a_schedule_that_stopped_is_named_and_turned_on_again(as_dot, secret):
    Schedule.objects.filter(secret=secret).update(failures=5, stopped_at=timezone.now(), next_at=None)
    assert "Invalid: stopped after 5 failures" in shown(as_dot, secret)
    assert "Invalid: stopped after 5 failures" in text(as_dot.get(url(secret), headers=HTMX))
    as_dot.post(url(secret), ON)
    assert plan(secret).stopped_at is None
    assert "Invalid" not in shown(as_dot, secret)


def test_an_overdue_schedule_is_named_with_its_date(as_dot, secret):
    Schedule.objects.filter(secret=secret).update(next_at=timezone.now() - timedelta(days=2))
    assert f"Overdue since {timezone.now() - timedelta(days=2):%Y-%m-%d}" in shown(as_dot, secret)


@pytest.mark.parametrize("who", ["hal", "aud"])
def test_who_may_not_change_it_has_no_button_and_no_way(client, request, secret, who):
    client.force_login(request.getfixturevalue(who))
    assert url(secret) not in shown(client, secret)
    assert client.post(url(secret), ON | {"rotation": "off"}).status_code == 403
    assert plan(secret).is_on


def test_while_deletion_is_planned_it_stays_as_it_is(as_dot, secret):
    Secret.objects.filter(pk=secret.pk).update(deletion_planned_at=timezone.now())
    assert as_dot.post(url(secret), ON | {"rotation": "off"}).status_code == 409
    assert plan(secret).is_on
