"""What a span holds, where the work in it fails."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from console.process import traces
from rotation import spans


@pytest.fixture
def kept(monkeypatch):
    """What was sent, here to a list."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(traces._Traces, "tracer", provider.get_tracer("keyturn"))
    spans.observe_by(traces._span)
    yield exporter
    spans.observe_by(None)


def test_a_span_that_fails_says_so_and_not_why(kept):
    with pytest.raises(ValueError, match="hunter2"), spans.span("step set", run_id="1"):
        raise ValueError("the value is hunter2")
    (span,) = kept.get_finished_spans()
    assert (span.name, span.attributes["run_id"]) == ("step set", "1")
    assert span.status.status_code == StatusCode.ERROR
    assert "hunter2" not in span.to_json()


def test_a_request_is_named_by_its_view_and_never_by_its_address(kept, rf):
    from django.http import HttpResponse

    request = rf.get("/main/secrets/?search=hunter2")
    request.request_id = "an-id"
    assert traces.Requests(lambda _: HttpResponse(status=500))(request).status_code == 500
    (span,) = kept.get_finished_spans()
    assert span.name == "GET without a view"
    assert span.status.status_code == StatusCode.ERROR
    assert "hunter2" not in span.to_json()


def test_a_task_goes_on_with_the_span_that_sent_it(kept):
    class Task:
        name, request = "rotation.tasks.advance", {}

    sent: dict[str, str] = {}
    with spans.span("a request"):
        traces._hand_on(sent)
    Task.request = sent
    traces._take_up("1", Task, ["a-run"])
    with spans.span("a step"):
        pass
    traces._put_down("1", state="SUCCESS")
    found = {span.name: span for span in kept.get_finished_spans()}
    request, task, step = found["a request"], found["rotation.tasks.advance"], found["a step"]
    assert task.parent.span_id == request.context.span_id
    assert step.parent.span_id == task.context.span_id
    assert step.context.trace_id == request.context.trace_id


def test_without_an_observer_a_span_is_nothing():
    with spans.span("step set", run_id="1") as nothing:
        assert nothing is None
