"""The ledger's connections: a side pool whose transactions may have several statements."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import structlog

from cacheservice.entries.side import SidePool, _bounded, _rows
from cacheservice.errors import InternalError, Unavailable

log = structlog.get_logger(__name__)


class Transaction:
    """An open one."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The statement's rows; none where it has no result."""
        return await _rows(self._connection, statement, parameters)


class Pool(SidePool):
    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Committed at the end. Raises Unavailable, then perhaps committed, or InternalError, then not."""
        try:
            async with self._pool.connection() as connection, _bounded(connection), connection.transaction():
                yield Transaction(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            log.warning("ledger_unavailable", reason=type(error).__name__)
            raise Unavailable("The database cannot be reached: try again shortly.") from error
        except psycopg.Error as error:
            log.exception("ledger_statement_failed", sqlstate=error.sqlstate)
            raise InternalError("The operation failed; the operator's log says why.") from error
