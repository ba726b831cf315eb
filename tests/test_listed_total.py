"""A list's `total` is exact up to a bound, so that no tenant is too large to be listed."""

import asyncio
from typing import Any

import pytest

from cacheservice.entries import collection
from cacheservice.entries.collection import Selection
from cacheservice.entries.side import SidePool
from tests.cast import Key, new_caller
from tests.client import Client
from tests.processes import RunningServer
from tests.store_cast import database_dsn


async def listed(owner: Key) -> dict[str, Any]:
    pool = SidePool(database_dsn(), "tests")
    await pool.open()
    try:
        return await collection.page(pool, owner.row.tenant_id, Selection(), 1, None)
    finally:
        await pool.close()


@pytest.mark.parametrize(("most", "total"), [(2, 2), (3, 3), (4, 3)])
def test_total_says_no_more_than_the_bound(
    server: RunningServer, committed_db: None, monkeypatch: pytest.MonkeyPatch, most: int, total: int
) -> None:
    owner = new_caller()
    with Client(server.url, owner.token) as client:
        for number in range(3):
            client.put(f"counted-{number}", number)
    monkeypatch.setattr(collection, "MOST_COUNTED", most)
    assert asyncio.run(listed(owner))["total"] == total
