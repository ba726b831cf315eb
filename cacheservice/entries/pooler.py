"""Whether a pooler between us and PostgreSQL takes our sessions from us: such a one is refused at start.

The store prepares its statements once, sets its sessions up once and listens for leases (`connection.py`, `leases.py`).
All that belongs to a session of PostgreSQL. A pooler in session mode keeps one for each client, and is allowed. In
transaction or statement mode each transaction goes to whichever is free: what was prepared is missing or somebody
else's, settings change under other clients, and nothing that is listened for ever arrives.

How a pooler is noticed: PostgreSQL tells each client the pid of its backend at once, for cancelling. A pooler, which
has no backend for the client yet, makes a number up, and `pg_backend_pid()` says another. Addresses and ports would not
do: a Unix socket has none, and a proxy that only passes bytes on, which is no harm, changes them too.

How its mode is: no client may ask (`SHOW` is for pgbouncer's administrators), and a named statement may be found again
by chance. So two clients look, in turn, at which backend they have. In session mode each keeps its own, whatever else
happens, so nothing that works is ever refused. Otherwise they are found out

- in an idle pool that prefers what was used last, as pgbouncer's does: the second gets the first one's,
- in one that takes turns, or has a single backend: the first gets another the second time, or both the same,
- in a busy one: somebody takes it in between; each of `ROUNDS` rounds is another chance.

Without a pooler this costs one connection and one statement, with one another connection and 15 statements. The checks
of `migrate` (and `check --database default`) and each start of a server process make it; the worker needs no session,
but its tables come from `migrate`. Nothing can be told while the database is away: a server starts then all the same.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

log = structlog.get_logger(__name__)

ROUNDS = 5
TIMEOUT_SECONDS = 3.0
REFUSED = (
    "DATABASE_URL leads through a pooler in transaction or statement mode, where LISTEN and prepared statements fail: "
    "set its pool_mode to session, or name PostgreSQL itself"
)


async def refuse(conninfo: str) -> None:
    """Raises ImproperlyConfigured."""
    try:
        if await takes_sessions(conninfo):
            raise ImproperlyConfigured(REFUSED)
    except (psycopg.Error, TimeoutError) as error:  # never the message: it may hold the connection string
        log.warning("pooler_not_looked_for", reason=getattr(error, "sqlstate", None) or type(error).__name__)


def check(*, databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """entries.E001: DATABASE_URL leads through a pooler that takes sessions. entries.W001: nobody could tell."""
    if "default" not in (databases or ()):
        return []
    try:
        taken = asyncio.run(takes_sessions(settings.DATABASE_DSN))
    except (psycopg.Error, TimeoutError) as error:
        message = f"Whether a pooler is before PostgreSQL is not known: {type(error).__name__}"
        return [Warning(message, hint="Is PostgreSQL running where DATABASE_URL says?", id="entries.W001")]
    return [Error(f"{REFUSED}.", hint="docs/operations.md, Poolers", id="entries.E001")] if taken else []


async def takes_sessions(conninfo: str) -> bool:
    """Whether a session ends with its transaction. Raises psycopg.Error, and TimeoutError where there is no answer, as
    from a pool with fewer than two connections to spare."""
    async with asyncio.timeout(TIMEOUT_SECONDS), await _connect(conninfo) as first:
        if await _backend(first) == first.info.backend_pid:
            return False
        async with await _connect(conninfo) as second:
            firsts, seconds = set[int](), set[int]()
            for _ in range(ROUNDS):
                firsts |= {await _backend(first), await _backend(first)}
                seconds.add(await _backend(second))
            return len(firsts | seconds) != 2 or len(firsts) != 1


async def _connect(conninfo: str) -> psycopg.AsyncConnection[Any]:
    return await psycopg.AsyncConnection.connect(
        conninfo,
        autocommit=True,
        prepare_threshold=None,
        connect_timeout=int(TIMEOUT_SECONDS),
        application_name="cacheservice check",
    )


async def _backend(connection: psycopg.AsyncConnection[Any]) -> int:
    """The pid of the PostgreSQL process that this statement runs in."""
    row = await (await connection.execute("select pg_backend_pid()")).fetchone()
    pid: int = row[0] if row else 0
    return pid
