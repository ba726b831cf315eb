"""One request of one tenant must not hold up a process that serves them all, nor fill its memory."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Event
from typing import Any, Final

import httpx
import pytest

from gateway.answers import Answer
from gateway.errors import UpstreamFailed
from gateway.flights import Flight, Flights
from gateway.models import Kind
from tests.client import NO_TLS, connect, request_bytes
from tests.conftest import server_environment
from tests.gateway_cast import LOOPBACK, Client, new_client, question
from tests.processes import running_server, wait_for
from tests.servers import forget_peak, worker_memory
from tests.small_servers import small_server
from tests.upstreams import RunningUpstream, upstream

__all__ = ["upstream"]

MEGABYTE: Final = 1_000_000


@pytest.fixture
def alone(upstream: RunningUpstream, committed_db: None, tmp_path: Path) -> Iterator[Client]:
    """With a server of its own."""
    upstream.reset()
    environment = {**server_environment(lane="on"), "CACHE_GATEWAY_ALLOW_NETWORKS": LOOPBACK}
    with running_server(tmp_path / "server.log", environment) as running:
        yield new_client(running, upstream)
    upstream.reset()


def others_are_served(client: Client, body: Any, path: str) -> None:
    """While this request is under way."""
    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(_send, client, body, path)
        for _ in range(5):
            Event().wait(0.5)
            assert httpx.get(f"{client.server.url}/healthz", timeout=10, verify=NO_TLS).status_code == 200
        under_way.cancel()


def _send(client: Client, body: Any, path: str) -> int:
    try:
        headers = {"Authorization": f"Bearer {client.key.token}"}
        return httpx.post(f"{client.url}/{path}", json=body, headers=headers, timeout=10, verify=NO_TLS).status_code
    except httpx.TransportError:
        return 0


def test_a_body_is_not_written_out_again_for_each_of_its_strings(alone: Client) -> None:
    body = {"model": "text-embedding-3-small", "input": [str(n) for n in range(2000)], "other": list(range(100_000))}
    others_are_served(alone, body, "openai/v1/embeddings")


def test_a_million_strings_are_not_looked_up(alone: Client) -> None:
    body = {"model": "text-embedding-3-small", "input": [str(n) for n in range(1_000_000)]}
    others_are_served(alone, body, "openai/v1/embeddings")


def test_a_stream_of_blank_lines_fills_no_memory(alone: Client) -> None:
    """Ten megabytes are as many events."""

    def blank(handler: BaseHTTPRequestHandler, __: bytes) -> None:
        handler.send_response(200)
        handler.send_header("content-type", "text/event-stream")
        handler.end_headers()
        for _ in range(9):
            handler.wfile.write(b"\n" * MEGABYTE)

    with small_server(blank) as url:
        alone.provider("own", Kind.OTHER, base_url=url)
        Event().wait(1.2)
        forget_peak(alone.server)
        before = worker_memory(alone.server)
        others_are_served(alone, {"prompt": "x", "stream": True}, "own/run")
        assert worker_memory(alone.server, "VmHWM") - before < 150 * MEGABYTE


def test_plans_that_are_kept_take_little_memory(alone: Client) -> None:
    """Long queries, each another one: nothing of it need go upstream."""
    forget_peak(alone.server)
    before = worker_memory(alone.server)
    with httpx.Client(timeout=30, verify=NO_TLS) as http:
        headers = {"Authorization": f"Bearer {alone.key.token}"}
        for number in range(3000):
            query = f"{number}" + "x" * 30_000
            answer = http.post(f"{alone.url}/openai/v1/nothing?{query}", content=b"{}", headers=headers)
            assert answer.status_code in (400, 404, 414)
    assert worker_memory(alone.server) - before < 40 * MEGABYTE


def test_bodies_of_clients_who_left_are_still_counted(alone: Client) -> None:
    """Their calls go on, by the policy, and hold on to what they send: it must be bounded all the same."""
    body = {**question(), "other": "x" * (9 * MEGABYTE)}
    alone.post(question())
    alone.upstream.hold()
    forget_peak(alone.server)
    before = worker_memory(alone.server)
    headers, url = {"Authorization": f"Bearer {alone.key.token}"}, f"{alone.url}/openai/v1/chat/completions"
    statuses = []
    for number in range(40):
        body["seed"] = number
        try:
            answer = httpx.post(url, json=body, headers=headers, timeout=httpx.Timeout(20, read=0.5))
            statuses.append(answer.status_code)
        except httpx.ReadTimeout:
            statuses.append(0)
    grown = worker_memory(alone.server) - before
    alone.upstream.release()
    assert grown < 200 * MEGABYTE, statuses


def test_readers_who_take_nothing_hold_a_bounded_memory(upstream: RunningUpstream, alone: Client) -> None:
    """Each asks for a stream of 9 MB and leaves it lying."""
    alone.post(question())
    forget_peak(alone.server)
    before = worker_memory(alone.server)
    with ExitStack() as open_connections:
        for _ in range(40):
            sock = open_connections.enter_context(connect(alone.server.url))
            body = json.dumps(question("[[huge-9mb]]" + question()["messages"][0]["content"], stream=True)).encode()
            named = [(b"Authorization", b"Bearer " + alone.key.token.encode()), (b"Content-Type", b"application/json")]
            sock.sendall(request_bytes("POST", b"/gateway/openai/v1/chat/completions", named, body))
        alone.upstream.wait_for_calls(40, 60)
        wait_for(lambda: len(alone.events(0)) >= 40, 100, "all have landed")
        assert worker_memory(alone.server) - before < 250 * MEGABYTE


@pytest.mark.parametrize("content_type", [b"application/json", b"text/event-stream"])
def test_a_broken_answer_keeps_no_bytes_once_nobody_reads_it(content_type: bytes) -> None:
    """The error that ended it has a traceback, which refers to who had the answer: a cycle that garbage collection
    finds late."""
    piece = b"data: 1\n\ndata: 2"

    async def scenario() -> None:
        flights = Flights(100)
        answer = Answer(200, ((b"content-type", content_type),))

        async def fly(flight: Flight) -> None:
            flight.begin(answer)
            flights.take(flight, len(piece))
            answer.add(piece)
            flight.end(UpstreamFailed(502, "upstream_too_large", "It is."))

        flight = flights.start(None, fly)
        with flights.reading(flight, cancel=False):
            with pytest.raises(UpstreamFailed):
                await flight.whole()
            await flight.landed
            kept = answer.events or answer.pieces
            assert len(kept) == 1
            assert answer.torn is (content_type == b"text/event-stream")
        assert (kept, answer.torn) == ([], False)

    asyncio.run(scenario())
