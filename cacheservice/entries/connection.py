"""One PostgreSQL connection of the gathering store, driven by libpq's pipeline mode.

Its socket is registered with the event loop once, for the connection's life, and every statement is prepared once:
against psycopg's `execute` through a pool this halves the time of a round trip. A round trip is a list of
prepared statements and one sync; outside BEGIN … COMMIT they are one implicit transaction.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import psycopg
from psycopg import pq

# One plan for all batch sizes, made once: an array's length is unknown to it either way. And a plan of index look-ups
# only: one made while a table is small would prefer to read it whole, and stay when it has grown.
SESSION = (
    b"set plan_cache_mode = force_generic_plan",
    b"set enable_seqscan = off",
    b"set enable_hashjoin = off",
    b"set enable_mergejoin = off",
    b"set jit = off",
)

ROLLBACK = b"rollback"
Step: TypeAlias = tuple[bytes, Sequence[bytes]]  # a prepared statement's name and its binary parameters
Results: TypeAlias = list[pq.abc.PGresult]  # of the steps that answered with rows
Done: TypeAlias = Callable[[Results, "StatementError | None"], None]

CONNECT_TIMEOUT_SECONDS = 3


class StatementError(Exception):
    """A round trip failed; `sqlstate` says why, and is empty when the connection was lost."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


class Connection:
    """One round trip at a time: `send` it when `busy` is false; `done` is called when it ended, or the link broke."""

    def __init__(self, owner: psycopg.AsyncConnection) -> None:
        self._owner = owner
        self._pg = owner.pgconn
        self._loop = asyncio.get_running_loop()
        self._socket = self._pg.socket
        self._results: Results = []
        self._error: StatementError | None = None
        self._done: Done | None = None
        self.since = 0.0  # when the current round trip was sent, by the loop's clock
        self.broken = asyncio.Event()

    @classmethod
    async def open(cls, conninfo: str, statements: Mapping[bytes, bytes], statement_timeout: float) -> "Connection":
        """Connect and prepare `statements` (name to SQL). Raises psycopg.Error or StatementError."""
        owner = await psycopg.AsyncConnection.connect(
            conninfo,
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            application_name="cacheservice store",
        )
        try:
            self = cls(owner)
            self._pg.enter_pipeline_mode()
            # All in one round trip with a bound: a server may fall silent right after its greeting too.
            for setting in (*SESSION, b"set statement_timeout = %d" % int(statement_timeout * 1000)):
                self._pg.send_query_params(setting, None)
            for name, sql in {**statements, ROLLBACK: ROLLBACK}.items():
                self._pg.send_prepare(name, sql)
            prepared: asyncio.Future[None] = self._loop.create_future()
            self._loop.add_reader(self._socket, self._readable)

            def done(results: Results, error: StatementError | None) -> None:
                if not prepared.done():
                    prepared.set_exception(error) if error else prepared.set_result(None)

            self.send([], done)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                    await prepared
            except BaseException:
                self.close()
                raise
            return self
        except BaseException:
            await owner.close()
            raise

    @property
    def busy(self) -> bool:
        return self._done is not None

    def send(self, steps: Sequence[Step], done: Done) -> None:
        """Send prepared statements as one round trip; `done` gets the rows of each step that has some, or an error."""
        if self.broken.is_set():
            done([], StatementError("", "the connection is lost"))
            return
        self._done, self._results, self._error = done, [], None
        self.since = self._loop.time()
        try:
            self._send(steps)
        except psycopg.Error as error:
            self._break(error)

    def _send(self, steps: Sequence[Step]) -> None:
        for name, parameters in steps:
            self._pg.send_query_prepared(name, parameters, [1] * len(parameters), 1)
        self._pg.pipeline_sync()
        self._flush()

    def close(self, reason: str = "closed") -> None:
        """Drop the link at once; a round trip under way fails, its outcome unknown."""
        if not self.broken.is_set():
            self._break(psycopg.OperationalError(reason))

    def _flush(self) -> None:
        if self._pg.flush():
            self._loop.add_writer(self._socket, self._writable)

    def _writable(self) -> None:
        try:
            if not self._pg.flush():
                self._loop.remove_writer(self._socket)
        except psycopg.Error as error:
            self._break(error)

    def _readable(self) -> None:
        pg = self._pg
        try:
            pg.consume_input()
            while self._done is not None and not pg.is_busy():
                result = pg.get_result()
                if result is None:  # the end of one statement's results
                    continue
                status = result.status
                if status == pq.ExecStatus.TUPLES_OK:
                    self._results.append(result)
                elif status == pq.ExecStatus.PIPELINE_SYNC:
                    if pg.transaction_status == pq.TransactionStatus.IDLE:
                        self._finish()
                    else:  # an error skipped the COMMIT behind it: leave the transaction before anything else
                        self._send([(ROLLBACK, ())])
                elif status == pq.ExecStatus.FATAL_ERROR and self._error is None:
                    self._error = StatementError(
                        (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode(),
                        (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode(errors="replace"),
                    )
            if pg.status != pq.ConnStatus.OK:
                self._break(psycopg.OperationalError("the server closed the connection"))
        except psycopg.Error as error:
            self._break(error)

    def _finish(self) -> None:
        done, self._done = self._done, None
        results, self._results = self._results, []
        if done is not None:
            done(results, self._error)

    def _break(self, error: psycopg.Error) -> None:
        if self.broken.is_set():
            return
        self.broken.set()
        self._loop.remove_reader(self._socket)
        self._loop.remove_writer(self._socket)
        self._pg.finish()
        self._error = StatementError("", str(error))
        self._results = []
        self._finish()
