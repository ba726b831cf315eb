"""What the tests of the store share: tenants, callers and entries of their own, and a started store.

`CACHE_TEST_SCALE=full` runs the full counts; otherwise a smaller number by the same code.
"""

import asyncio
import os
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import psycopg
import pytest
from django.conf import settings
from django.db import connection as django_connection
from psycopg.conninfo import make_conninfo

from accounts import keys, tokens
from accounts.models import SCOPES, Tenant, random_id
from billing.tenants import create_tenant
from cacheservice.entries.connection import Connection, Done, Step
from cacheservice.entries.operations import Caller
from cacheservice.entries.requests import NewEntry
from cacheservice.entries.store import Store

FULL = os.environ.get("CACHE_TEST_SCALE") == "full"
SCENARIO_SECONDS = 3600 if FULL else 90  # a scenario that takes longer hangs

Outcome = TypeVar("Outcome")


def scaled(ci: int, full: int) -> int:
    """How often, here."""
    return full if FULL else ci


def database_dsn() -> str:
    """The worker's test database."""
    return make_conninfo(settings.DATABASE_DSN, dbname=django_connection.settings_dict["NAME"])


def query(statement: str, parameters: Sequence[Any] = (), *, dsn: str = "") -> list[tuple[Any, ...]]:
    """Run it on a connection of its own, committed."""
    with psycopg.connect(dsn or database_dsn(), autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def change_ledger(statement: str, parameters: Sequence[Any]) -> None:
    """As no code may: the service has taken the right to from its own role."""
    query("grant update, delete on credit_ledger to current_user")
    try:
        query(statement, parameters)
    finally:
        query("revoke update, delete on credit_ledger from current_user")


def new_tenant(plan: str = "self-hosted") -> Tenant:
    """One without limits, unless its plan has some."""
    return create_tenant(f"store {random_id()}", "tests", plan)


def new_token(tenant: Tenant, scopes: Sequence[str] = SCOPES) -> str:
    return keys.create_api_key(tenant, name="tests", scopes=list(scopes), actor="tests")[1]


def new_caller(tenant: Tenant | None = None, scopes: Sequence[str] = SCOPES) -> Caller:
    """An API key of the tenant, a new one by default."""
    tenant = tenant or new_tenant()
    token = tokens.parse(new_token(tenant, scopes).encode())
    return Caller(tenant.id, token.api_key_id, token.digest)


def entry(value: bytes, *, ttl: int = 3600, tags: Sequence[str] = (), content_type: str | None = None) -> NewEntry:
    return NewEntry(value, content_type, ttl, list(tags), None)


def run_with_store(scenario: Callable[[Store], Awaitable[Outcome]], dsn: str = "") -> Outcome:
    """Run the scenario with a store that is started before and closed after it."""

    async def bounded() -> Outcome:
        store = Store(dsn or database_dsn())
        async with asyncio.timeout(SCENARIO_SECONDS):
            await store.start()
            try:
                return await scenario(store)
            finally:
                await store.close()

    return asyncio.run(bounded())


async def outcomes(work: Sequence[Awaitable[Any]]) -> list[Any]:
    """All at once: what each returned or raised."""
    return await asyncio.gather(*work, return_exceptions=True)


def assert_at_rest(store: Store) -> None:
    """Nothing is counted or queued any more, and every connection that is up is free."""
    gatherer = store._gatherer
    assert gatherer._pending == 0
    assert gatherer._following == {}
    assert [len(queue) for queue in gatherer._queues.values()] == [0] * len(gatherer._queues)
    assert len(gatherer._free) == len(gatherer._connections)
    assert not any(connection.busy for connection in gatherer._connections)


def backend_pids(store: Store) -> set[int]:
    """The PostgreSQL processes behind the store's gathering connections."""
    return {connection._pg.backend_pid for connection in store._gatherer._connections}


class Sent:
    """Every batch that went to PostgreSQL: its statement, how many requests it held, and its bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[tuple[bytes, int, int]] = []
        send = Connection.send

        def recording(connection: Connection, steps: Sequence[Step], done: Done) -> None:
            for name, parameters in steps:
                if len(parameters) > 5:  # callers' five arrays, then the requests'
                    self.batches.append((name, _length(parameters[5]), sum(map(len, parameters))))
            send(connection, steps, done)

        monkeypatch.setattr(Connection, "send", recording)

    def sizes(self, name: bytes) -> list[int]:
        return [size for statement, size, _ in self.batches if statement == name]

    def bytes(self, name: bytes) -> list[int]:
        return [weight for statement, _, weight in self.batches if statement == name]


def _length(array: bytes) -> int:
    """The number of elements of an array parameter."""
    length: int = struct.unpack_from("!i", array, 12)[0]
    return length
