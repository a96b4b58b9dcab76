"""A collector is sent a request, the task that it wakes and the steps of its run, in one trace; ids only."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest

from tests.collector import collector
from tests.e2e import ready
from tests.e2e.served import Browser, tracebacks
from tests.services import free_port
from tests.waiting import wait_for

pytestmark = pytest.mark.xdist_group("traces")
PRESS_EVERY = 20.0  # seconds: spans are sent every five


def rotate(browser: Browser, secret: str):
    return browser.post(f"{secret}/rotate/", reason="routine", token=uuid4().hex)


def attributes(span) -> dict[str, str]:
    return {each.key: each.value.string_value for each in span.attributes}


def test_a_request_its_task_and_the_steps_of_its_run_are_one_trace_without_a_name_or_a_value(made):
    with collector() as there:
        site = made(KEYTURN_OTLP=there.url)
        secret = f"/main/secrets/{ready.with_people(site)}"
        site.up()
        site.wait_until_healthy()
        browser = Browser(site.port)
        assert browser.sign_in().status == 302
        assert browser.post(f"{secret}/value/", reason="a-reason-of-hers").status == 200
        pressed = [float("-inf")]

        def traced():
            """A step, its task, its request. If the sweep takes the run up first, it is asked for again."""
            if found := chain(there):
                return found
            if time.monotonic() > pressed[0] + PRESS_EVERY:
                pressed[0] = time.monotonic()
                assert rotate(browser, secret).status == 302
            return None

        step, task, request = wait_for(traced, "a step whose task a request has sent")
        assert task[0] == "keyturn-worker"
        assert step.trace_id == task[1].trace_id == request[1].trace_id
        assert request[1].name.startswith("POST ")
        assert attributes(task[1])["keyturn.id"] == attributes(step)["keyturn.run_id"]
        assert attributes(request[1])["keyturn.request_id"]
        # What users and hosts say is in none of them: names, values, addresses, reasons, texts of errors.
        (name,) = site.inside(NAMES)
        for word in (b"a-first-value-1", b"a-reason-of-hers", b"correct horse", b"127.0.0.1", name.encode()):
            assert word not in there.bytes, word
        assert tracebacks(site.printed()) == 0


def chain(there):
    """A step with the task and the request above it, if they have come; a task of the sweep is no request."""
    spans = {span.span_id: (who, span) for who, span in list(there.spans)}
    for _, step in spans.values():
        task = spans.get(step.parent_span_id) if step.name.startswith("step ") else None
        request = spans.get(task[1].parent_span_id) if task else None
        if request and request[0] == "keyturn-web":
            return step, task, request
    return None


NAMES = """
import json
from secrets_app.models import Secret
print(json.dumps(list(Secret.objects.values_list("name", flat=True))))
"""


def test_a_collector_that_is_away_costs_spans_and_nothing_else(made):
    site = made(KEYTURN_OTLP=f"http://127.0.0.1:{free_port()}")
    secret = f"/main/secrets/{ready.with_people(site)}"
    site.serve()
    browser = Browser(site.port)
    assert browser.sign_in().status == 302
    assert rotate(browser, secret).status == 302
    wait_for(lambda: "opentelemetry" in site.logged(), "the line of the log")
    assert tracebacks(site.logged()) == 0
