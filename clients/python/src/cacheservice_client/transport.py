"""Where requests leave and time passes: once blocking, once for asyncio. All that the two clients do not share.

Requests that wait for another's fill have connections of their own: if they could take all, a holder of a lease would
find none left to fill with.
"""

import asyncio
import concurrent.futures
import platform
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import suppress
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

import anyio
import httpx2

from cacheservice_client.deadlines import Deadline, keep_deadlines
from cacheservice_client.errors import TimedOut, Unreachable
from cacheservice_client.flights import Flight
from cacheservice_client.messages import Request, Response
from cacheservice_client.settings import Settings
from cacheservice_client.version import __version__

T = TypeVar("T")

_IDLE_SECONDS = 20  # the service closes a connection after 30
# Enough for any server to answer as fast as it can; more callers at once wait their turn.
_LIMITS = {
    False: httpx2.Limits(max_connections=100, max_keepalive_connections=100, keepalive_expiry=_IDLE_SECONDS),
    # Those that wait.
    True: httpx2.Limits(max_connections=500, max_keepalive_connections=20, keepalive_expiry=_IDLE_SECONDS),
}
# By which an asynchronous request outlives its timeout: so a phase's own end, which tells whether it left, comes first.
_GRACE_SECONDS = 0.02
_USER_AGENT = f"cacheservice-client/{__version__} python/{platform.python_version()}"


class Transport(Protocol):
    def __init__(self, settings: Settings) -> None: ...

    async def send(self, request: Request, timeout: float) -> Response:
        """Any answer. Raises Unreachable when none came within the seconds."""

    async def sleep(self, seconds: float) -> None: ...

    async def wait(self, flight: Flight, seconds: float) -> bool:
        """Whether the flight ended within the seconds."""

    async def finish(self, steps: Coroutine[Any, Any, None]) -> None:
        """Carry the steps out to their end, even if the caller is cancelled meanwhile."""

    async def outlive(
        self, steps: Coroutine[Any, Any, T], seconds: float, bequeath: Callable[[T], Coroutine[Any, Any, None]]
    ) -> T:
        """The result of the steps. When the caller is cancelled meanwhile, they may take so many seconds more, and
        `bequeath` gets the result."""

    async def close(self) -> None: ...

    def forget(self) -> None:
        """Leave the connections of before alone: another process has them."""


def run(steps: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never suspends, since its transport blocks."""
    try:
        steps.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    steps.close()
    raise RuntimeError("a coroutine of the blocking client suspended")


def iterate(steps: AsyncIterator[T]) -> Iterator[T]:
    """The same of an asynchronous iterator."""

    async def step() -> T:
        return await anext(steps)

    with suppress(StopAsyncIteration):
        while True:
            yield run(step())


class _Wire:
    """The service's requests and answers as httpx2 has them."""

    def __init__(self, settings: Settings) -> None:
        parts = urlsplit(settings.url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path = parts.path.rstrip("/").encode()
        try:
            self._url = httpx2.URL(self._origin)
        except httpx2.InvalidURL as error:
            raise ValueError(f"url: {error}") from None
        self._headers = [
            (b"authorization", b"Bearer " + settings.api_key.encode()),
            (b"accept", b"application/json"),
            (b"user-agent", _USER_AGENT.encode()),
        ]

    def outgoing(self, request: Request, timeout: float) -> httpx2.Request:
        """The target goes by itself: so nothing in a key is normalised, httpx2 logs no keys, and no URL is parsed."""
        headers = [*self._headers, *((name.encode(), value.encode()) for name, value in request.headers)]
        times = dict.fromkeys(("connect", "read", "write", "pool"), Deadline(timeout))
        extensions = {"target": self._path + request.target.encode(), "timeout": times}
        return httpx2.Request(request.method, self._url, headers=headers, content=request.body, extensions=extensions)

    def incoming(self, response: httpx2.Response) -> Response:
        return Response(response.status_code, response.headers, response.content)

    def unreachable(self, error: httpx2.RequestError) -> Unreachable:
        kind = TimedOut if isinstance(error, httpx2.TimeoutException) else Unreachable
        never_left = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
        message = f"No answer from {self._origin}: {type(error).__name__} {error}".rstrip()
        return kind(message, sent=not isinstance(error, never_left))


class BlockingTransport:
    def __init__(self, settings: Settings) -> None:
        self._wire = _Wire(settings)
        self._lock = threading.Lock()
        self._clients: dict[bool, httpx2.Client] = {}  # by whether their requests wait

    def forget(self) -> None:
        self._forgotten = self._clients  # not even to be closed
        self._lock = threading.Lock()
        self._clients = {}

    async def close(self) -> None:
        for client in self._clients.values():
            client.close()

    async def send(self, request: Request, timeout: float) -> Response:
        waiting = request.wait > 0
        client = self._clients.get(waiting) or self._open(waiting)
        try:
            return self._wire.incoming(client.send(self._wire.outgoing(request, timeout)))
        except httpx2.RequestError as error:
            raise self._wire.unreachable(error) from error

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def wait(self, flight: Flight, seconds: float) -> bool:
        return bool(concurrent.futures.wait([flight], seconds).done)

    async def finish(self, steps: Coroutine[Any, Any, None]) -> None:
        await steps

    async def outlive(
        self, steps: Coroutine[Any, Any, T], seconds: float, bequeath: Callable[[T], Coroutine[Any, Any, None]]
    ) -> T:
        return await steps

    def _open(self, waiting: bool) -> httpx2.Client:
        with self._lock:
            if waiting not in self._clients:
                self._clients[waiting] = keep_deadlines(httpx2.Client(limits=_LIMITS[waiting]))
            return self._clients[waiting]


_Place = tuple[asyncio.AbstractEventLoop, bool]  # where connections are, and whether their requests wait


class AsyncTransport:
    """Connections belong to the event loop that opened them. So each loop has clients of its own, and a cache made at
    import serves one `asyncio.run` after the other."""

    def __init__(self, settings: Settings) -> None:
        self._wire = _Wire(settings)
        self._clients: dict[_Place, httpx2.AsyncClient] = {}
        self._keepers: dict[_Place, AsyncGenerator[None, None]] = {}
        self._finishing: set[asyncio.Task[None]] = set()  # since a loop alone does not keep its tasks

    def forget(self) -> None:
        self._forgotten = self._clients, self._keepers, self._finishing  # not even to be closed
        self._clients, self._keepers, self._finishing = {}, {}, set()

    async def close(self) -> None:
        """Close the connections of the running loop, after what is to be finished there."""
        loop = asyncio.get_running_loop()
        if finishing := [task for task in list(self._finishing) if task.get_loop() is loop]:
            await asyncio.wait(finishing)
        self._leave_closed_loops()
        keepers = list(self._keepers.items())  # at once: other loops come and go in other threads
        for keeper in [keeper for (of_loop, _), keeper in keepers if of_loop is loop]:
            await keeper.aclose()

    async def send(self, request: Request, timeout: float) -> Response:
        place = asyncio.get_running_loop(), request.wait > 0
        client = self._clients.get(place) or await self._open(place)
        try:
            with anyio.fail_after(timeout + _GRACE_SECONDS):
                return self._wire.incoming(await client.send(self._wire.outgoing(request, timeout)))
        except TimeoutError:
            raise self._wire.unreachable(httpx2.ReadTimeout("")) from None
        except httpx2.RequestError as error:
            raise self._wire.unreachable(error) from error

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def wait(self, flight: Flight, seconds: float) -> bool:
        done, _ = await asyncio.wait([asyncio.wrap_future(flight)], timeout=seconds)
        return bool(done)

    async def finish(self, steps: Coroutine[Any, Any, None]) -> None:
        """In a task of its own: anyio, for one, cancels a caller again and again until it is gone."""
        await asyncio.shield(self._begin(steps))

    async def outlive(
        self, steps: Coroutine[Any, Any, T], seconds: float, bequeath: Callable[[T], Coroutine[Any, Any, None]]
    ) -> T:
        task = asyncio.get_running_loop().create_task(steps)

        async def last_will() -> None:
            await asyncio.wait([task], timeout=seconds)
            if not task.done():
                task.cancel()
            elif not task.cancelled() and task.exception() is None:
                await bequeath(task.result())

        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            self._begin(last_will())  # the caller does not wait for it
            raise

    def _begin(self, steps: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(steps)
        self._finishing.add(task)
        task.add_done_callback(self._finishing.discard)
        return task

    async def _open(self, place: _Place) -> httpx2.AsyncClient:
        self._leave_closed_loops()
        _, waiting = place
        client = self._clients[place] = httpx2.AsyncClient(limits=_LIMITS[waiting])
        self._keepers[place] = keeper = self._keep(place, client)
        await anext(keeper)
        return client

    def _leave_closed_loops(self) -> None:
        """Of a loop that was closed without `shutdown_asyncgens`, the keepers were never told."""
        for place in list(self._clients):
            loop, _ = place
            if loop.is_closed():
                self._clients.pop(place, None)
                self._keepers.pop(place, None)
        self._finishing -= {task for task in list(self._finishing) if task.get_loop().is_closed()}

    async def _keep(self, place: _Place, client: httpx2.AsyncClient) -> AsyncGenerator[None, None]:
        """Closes the client with its event loop, which closes the asynchronous generators that it has begun."""
        try:
            yield
        finally:
            self._clients.pop(place, None)
            self._keepers.pop(place, None)
            await client.aclose()
