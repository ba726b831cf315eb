"""Bulk deletes of more than one transaction's worth, in number and in bytes."""

from collections.abc import Iterator

import pytest

from cacheservice.entries.collection import DELETE_BYTES, DELETE_ENTRIES
from tests.cast import new_caller
from tests.client import Client
from tests.processes import RunningServer


@pytest.fixture
def client(server: RunningServer, committed_db: None) -> Iterator[Client]:
    with Client(server.url, new_caller().token) as client:
        yield client


def fill(client: Client, keys: list[str], tag: str) -> None:
    for start in range(0, len(keys), 250):
        puts = [{"op": "put", "key": key, "value": 1, "tags": [tag]} for key in keys[start : start + 250]]
        assert {result["status"] for result in client.batch(puts).json()["results"]} == {201}


def test_more_entries_than_a_transaction_takes(client: Client) -> None:
    doomed = [f"doomed {number:05}" for number in range(2 * DELETE_ENTRIES + 1)]
    fill(client, doomed, "doomed")
    fill(client, ["doomed, spared by its tag"], "other")
    assert client.delete_many("?tag=doomed&prefix=doomed").json() == {"deleted": len(doomed)}
    assert [row["key"] for row in client.list().json()["keys"]] == ["doomed, spared by its tag"]


def test_more_bytes_than_a_transaction_takes(client: Client) -> None:
    size = 9 * 1024 * 1024
    count = DELETE_BYTES // size + 2
    for number in range(count):
        assert client.put_raw(f"large {number}", b"x" * size, "text/plain").status == 201
    assert client.delete_many("?all=true").json() == {"deleted": count}
    assert client.list().json()["storage_used_bytes"] == 0
