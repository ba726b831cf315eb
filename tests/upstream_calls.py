"""A provider, a client and what to do with them: for tests of calls to upstreams."""

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from gateway.policy import Policy
from gateway.providers import Upstream
from gateway.upstreams import Answer, Request, UpstreamError, Upstreams
from tests.raw_servers import Answer as Serve
from tests.raw_servers import Exchange, RawServer, raw_server

LOOPBACK = [ipaddress.ip_network("127.0.0.0/8")]
SECRET = "sk-canary-4f1d"
MOST = 100_000  # bytes of an answer, here


def provider(base_url: str, **policy: Any) -> Upstream:
    return Upstream(
        tenant_id=1,
        name="ours",
        kind="openai",
        base_url=base_url,
        credential=SECRET.encode(),
        credential_header="authorization",
        policy=Policy(**policy),
        fallbacks=(),
        revision=1,
    )


def request(body: bytes = b"{}", **headers: str) -> Request:
    return Request("POST", "/v1/x", "a=%20b", tuple(headers.items()), body)


@asynccontextmanager
async def client(**options: Any) -> AsyncIterator[Upstreams]:
    upstreams = Upstreams(**{"allowed": LOOPBACK, "max_answer_bytes": MOST, "first_pause": 0.001, **options})
    await upstreams.start()
    try:
        yield upstreams
    finally:
        await upstreams.close()


async def read(answer: Answer) -> bytes:
    try:
        return b"".join([piece async for piece in answer.chunks()])
    finally:
        await answer.close()


async def error_of(doing: Awaitable[Any]) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        await doing
    assert SECRET not in f"{caught.value!r} {caught.value} {vars(caught.value)}"
    return caught.value


def with_server(serve: Serve, scenario: Callable[[RawServer, Upstreams], Awaitable[None]], **options: Any) -> None:
    async def run() -> None:
        async with raw_server(serve) as server, client(**options) as upstreams:
            await scenario(server, upstreams)

    uvloop.run(run())


def statuses(*given: int, headers: tuple[str, ...] = ()) -> Serve:
    """Answer with one after the other, and with the last one from then on."""

    async def serve(exchange: Exchange) -> None:
        await exchange.answer(given[min(exchange.number, len(given)) - 1], b"{}", *headers)

    return serve
