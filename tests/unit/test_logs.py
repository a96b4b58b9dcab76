"""What others wrote into a log record cannot look like another record."""

import errno
import io
import json
import logging

import pytest
import redis
import structlog
from django.db import InterfaceError, OperationalError

from console.process.logs import MARGIN, OncePerMinute, OneLine, as_json, one_line
from secrets_app.audit import trail


@pytest.fixture
def log():
    """A logger of its own, and what it has printed."""
    printed = io.StringIO()
    handler = logging.StreamHandler(printed)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(OneLine())
    logger = logging.Logger("trial")
    logger.addHandler(handler)
    return logger, printed


@pytest.mark.parametrize(
    "end", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"]
)
def test_no_line_end_in_an_argument_begins_a_line(log, end):
    logger, printed = log
    logger.warning("login by %s", f"ann{end}WARNING login by root")
    assert len(printed.getvalue().splitlines()) == 1


@pytest.mark.parametrize("control", ["\x1b[2J", "\x08", "\x9b", "\x7f", "\x00", "\u202e", "\u2066", "\u200f"])
def test_no_control_character_reaches_the_terminal(log, control):
    logger, printed = log
    logger.warning("banner: " + control)
    assert control[0] not in printed.getvalue()
    assert "\\" in printed.getvalue()


def test_readable_text_of_every_language_stays_as_it_is():
    assert one_line("Grüße, 密码 🔑") == "Grüße, 密码 🔑"


def test_a_line_end_in_an_exception_stays_behind_the_margin(log):
    logger, printed = log
    try:
        raise ValueError("bad\nWARNING forged\rWARNING forged too")
    except ValueError:
        logger.exception("failed")
    first, *others = printed.getvalue().splitlines()
    assert first == "ERROR failed"
    assert others
    assert all(line.startswith(MARGIN) for line in others)


def test_a_traceback_shows_no_values_of_variables(log):
    logger, printed = log
    held = "a-value-" + "in-a-variable"
    try:
        assert len(held) == 0
    except AssertionError as error:
        error.args = ("failed",)
        logger.exception("failed")
    assert held not in printed.getvalue()


def test_a_record_that_passes_two_handlers_is_escaped_once(log):
    logger, printed = log
    logger.addHandler(logger.handlers[0])
    second = logging.StreamHandler(printed)
    second.addFilter(OneLine())
    logger.addHandler(second)
    logger.warning("a\nb")
    assert "a\\\\nb" not in printed.getvalue()
    assert printed.getvalue().count("a\\nb") == 2


def test_arguments_that_do_not_fit_lose_the_arguments_and_not_the_record(log):
    logger, printed = log
    logger.warning("%s and %s", "only one")
    assert "%s and %s" in printed.getvalue()


# ---------------------------------------------------------------- once a minute


@pytest.fixture
def once():
    """A logger that writes what passes by itself once a minute, its filter, and what it printed."""
    printed, only = io.StringIO(), OncePerMinute()
    handler = logging.StreamHandler(printed)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    handler.addFilter(only)
    handler.addFilter(OneLine())
    logger = logging.Logger("trial")
    logger.addHandler(handler)
    return logger, only, printed


def _fail(logger, error, count=1, message="Internal Server Error: %s"):
    for number in range(count):
        try:
            raise error
        except type(error):
            logger.exception(message, f"/page/{number}")


@pytest.mark.parametrize(
    "error",
    [
        OperationalError("connection to server failed\n\tIs the server running?"),
        InterfaceError("connection already closed"),
        redis.ConnectionError("Error 111 connecting to broker"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_a_cause_that_passes_is_one_line_and_no_traceback_however_often_it_is_met(once, error):
    logger, _, printed = once
    _fail(logger, error, 100)
    assert len(printed.getvalue().splitlines()) == 1
    assert type(error).__name__ in printed.getvalue()


def test_the_line_after_a_minute_says_how_many_were_left_out(once, monkeypatch):
    logger, _, printed = once
    error = OperationalError("connection refused")
    _fail(logger, error, 100)
    monkeypatch.setattr("console.process.logs.ONCE_IN_SECONDS", 0.0)
    _fail(logger, error)
    assert printed.getvalue().splitlines()[1].endswith("[and 99 times before this]")


def test_an_error_that_followed_from_a_passing_one_is_told_with_its_cause(once):
    logger, _, printed = once
    for _ in range(10):
        try:
            try:
                raise OperationalError("database or disk is full")
            except OperationalError as error:
                raise RuntimeError("not recorded") from error
        except RuntimeError:
            logger.exception("Nothing was done")
    assert printed.getvalue().splitlines() == [
        "ERROR Nothing was done (OperationalError: database or disk is full)"
    ]


def test_what_could_not_be_recorded_is_one_line_for_each_reason_and_names_it(once):
    logger, _, printed = once
    for reason in ("database or disk is full", "database is locked"):
        for _ in range(10):
            try:
                try:
                    raise OperationalError(reason)
                except OperationalError as error:
                    raise trail.NotRecorded("The audit trail accepts no event.") from error
            except trail.NotRecorded as error:
                logger.critical("Nothing was done.", exc_info=error)
    lines = printed.getvalue().splitlines()
    assert len(lines) == 2
    assert "disk is full" in lines[0]
    assert "locked" in lines[1]


def test_another_cause_in_the_same_minute_has_a_line_of_its_own(once):
    logger, _, printed = once
    _fail(logger, OperationalError("connection refused"), 5)
    _fail(logger, OperationalError("database or disk is full"), 5)
    assert len(printed.getvalue().splitlines()) == 2


@pytest.mark.parametrize("error", [RuntimeError("a bug"), OperationalError("no such column: x")])
def test_a_bug_keeps_its_traceback_each_time(once, error):
    logger, _, printed = once
    _fail(logger, error, 3)
    assert printed.getvalue().count("Traceback") == 3


def test_the_causes_that_are_remembered_are_not_without_end(once):
    logger, only, _ = once
    for number in range(2000):
        _fail(logger, OperationalError(f"cause {number}"))
    assert len(only._seen) <= 200


# ---------------------------------------------------------------- of which request


def test_every_line_of_a_request_carries_its_id(log):
    logger, printed = log
    with structlog.contextvars.bound_contextvars(request_id="abc123"):
        logger.warning("inside")
    logger.warning("outside")
    assert printed.getvalue().splitlines() == ["WARNING inside request_id=abc123", "WARNING outside"]


def test_every_line_of_a_run_carries_its_id(log):
    logger, printed = log
    with structlog.contextvars.bound_contextvars(run_id="run-1"):
        logger.warning("inside")
        with structlog.contextvars.bound_contextvars(request_id="abc123"):
            logger.warning("both")
    assert printed.getvalue().splitlines() == [
        "WARNING inside run_id=run-1", "WARNING both request_id=abc123 run_id=run-1",
    ]  # fmt: skip


def test_as_json_a_record_is_one_object_on_one_line_with_its_traceback_and_request():
    printed = io.StringIO()
    handler = logging.StreamHandler(printed)
    handler.setFormatter(as_json())
    handler.addFilter(OncePerMinute())
    logger = logging.Logger("trial")
    logger.addHandler(handler)
    held = "a-value-" + "in-a-variable"
    with structlog.contextvars.bound_contextvars(request_id="abc123", run_id="run-1"):
        try:
            assert held == 0
        except AssertionError as error:
            error.args = ("bad\nline \u2028 \u202e",)
            logger.exception("failed for %s", "ann\nWARNING")
    [line] = printed.getvalue().splitlines()
    found = json.loads(line)
    assert (found["event"], found["level"], found["logger"]) == ("failed for ann\nWARNING", "error", "trial")
    assert (found["request_id"], found["run_id"]) == ("abc123", "run-1")
    assert "Traceback" in found["exception"]
    assert held not in line
    assert line.isascii()
