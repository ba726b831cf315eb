"""Usage as a real server reports it, of what its clients did."""

import csv
import io
import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.db import connection

from billing import usage_schema
from billing.models import UsageRollup
from cacheservice.entries import rollup
from tests.cast import Key, new_caller, new_key
from tests.client import Answer, Client
from tests.processes import RunningServer, wait_for
from tests.usage_cast import Event, utc, write_receipts, write_tags


@pytest.fixture
def owner(committed_db: None) -> Key:
    return new_caller()


@pytest.fixture
def client(server: RunningServer, owner: Key) -> Iterator[Client]:
    """A tenant that has nothing else."""
    with Client(server.url, owner.token) as client:
        yield client


def get_usage(client: Client, query: str = "", **headers: str) -> Answer:
    answer = client.send("GET", f"/api/v1/usage{query}", headers=headers)
    assert answer.status == 200, answer.body
    return answer


def total(client: Client) -> dict[str, Any]:
    content = get_usage(client).json()
    msgspec.convert(content, usage_schema.Usage)
    figures: dict[str, Any] = content["total"]
    return figures


def test_what_is_done_shows_at_once(client: Client) -> None:
    """Before it is folded, and the same afterwards."""
    key = secrets.token_hex(8)
    assert client.get(key).json()["hit"] is False
    assert client.put(key, "x" * 998, cost="0.04").status == 201
    assert client.put(key, "y" * 998, cost="0.04").status == 200
    for _ in range(3):
        assert client.get(key).json()["hit"] is True
    assert client.put(f"{key} 2", 1).status == 201
    assert client.delete(f"{key} 2").json()["deleted"] is True
    counted = {
        "hits": 3, "misses": 1, "writes": 3, "duplicates": 1, "deletes": 1, "credits": "0.03", "saved_usd": "0.12",
        "hit_ratio": "0.7500", "duplicate_rate": "0.3333",
    }  # fmt: skip
    before = total(client)
    assert {name: before[name] for name in counted} == counted
    rollup.rollup()
    after = total(client)
    assert {name: after[name] for name in counted} == counted
    assert 0 < float(before["byte_seconds"]) < float(after["byte_seconds"])


def test_report_is_right_while_receipts_are_folded(client: Client, owner: Key) -> None:
    """Each receipt counts once, at whatever moment of being folded it is read."""
    stop = threading.Event()

    def fold() -> None:
        try:
            while not stop.is_set():
                rollup.rollup()
        finally:
            connection.close()

    client.put("a", 1)
    with ThreadPoolExecutor(1) as pool:
        folding = pool.submit(fold)
        try:
            for hits in range(1, 101):
                client.get("a")
                assert total(client)["hits"] == hits
        finally:
            stop.set()
        folding.result()
    assert UsageRollup.objects.filter(tenant_id=owner.row.tenant_id, hits__gt=0).exists()


def test_storage_ends_when_an_entry_expires(client: Client) -> None:
    """To the microsecond, before anything is booked: 1 s of 1,000 bytes."""
    assert client.put("short", "x" * 998, ttl=1).status == 201
    wait_for(lambda: total(client)["byte_seconds"] == "1000.000000", 10, "the end of the entry's storage")
    assert client.list().json()["storage_used_bytes"] == 0


def test_report_by_api_key(client: Client, owner: Key) -> None:
    other = new_key(owner.row.tenant)
    client.put("a", 1)
    with Client(client.url, other.token) as second:
        second.get("a")
    content = get_usage(client, "?by=api_key&group_by=hour").json()
    msgspec.convert(content, usage_schema.Usage)
    counted = {(row["api_key"]["id"], row["api_key"]["name"]): (row["writes"], row["hits"]) for row in content["usage"]}
    assert counted == {(owner.id, "test"): (1, 0), (other.id, "test"): (0, 1)}
    assert (content["total"]["writes"], content["total"]["hits"]) == (1, 1)
    assert (content["by"], content["group_by"]) == ("api_key", "hour")


def test_report_by_tag(client: Client) -> None:
    client.put("a", 1, tags=["red", "blue"], cost="0.5")
    client.get("a")
    rollup.rollup()
    content = get_usage(client, "?by=tag").json()
    msgspec.convert(content, usage_schema.TagUsage)
    assert [(row["tag"], row["hits"], row["saved_usd"]) for row in content["usage"]] == [
        ("blue", 1, "0.50"), ("red", 1, "0.50"),
    ]  # fmt: skip


COLUMNS = "hits,misses,writes,duplicates,deletes,credits,byte_seconds,gb_months,saved_usd,hit_ratio,duplicate_rate"


@pytest.mark.parametrize(
    ("query", "columns"),
    [
        ("", f"start,{COLUMNS}"),
        ("&by=api_key", f"start,api_key_id,api_key_name,{COLUMNS}"),
        ("&by=tag", "start,tag,hits,saved_usd"),
    ],
)
def test_csv_has_the_same_rows(query: str, columns: str, client: Client, owner: Key) -> None:
    write_receipts(owner.row.tenant_id, [Event(utc(2024, 2, 2), owner.row.id, hits=2, saved=Decimal("0.08"))])
    write_tags(owner.row.tenant_id, ("2024-02-02", "red", 2, "0.08"))
    query = f"?from=2024-02-01&to=2024-03-01&group_by=month{query}"
    answer = get_usage(client, query, accept="text/csv")
    assert answer.header("content-type") == "text/csv; charset=utf-8"
    assert answer.header("content-disposition") == 'attachment; filename="usage-20240201T00-20240301T00-by-month.csv"'
    assert answer.header("vary") == "Accept"
    assert answer.body.splitlines()[0].decode() == columns
    in_json = get_usage(client, query)
    assert in_json.header("vary") == "Accept"
    rows = [
        {
            name: "" if value is None else str(value)
            for name, value in {
                **{f"api_key_{name}": value for name, value in row.pop("api_key", {}).items()}, **row
            }.items()
        }
        for row in in_json.json()["usage"]
    ]  # fmt: skip
    assert len(rows) == 1
    assert list(csv.DictReader(io.StringIO(answer.body.decode()))) == rows


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/csv, application/json;q=0.5", "text/csv; charset=utf-8"),
        ("application/json, text/csv;q=0.9", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "application/json"),
    ],
)
def test_accept_chooses_the_format(accept: str, content_type: str, client: Client) -> None:
    assert get_usage(client, accept=accept).header("content-type") == content_type


def test_link_can_ask_for_csv(client: Client) -> None:
    assert get_usage(client, "?format=csv", accept="text/html,*/*").header("content-type") == "text/csv; charset=utf-8"


def test_bad_question_is_the_contracts_400(client: Client) -> None:
    answer = client.send("GET", "/api/v1/usage?from=2016-01-01&to=2026-01-01", headers={"accept": "text/csv"})
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert "366 days" in answer.error_message()
