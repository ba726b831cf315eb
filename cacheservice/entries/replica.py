"""Reading lists and reports from a streaming replica, as long as it is known to be recent.

Once a second the process notes where the primary's log ends, and asks the replica how far it has replayed. What the
replica has replayed of it tells, by this process's clock alone, since when at most something may be missing there: also
while the primary is idle, and where the replica no longer hears of it. Beyond REPLICA_MAX_LAG_SECONDS, or where the
replica does not answer, is no replica (promoted) or another server's, the primary answers.

Who asks and what they may is always decided on the primary before. Commits that do not wait for their flush (rollups,
purges) are seen by the primary's log, and so by this rule, up to a second later.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import psycopg
import structlog
from django.conf import settings

from billing.rows import Rows, django_rows
from cacheservice.entries.side import SidePool
from cacheservice.errors import APIError

log = structlog.get_logger(__name__)

PROBE_SECONDS = 1.0  # between two looks, and what a look may take
GLANCE_SECONDS = 0.25  # between two looks at a statement that takes its time

# Which server it is, whether it is a replica, and how far its log goes or it has replayed, in bytes.
WRITTEN: Final = """
select (select system_identifier from pg_control_system()), pg_is_in_recovery(),
       pg_wal_lsn_diff(case when pg_is_in_recovery() then null else pg_current_wal_lsn() end, '0/0')::bigint
"""
REPLAYED: Final = """
select (select system_identifier from pg_control_system()), pg_is_in_recovery(),
       pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint
"""


class Replica:
    """A process's view of it."""

    def __init__(self, conninfo: str, primary: SidePool) -> None:
        self._primary = primary
        self._pool = SidePool(conninfo, "replica")
        self._probes = SidePool(conninfo, "replica probe")
        self._written: deque[tuple[float, int]] = deque(
            maxlen=int(settings.REPLICA_MAX_LAG_SECONDS / PROBE_SECONDS) + 2
        )
        self._complete_until: float | None = None  # by the loop's clock; None: it cannot be used
        self._asked_at: float | None = None  # while a probe is under way
        self._left: set[asyncio.Task[Any]] = set()  # statements that nobody waits for any more

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._pool.open()
        await self._probes.open()
        self._watcher = asyncio.create_task(self._watch())

    async def close(self) -> None:
        self._watcher.cancel()
        for task in self._left:
            task.cancel()
        await asyncio.gather(self._watcher, *self._left, return_exceptions=True)
        await self._pool.close()
        await self._probes.close()

    @property
    def lag(self) -> float | None:
        """Everything older than this many seconds is there. None: not known, or more than is allowed."""
        now = self._loop.time()
        if self._complete_until is None or (self._asked_at is not None and now - self._asked_at > PROBE_SECONDS):
            return None
        lag = now - self._complete_until
        return lag if lag <= settings.REPLICA_MAX_LAG_SECONDS else None

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]] | None:
        """The statement's rows; None where it failed, or the replica was given up meanwhile."""
        task = asyncio.create_task(self._pool.rows(statement, parameters))
        self._left.add(task)
        task.add_done_callback(self._forget)
        while True:
            done, _ = await asyncio.wait({task}, timeout=GLANCE_SECONDS)
            if done:
                return None if task.exception() else task.result()
            if self.lag is None:  # whatever becomes of it: a cancelled one would wait for the server once more
                return None

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._left.discard(task)
        if not task.cancelled():
            task.exception()  # the pool has logged it

    async def _watch(self) -> None:
        while True:
            began = self._loop.time()
            used = self._complete_until is not None
            try:
                reason = await self._look()
            except APIError as error:
                reason = error.message
            self._asked_at = None
            if reason:
                self._complete_until = None
            if used != (self._complete_until is not None):
                log.warning("replica_given_up", reason=reason) if used else log.info("replica_in_use")
            await asyncio.sleep(max(0.0, began + PROBE_SECONDS - self._loop.time()))

    async def _look(self) -> str | None:
        """Note how far both are; the reason why the replica cannot be used, if there is one."""
        asked_at = self._loop.time()
        [(server, _, written)] = await self._primary.rows(WRITTEN, {})
        if written is not None:
            self._written.append((asked_at, written))
        self._asked_at = self._loop.time()
        [(of, recovers, replayed)] = await self._probes.rows(REPLAYED, {})
        if not recovers:
            return "it is no replica, or was promoted"
        if of != server:
            return "it is another server's replica"
        complete = [at for at, end in self._written if replayed is not None and end <= replayed]
        if complete:
            self._complete_until = max(complete[-1], self._complete_until or complete[-1])
        return None


class Reading:
    """The statements behind one answer: the replica's as long as it serves, then the primary's."""

    def __init__(self, primary: SidePool, replica: Replica | None) -> None:
        self._primary, self._replica = primary, replica
        self.lag: float | None = None  # seconds; None: the primary answered

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Raises Unavailable or InternalError, of the primary."""
        if self._replica is not None and (lag := self._replica.lag) is not None:
            rows = await self._replica.rows(statement, parameters)
            if rows is not None:
                self.lag = max(lag, self.lag or 0)
                return rows
        self._replica = None
        return await self._primary.rows(statement, parameters)


@contextmanager
def command_rows() -> Iterator[Rows]:
    """For a command: the replica, if it comes to where the primary is now within the allowed lag; else the primary. The
    primary too from the first statement on that the replica fails."""
    connection = _caught_up() if settings.REPLICA_URL else None
    if connection is None:
        yield django_rows
        return
    with connection:

        def rows(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
            if not connection.closed:
                try:
                    return connection.execute(statement.encode(), parameters).fetchall()
                except psycopg.Error as error:
                    log.warning("replica_given_up", reason=type(error).__name__)
                    connection.close()
            return django_rows(statement, parameters)

        yield rows


def _caught_up() -> psycopg.Connection[Any] | None:
    """A connection to the replica that has all that is on the primary now; None where that cannot be had in time."""
    deadline = time.monotonic() + settings.REPLICA_MAX_LAG_SECONDS
    [(server, _, written)] = django_rows(WRITTEN, {})
    try:
        connection = psycopg.connect(settings.REPLICA_URL, autocommit=True, connect_timeout=3)
    except psycopg.Error:
        return None
    with suppress(psycopg.Error):
        while time.monotonic() < deadline:
            row = connection.execute(REPLAYED).fetchone()
            if row is None or row[:2] != (server, True) or written is None:
                break
            if row[2] >= written:
                return connection
            time.sleep(PROBE_SECONDS / 10)
    connection.close()
    return None
