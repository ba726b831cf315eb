"""`get_or_create`: of all callers of a key that misses, in any number of processes, one makes the value.

Within the process they board one flight (`flights.py`). Its pilot asks the service for the key's lease and, when
another process has it, waits there for the fill. Whoever gets the lease makes the value and fills the entry with it.

- `make` fails: its caller gets the error, the lease is given back, and the next one who waits tries.
- The service refuses the value, or does not answer: all callers get the value, which was paid for, and the log is told.
  A refused value's lease is given back. Only what the program must mend (a `ttl` of 0, say) is raised.
- The lease is lost meanwhile, to a DELETE or because `make` took longer than it: the value goes to its callers, but is
  not stored.
- A caller is cancelled: the lease that it holds is given back, and the next one who waits tries.
- A caller's patience (`wait`) ends, or the cache is out and on_error="miss": the caller makes the value for itself and
  stores nothing, since without a lease it could bring back what has been deleted.
"""

import math
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

from cacheservice_client.engine import Engine, logger
from cacheservice_client.errors import CacheError, LeaseLost, Unreachable
from cacheservice_client.flights import Abandoned, Failed, Landed, Outcome
from cacheservice_client.messages import Response
from cacheservice_client.operations import Cost, Operation, Operations, Tags
from cacheservice_client.results import Hit, Miss, Stored
from cacheservice_client.values import Encoded

T = TypeVar("T")

LEASE_SECONDS = WAIT_SECONDS = 60
LONGEST_REQUEST_SECONDS = 20  # for which one request waits: proxies cut those that are silent for longer
PAUSE_SECONDS = 0.25  # at most, between two of them, should they be answered at once
LONGEST_WAIT_SECONDS = 31_536_000  # as good as math.inf, which not every clock can hold
RELEASE_SECONDS = 2.0  # to give a lease back, which time will do as well


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted of one key, and how its value is to be stored."""

    key: str
    ttl: int | None = None
    tags: Tags = ()
    cost: Cost | None = None
    content_type: str | None = None
    lease: int = LEASE_SECONDS
    wait: float = WAIT_SECONDS


class Patience:
    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + min(seconds, LONGEST_WAIT_SECONDS)

    def left(self) -> float:
        return max(0.0, self._ends_at - time.monotonic())


@dataclass(frozen=True, slots=True)
class Found:
    """What the service answered. `value` reads a hit's value once more from the answer."""

    result: Hit | Miss
    value: Callable[[], Any]


class Filler:
    def __init__(self, engine: Engine, operations: Operations) -> None:
        self._engine = engine
        self._operations = operations

    async def get_or_create(self, order: Order, make: Callable[[], Awaitable[T]]) -> T:
        patience = Patience(order.wait)
        while True:
            flight, is_pilot = self._engine.flights.board(order.key)
            if is_pilot:
                return await self._pilot(order, make, patience)
            if not await self._engine.transport.wait(flight, patience.left()):
                return await make()
            outcome = flight.result()
            if isinstance(outcome, Failed):
                raise copy(outcome.error)  # one that many raise would get the traceback of each
            if isinstance(outcome, Landed):
                return cast(T, outcome.value())

    async def _pilot(self, order: Order, make: Callable[[], Awaitable[T]], patience: Patience) -> T:
        outcome: Outcome = Abandoned()
        try:
            try:
                found = await self._find(order, patience)
            except CacheError as error:
                outcome = Failed(error)
                raise
            if isinstance(found.result, Hit):
                outcome = Landed(found.value)
                return cast(T, found.result.value)
            lease, began_at = found.result.lease, time.monotonic()
            value, encoded = await self._make(order, make, lease)
            outcome = Landed(lambda: self._operations.decode(encoded))
            if lease is not None:  # before the others here have it: to wake them first would hold up those elsewhere
                await self._fill(order, encoded, lease, began_at)
            return value
        finally:
            self._engine.flights.end(order.key, outcome)

    async def _find(self, order: Order, patience: Patience) -> Found:
        """A hit, or a miss: with a lease, or without when there is none to be had."""
        try:
            found = await self._ask(order, 0)
            while found.result == Miss() and (seconds := patience.left()):
                found = await self._ask(order, min(math.ceil(seconds), LONGEST_REQUEST_SECONDS))
                if found.result == Miss():
                    await self._engine.transport.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311  no secret
            return found
        except CacheError as error:
            if not self._engine.tolerates(error):
                raise
            return _NOTHING

    async def _ask(self, order: Order, wait: int) -> Found:
        get = self._operations.get(order.key, order.lease, wait)

        def parse(response: Response) -> Found:
            return Found(get.parse(response), lambda: cast(Hit, get.parse(response)).value)

        async def give_back(found: Found) -> None:
            if isinstance(found.result, Miss) and found.result.lease is not None:
                await self._release(order.key, found.result.lease)

        asking = self._engine.attempt(Operation(get.request, parse, lambda: _NOTHING))
        return await self._engine.transport.outlive(asking, RELEASE_SECONDS, give_back)

    async def _make(self, order: Order, make: Callable[[], Awaitable[T]], lease: str | None) -> tuple[T, Encoded]:
        try:
            value = await make()
            return value, self._operations.encode(value, order.content_type)
        except GeneratorExit:  # the event loop is gone
            raise
        except BaseException:
            if lease is not None:
                await self._release(order.key, lease)
            raise

    async def _fill(self, order: Order, encoded: Encoded, lease: str, began_at: float) -> None:
        seconds = time.monotonic() - began_at
        try:
            put = self._operations.put_encoded(
                order.key, encoded, ttl=order.ttl, tags=order.tags, cost=order.cost, lease=lease
            )
            # Tried again, though it is not the same twice: `_parsed` knows what a lost lease then means.
            request = replace(put.request, repeatable=True)
            await self._engine.attempt(Operation(request, _parsed(put.parse), put.otherwise))
        except LeaseLost:
            logger.warning(
                "A value was not stored, since its lease was lost: it took %.1f s to make and had a lease of %d s "
                "(give a longer lease), or its entry was deleted meanwhile.",
                seconds,
                order.lease,
            )
        except GeneratorExit:  # the event loop is gone
            raise
        except BaseException as error:  # a cancellation too
            if not isinstance(error, Unreachable):  # else all who want the key would wait for the lease's end
                await self._release(order.key, lease)
            if not isinstance(error, CacheError) or not error.tolerable:
                raise
            self._engine.warn("A made value goes to its callers, but the cache did not confirm it as stored: %s", error)

    async def _release(self, key: str, lease: str) -> None:
        request = self._operations.release(key, lease).request

        async def send() -> None:
            with suppress(CacheError):
                await self._engine.transport.send(request, RELEASE_SECONDS)

        await self._engine.transport.finish(send())


def _parsed(parse: Callable[[Response], Stored | None]) -> Callable[[Response], Stored | None]:
    """What a fill's answer means when it may have been tried before. A lease that is then lost was most likely used, by
    the attempt whose answer did not come."""

    def parsed(response: Response) -> Stored | None:
        try:
            return parse(response)
        except LeaseLost as error:
            if not response.in_doubt:
                raise
            logger.warning("A value may be stored: the answer to that was lost, and then came %s", error)
            return None

    return parsed


def _no_value() -> Any:
    raise LookupError("a miss has no value")


_NOTHING = Found(Miss(), _no_value)
