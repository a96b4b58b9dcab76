"""What others wrote into a log record cannot look like another record."""

import io
import logging

import pytest

from console.logs import MARGIN, OneLine, one_line


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
