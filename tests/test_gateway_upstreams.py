"""Calls to upstreams: what goes there, what comes back, and what is tried again, over real connections."""

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from gateway import loops
from gateway.upstreams import Upstreams
from tests.raw_servers import Exchange, RawServer, cut_off
from tests.upstream_calls import (
    SECRET,
    error_of,
    provider,
    read,
    request,
    statuses,
    with_server,
)


def test_a_request_goes_as_it_is_and_the_answer_without_what_was_about_its_connection() -> None:
    async def serve(exchange: Exchange) -> None:
        dropped = (
            "Set-Cookie: a=b",
            "Server: x",
            "Alt-Svc: h3",
            "X-Cache: HIT",
            "Age: 5",
            "Connection: X-Hop",
            "X-Hop: 1",
        )
        await exchange.answer(201, b'{"a": 1}', "Content-Type: application/json", "X-Request-Id: 7", *dropped)

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        for _ in range(3):
            sent = request(b"body", Accept="text/event-stream", Host="evil", Authorization="Bearer theirs", Expect="x")
            answer = await upstreams.send(provider(f"{server.url}/base/"), sent, None)
            assert (answer.status, answer.lost) == (201, 0)
            assert answer.headers == ((b"content-type", b"application/json"), (b"x-request-id", b"7"))
            assert await read(answer) == b'{"a": 1}'
        got = server.requests[-1]
        assert (got.line, got.body) == ("POST /base/v1/x?a=%20b HTTP/1.1", b"body")
        assert {(name.lower(), value) for name, value in got.headers} == {
            ("host", f"127.0.0.1:{server.port}"),
            ("accept", "text/event-stream"),
            ("authorization", f"Bearer {SECRET}"),
            ("accept-encoding", "gzip, deflate"),
            ("cdn-loop", loops.here()),
            ("content-length", "4"),
        }
        assert server.connections == 1  # no cookie came back, and the connection was used again

    with_server(serve, scenario)


def test_which_credential_goes_in_which_header() -> None:
    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        ours = provider(server.url)
        theirs = replace(ours, credential_header="x-api-key")
        for upstream, own in (
            (ours, b"Basic own"),
            (theirs, None),
            (theirs, b"own"),
            (replace(ours, credential=None), None),
        ):
            await read(await upstreams.send(upstream, request(), own))
        first, second, third, none = server.requests
        assert first.header("authorization") == ["Basic own"]
        assert (second.header("x-api-key"), second.header("authorization")) == ([SECRET], [])
        assert third.header("x-api-key") == ["own"]
        assert none.header("authorization") == []

    with_server(statuses(200), scenario)


def test_no_header_smuggles_another_one_in() -> None:
    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        for sent, own in ((request(Accept="a\r\nX-Evil: 1"), None), (request(), f"{SECRET}\r\nX-Evil: 1".encode())):
            error = await error_of(upstreams.send(provider(server.url), sent, own))
            assert (error.code, error.began) == ("upstream_refused_address", False)
        assert server.requests == []

    with_server(statuses(200), scenario)


@pytest.mark.parametrize(("name", "encode"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_answers_are_plain_here(name: str, encode: Callable[[bytes], bytes]) -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.answer(200, encode(b"plain" * 1000), f"Content-Encoding: {name}")

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        answer = await upstreams.send(provider(server.url), request(), None)
        assert answer.headers == ()
        assert await read(answer) == b"plain" * 1000

    with_server(serve, scenario)


def test_each_piece_is_there_before_the_next_one_is_sent() -> None:
    taken = asyncio.Queue[bytes]()

    async def serve(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(5):
            await exchange.send(b"1\r\n%d\r\n" % number)
            assert await taken.get() == b"%d" % number
        await exchange.send(b"0\r\n\r\n")

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        answer = await upstreams.send(provider(server.url), request(), None)
        async for piece in answer.chunks():
            taken.put_nowait(piece)
        await answer.close()

    with_server(serve, scenario)


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
def test_what_may_pass_is_tried_again(status: int) -> None:
    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        answer = await upstreams.send(provider(server.url, retries=2), request(b"same"), None)
        assert (answer.status, answer.lost, await read(answer)) == (200, 0, b"{}")
        assert [exchange.body for exchange in server.requests] == [b"same"] * 3

    with_server(statuses(status, status, 200), scenario)


@pytest.mark.parametrize(
    ("status", "retries", "requests"), [(503, 2, 3), (429, 1, 2), (500, 0, 1), (400, 5, 1), (404, 5, 1), (501, 5, 1)]
)
def test_the_last_answer_is_given_as_it_is(status: int, retries: int, requests: int) -> None:
    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        answer = await upstreams.send(provider(server.url, retries=retries), request(), None)
        assert (answer.status, await read(answer)) == (status, b"{}")
        assert len(server.requests) == requests

    with_server(statuses(status), scenario)


def http_date(seconds: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("said", "requests"),
    [("0", 2), (-60, 2), ("6", 1), (3600, 1), ("99999999999", 1)],
)
def test_an_upstream_says_when_to_come_back(said: str | int, requests: int) -> None:
    """At once, although our own pause would be too long; or so late that the client is told instead. In seconds, or as
    a moment, here so many seconds from now."""
    told = http_date(said) if isinstance(said, int) else said

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        answer = await upstreams.send(provider(server.url, retries=1), request(), None)
        assert (b"retry-after", told.encode()) in answer.headers
        await read(answer)
        assert len(server.requests) == requests

    with_server(statuses(429, headers=(f"Retry-After: {told}",)), scenario, first_pause=10_000.0)


@pytest.mark.parametrize("said", ["soon", "", "-1", "²", "1.5"])
def test_what_is_no_time_to_come_back_is_left_alone(said: str) -> None:
    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        answer = await upstreams.send(provider(server.url, retries=1), request(), None)
        await read(answer)
        assert (answer.status, len(server.requests)) == (429, 2)

    with_server(statuses(429, headers=(f"Retry-After: {said}",)), scenario)


def test_a_connection_that_ends_without_an_answer_is_tried_again_and_counted() -> None:
    async def serve(exchange: Exchange) -> None:
        if exchange.number < 3:
            raise cut_off()
        await exchange.answer(200)

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        answer = await upstreams.send(provider(server.url, retries=2), request(), None)
        await read(answer)
        assert (answer.status, answer.lost, len(server.requests)) == (200, 2, 3)

    with_server(serve, scenario)


def test_a_kept_connection_that_the_upstream_has_closed_is_replaced() -> None:
    async def serve(exchange: Exchange) -> None:
        await exchange.answer(200)
        raise cut_off()

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        for number in range(1, 4):
            await read(await upstreams.send(provider(server.url, retries=0), request(), None))
            await server.until_gone(number)
            await asyncio.sleep(0.05)  # for the news to get here

    with_server(serve, scenario)


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        assert (await upstreams.send(provider(server.url), request(), None)).status == 200

    with_server(statuses(200), scenario)


def test_many_at_once() -> None:
    async def serve(exchange: Exchange) -> None:
        await asyncio.sleep(0.01)
        await exchange.answer(200, exchange.body)

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        async def one(number: int) -> None:
            body = json.dumps({"number": number}).encode()
            assert await read(await upstreams.send(provider(server.url), request(body), None)) == body

        await asyncio.gather(*(one(number) for number in range(300)))

    with_server(serve, scenario)
