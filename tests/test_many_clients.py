"""Many clients at once: each gets its answer, and PostgreSQL sees no more connections than the settings allow."""

import asyncio
import os
import resource
import sys
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
from django.conf import settings

from cacheservice.entries import side
from tests.cast import new_caller
from tests.client import Client
from tests.processes import RunningServer
from tests.servers import own_server
from tests.store_cast import database_dsn

CLIENTS = 2000 if os.environ.get("CACHE_TEST_SCALE") == "full" else 400
ROUNDS = 5
MOST_CONNECTIONS = settings.DATABASE_CONNECTIONS + 2 * side.CONNECTIONS + 1  # and one listens for leases


def connections(watcher: psycopg.Connection[tuple[int]]) -> int:
    """How many connections the store has; Django's, for /readyz, do not count."""
    [count] = watcher.execute(
        "select count(*) from pg_stat_activity where datname = current_database()"
        " and application_name like 'cacheservice %'"
    ).fetchone() or (0,)
    return count


async def ask(url: str, request: bytes, together: asyncio.Barrier) -> list[bytes]:
    """The statuses of some requests on one connection, sent when all clients have connected."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        await together.wait()
        statuses = []
        for _ in range(ROUNDS):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            statuses.append(head[9:12])
        return statuses
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of descriptors is raised as Linux has it")
def test_connections_to_the_database_stay_at_the_cap(committed_db: None, tmp_path: Path) -> None:
    with psycopg.connect(database_dsn(), autocommit=True) as watcher:
        others = connections(watcher)  # of the other tests' servers, which do nothing meanwhile
        with own_server(tmp_path) as server:
            check(server, watcher, others)


def check(server: RunningServer, watcher: psycopg.Connection[tuple[int]], others: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, CLIENTS + 500)), hard))
    token = new_caller().token
    with Client(server.url, token) as client:
        assert client.put("key", "value").status == 201
        assert client.put_raw("large", os.urandom(100_000), "image/png").status == 201
    paths = ["cache/key", "cache/absent", "cache?limit=1", "cache/large"]
    requests = [
        f"GET /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        for path in paths
    ]
    seen: list[int] = []

    async def all_at_once() -> list[list[bytes]]:
        together = asyncio.Barrier(CLIENTS)
        clients = [
            asyncio.create_task(ask(server.url, requests[n % 20 if n % 20 < 4 else n % 2], together))
            for n in range(CLIENTS)
        ]
        while not all(client.done() for client in clients):
            seen.append(connections(watcher))
            await asyncio.sleep(0.02)
        return [client.result() for client in clients]

    statuses = Counter(status for each in asyncio.run(all_at_once()) for status in each)
    assert statuses.total() == CLIENTS * ROUNDS
    assert set(statuses) <= {b"200", b"503"}, statuses
    assert statuses[b"200"] > CLIENTS
    assert max(seen) <= others + MOST_CONNECTIONS, (others, seen)
    assert max(seen) >= settings.DATABASE_CONNECTIONS
