"""Caches made before a fork, before an event loop, and used from many threads and tasks."""

import asyncio
import gc
import inspect
import multiprocessing
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import API_KEY
from fake_service import FakeService

from cacheservice_client import AsyncCache, Cache


def test_both_caches_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, tuple[list[tuple[str, object]], str | None]]:
        return {
            name: (
                [(each.name, each.default) for each in inspect.signature(method).parameters.values()],
                method.__doc__,
            )
            for name, method in vars(kind).items()
            if not name.startswith("_")
        }

    blocking, asynchronous = methods(Cache), methods(AsyncCache)
    asynchronous["close"] = asynchronous.pop("aclose")
    assert blocking == asynchronous


def test_connections_are_used_again(service: FakeService) -> None:
    with Cache(url=service.url, api_key=API_KEY) as cache:
        for _ in range(5):
            cache.get("k")
        (client,) = cache._engine.transport._clients.values()  # type: ignore[attr-defined]
        assert len(client._transport._pool.connections) == 1


def test_a_cache_serves_one_event_loop_after_the_other(service: FakeService) -> None:
    cache = AsyncCache(url=service.url, api_key=API_KEY)

    async def use() -> None:
        await cache.put("k", 1)
        hits = await asyncio.gather(*(cache.get("k") for _ in range(20)))
        assert all(hits)

    for _ in range(3):
        asyncio.run(use())
    assert not cache._engine.transport._clients  # type: ignore[attr-defined]  # each was closed with its loop


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of sockets whose loop cannot close them any more
def test_loops_that_were_closed_roughly_leave_nothing_behind(service: FakeService) -> None:
    cache = AsyncCache(url=service.url, api_key=API_KEY)
    for _ in range(5):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(cache.get("k"))
        loop.close()
    transport: Any = cache._engine.transport
    assert len(transport._clients) == len(transport._keepers) == 1
    asyncio.run(cache.aclose())
    assert not transport._clients
    gc.collect()


def test_tasks_in_two_loops_make_one_value(service: FakeService) -> None:
    cache = AsyncCache(url=service.url, api_key=API_KEY)
    calls = []

    async def make() -> str:
        calls.append(1)
        await asyncio.sleep(0.3)
        return "made"

    async def use() -> list[str]:
        return await asyncio.gather(*(cache.get_or_create("k", make) for _ in range(10)))

    with ThreadPoolExecutor(2) as threads:
        runs = [threads.submit(asyncio.run, use()) for _ in range(2)]
        assert [run.result() for run in runs] == [["made"] * 10] * 2
    assert len(calls) == 1


def test_a_task_that_is_cancelled_gives_its_lease_to_the_next(service: FakeService) -> None:
    begun = asyncio.Event()
    calls = []

    async def make() -> str:
        calls.append(1)
        begun.set()
        await asyncio.sleep(0.2 if len(calls) > 1 else 60)
        return "made"

    async def use() -> None:
        async with AsyncCache(url=service.url, api_key=API_KEY) as cache:
            first, second = (asyncio.create_task(cache.get_or_create("k", make)) for _ in range(2))
            await begun.wait()
            first.cancel()
            assert await asyncio.wait_for(second, 5) == "made"
            with pytest.raises(asyncio.CancelledError):
                await first

    asyncio.run(use())
    assert len(calls) == 2
    assert not service.leases


def test_a_waiting_task_that_is_cancelled_leaves_the_others_alone(service: FakeService) -> None:
    async def make() -> str:
        await asyncio.sleep(0.3)
        return "made"

    async def use() -> None:
        async with AsyncCache(url=service.url, api_key=API_KEY) as cache:
            tasks = [asyncio.create_task(cache.get_or_create("k", make)) for _ in range(3)]
            await asyncio.sleep(0.1)
            tasks[1].cancel()
            assert await tasks[0] == await tasks[2] == "made"

    asyncio.run(use())


def test_waits_leave_connections_for_the_others(service: FakeService) -> None:
    """120 tasks wait for leases that others hold; a 121st must still find a connection to do its work."""

    async def use() -> None:
        async with (
            AsyncCache(url=service.url, api_key=API_KEY) as holder,
            AsyncCache(url=service.url, api_key=API_KEY) as cache,
        ):
            leases = [await holder.get(f"k{number}", lease=30) for number in range(120)]

            async def make() -> int:
                raise AssertionError("another one makes it")

            waiting = [asyncio.create_task(cache.get_or_create(f"k{number}", make)) for number in range(120)]
            await asyncio.sleep(1)
            began = time.monotonic()
            assert await cache.put("other", 1)
            assert time.monotonic() - began < 1
            for number, miss in enumerate(leases):
                await holder.put(f"k{number}", number, lease=miss.lease)  # type: ignore[union-attr]
            assert await asyncio.gather(*waiting) == list(range(120))

    asyncio.run(use())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_opens_connections_of_its_own(service: FakeService) -> None:
    """With those of its parent, each would read the other's answers. And it waits for nothing that its parent does."""
    cache: Any = Cache(url=service.url, api_key=API_KEY)
    for number in range(200):
        cache.put(f"k{number}", number)
    released = threading.Event()
    making = threading.Thread(target=cache.get_or_create, args=("slow", released.wait))
    making.start()
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=_read_all, args=(cache,)) for _ in range(2)]
    for child in children:
        child.start()
    for number in range(200):
        assert cache.get(f"k{number}").value == number
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    released.set()
    making.join()
    cache.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_maker_may_fork(service: FakeService) -> None:
    """The child returns from `make` as its parent does, and finds nobody on board."""
    with Cache(url=service.url, api_key=API_KEY) as cache:
        pids: list[int] = []

        def make() -> str:
            pids.append(os.fork())
            return "made"

        try:
            value = cache.get_or_create("k", make)
        finally:
            if pids == [0]:
                os._exit(0 if "value" in vars() and value == "made" else 1)
        assert value == "made"
        assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 0


def _read_all(cache: Any) -> None:
    for number in range(200):
        assert cache.get(f"k{number}").value == number
    assert cache.get_or_create("slow", lambda: "mine", wait=0) == "mine"
