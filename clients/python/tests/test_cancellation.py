"""Who is cancelled while it holds a lease gives it back: all who want the key would wait for the lease's end."""

import asyncio
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import anyio
import pytest
from conftest import API_KEY
from fake_service import Answer, FakeService

from cacheservice_client import AsyncCache, Cache

SLOW = 30.0  # seconds, longer than any of these tests


class Stopped(BaseException):
    """As a greenlet or a signal handler would have it."""


async def call(cache: AsyncCache, make: Callable[[], Awaitable[str]]) -> str:
    return await cache.get_or_create("k", make)


async def partial(cache: AsyncCache, make: Callable[[], Awaitable[str]]) -> str:
    return await functools.partial(cache.get_or_create, "k", make)()


async def memoized(cache: AsyncCache, make: Callable[[], Awaitable[str]]) -> str:
    @cache.memoize()
    async def function() -> str:
        return await make()

    return await function()


async def generator(cache: AsyncCache, make: Callable[[], Awaitable[str]]) -> str:
    async def chunks() -> AsyncIterator[str]:
        yield "begun"
        yield await cache.get_or_create("k", make)

    return "".join([chunk async for chunk in chunks()])


Use = Callable[[AsyncCache, Callable[[], Awaitable[str]]], Awaitable[str]]
USES = [call, partial, memoized, generator]


async def once(task: "asyncio.Task[str]", _: asyncio.Event) -> None:
    task.cancel()


async def twice(task: "asyncio.Task[str]", _: asyncio.Event) -> None:
    """The second time while the lease is on its way back."""
    task.cancel()
    await asyncio.sleep(0.05)
    task.cancel()


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("cancel", [once, twice])
def test_a_cancelled_maker_gives_its_lease_back(
    service: FakeService, use: Use, cancel: Callable[["asyncio.Task[str]", asyncio.Event], Awaitable[None]]
) -> None:
    async def main() -> None:
        begun = asyncio.Event()

        async def make() -> str:
            begun.set()
            service.next_answers.append(Answer(200, b'{"key":"k","deleted":false}', after_seconds=0.2))
            await asyncio.sleep(SLOW)
            return "made"

        async with AsyncCache(url=service.url, api_key=API_KEY) as cache:
            task = asyncio.ensure_future(use(cache, make))
            await begun.wait()
            await cancel(task, begun)
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert [received.method for received in service.received] == ["GET", "DELETE"]
    assert "x-cache-lease" in service.received[-1].headers


@pytest.mark.parametrize("use", USES)
def test_a_maker_that_anyio_cancels_gives_its_lease_back(service: FakeService, use: Use) -> None:
    """As Starlette does when a visitor leaves: whatever the task then awaits is cancelled as well."""

    async def main() -> None:
        async def make() -> str:
            await asyncio.sleep(SLOW)
            return "made"

        async with AsyncCache(url=service.url, api_key=API_KEY) as cache:
            with anyio.move_on_after(0.3) as scope:
                await use(cache, make)
            assert scope.cancelled_caught

    asyncio.run(main())
    assert not service.leases


def test_a_fill_that_anyio_cancels_gives_its_lease_back(service: FakeService) -> None:
    async def main() -> None:
        async def make() -> str:
            service.next_answers.append(Answer(503, b"", after_seconds=SLOW))
            return "made"

        async with AsyncCache(url=service.url, api_key=API_KEY) as cache:
            with anyio.move_on_after(0.5) as scope:
                await cache.get_or_create("k", make)
            assert scope.cancelled_caught

    asyncio.run(main())
    assert service.count("PUT") == 1
    assert not service.leases


@pytest.mark.parametrize("wait", [0, 10])
def test_who_is_cancelled_while_the_lease_is_on_its_way_gives_it_back(service: FakeService, wait: int) -> None:
    """The service has given it, and the answer has not come yet; or it gives it to one that waited and is no more."""

    async def main() -> None:
        async def make() -> str:
            raise AssertionError("it was cancelled before")

        async with AsyncCache(url=service.url, api_key=API_KEY) as cache:
            held = await cache.get("k", lease=30) if wait else None
            service.delay_seconds = 0.3
            task = asyncio.create_task(cache.get_or_create("k", make, wait=wait))
            while service.count("GET") < (3 if wait else 1):  # two by the task itself, and it waits
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            service.delay_seconds = 0
            if held is not None:
                assert not held
                await cache.release("k", str(held.lease))
            began = time.monotonic()
            assert await cache.get_or_create("k", quick) == "made"
            assert time.monotonic() - began < 2

    async def quick() -> str:
        return "made"

    asyncio.run(main())
    assert not service.leases


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit, Stopped])
def test_a_blocking_maker_that_is_stopped_gives_its_lease_back(service: FakeService, stop: type[BaseException]) -> None:
    def make() -> str:
        raise stop

    with Cache(url=service.url, api_key=API_KEY) as cache:
        with pytest.raises(stop):
            cache.get_or_create("k", make)
        assert not service.leases
        assert cache.get_or_create("k", lambda: "made") == "made"


def test_a_generator_is_no_value_and_its_lease_goes_back(service: FakeService) -> None:
    with Cache(url=service.url, api_key=API_KEY) as cache:
        with pytest.raises(TypeError, match="not JSON serializable"):
            cache.get_or_create("k", lambda: (chunk for chunk in "made"))
        assert not service.leases
