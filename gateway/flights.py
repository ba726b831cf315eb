"""Calls to upstreams that are under way, each with any number of requests that want its answer.

A flight is one call. Whoever asked first and whoever joins read the same pieces, each at its own pace; a flight goes on
when its readers leave, or is cancelled with the last of them, as the policy says. Its bytes stay until it has landed,
for a late joiner wants the first ones too: so they are bounded, for each flight and over all.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from cacheservice import metrics
from cacheservice.entries.store import Hit
from cacheservice.errors import APIError, Unavailable
from gateway.answers import Answer
from gateway.errors import UpstreamFailed
from gateway.outcomes import Outcome

T = TypeVar("T")
AT_ONCE = 64  # events or pieces that go out together
Place: TypeAlias = tuple[int, str]  # tenant, key of the entry


class Flight:
    """One call. `error` is what its readers get, at once or in the middle of an answer."""

    def __init__(self, place: Place | None = None) -> None:
        self.place = place  # where others may join it
        self.answer: Answer | None = None
        self.filled: Hit | None = None  # another process made the call, and this is its answer
        self.error: APIError | None = None
        self.outcome: Outcome | None = None  # what is known of the whole answer, once it is in
        self.booked = False  # its spend event is the call's, and not left to the request that asked first
        self.ended = False  # nothing more comes
        self.landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # and is stored, or will not be
        self.readers = 0
        self.bytes = 0  # of its answer, that count among those of all flights
        self.cancel: Callable[[], bool] = lambda: False  # its call, when `Flights` has started it
        self._waiters: list[asyncio.Future[None]] = []

    # Who flies it

    def begin(self, answer: Answer) -> None:
        self.answer = answer
        self.wake()

    def wake(self) -> None:
        """There is something new to read."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def end(self, error: APIError | None = None) -> None:
        """Once; later calls change nothing."""
        if not self.ended:
            self.ended, self.error = True, error
            self.wake()

    # Who reads it

    async def begun(self) -> Answer | Hit:
        """The answer, when its head is there. Raises APIError when none will come."""
        while self.answer is None and self.filled is None and not self.ended:
            await self._change()
        found = self.answer or self.filled
        if found is None:
            raise self.error or Unavailable("The call was given up: try again.")
        return found

    async def whole(self) -> None:
        """Raises APIError when the answer broke off."""
        while not self.ended:
            await self._change()
        if self.error is not None:
            raise self.error

    async def more(self, items: list[T], position: int) -> list[T]:
        """Those of the answer's events or pieces behind the position, once there are some; empty at the end. Raises
        APIError as `whole`."""
        while True:
            if position < len(items):
                return items[position : position + AT_ONCE]
            if self.ended:
                if self.error is not None:
                    raise self.error
                return []
            await self._change()

    async def _change(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter


class Flights:
    """All that are under way in this process."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: of answers that somebody still reads or that are still coming in."""
        self._most, self._bytes = most_bytes, 0
        self._by_place: dict[Place, Flight] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def bytes(self) -> int:
        """Of all their answers."""
        return self._bytes

    def under_way(self, place: Place) -> Flight | None:
        return self._by_place.get(place)

    def start(self, place: Place | None, fly: Callable[[Flight], Awaitable[None]]) -> Flight:
        """`place`: where others may join it; None: nobody may. `fly` must `end` it."""
        flight = Flight(place)
        if place is not None:
            self._by_place[place] = flight
        flight.cancel = self.keep(self._fly(flight, fly)).cancel
        return flight

    def take(self, flight: Flight, size: int) -> None:
        """So many more bytes of its answer came. Raises UpstreamFailed where all flights together have too many."""
        flight.bytes += size
        self._bytes += size
        if self._bytes > self._most:
            metrics.UNAVAILABLE.add(1, "gateway_bytes")
            raise UpstreamFailed(503, "overloaded", "Too many large answers are under way at once: try again shortly.")

    def keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Do it whether its client stays or not."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    @contextmanager
    def reading(self, flight: Flight, *, cancel: bool) -> Iterator[None]:
        """With `cancel`, the flight ends when its last reader leaves before it has."""
        flight.readers += 1
        try:
            yield
        finally:
            flight.readers -= 1
            self._give_back(flight)
            if cancel and not flight.readers and not flight.ended:
                self._take_out(flight)  # its end may take a while: who asks until then must not wait for nothing
                flight.cancel()

    async def close(self, seconds: float) -> None:
        """Let what is under way land, for so long."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _fly(self, flight: Flight, fly: Callable[[Flight], Awaitable[None]]) -> None:
        try:
            await fly(flight)
        finally:
            flight.end(Unavailable("The call was given up: try again."))
            self._take_out(flight)
            flight.landed.set_result(None)
            self._give_back(flight)

    def _take_out(self, flight: Flight) -> None:
        """Nobody joins it any more. Another flight that has its place meanwhile stays."""
        if flight.place is not None and self._by_place.get(flight.place) is flight:
            del self._by_place[flight.place]

    def _give_back(self, flight: Flight) -> None:
        """The room that its answer took, once nobody needs it."""
        if flight.landed.done() and not flight.readers:
            if flight.answer is not None:
                flight.answer.forget()
            self._bytes -= flight.bytes
            flight.bytes = 0
