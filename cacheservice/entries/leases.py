"""Who fills an entry that many miss at once, and how the others wait for it.

A lease is a row of the table `lease`: one caller may fill the entry until it expires. It is taken, used and voided
under the tenant's lock, like any write, so that exactly one holds it and a fill that comes too late is refused.

Who waits sleeps in its process. The first of a process that finds the lease held marks it as waited for; then the write
that fills the entry, or whoever gives the lease up, notifies, and each process listens on one connection for all of its
waiters. A fill wakes all of them, a lease given up one of each process. Once a second, while somebody waits, one
statement looks after all that is waited for: it finds the leases that expired, and makes up for lost notifications.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import TypeAlias

import psycopg
import structlog

from cacheservice import metrics
from cacheservice.entries.sql import LEASE_CHANNEL
from cacheservice.errors import APIError

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
RECONNECT_SECONDS = 1.0
CONNECT_TIMEOUT_SECONDS = 3

Place: TypeAlias = tuple[int, int, str]  # tenant, space, key
# Places → of each, whether its entry is live, and whether its lease is held.
Look: TypeAlias = Callable[[list[Place]], Awaitable[list[tuple[bool, bool]]]]


class Fate(Enum):
    """Why a waiter goes on."""

    FILLED = "filled"  # the entry is there, or was just now
    FREE = "free"  # the lease may be had
    OVER = "over"  # the wait


class Spot:
    """A place that requests of this process are concerned with."""

    __slots__ = ("asking", "changes", "known_held", "users", "waiters")

    def __init__(self) -> None:
        self.asking = asyncio.Lock()  # one request of the process asks for the lease; the others learn what it learnt
        self.known_held = False  # and marked as waited for, so that its end is notified
        self.changes = 0  # how often that was
        self.waiters: deque[asyncio.Future[Fate]] = deque()
        self.users = 0

    async def wait(self, seconds: float, gone: "asyncio.Future[None] | None") -> Fate:
        """`gone` ends the wait too."""
        waiter: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        self.waiters.append(waiter)

        def leave(_: object) -> None:
            _wake(waiter, Fate.OVER)

        if gone is not None:
            gone.add_done_callback(leave)
        try:
            async with asyncio.timeout(seconds):
                return await waiter
        except TimeoutError:
            return Fate.OVER if waiter.cancelled() else waiter.result()
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.result() is Fate.FREE:  # told just before: the next one is to know
                self.free()
            raise
        finally:
            if gone is not None:
                gone.remove_done_callback(leave)
            if waiter in self.waiters:
                self.waiters.remove(waiter)

    def filled(self) -> None:
        self._changed()
        while self.waiters:
            _wake(self.waiters.popleft(), Fate.FILLED)

    def free(self) -> None:
        """One is enough: it takes the lease, or finds who was faster."""
        self._changed()
        while self.waiters and not _wake(self.waiters.popleft(), Fate.FREE):
            pass

    def _changed(self) -> None:
        self.known_held = False
        self.changes += 1


class Waiting:
    """The places that requests of this process are concerned with, and the connection that listens for them."""

    def __init__(self, conninfo: str, look: Look) -> None:
        self._conninfo = conninfo
        self._look = look
        self._spots: dict[Place, Spot] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._listening = False
        self._closing = False

    def measure(self) -> None:
        metrics.LEASE_WAITERS.set(sum(len(spot.waiters) for spot in self._spots.values()))
        metrics.LEASE_LISTENING.set(self._listening)

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._look_regularly())]

    @staticmethod
    def now() -> float:
        return asyncio.get_running_loop().time()

    async def close(self) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=CONNECT_TIMEOUT_SECONDS)

    @contextmanager
    def spot(self, place: Place) -> Iterator[Spot]:
        """What happens at the place is followed while this is open."""
        spot = self._spots.setdefault(place, Spot())
        spot.users += 1
        try:
            yield spot
        finally:
            spot.users -= 1
            if not spot.users:
                del self._spots[place]

    async def _listen(self) -> None:
        while not self._closing:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._conninfo,
                    autocommit=True,
                    connect_timeout=CONNECT_TIMEOUT_SECONDS,
                    application_name="cacheservice leases",
                ) as connection:
                    if self._closing:  # the cancellation got lost: Python 3.11's wait_for may swallow it
                        return
                    await connection.execute(b"listen " + LEASE_CHANNEL.encode())
                    self._listening = True
                    async for notification in connection.notifies():
                        self._notified(notification.payload)
            except psycopg.Error as error:  # until it is back, `_look_regularly` serves the waiters
                log.warning("leases_not_listening", reason=error.sqlstate or type(error).__name__)
            self._listening = False
            await asyncio.sleep(RECONNECT_SECONDS)

    def _notified(self, payload: str) -> None:
        """`<kind> <tenant> <space> <key>`; see sql.py."""
        kind, tenant_id, space, key = payload.split(" ", 3)
        metrics.LEASE_NOTIFICATIONS.add(1, kind)
        if kind == "all":
            for place in [place for place in self._spots if place[:2] == (int(tenant_id), int(space))]:
                self._spots[place].free()
        elif (spot := self._spots.get((int(tenant_id), int(space), key))) is not None:
            if kind == "filled":
                spot.filled()
            else:
                spot.free()

    async def _look_regularly(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            places = [place for place, spot in self._spots.items() if spot.waiters]
            if not places:
                continue
            try:
                looked = await self._look(places)
            except APIError as error:  # the waiters' own time runs on, and ends for each
                log.warning("leases_not_looked_after", reason=error.message)
                continue
            for place, (filled, held) in zip(places, looked, strict=True):
                spot = self._spots.get(place)
                if spot is None:
                    continue
                if filled:
                    spot.filled()
                elif not held:
                    spot.free()


def _wake(waiter: "asyncio.Future[Fate]", fate: Fate) -> bool:
    """Whether it was still waiting."""
    if waiter.done():
        return False
    waiter.set_result(fate)
    return True
