"""Gathering: concurrent requests of one process go to PostgreSQL together.

While every connection is busy, what arrives waits; a connection that gets free takes what waits, up to a cap, as one
statement. There is no timer, so an idle server adds no delay, and the busier it is, the larger the batches.

    submit ─▶ queue of the request's kind ─▶ batch ─▶ Connection.send ─▶ kind.decode ─▶ the requests' futures

Writes of one key never meet: the second waits until the first has ended, so they keep their order and a batch holds a
key once (one statement cannot touch a row twice).
"""

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Hashable
from typing import Any, ClassVar

import structlog

from cacheservice import metrics, tracing
from cacheservice.entries.connection import Connection, Results, StatementError, Step
from cacheservice.errors import InternalError, Unavailable

log = structlog.get_logger(__name__)

MAX_BATCH = 64  # requests; 32 and 128 could not be told apart from it (docs/performance.md)
MAX_BATCH_BYTES = 1 << 20
TICK_SECONDS = 0.25
MAX_RETRIES = 3
BACK_OFF_SECONDS = (0.1, 2.0)  # first, and most

RETRIED = {"40P01", "40001"}  # deadlock, serialization failure: nothing was done, so do it again
# The server goes away, became read-only after a fail-over, or forgot what was prepared: connect anew.
RECONNECT = {"57P01", "57P02", "57P03", "57P05", "25006", "26000", "0A000"}
INTERNAL = "XX000"
TIMED_OUT = {"57014", "55P03"}


class Request:
    """One operation that waits for its place in a batch. Its kind is its class."""

    weight: int = 0  # bytes it adds to a batch
    # What its statement locks. Batches that would wait for each other go one after the other, and so are larger:
    # they leave one of several connections to the others.
    locks: ClassVar[str | None] = None
    writes: Hashable | None = None  # what it changes: requests with an equal value go one after the other
    __slots__ = ("alone", "future", "retries", "since", "span")
    future: asyncio.Future[Any]  # of its outcome; it and `since` are set by `Gatherer.submit`
    since: float  # when it was submitted, by the loop's clock

    def __init__(self) -> None:
        self.retries = 0
        self.alone = False
        self.span = tracing.current() if tracing.on else None

    statements: ClassVar[dict[bytes, bytes]]  # what a connection prepares for this kind

    @classmethod
    def encode(cls, batch: list[Any]) -> list[Step]:
        """The batch as the steps of one round trip."""
        raise NotImplementedError

    @classmethod
    def decode(cls, batch: list[Any], results: Results) -> None:
        """Give each request of the batch its outcome: `answer` or `fail`."""
        raise NotImplementedError

    def answer(self, outcome: Any) -> None:
        if not self.future.done():
            self.future.set_result(outcome)

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Gatherer:
    """Runs requests of the given kinds over a fixed number of connections, and keeps those alive."""

    def __init__(
        self,
        conninfo: str,
        kinds: list[type[Request]],
        *,
        connections: int,
        queue_limit: int,
        queue_timeout: float,
        statement_timeout: float,
        in_doubt: Callable[[list[Any]], None],
    ) -> None:
        """`in_doubt` is told of each batch whose connection was lost, and so may have been committed or not, or whose
        answer could not be read."""
        self._conninfo = conninfo
        self._in_doubt = in_doubt
        self._statements = {name: sql for kind in kinds for name, sql in kind.statements.items()}
        self._size = connections
        self._queue_limit = queue_limit
        self._queue_timeout = queue_timeout
        self._statement_timeout = statement_timeout
        self._queues: dict[type[Request], deque[Request]] = {kind: deque() for kind in kinds}
        self._pending = 0
        self._following: dict[Hashable, deque[Request]] = {}  # a write under way or queued → the ones behind it
        self._connections: set[Connection] = set()
        self._free: list[Connection] = []
        self._locking: Counter[str] = Counter()  # batches under way, by what they lock
        self._tasks: list[asyncio.Task[None]] = []
        self._scheduled = False
        self._closing = False

    async def start(self) -> None:
        """Begin to connect; returns when one connection stands or the first attempts have failed."""
        self._loop = asyncio.get_running_loop()
        first = asyncio.Event()
        self._tasks = [asyncio.create_task(self._maintain(first)) for _ in range(self._size)]
        self._tasks.append(asyncio.create_task(self._watch()))
        await first.wait()

    async def close(self) -> None:
        self._closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._fail_waiting("the server is stopping")

    @property
    def connected(self) -> bool:
        return bool(self._connections)

    def measure(self) -> None:
        busy = sum(connection.busy for connection in self._connections)
        metrics.POOL_CONNECTIONS.set(len(self._connections), "store", "open")
        metrics.POOL_CONNECTIONS.set(busy, "store", "busy")
        metrics.POOL_WAITING.set(len(self._all_waiting()), "store")

    def submit(self, request: Request) -> asyncio.Future[Any]:
        """The request's outcome, when its batch has come back. Fails with Unavailable in bounded time."""
        request.future, request.since = self._loop.create_future(), self._loop.time()
        if not self._connections:
            metrics.UNAVAILABLE.add(1, "database_unreachable")
            request.fail(Unavailable("The database cannot be reached: try again shortly."))
        elif self._pending >= self._queue_limit:
            metrics.UNAVAILABLE.add(1, "queue_full")
            request.fail(Unavailable(f"{self._pending} requests are waiting already: try again shortly."))
        else:
            self._pending += 1
            target = request.writes
            if target is None:
                self._enqueue(request)
            elif target in self._following:
                self._following[target].append(request)
            else:
                self._following[target] = deque()
                self._enqueue(request)
        return request.future

    def _enqueue(self, request: Request) -> None:
        self._queues[type(request)].append(request)
        if self._free and not self._scheduled:
            # At the end of this turn of the loop: all requests read in it go together.
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._scheduled = False
        self._free = [connection for connection in self._free if not connection.broken.is_set()]
        while self._free and (batch := self._next_batch()):
            self._send(self._free.pop(), batch)

    def _next_batch(self) -> list[Request]:
        """The requests of the kind that has waited longest, up to the caps; empty when nothing may go now."""
        most = max(1, self._size - 1)
        while queues := [
            queue
            for kind, queue in self._queues.items()
            if queue and (kind.locks is None or self._locking[kind.locks] < most)
        ]:
            queue = min(queues, key=lambda queue: queue[0].since) if len(queues) > 1 else queues[0]
            batch: list[Request] = []
            weight = 0
            while queue and len(batch) < MAX_BATCH:
                request = queue[0]
                if request.future.done():  # cancelled or timed out while it waited: it never happened
                    self._leave(queue.popleft())
                    continue
                weight += request.weight
                if batch and (weight > MAX_BATCH_BYTES or request.alone or batch[0].alone):
                    break
                batch.append(queue.popleft())
            if batch:
                return batch
        return []

    def _send(self, connection: Connection, batch: list[Request]) -> None:
        kind = type(batch[0])
        span = tracing.statement(kind.__name__, (request.span for request in batch)) if tracing.on else None

        def done(results: Results, error: StatementError | None) -> None:
            if kind.locks is not None:
                self._locking[kind.locks] -= 1
            if error is None:
                metrics.QUEUE_SECONDS.observe(connection.since - batch[0].since, kind.__name__)
                metrics.STATEMENT_SECONDS.observe(self._loop.time() - connection.since, kind.__name__)
            if span is not None:
                tracing.end(span, "done" if error is None else error.sqlstate or "lost", failed=error is not None)
            if error is None:  # first the next batch: PostgreSQL works on it while this one's answers are made
                self._release(connection)
                self._settle(batch, results)
            else:
                self._settle_failure(connection, batch, error)
                self._release(connection)

        try:
            steps = kind.encode(batch)
        except Exception as error:  # a defect above: whoever caused it must not take others or the connection with it
            log.exception("encode_failed", kind=kind.__name__)
            self._settle_failure(connection, batch, StatementError(INTERNAL, str(error)))
            self._free.append(connection)
            return
        if kind.locks is not None:
            self._locking[kind.locks] += 1
        metrics.BATCH_SIZE.observe(len(batch), kind.__name__)
        connection.send(steps, done)

    def _release(self, connection: Connection) -> None:
        if not connection.broken.is_set():
            self._free.append(connection)
            self._dispatch()

    def _settle(self, batch: list[Request], results: Results) -> None:
        try:
            type(batch[0]).decode(batch, results)
        except Exception:  # a defect in decode must not leave clients hanging or a connection lost
            log.exception("decode_failed", kind=type(batch[0]).__name__)
            self._in_doubt(batch)
            for request in batch:
                request.fail(InternalError("The operation failed; the operator's log says why."))
        for request in batch:
            self._leave(request)

    def _leave(self, request: Request) -> None:
        """The request has ended; a write of the same key may follow."""
        self._pending -= 1
        target = request.writes
        if target is None:
            return
        followers = self._following[target]
        if followers:
            self._enqueue(followers.popleft())
        else:
            del self._following[target]

    def _settle_failure(self, connection: Connection, batch: list[Request], error: StatementError) -> None:
        """Decide, for a batch of which nothing was committed or whose outcome is unknown, what each request gets."""
        state = error.sqlstate
        metrics.STATEMENT_FAILURES.add(1, _reason(state))
        if not state:
            self._in_doubt(batch)
        again: list[Request] = []
        for request in batch:
            request.retries += 1
            if state in RETRIED and request.retries <= MAX_RETRIES:
                again.append(request)
            elif not state or state in RECONNECT or state in TIMED_OUT or state in RETRIED:
                metrics.UNAVAILABLE.add(1, "database_silent")
                request.fail(Unavailable("The database did not answer: try again shortly."))
            elif len(batch) > 1:  # one request spoils the batch: find it by sending each alone
                request.alone = True
                again.append(request)
            else:
                request.fail(InternalError("The operation failed; the operator's log says why."))
        if state and state not in RETRIED:
            log.error("statement_failed", kind=type(batch[0]).__name__, sqlstate=state, reason=str(error))
        if state in RECONNECT:
            connection.close(str(error))
        self._queues[type(batch[0])].extendleft(reversed(again))
        for request in batch:
            if request not in again:
                self._leave(request)

    async def _maintain(self, first: asyncio.Event) -> None:
        """Keep one connection open: connect, wait until it breaks, connect again with back-off and jitter."""
        least, most = BACK_OFF_SECONDS
        pause = least
        while True:
            try:
                connection = await Connection.open(self._conninfo, self._statements, self._statement_timeout)
            except Exception as error:  # whatever it is, a server without connections must try again
                first.set()
                sqlstate = getattr(error, "sqlstate", None)  # never the message: it may hold the connection string
                log.warning("database_unreachable", reason=sqlstate or type(error).__name__, again_in=round(pause, 1))
                await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  jitter, not a secret
                pause = min(pause * 2, most)
                continue
            if self._closing:  # the cancellation got lost: Python 3.11's wait_for, which psycopg uses, may swallow it
                connection.close("the server is stopping")
                return
            pause = least
            self._connections.add(connection)
            self._free.append(connection)
            first.set()
            self._dispatch()
            try:
                await connection.broken.wait()
            finally:
                self._connections.discard(connection)
                if connection in self._free:
                    self._free.remove(connection)
                connection.close("the server is stopping")
            log.warning("database_connection_lost")
            if not self._connections:
                self._fail_waiting("The database cannot be reached: try again shortly.")

    async def _watch(self) -> None:
        """Bound every wait: in the queue, and for a server that took a statement and went silent."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = self._loop.time()
            for connection in list(self._connections):
                # One second after the server's own statement_timeout should have answered.
                if connection.busy and now - connection.since > self._statement_timeout + 1:
                    connection.close("the database did not answer in time")
            for request in self._all_waiting():
                if now - request.since > self._queue_timeout and not request.future.done():
                    metrics.UNAVAILABLE.add(1, "queue_timeout")
                    request.fail(Unavailable("The service is overloaded: try again shortly."))

    def _all_waiting(self) -> list[Request]:
        queued = [request for queue in self._queues.values() for request in queue]
        return queued + [request for queue in self._following.values() for request in queue]

    def _fail_waiting(self, message: str) -> None:
        for request in self._all_waiting():
            metrics.UNAVAILABLE.add(1, "database_unreachable")
            request.fail(Unavailable(message))
        self._next_batch()  # takes the ended ones, which are all, out of the queues


def _reason(sqlstate: str) -> str:
    """Why a statement failed, in a word."""
    if not sqlstate:
        return "connection_lost"
    if sqlstate in RETRIED:
        return "conflict"
    if sqlstate in TIMED_OUT:
        return "timeout"
    return "reconnect" if sqlstate in RECONNECT else "error"
