"""OpenTelemetry traces, for who asks for them: off unless CACHE_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT is set.

    request (of the client's trace, if it sent a traceparent) ─┬─ statement (a batch: linked with all its requests)
                                                               └─ upstream (each try)
    task

Attributes say what kind of thing something was, how large, and how it ended: never a key, a value, a token, a prompt,
a tenant's names or an error's text. What goes upstream carries no traceparent: it would tell third parties which of a
tenant's requests belong together. Where it is off, each place asks `on` and goes on.
"""

import os
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, SpanContext, Tracer

    from cacheservice.http import Message, Receive, Scope, Send

on = False
EXPORT_SECONDS = 2  # for one attempt and its repetitions: a collector that is away must not hold up a server's end
_STANDARD = "OTEL_EXPORTER_OTLP_ENDPOINT"  # read by the package itself, as all OTEL_… variables
_MOST_LINKS = 64  # as many as a batch has operations
_METHODS = frozenset({"GET", "HEAD", "PUT", "PATCH", "DELETE", "POST", "OPTIONS"})
_provider: "TracerProvider | None" = None
_tracer: "Tracer"
_tasks: dict[str, tuple["Span", Any]] = {}  # under way, by their ids


def wanted() -> bool:
    """Raises ImproperlyConfigured where they are, and the packages for them are not installed."""
    if not (settings.OTLP_ENDPOINT or os.environ.get(_STANDARD)):
        return False
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace.export  # noqa: F401
    except ImportError as error:
        name = "CACHE_OTLP_ENDPOINT" if settings.OTLP_ENDPOINT else _STANDARD
        raise ImproperlyConfigured(
            f"{name} is set, and the package for traces is not installed ({error.name}): install the extra 'otel' "
            "(requirements-extras.lock), or unset it"
        ) from None
    return True


def start(service: str) -> None:
    """In each process, once, where traces are wanted. Raises ImproperlyConfigured."""
    global on, _provider, _tracer
    if not wanted():
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    endpoint = f"{settings.OTLP_ENDPOINT.rstrip('/')}/v1/traces" if settings.OTLP_ENDPOINT else None
    name = os.environ.get("OTEL_SERVICE_NAME", service)
    _provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
    timeout = None if "OTEL_EXPORTER_OTLP_TIMEOUT" in os.environ else EXPORT_SECONDS
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=timeout)))
    _tracer = _provider.get_tracer("cacheservice")
    on = True


def stop() -> None:
    """Sends what is left; blocks meanwhile."""
    global on, _provider
    provider, _provider, on = _provider, None, False
    if provider is not None:
        provider.shutdown()


def ids() -> dict[str, str]:
    """Of the span that this is in, for the log; empty where there is none."""
    context = current()
    if context is None:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def current() -> "SpanContext | None":
    """The span that this is in."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return context if context.is_valid else None


async def request(
    scope: "Scope",
    receive: "Receive",
    send: "Send",
    answer: Callable[["Scope", "Receive", "Send"], Awaitable[None]],
) -> None:
    """Answer it, in a span of its own."""
    from opentelemetry.trace import SpanKind

    method = scope["method"] if scope["method"] in _METHODS else "other"
    with _tracer.start_as_current_span(
        method,
        context=_sent_by(scope),
        kind=SpanKind.SERVER,
        attributes={"http.request.method": method},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        status = 0

        async def noted(message: "Message") -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                _note_answer(span, dict(message.get("headers", ())))
            await send(message)

        try:
            await answer(scope, receive, noted)
        finally:
            route = _route(scope)
            span.update_name(f"{method} {route}")
            span.set_attribute("http.route", route)
            span.set_attribute("http.response.status_code", status)
            _note_end(span, failed=not 0 < status < 500)


def statement(kind: str, requests: Iterable["SpanContext | None"]) -> "Span | None":
    """A batch goes to the database: it is shown below the first of its requests that is traced, and linked with all."""
    from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, set_span_in_context

    contexts = list(requests)
    traced = list({each.span_id: each for each in contexts if each is not None and each.trace_flags.sampled}.values())
    if not traced:
        return None
    return _tracer.start_span(
        f"statement {kind}",
        context=set_span_in_context(NonRecordingSpan(traced[0])),
        kind=SpanKind.CLIENT,
        links=[Link(each) for each in traced[:_MOST_LINKS]],
        attributes={
            "db.system.name": "postgresql",
            "db.operation.name": kind,
            "db.operation.batch.size": len(contexts),
        },
    )


def upstream(kind: str, attempt: int) -> "Span":
    """A try of an upstream, until its answer's head."""
    from opentelemetry.trace import SpanKind

    attributes: dict[str, str | int] = {"cacheservice.upstream.kind": kind, "http.request.resend_count": attempt}
    return _tracer.start_span(f"upstream {kind}", kind=SpanKind.CLIENT, attributes=attributes)


def end(span: "Span | None", outcome: str, *, failed: bool) -> None:
    """`outcome`: a word, not a text from anywhere else."""
    if span is not None:
        span.set_attribute("cacheservice.outcome", outcome)
        _note_end(span, failed=failed)
        span.end()


def listen() -> None:
    """In a worker: a span for each task that it runs."""
    from celery.signals import task_postrun, task_prerun

    task_prerun.connect(_begin_task, weak=False)
    task_postrun.connect(_end_task, weak=False)


def _begin_task(task_id: str, task: Any, **_: Any) -> None:
    from opentelemetry import context, trace

    span = _tracer.start_span(f"task {task.name}", kind=trace.SpanKind.CONSUMER)
    _tasks[task_id] = span, context.attach(trace.set_span_in_context(span))


def _end_task(task_id: str, state: str | None = None, **_: Any) -> None:
    from opentelemetry import context

    if task_id in _tasks:
        span, token = _tasks.pop(task_id)
        context.detach(token)
        end(span, (state or "UNKNOWN").lower(), failed=state != "SUCCESS")


def _sent_by(scope: "Scope") -> Any:
    """The client's trace, if it named one; of what else it sent (tracestate, baggage) nothing is kept."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    sent = dict(scope["headers"]).get(b"traceparent", b"").decode("latin-1")
    return TraceContextTextMapPropagator().extract({"traceparent": sent}) if sent else None


def _route(scope: "Scope") -> str:
    """Without what the client chose in it."""
    path = scope["path"]
    if path.startswith("/api/v1/cache/"):
        return "/api/v1/cache/:key"
    if path.startswith("/gateway/"):
        return "/gateway/:provider"
    route: str = scope.get("state", {}).get("route", "none")
    return route


def _note_answer(span: "Span", headers: dict[bytes, bytes]) -> None:
    for name, attribute in ((b"x-request-id", "cacheservice.request_id"), (b"x-cache", "cacheservice.cache")):
        if name in headers:
            span.set_attribute(attribute, headers[name].decode("latin-1"))


def _note_end(span: "Span", *, failed: bool) -> None:
    from opentelemetry.trace import StatusCode

    if failed:
        span.set_status(StatusCode.ERROR)
