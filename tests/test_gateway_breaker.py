"""Circuit breakers: a provider that keeps failing is left alone for a while."""

import asyncio
from dataclasses import replace

import pytest

from gateway import breaker
from gateway.breaker import Breaker
from gateway.upstreams import Upstreams
from tests.raw_servers import Exchange, RawServer, cut_off
from tests.upstream_calls import (
    error_of,
    provider,
    request,
    statuses,
    with_server,
)


class Clock:
    """Seconds that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_provider_that_keeps_failing_is_left_alone_and_then_tried_once() -> None:
    clock, good = Clock(), asyncio.Event()

    async def serve(exchange: Exchange) -> None:
        await exchange.answer(200 if good.is_set() else 503)

    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        ours = provider(server.url, retries=1)
        for _ in range(2):
            assert (await upstreams.send(ours, request(), None)).status == 503
        assert (await upstreams.send(ours, request(), None)).status == 503  # the fifth failure: not tried again
        assert len(server.requests) == 5
        error = await error_of(upstreams.send(ours, request(), None))
        assert (error.status, error.code, error.began, error.retry_after) == (503, "upstream_circuit_open", False, 10.0)
        assert error.message.startswith(
            "The provider 'ours' failed 5 times in a row, so nothing is sent to it until 20"
        )
        assert error.message.endswith("Z. The last failure: It answered 503.")
        for other in (replace(ours, tenant_id=2), replace(ours, name="another")):
            assert (await upstreams.send(other, request(), None)).status == 503
        seen = len(server.requests)
        clock.now += breaker.OPEN_SECONDS
        assert (await upstreams.send(ours, request(), None)).status == 503  # the probe
        await error_of(upstreams.send(ours, request(), None))
        assert len(server.requests) == seen + 1
        clock.now += breaker.OPEN_SECONDS
        good.set()
        for _ in range(3):
            assert (await upstreams.send(ours, request(), None)).status == 200

    with_server(serve, scenario, breaker=Breaker(clock))


@pytest.mark.parametrize("status", [400, 401, 404, 429])
def test_what_the_client_does_wrong_is_no_failure_of_the_provider(status: int) -> None:
    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        for _ in range(breaker.FAILURES + 3):
            assert (await upstreams.send(provider(server.url, retries=0), request(), None)).status == status

    with_server(statuses(status), scenario)


def test_connections_and_timeouts_are_failures() -> None:
    async def scenario(server: RawServer, upstreams: Upstreams) -> None:
        for _ in range(breaker.FAILURES):
            assert (await error_of(upstreams.send(provider(server.url, retries=0), request(), None))).began
        error = await error_of(upstreams.send(provider(server.url), request(), None))
        assert error.message.endswith("The last failure: The provider 'ours' ended the connection without an answer.")

    async def serve(exchange: Exchange) -> None:
        raise cut_off()

    with_server(serve, scenario)


def test_one_probe_at_a_time_and_none_that_blocks_for_good() -> None:
    clock = Clock()
    circuits, place = Breaker(clock), (1, "ours")
    for _ in range(breaker.FAILURES - 1):
        circuits.failed(place, "no")
    circuits.succeeded(place)
    for _ in range(breaker.FAILURES):
        assert circuits.admit(place) is None
        circuits.failed(place, "no")
    circuits.gave_up(place)  # a request of before, which changes nothing
    assert circuits.admit(place) == (breaker.OPEN_SECONDS, breaker.FAILURES, "no")
    clock.now += breaker.OPEN_SECONDS
    assert circuits.admit(place) is None  # the probe
    assert circuits.admit(place) is not None
    circuits.gave_up(place)  # it was cancelled
    assert circuits.admit(place) is None
    assert circuits.admit(place) is not None
    clock.now += breaker.OPEN_SECONDS  # that one never said how it ended
    assert circuits.admit(place) is None
    circuits.succeeded(place)
    assert circuits.admit(place) is None
    assert circuits.admit(place) is None


def test_the_breakers_memory_is_bounded() -> None:
    circuits = Breaker(Clock())
    for tenant in range(breaker.MOST + 100):
        for _ in range(breaker.FAILURES):
            circuits.failed((tenant, "x"), "no")
    assert circuits.state((0, "x")) is None
    assert circuits.state((100, "x")) is not None
