"""Send traces by OpenTelemetry: a request, the task that it wakes, and the steps of the run.

KEYTURN_OTLP names the collector. Without the setting no library of it is loaded.

A span holds names of the code, ids and times, and nothing that a user or a host has said: no address of a
page, no argument but an id, no text of an exception. A collector that is away costs spans and nothing else.
Sources: OpenTelemetry specification 1.x, W3C Trace Context.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from celery import signals
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from rotation import spans

log = logging.getLogger(__name__)

SECONDS: Final = 5  # for one delivery
#: Every few seconds, and of no run: what it wakes begins a trace of its own.
_LEFT_OUT: Final = frozenset({"rotation.tasks.tick"})


class _Traces:
    """What this process sends by: a tracer, and the spans of tasks that run now by the ids of the tasks."""

    tracer: Any = None
    under_way: dict[str, Any] = {}


def begin(part: str) -> None:
    """Send what this process does from now on, as the service `keyturn-PART`; after a fork, not before.

    Without the libraries there are no traces, and one line in the log.
    """
    if not settings.OTLP or _Traces.tracer is not None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.error("No traces are sent: KEYTURN_OTLP is set, and requirements-traces.lock is not installed.")
        return
    provider = TracerProvider(resource=Resource.create({"service.name": f"keyturn-{part}"}))
    exporter = OTLPSpanExporter(f"{settings.OTLP.rstrip('/')}/v1/traces", timeout=SECONDS)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _Traces.tracer = provider.get_tracer("keyturn")
    spans.observe_by(lambda name, ids: _span(name, {f"keyturn.{key}": text for key, text in ids.items()}))
    signals.before_task_publish.connect(_hand_on, weak=False)
    signals.task_prerun.connect(_take_up, weak=False)
    signals.task_postrun.connect(_put_down, weak=False)


@contextmanager
def _span(name: str, attributes: dict[str, Any], **more: Any) -> Iterator[Any]:
    """One span under the one that goes on. An exception's text may hold anything: only that it was one."""
    from opentelemetry.trace import Status, StatusCode

    with _Traces.tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False, **more
    ) as span:
        try:
            yield span
        except BaseException:
            span.set_status(Status(StatusCode.ERROR))
            raise


class Requests:
    """Each request is a span, named by its view."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if _Traces.tracer is None:
            return self.get_response(request)
        from opentelemetry.trace import SpanKind, Status, StatusCode

        method = request.method if request.method in {"GET", "HEAD", "POST"} else "OTHER"
        given = {"keyturn.request_id": request.request_id, "http.request.method": method}  # type: ignore[attr-defined]
        with _span(method, given, kind=SpanKind.SERVER) as span:
            response = self.get_response(request)
            match = request.resolver_match
            span.update_name(f"{method} {match.view_name if match else 'without a view'}")
            span.set_attribute("http.response.status_code", response.status_code)
            if response.status_code >= 500:
                span.set_status(Status(StatusCode.ERROR))
        return response


# ---------------------------------------------------------------- tasks


def _hand_on(headers: dict[str, Any], **_: Any) -> None:
    """A message carries the id of the span that sends it."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    TraceContextTextMapPropagator().inject(headers)


def _take_up(task_id: str, task: Any, args: Any, **_: Any) -> None:
    from opentelemetry import context, trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if task.name in _LEFT_OUT:
        return
    before = TraceContextTextMapPropagator().extract({"traceparent": task.request.get("traceparent") or ""})
    span = _Traces.tracer.start_span(
        task.name, before, kind=trace.SpanKind.CONSUMER,
        attributes={"keyturn.id": str(args[0])} if args else {},
    )  # fmt: skip
    _Traces.under_way[task_id] = span, context.attach(trace.set_span_in_context(span))


def _put_down(task_id: str, state: str | None = None, **_: Any) -> None:
    from opentelemetry import context
    from opentelemetry.trace import Status, StatusCode

    if (found := _Traces.under_way.pop(task_id, None)) is None:
        return
    span, token = found
    if state == "FAILURE":
        span.set_status(Status(StatusCode.ERROR))
    context.detach(token)
    span.end()
