"""Traces, as a real collector gets them by OTLP over HTTP: what hangs together, and that nothing secret is among it."""

import asyncio
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
from django.core.exceptions import ImproperlyConfigured
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pytest_django import Settings

from cacheservice import celery, tracing
from tests.cast import Key, new_caller
from tests.gateway_cast import Client as GatewayClient
from tests.gateway_cast import question
from tests.processes import ROOT, RunningServer, wait_for
from tests.servers import own_server
from tests.small_servers import say, small_server
from tests.upstreams import RunningUpstream, upstream  # noqa: F401  a fixture

TRACE, PARENT = secrets.token_hex(16), secrets.token_hex(8)
CANARY = f"canary{secrets.token_hex(8)}"
SENT = {
    "traceparent": f"00-{TRACE}-{PARENT}-01",
    "tracestate": f"vendor={CANARY}",
    "baggage": f"user={CANARY}",
}


@dataclass
class Collector:
    """What was exported to it."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    services: set[str] = field(default_factory=set)

    def respond(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        assert handler.path == "/v1/traces"
        self.bodies.append(body)
        say(handler, b"", "application/x-protobuf")

    def spans(self) -> list[Span]:
        found = []
        for body in self.bodies:
            request = ExportTraceServiceRequest()
            request.ParseFromString(body)
            for resource in request.resource_spans:
                self.services |= {a.value.string_value for a in resource.resource.attributes if a.key == "service.name"}
                found += [span for scope in resource.scope_spans for span in scope.spans]
        return found

    def of_trace(self, trace: str) -> dict[str, Span]:
        """By name."""
        return {span.name: span for span in self.spans() if span.trace_id.hex() == trace}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    found = Collector()
    with small_server(found.respond) as url:
        found.url = url
        yield found


@pytest.fixture(scope="module")
def traced(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that exports to it every fifth of a second."""
    settings = {
        "CACHE_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "CACHE_GATEWAY_ALLOW_NETWORKS": "127.0.0.0/8",
        "CACHE_ACCESS_LOG": "on",
    }
    with own_server(tmp_path_factory.mktemp("traced"), **settings) as running:
        yield running


@pytest.fixture
def caller() -> Key:
    return new_caller()


def attributes(span: Span) -> dict[str, str | int]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def ask(server: RunningServer, caller: Key, method: str, path: str, headers: dict[str, str], **options: object) -> None:
    named = {"Authorization": f"Bearer {caller.token}", **headers}
    answer = httpx.request(method, f"{server.url}{path}", headers=named, timeout=30, **options)  # type: ignore[arg-type]
    assert answer.status_code < 300, answer.text


def test_request_belongs_to_the_clients_trace(traced: RunningServer, collector: Collector, caller: Key) -> None:
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    sent = {**SENT, "traceparent": f"00-{trace}-{parent}-01", "x-request-id": "mine-1"}
    ask(traced, caller, "PUT", f"/api/v1/cache/{CANARY}", sent, json={"value": CANARY, "tags": [CANARY]})
    names = {"PUT /api/v1/cache/:key", "statement Write"}
    wait_for(lambda: names <= collector.of_trace(trace).keys(), 10, "request and statement are exported")
    request, statement = (collector.of_trace(trace)[name] for name in sorted(names))
    assert request.parent_span_id.hex() == parent
    assert request.kind == Span.SPAN_KIND_SERVER
    assert attributes(request) == {
        "http.request.method": "PUT",
        "http.route": "/api/v1/cache/:key",
        "http.response.status_code": 201,
        "cacheservice.request_id": "mine-1",
    }
    assert statement.parent_span_id == request.span_id
    assert [link.span_id for link in statement.links] == [request.span_id]
    assert attributes(statement)["db.operation.batch.size"] == 1
    assert attributes(statement)["cacheservice.outcome"] == "done"
    wait_for(lambda: trace in traced.log_path.read_text(), 10, "the log names the trace")
    lines = [json.loads(line) for line in traced.log_path.read_text().splitlines() if trace in line]
    assert {(line["event"], line["request_id"], line["span_id"]) for line in lines} == {
        ("request", "mine-1", request.span_id.hex())
    }


def test_statement_is_linked_with_all_its_requests(traced: RunningServer, collector: Collector, caller: Key) -> None:
    trace, count = secrets.token_hex(16), 40

    async def many() -> None:
        headers = {"Authorization": f"Bearer {caller.token}", "traceparent": f"00-{trace}-{PARENT}-01"}
        async with httpx.AsyncClient(base_url=traced.url, headers=headers, timeout=30) as client:
            await asyncio.gather(*(client.get(f"/api/v1/cache/k{number}") for number in range(count)))

    asyncio.run(many())

    def statements() -> list[Span]:
        """Those that read for one of them."""
        found = [span for span in collector.spans() if span.name == "statement Read"]
        return [span for span in found if any(link.trace_id.hex() == trace for link in span.links)]

    def requests() -> set[bytes]:
        found = [span for span in collector.spans() if span.trace_id.hex() == trace]
        return {span.span_id for span in found if span.name == "GET /api/v1/cache/:key"}

    wait_for(lambda: len(requests()) == count, 10, "all requests are exported")
    wait_for(lambda: sum(len(span.links) for span in statements()) >= count, 10, "all statements are exported")
    assert sorted(link.span_id for span in statements() for link in span.links) == sorted(requests())
    for span in statements():
        assert len(span.links) == attributes(span)["db.operation.batch.size"]


def test_clients_that_are_not_sampled_leave_no_trace(traced: RunningServer, collector: Collector, caller: Key) -> None:
    unsampled, sampled = secrets.token_hex(16), secrets.token_hex(16)
    for trace, flag in ((unsampled, "00"), (sampled, "01")):
        ask(traced, caller, "GET", "/api/v1/cache/k", {"traceparent": f"00-{trace}-{PARENT}-{flag}"})
    wait_for(lambda: len(collector.of_trace(sampled)) == 2, 10, "the later one is exported")
    assert collector.of_trace(unsampled) == {}


def test_upstreams_learn_nothing_of_it(
    traced: RunningServer,
    collector: Collector,
    caller: Key,
    upstream: RunningUpstream,  # noqa: F811
) -> None:
    upstream.reset()
    client = GatewayClient(traced, upstream, caller.row.tenant, caller)
    client.provider(CANARY)
    trace = secrets.token_hex(16)
    sent = {**SENT, "traceparent": f"00-{trace}-{PARENT}-01"}
    ask(traced, caller, "POST", f"/gateway/{CANARY}/v1/chat/completions", sent, json=question(CANARY))
    names = {"POST /gateway/:provider", "upstream openai", "statement Read"}
    wait_for(lambda: names <= collector.of_trace(trace).keys(), 10, "the call is exported")
    spans = collector.of_trace(trace)
    assert spans["upstream openai"].parent_span_id == spans["POST /gateway/:provider"].span_id
    assert attributes(spans["upstream openai"])["cacheservice.outcome"] == "2xx"
    assert attributes(spans["POST /gateway/:provider"])["cacheservice.cache"] == "MISS"
    [call] = upstream.calls()
    assert not {"traceparent", "tracestate", "baggage"} & call.headers.keys()


def test_nothing_secret_is_exported(traced: RunningServer, collector: Collector, caller: Key) -> None:
    """Also not of what is refused and fails."""
    trace = secrets.token_hex(16)
    sent = {"Authorization": f"Bearer {caller.token}", **SENT, "traceparent": f"00-{trace}-{PARENT}-01"}
    with httpx.Client(base_url=traced.url, headers=sent, timeout=30) as client:
        client.get(f"/{CANARY}")
        client.request("FROB" + CANARY, "/api/v1/account")
        client.get(f"/api/v1/cache?prefix={CANARY}&tag={CANARY}")
        client.post(f"/gateway/{CANARY}/{CANARY}", content=CANARY)
        client.put("/api/v1/cache/k", content=CANARY, headers={"Content-Type": CANARY})
        client.get(f"/api/v1/cache/last-{CANARY}")
    wait_for(lambda: "GET /api/v1/cache/:key" in collector.of_trace(trace), 10, "the last one is exported")
    everything = b"".join(collector.bodies)
    for secret in (CANARY, caller.token, caller.token.rpartition("_")[2], caller.row.tenant.name):
        assert secret.encode() not in everything
    assert "other account" in {span.name for span in collector.spans()}


def test_tasks_have_spans(collector: Collector, settings: Settings) -> None:
    class Task:
        name = "tests.tasks.nothing"

    settings.OTLP_ENDPOINT = collector.url
    tracing.start("cacheservice-worker")
    try:
        tracing._begin_task(task_id="1", task=Task)
        inside = tracing.ids()
        tracing._end_task(task_id="1", state="FAILURE")
        assert tracing.ids() == {}
    finally:
        tracing.stop()
    [span] = [span for span in collector.spans() if span.name == "task tests.tasks.nothing"]
    assert (span.trace_id.hex(), span.span_id.hex()) == (inside["trace_id"], inside["span_id"])
    assert attributes(span)["cacheservice.outcome"] == "failure"
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert "cacheservice-worker" in collector.services
    assert not tracing.on


@pytest.mark.parametrize("variable", ["CACHE_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_missing_package_is_named(variable: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.OTLP_ENDPOINT = "http://127.0.0.1:1" if variable.startswith("CACHE") else ""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(ImproperlyConfigured, match=rf"^{variable} is set, and the package .* extra 'otel'"):
        tracing.start("x")
    assert not tracing.on
    with pytest.raises(SystemExit, match=variable):
        celery._check()


def test_off_by_default_and_then_nothing_is_loaded(tmp_path: Path) -> None:
    look = "import sys, cacheservice.asgi; print([name for name in sys.modules if name.startswith('opentelemetry')])"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
