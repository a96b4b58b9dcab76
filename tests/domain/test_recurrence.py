"""When dates come: periods, cron expressions in a time zone, nights in which the clocks change."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rotation.recurrence import BadCron, BadJitter, BadPeriod, BadZone, Recurrence

pytestmark = pytest.mark.one_store
BERLIN = "Europe/Berlin"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR, DAY, MINUTE = timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)


def told(recurrence: Recurrence, start: datetime = NOON, count: int = 3) -> list[str]:
    return [f"{date:%m-%d %H:%M}" for date in recurrence.dates(start, count)]


# ---------------------------------------------------------------- dates


def test_a_period_counts_from_the_moment_given():
    assert told(Recurrence(7 * DAY)) == ["11-28 12:00", "12-05 12:00", "12-12 12:00"]


def test_a_cron_names_wall_times_in_its_zone():
    assert told(Recurrence(cron="0 2 * * 0", zone=BERLIN)) == ["11-22 01:00", "11-29 01:00", "12-06 01:00"]
    assert told(Recurrence(cron="0 2 * * 0")) == ["11-22 02:00", "11-29 02:00", "12-06 02:00"]


def test_a_time_that_the_night_leaves_out_comes_at_the_next_one_there_is():
    nightly = Recurrence(cron="30 2 * * *", zone=BERLIN)
    eve = datetime(2027, 3, 27, 12, tzinfo=UTC)
    # 02:30 is 01:30 UTC in winter; on the 28th the clocks go from 02:00 to 03:00, which is 01:00 UTC.
    assert told(nightly, eve) == ["03-28 01:00", "03-29 00:30", "03-30 00:30"]


def test_a_time_that_the_night_has_twice_comes_once():
    nightly = Recurrence(cron="30 2 * * *", zone=BERLIN)
    assert told(nightly, datetime(2027, 10, 30, 12, tzinfo=UTC)) == [
        "10-31 00:30",
        "11-01 01:30",
        "11-02 01:30",
    ]


def test_a_date_that_has_passed_in_the_first_of_two_equal_hours_does_not_come_again_in_the_second():
    nightly = Recurrence(cron="15 2 * * *", zone=BERLIN)
    second_ten_past_two = datetime(2027, 10, 31, 1, 10, tzinfo=UTC)
    assert nightly.dates(second_ten_past_two, 1)[0] > second_ten_past_two
    assert told(nightly, second_ten_past_two, 1) == ["11-01 01:15"]


def test_what_was_missed_is_missed_once_and_the_recurrence_stays():
    assert Recurrence(7 * DAY).first_ahead(NOON - 10 * DAY, NOON) == NOON + 4 * DAY
    assert Recurrence(7 * DAY).first_ahead(NOON - 7 * DAY, NOON) == NOON + 7 * DAY
    weekly = Recurrence(cron="0 2 * * 0")
    assert weekly.first_ahead(NOON - 30 * DAY, NOON) == datetime(2026, 11, 22, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "recurrence", [Recurrence(DAY, jitter=HOUR), Recurrence(cron="0 12 * * *", jitter=HOUR)]
)
def test_a_date_is_put_off_within_its_bounds_and_not_always_equally(recurrence):
    drawn = [recurrence.drawn_after(NOON) for _ in range(60)]
    assert all(NOON + DAY <= date <= NOON + DAY + HOUR for date in drawn)
    assert len(set(drawn)) > 20


def test_without_a_random_delay_a_date_is_exact():
    assert {Recurrence(DAY).drawn_after(NOON) for _ in range(5)} == {NOON + DAY}


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    "cron",
    [
        "0 2 * * *",
        "0 2 * * 0",
        "0 2 1 * *",
        "0 */6 * * *",
        "0 2 1 1 *",
        "0 3 L * *",
        "0 2 * * MON-FRI",
        "0 4 * * 1#2",
    ],
)
@pytest.mark.parametrize("zone", ["UTC", BERLIN])
def test_times_that_an_operator_writes_are_taken(cron, zone):
    assert Recurrence(cron=cron, zone=zone).checked(NOON).cron == cron


def test_an_expression_is_kept_tidy_and_its_longest_pause_is_its_period():
    kept = Recurrence(cron=" 0  2 * *   mon-fri ").checked(NOON)
    assert (kept.cron, kept.period) == ("0 2 * * mon-fri", 3 * DAY)
    assert Recurrence(cron="0 2 1 1 *").checked(datetime(2027, 6, 1, tzinfo=UTC)).period == 365 * DAY


@pytest.mark.parametrize(
    ("cron", "sentence"),
    [
        ("0 2,5 * * *", "2026-11-21 02:00 and 2026-11-21 05:00 are 3 hours apart"),
        ("* * * * *", "are 1 minutes apart"),
        ("0 1,23 1 * 1", "2026-11-30 23:00 and 2026-12-01 01:00 are 2 hours apart"),  # only where they meet
        ("0 2 29 2 *", "at most a year apart"),
        ("0 0 30 2 *", "never comes"),
        ("0 0 * 2 MON#5", "at most a year apart"),
        ("0 25 * * *", "The hour cannot be read"),
        ("x 2 * * *", "The minute cannot be read"),
        ("@daily", "five fields"),
        ("0 0 2 * * *", "five fields"),  # six would begin with seconds
        ("0 2 * *", "five fields"),
        ("", "five fields"),
        ("0 2 " + "1," * 80 + "1 * *", "At most 120"),
    ],
)
def test_times_that_cannot_be_are_refused_with_what_to_do(cron, sentence):
    with pytest.raises(BadCron, match=sentence):
        Recurrence(cron=cron or " ").checked(NOON)


def test_dates_too_close_are_found_although_they_meet_only_after_many_months():
    """The last of the month at 23:00 and a first Sunday at 01:00: next in February 2028."""
    with pytest.raises(BadCron, match="hours apart"):
        Recurrence(cron="0 1,23 31 * 0").checked(NOON)


@pytest.mark.parametrize("period", [timedelta(hours=5, minutes=59), 365 * DAY + MINUTE, -DAY])
def test_a_period_is_six_hours_to_a_year(period):
    with pytest.raises(BadPeriod):
        Recurrence(period).checked(NOON)


@pytest.mark.parametrize("zone", ["", "Mars/Olympus", "../../etc/passwd", "europe/berlin", "localtime"])
def test_a_zone_is_one_that_the_system_knows(zone):
    with pytest.raises(BadZone, match="Choose one from the list"):
        Recurrence(zone=zone).checked(NOON)


@pytest.mark.parametrize(
    ("recurrence", "most"),
    [
        (Recurrence(timedelta(hours=6)), 3 * HOUR),
        (Recurrence(30 * DAY), 24 * HOUR),
        (Recurrence(30 * DAY, cron="0 2,10 * * *"), 4 * HOUR),
    ],
)
def test_a_random_delay_is_at_most_half_the_pause_and_a_day(recurrence, most):
    longest = Recurrence(recurrence.period, recurrence.cron, "UTC", most).checked(NOON)
    assert longest.jitter == most
    for wrong in (most + MINUTE, -MINUTE):
        with pytest.raises(BadJitter, match=f"0 to {most // MINUTE} minutes"):
            Recurrence(recurrence.period, recurrence.cron, "UTC", wrong).checked(NOON)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("", ""),
        ("0 2 * * *", "at 02:00 every day"),
        ("0 2 * * 0", "at 02:00 on Sunday"),
        ("0 2 1 * *", "at 02:00 on the first day of every month"),
        ("15 3 1-7 * 1", "15 3 1-7 * 1"),
    ],
)
def test_simple_times_are_said_in_words_and_others_as_written(cron, words):
    assert Recurrence(cron=cron).words == words
