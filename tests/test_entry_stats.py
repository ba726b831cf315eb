"""What entries' hits count to: in lists, and the entries of most hits and savings."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from billing import usage_schema
from cacheservice.entries import rollup
from tests.cast import new_caller
from tests.client import Client
from tests.processes import RunningServer, wait_for


@pytest.fixture
def client(server: RunningServer, committed_db: None) -> Iterator[Client]:
    """A tenant that has nothing else."""
    with Client(server.url, new_caller().token) as client:
        yield client


def hit(client: Client, key: str, times: int, **fields: Any) -> None:
    assert client.put(key, 1, **fields).status == 201
    for _ in range(times):
        assert client.get(key).json()["hit"] is True


def test_list_with_stats(client: Client) -> None:
    hit(client, "a", 2, cost="0.04", tags=["t"])
    hit(client, "b", 1)
    hit(client, "c", 0, cost="1")
    plain = client.list("?limit=2").json()
    assert set(plain["keys"][0]) == {"key", "created_at", "expires_at", "size_bytes", "tags"}
    rollup.rollup()
    first = client.list("?limit=2&include=stats").json()
    second = client.list(f"?include=stats&cursor={first['next_cursor']}").json()
    rows = first["keys"] + second["keys"]
    assert [(row["key"], row["hits"], row["saved_usd"]) for row in rows] == [
        ("a", 2, "0.08"), ("b", 1, "0.00"), ("c", 0, "0.00"),
    ]  # fmt: skip
    assert [row["last_hit_at"] is None for row in rows] == [False, False, True]
    assert rows[0]["created_at"] <= rows[0]["last_hit_at"] <= rows[0]["expires_at"]
    assert [{name: row[name] for name in plain["keys"][0]} for row in first["keys"]] == plain["keys"]


def test_replaced_entry_counts_anew(client: Client) -> None:
    hit(client, "a", 2)
    rollup.rollup()
    client.put("a", 2)
    [row] = client.list("?include=stats").json()["keys"]
    assert (row["hits"], row["last_hit_at"]) == (0, None)


def test_list_includes_nothing_unknown(client: Client) -> None:
    for query in ("?include=values", "?include=stats&include=stats", "?include="):
        assert client.list(query).error_code() == "invalid_request"
    assert "'stats'" in client.list("?include=values").error_message()


def top(client: Client, query: str = "") -> list[dict[str, Any]]:
    content = client.send("GET", f"/api/v1/usage/top{query}").json()
    msgspec.convert(content, usage_schema.TopEntries)
    entries: list[dict[str, Any]] = content["entries"]
    return entries


def test_top_entries(client: Client) -> None:
    hit(client, "cheap", 3, cost="0.01", tags=["t"])
    hit(client, "dear", 1, cost="5")
    hit(client, "free", 2)
    hit(client, "never", 0, cost="9")
    hit(client, "deleted", 4)
    hit(client, "expired", 4, ttl=1)
    client.delete("deleted")
    wait_for(lambda: not client.get("expired").json()["hit"], 10, "the expiry of an entry with a ttl of 1")
    rollup.rollup()
    assert [(row["key"], row["hits"], row["saved_usd"]) for row in top(client)] == [
        ("cheap", 3, "0.03"), ("free", 2, "0.00"), ("dear", 1, "5.00"),
    ]  # fmt: skip
    assert [row["key"] for row in top(client, "?by=saved_usd")] == ["dear", "cheap"]
    assert [row["key"] for row in top(client, "?by=hits&limit=1")] == ["cheap"]
    assert top(client)[:1] == client.list("?include=stats&prefix=cheap").json()["keys"]


def test_top_entries_of_another_tenant_never_show(client: Client) -> None:
    hit(client, "mine", 1, cost="1")
    rollup.rollup()
    with Client(client.url, new_caller().token) as stranger:
        assert top(stranger) == top(stranger, "?by=saved_usd") == []


@pytest.mark.parametrize("query", ["?by=misses", "?limit=0", "?limit=101", "?limit=x", "?from=2024-01-01"])
def test_bad_question_for_top_entries(query: str, client: Client) -> None:
    answer = client.send("GET", f"/api/v1/usage/top{query}")
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
