"""The client for asyncio."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Literal, ParamSpec, TypeVar, cast

from cacheservice_client import batches, listing
from cacheservice_client.batches import BatchOperation, BatchResults
from cacheservice_client.client import Client
from cacheservice_client.filling import LEASE_SECONDS, WAIT_SECONDS, Order
from cacheservice_client.keys import Version
from cacheservice_client.memoize import AsyncMemoized, CallKey, dressed
from cacheservice_client.operations import Cost, Tags, Time
from cacheservice_client.results import Entry, Hit, Miss, Stored, Usage
from cacheservice_client.transport import AsyncTransport

P = ParamSpec("P")
T = TypeVar("T")


class AsyncCache(Client):
    __doc__ = Client.__doc__

    _transport = AsyncTransport

    async def __aenter__(self) -> "AsyncCache":
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. The cache is not to be used any more."""
        await self._engine.transport.close()

    # One entry.

    async def get(self, key: str, *, lease: int | None = None, wait: int | None = None) -> Hit | Miss:
        """The entry, or a miss, which is false.

        `lease` asks for the right to fill a missing entry within so many seconds: exactly one caller's miss has the
        token in its `lease`, to `put` or `release` with. The others' have None, at once or after `wait` seconds, within
        which they may get the fill as a hit or, should the holder fail, the lease.
        """
        return await self._engine.perform(self._operations.get(key, lease, wait))

    async def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: int | None = None,
        tags: Tags = (),
        cost: Cost | None = None,
        content_type: str | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
        lease: str | None = None,
    ) -> Stored | None:
        """Store JSON, or bytes with a content type (application/octet-stream when none is given).

        `ttl` in seconds, a week when it is not given; `cost` in US dollars, what making the value cost. `if_match`
        replaces only the version of that etag, `if_absent` creates only: else PreconditionFailed. `lease` fills an
        entry as the lease's holder: LeaseLost when it has passed to another. None when on_error="miss" hid an error.
        """
        put = self._operations.put(
            key,
            value,
            ttl=ttl,
            tags=tags,
            cost=cost,
            content_type=content_type,
            if_match=if_match,
            if_absent=if_absent,
            lease=lease,
        )
        return await self._engine.perform(put)

    async def touch(
        self, key: str, *, ttl: int | None = None, tags: Tags | None = None, if_match: str | None = None
    ) -> Stored | None:
        """Renew the entry for `ttl` seconds from now, give it other tags, or both. None when there is no entry."""
        return await self._engine.perform(self._operations.touch(key, ttl, tags, if_match))

    async def delete(self, key: str, *, if_match: str | None = None) -> bool:
        """Whether there was a live entry."""
        return await self._engine.perform(self._operations.delete(key, if_match))

    async def release(self, key: str, lease: str) -> None:
        """Give back a lease without filling the entry: the next who waits for it gets it."""
        await self._engine.perform(self._operations.release(key, lease))

    # Entries made when they are missing.

    async def get_or_create(
        self,
        key: str,
        make: Callable[[], Awaitable[T]],
        *,
        ttl: int | None = None,
        tags: Tags = (),
        cost: Cost | None = None,
        content_type: str | None = None,
        lease: int = LEASE_SECONDS,
        wait: float = WAIT_SECONDS,
    ) -> T:
        """The entry's value; made, stored and given to all callers of all processes when it is missing, by one of them.

        `lease`: the seconds, at most 300, within which the value must be made to be stored; after them another caller
        makes it. `wait`: the seconds for which a caller waits for another's value before it makes its own. What `make`
        raises goes to its caller alone, and another one tries. A value that the cache does not take is returned all the
        same, and the log warns. Raises CacheError when the cache cannot be asked, unless on_error="miss", and when it
        finds the order itself wrong.
        """
        order = Order(key, ttl, tags, cost, content_type, lease, wait)
        return await self._filler.get_or_create(order, make)

    def memoize(
        self,
        *,
        ttl: int | None = None,
        tags: Tags = (),
        key: Callable[..., str] | None = None,
        version: Version = None,
        cost: Cost | None = None,
        lease: int = LEASE_SECONDS,
        wait: float = WAIT_SECONDS,
    ) -> Callable[[Callable[P, Awaitable[T]]], AsyncMemoized[P, T]]:
        """Decorate a function to find its results here. Its `cache_key(...)` and `invalidate(...)` take its arguments.

        A result's key is made of the function's module and name and of its arguments, which must be JSON or bytes, or
        of what `key` makes of them. Another `version`, such as the model's, has other results.
        """

        def decorate(function: Callable[P, Awaitable[T]]) -> AsyncMemoized[P, T]:
            if not inspect.iscoroutinefunction(function):
                raise TypeError("memoize: this is not a coroutine function; use Cache")
            call_key = CallKey(function, key, version)

            async def memoized(*args: P.args, **kwargs: P.kwargs) -> T:
                make = partial(function, *args, **kwargs)
                return await self.get_or_create(
                    call_key(*args, **kwargs), make, ttl=ttl, tags=tags, cost=cost, lease=lease, wait=wait
                )

            return cast(AsyncMemoized[P, T], dressed(memoized, function, call_key, self.delete))

        return decorate

    # Many entries.

    def list(
        self, *, tag: Tags = (), prefix: str | None = None, stats: bool = False, page_size: int = 1000
    ) -> AsyncIterator[Entry]:
        """The live entries with all of the tags, whose keys begin with the prefix, in the order of their keys."""
        return listing.entries(self._engine, self._operations, tag, prefix, page_size, stats)

    async def clear(self, *, tag: Tags = (), prefix: str | None = None, all: bool = False) -> int:
        """Delete the entries that `list` would show; how many they were. `all=True` alone deletes every entry."""
        return await self._engine.perform(self._operations.clear(tag, prefix, all))

    async def batch(self, operations: Iterable[BatchOperation]) -> BatchResults:
        """Carry out `Get`, `Put` and `Delete` in their order, up to 256 with one request.

        Each has a result of its own: what the method of that name gives, or the APIError that it would raise.
        """
        return await batches.perform(self._engine, operations, self._settings.loads, self._settings.dumps)

    # The account.

    async def usage(
        self,
        *,
        start: Time | None = None,
        end: Time | None = None,
        group_by: Literal["hour", "day", "month"] | None = None,
        by: Literal["api_key", "tag"] | None = None,
    ) -> Usage:
        """What was used from `start` to `end`, in rows of `group_by`; the last 30 days when nothing is given."""
        return await self._engine.perform(self._operations.usage(start, end, group_by, by))
