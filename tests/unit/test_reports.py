"""A report of an error, as an added handler would mail it, holds nothing that was sent or held."""

from __future__ import annotations

import logging
import sys

import pytest
from django.core import mail
from django.test import RequestFactory
from django.utils.log import AdminEmailHandler

VALUE = "a-value-that-was-sent-or-held"


@pytest.mark.parametrize("debug", [False, True])
def test_a_mailed_report_holds_no_field_no_cookie_and_no_variable(settings, debug):
    settings.ADMINS, settings.DEBUG = [("Ann", "ann@example.org")], debug
    request = RequestFactory().post("/anything/", {"text": VALUE}, headers={"Cookie": f"a={VALUE}"})
    held = VALUE  # noqa: F841 - a frame's variable

    def record() -> logging.LogRecord:
        try:
            raise LookupError("a bug")
        except LookupError:
            made = logging.LogRecord("any", logging.ERROR, __file__, 1, "failed", None, sys.exc_info())
        made.request = request
        return made

    AdminEmailHandler(include_html=True).emit(record())
    letter = mail.outbox[0]
    text = letter.body + str(letter.alternatives)
    assert "a bug" in text
    assert "test_reports.py" in text
    assert VALUE not in text
