"""A fake service, and caches of both kinds for it, driven by the same tests."""

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fake_service import FakeService, running_fake_service

from cacheservice_client import AsyncCache, Cache

API_KEY = "ck_live_0123456789abcdef0123456789abcdef"
NewCache = Callable[..., Any]


@pytest.fixture
def service() -> Iterator[FakeService]:
    with running_fake_service() as running:
        yield running


@pytest.fixture(params=["blocking", "asyncio"])
def new_cache(request: pytest.FixtureRequest, service: FakeService) -> Iterator[NewCache]:
    """Makes a `Cache`, or an `AsyncCache` that is called like one, of the fake service."""
    made: list[Any] = []
    runner = _Runner() if request.param == "asyncio" else None

    def make(**options: Any) -> Any:
        options = {"url": service.url, "api_key": API_KEY, **options}
        made.append(Cache(**options) if runner is None else _Driven(AsyncCache(**options), runner))
        return made[-1]

    yield make
    for cache in made:
        cache.close()
    if runner is not None:
        runner.stop()


@pytest.fixture
def cache(new_cache: NewCache) -> Any:
    return new_cache()


class _Runner:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class _Driven:
    """An AsyncCache with the calls of a Cache."""

    def __init__(self, cache: AsyncCache, runner: _Runner) -> None:
        self._cache, self._runner = cache, runner

    def close(self) -> None:
        self._runner.run(self._cache.aclose())

    def get_or_create(self, key: str, make: Callable[[], Any], **options: Any) -> Any:
        async def made() -> Any:
            return await asyncio.to_thread(make)

        return self._runner.run(self._cache.get_or_create(key, made, **options))

    def list(self, **options: Any) -> Iterator[Any]:
        async def entries() -> list[Any]:
            return [entry async for entry in self._cache.list(**options)]

        return iter(self._runner.run(entries()))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._cache, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            async def awaited() -> Any:
                result = method(*args, **kwargs)
                return await result if inspect.isawaitable(result) else result

            return self._runner.run(awaited())

        return call
