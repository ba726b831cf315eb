"""Side pools: connections for what may take long, apart from those that serve hits.

Here psycopg's errors become the service's, and nowhere above it.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import psycopg
import psycopg_pool
import structlog
from django.conf import settings

from cacheservice import metrics
from cacheservice.entries import sql
from cacheservice.errors import InternalError, Unavailable

log = structlog.get_logger(__name__)

CONNECTIONS = 2
MOST_WAITING = 256


class SidePool:
    """Runs statements, each its own transaction or several in one. `name` is its connections' in PostgreSQL's views."""

    def __init__(self, conninfo: str, name: str) -> None:
        self._name = name
        self._pool = psycopg_pool.AsyncConnectionPool(
            conninfo,
            min_size=0,
            max_size=CONNECTIONS,
            max_waiting=MOST_WAITING,
            timeout=settings.QUEUE_TIMEOUT_SECONDS,
            kwargs={
                "autocommit": True,
                "application_name": f"cacheservice {name}",
                "connect_timeout": 3,
                "prepare_threshold": None,
            },
            check=_check,
            configure=_configure,
            open=False,
        )

    async def open(self) -> None:
        await self._pool.open()

    async def close(self) -> None:
        await self._pool.close()

    def measure(self) -> None:
        found = self._pool.get_stats()
        size = found["pool_size"]
        metrics.POOL_CONNECTIONS.set(size, self._name, "open")
        metrics.POOL_CONNECTIONS.set(size - found["pool_available"], self._name, "busy")
        metrics.POOL_WAITING.set(found["requests_waiting"], self._name)

    async def rows(
        self, statement: str, parameters: Mapping[str, Any], *, lock_tenant: int | None = None
    ) -> list[tuple[Any, ...]]:
        """The statement's rows; none where it has no result. Raises Unavailable or InternalError.

        With `lock_tenant` it runs as that tenant's only writer, as the gathered writes do.
        """
        if lock_tenant is None:
            async with self._connection() as connection:
                return await _rows(connection, statement, parameters)
        async with self.transaction() as transaction:
            await transaction.rows(sql.LOCK_TENANTS, {"tenant_ids": [lock_tenant]})
            return await transaction.rows(statement, parameters)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["Transaction"]:
        """Committed at the end. Raises Unavailable, then perhaps committed, or InternalError, then not."""
        async with self._connection() as connection, connection.transaction():
            yield Transaction(connection)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        """Here psycopg's errors become the service's."""
        try:
            async with self._pool.connection() as connection, _bounded(connection):
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            log.warning("side_statement_unavailable", reason=type(error).__name__)
            if (cause := f"pool_{self._name}") in metrics.CAUSES:  # else it is a replica's, and the primary answers
                metrics.UNAVAILABLE.add(1, cause)
            raise Unavailable("The database cannot be reached: try again shortly.") from error
        except psycopg.Error as error:
            log.exception("side_statement_failed", sqlstate=error.sqlstate)
            raise InternalError("The operation failed; the operator's log says why.") from error


class Transaction:
    """An open one of a side pool."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The statement's rows; none where it has no result."""
        return await _rows(self._connection, statement, parameters)


async def _rows(
    connection: psycopg.AsyncConnection[Any], statement: str, parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    async with connection.cursor(binary=True) as cursor:
        await cursor.execute(statement.encode(), parameters)
        return await cursor.fetchall() if cursor.description else []


@asynccontextmanager
async def _bounded(connection: psycopg.AsyncConnection[Any]) -> AsyncIterator[None]:
    """Hang up on a server that fell silent, one second after its own statement_timeout should have answered."""
    timer = asyncio.get_running_loop().call_later(settings.STATEMENT_TIMEOUT_SECONDS + 1, _hang_up, connection)
    try:
        yield
    finally:
        timer.cancel()


def _hang_up(connection: psycopg.AsyncConnection[Any]) -> None:
    """Whoever waits on the link gets OperationalError now; cancelling instead would wait for the server once more."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as link:
        link.shutdown(socket.SHUT_RDWR)


async def _check(connection: psycopg.AsyncConnection[Any]) -> None:
    async with _bounded(connection):
        await psycopg_pool.AsyncConnectionPool.check_connection(connection)


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    async with _bounded(connection):
        await connection.execute(f"set statement_timeout = {settings.STATEMENT_TIMEOUT_SECONDS * 1000}".encode())
