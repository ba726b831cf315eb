"""A real pgbouncer before PostgreSQL: session mode works, the others are refused at start."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.checks import WARNING
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pytest_django import Settings

from cacheservice.entries import pooler
from cacheservice.entries.leases import Place
from cacheservice.entries.store import Hit, Store
from tests.processes import HOST, ROOT, free_port
from tests.services import debian, unprivileged
from tests.services.pgbouncer import running_pgbouncer
from tests.store_cast import database_dsn, entry, new_caller, query, run_with_store
from tests.test_settings import START_SERVER

pytestmark = [
    pytest.mark.usefixtures("committed_db"),
    pytest.mark.skipif(not debian.is_installed("pgbouncer"), reason="no pgbouncer: make test-services installs it"),
]
REFUSED = "set its pool_mode to session"


@pytest.fixture
def directory() -> Iterator[Path]:
    with unprivileged.own_directory() as path:
        yield path


def refuse(conninfo: str) -> None:
    asyncio.run(pooler.refuse(conninfo))


def run(dsn: str, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATABASE_URL": dsn}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )


def test_postgresql_itself_is_not_refused() -> None:
    refuse(database_dsn())


@pytest.mark.parametrize("mode", ["transaction", "statement"])
@pytest.mark.parametrize("takes_turns", [0, 1])
@pytest.mark.parametrize("backends", [1, 2, 20])
def test_a_pooler_without_sessions_is_refused(directory: Path, mode: str, takes_turns: int, backends: int) -> None:
    """Whichever backend it prefers, however many it has; and again once some of them are idle."""
    settings: dict[str, str | int] = {"server_round_robin": takes_turns, "default_pool_size": backends}
    with running_pgbouncer(directory, database_dsn(), pool_mode=mode, **settings) as dsn:
        for _ in range(3):
            with pytest.raises(ImproperlyConfigured, match=REFUSED):
                refuse(dsn)


def test_a_busy_pooler_is_refused(directory: Path) -> None:
    """Others take backends in between."""

    async def others(dsn: str) -> None:
        async def one() -> None:
            async with await pooler._connect(dsn) as connection:
                while True:
                    await pooler._backend(connection)

        tasks = [asyncio.create_task(one()) for _ in range(6)]
        await asyncio.sleep(0.1)
        try:
            assert [await pooler.takes_sessions(dsn) for _ in range(5)] == [True] * 5
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    with running_pgbouncer(directory, database_dsn(), pool_mode="transaction", server_round_robin=1) as dsn:
        asyncio.run(others(dsn))


def test_sessions_are_enough_for_leases_and_entries(directory: Path) -> None:
    """LISTEN works through it: who waits for a lease is told when the entry is filled."""
    caller = new_caller()

    async def scenario(store: Store) -> None:
        while not listening():
            await asyncio.sleep(0.05)
        token = await store.get_or_lease(caller, "key", seconds=60, wait=0)
        assert isinstance(token, int)
        waiter = asyncio.create_task(store.get_or_lease(caller, "key", seconds=60, wait=30))
        while not query("select 1 from lease where tenant_id = %s and waited", [caller.tenant_id]):
            await asyncio.sleep(0.05)
        store._waiting._look = unseen  # so that nothing but the notification can tell
        await store.put(caller, "key", entry(b"answer"), lease=token)
        hit = await waiter
        assert isinstance(hit, Hit)
        assert hit.value == b"answer"

    async def unseen(places: list[Place]) -> list[tuple[bool, bool]]:
        return [(False, True)] * len(places)

    def listening() -> bool:
        return bool(query("select 1 from pg_stat_activity where application_name = 'cacheservice leases'"))

    with running_pgbouncer(directory, database_dsn(), pool_mode="session") as dsn:
        refuse(dsn)
        run_with_store(scenario, dsn)


def test_a_server_process_says_why_it_does_not_start(directory: Path) -> None:
    with running_pgbouncer(directory, database_dsn(), pool_mode="transaction") as dsn:
        started = run(dsn, "-c", START_SERVER)
    assert started.returncode == 1
    [line] = [json.loads(line) for line in started.stderr.splitlines() if line.startswith("{")]
    assert (line["event"], line["level"], line["reason"]) == ("refused_to_start", "critical", pooler.REFUSED)


def test_migrations_are_refused_too(directory: Path) -> None:
    """By a check, which `manage.py check --database default` makes as well."""
    with running_pgbouncer(directory, database_dsn(), pool_mode="transaction") as dsn:
        refused = run(dsn, "manage.py", "migrate")
    assert refused.returncode == 1
    [line] = [line for line in refused.stderr.splitlines() if REFUSED in line]
    assert line.startswith("?: (entries.E001) DATABASE_URL leads through a pooler")
    assert str(conninfo_to_dict(dsn)["password"]) not in refused.stderr


def test_the_check_says_when_it_could_not_look(settings: Settings) -> None:
    settings.DATABASE_DSN = make_conninfo(settings.DATABASE_DSN, host=HOST, port=free_port())
    refuse(settings.DATABASE_DSN)
    [warning] = pooler.check(databases=["default"])
    assert (warning.id, warning.level) == ("entries.W001", WARNING)


def test_the_check_waits_for_whoever_asks_for_databases(settings: Settings) -> None:
    settings.DATABASE_DSN = "host=nowhere.invalid"
    assert pooler.check(databases=None) == []
