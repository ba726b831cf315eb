"""What an operation leaves in the receipts, and what a caller is told that it was charged."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from accounts.models import Tenant
from cacheservice.entries.gather import MAX_BATCH
from cacheservice.entries.requests import etag
from cacheservice.entries.store import Store
from tests.cast import Key, new_key
from tests.client import Answer, Client
from tests.meters import Used, balance, discrepancies, hits, prepaid_tenant, receipts, used
from tests.processes import RunningServer
from tests.store_cast import Sent, entry, new_caller, query, run_with_store
from tests.store_cast import new_tenant as unlimited_tenant

GRANTED = 1000  # units
CHARGED = "x-credits-charged"


@pytest.fixture
def tenant() -> Tenant:
    return prepaid_tenant(GRANTED)


@pytest.fixture
def key(tenant: Tenant) -> Key:
    return new_key(tenant)


@pytest.fixture(params=["server", "server_without_lane"])
def client(request: pytest.FixtureRequest, key: Key) -> Iterator[Client]:
    """Of the API key; by the lane, and by Django."""
    server: RunningServer = request.getfixturevalue(request.param)
    with Client(server.url, key.token) as client:
        yield client


def booked(key: Key) -> list[Used]:
    """What its receipts count, one after the other."""
    return [receipt.used for receipt in receipts(key.row.id)]


def version_of(answer: Answer) -> int:
    """As receipts have it."""
    unsigned = int((answer.header("etag") or "").strip('"'), 16)
    return unsigned - (1 << 64) if unsigned >> 63 else unsigned


def expire(key: Key, name: str) -> None:
    """The entry expired an hour ago, and nobody has removed it yet."""
    statement = "update entry set created_at = now() - interval '2 hours', expires_at = now() - interval '1 hour' "
    query(statement + "where tenant_id = %s and key = %s", [key.row.tenant_id, name])


# What each operation counts.


def test_write_counts_once_and_costs_nothing(client: Client, key: Key) -> None:
    answer = client.put("a", "value", cost="0.04")
    assert answer.status == 201
    assert booked(key) == [Used(writes=1, stored=len('"value"'))]
    assert balance(key.row.tenant_id) == GRANTED
    assert answer.header(CHARGED) is None


def test_write_over_a_live_entry_is_a_duplicate(client: Client, key: Key) -> None:
    client.put("a", "first")
    client.put("a", "second one")
    assert booked(key)[1:] == [Used(writes=1, duplicates=1, stored=len("second one") - len("first"))]


def test_write_over_an_expired_entry_is_none(client: Client, key: Key) -> None:
    client.put("a", 1)
    expire(key, "a")
    assert client.put("a", 22).status == 201
    # The end of the expired one counts in the hour in which it expired, which is before the rest.
    assert booked(key) == [Used(stored=-1), Used(writes=1, stored=1), Used(writes=1, stored=2)]


def test_hit_is_charged_and_names_its_version(client: Client, key: Key) -> None:
    version = version_of(client.put("a", "value"))
    answer = client.get("a")
    assert (answer.status, answer.header(CHARGED)) == (200, "0.01")
    hit = receipts(key.row.id)[-1]
    assert (hit.used, hit.versions) == (Used(hits=1, units=1), [version])
    assert etag(version) == answer.header("etag")
    assert balance(key.row.tenant_id) == GRANTED - 1


def test_hit_counts_what_it_saved(client: Client, key: Key) -> None:
    client.put("a", 1, cost="0.040000001")
    client.put("b", 2)
    for name in ("a", "b", "a"):
        client.get(name)
    assert used(key.row.tenant_id).saved == Decimal("0.080000002")
    assert used(key.row.tenant_id).hits == 3


@pytest.mark.parametrize("query", ("", "?raw=true"))
def test_miss_is_counted_and_free(client: Client, key: Key, query: str) -> None:
    answer = client.get("absent", query)
    assert answer.header("x-cache") == "MISS"
    assert answer.header(CHARGED) is None
    assert booked(key) == [Used(misses=1)]
    assert balance(key.row.tenant_id) == GRANTED


def test_expired_entry_is_a_miss(client: Client, key: Key) -> None:
    client.put("a", 1, cost="0.04")
    expire(key, "a")
    assert client.get("a").json() == {"key": "a", "hit": False}
    assert used(key.row.tenant_id) == Used(misses=1, writes=1, stored=1)


def test_raw_hit_and_not_modified_are_hits(client: Client, key: Key) -> None:
    version = client.put("a", 1).header("etag") or ""
    raw, unchanged = client.get("a", "?raw=true"), client.get("a", headers={"if-none-match": version})
    assert [(answer.status, answer.header(CHARGED)) for answer in (raw, unchanged)] == [(200, "0.01"), (304, "0.01")]
    assert booked(key)[1:] == [Used(hits=1, units=1)] * 2


def test_head_is_never_counted(client: Client, key: Key) -> None:
    client.put("a", 1, cost="0.04")
    before = booked(key)
    for name, status in (("a", 200), ("absent", 404)):
        answer = client.head(name)
        assert (answer.status, answer.header(CHARGED)) == (status, None)
    assert booked(key) == before
    assert balance(key.row.tenant_id) == GRANTED


def test_delete_counts_where_a_live_entry_goes(client: Client, key: Key) -> None:
    client.put("a", "value")
    client.put("b", 1)
    expire(key, "b")
    assert client.delete("a").json()["deleted"] is True
    assert client.delete("a").json()["deleted"] is False
    assert client.delete("b").json()["deleted"] is False
    assert used(key.row.tenant_id) == Used(writes=2, deletes=1)
    assert balance(key.row.tenant_id) == GRANTED


def test_bulk_delete_counts_the_live_ones(client: Client, key: Key) -> None:
    for number in range(5):
        client.put(f"a{number}", 1, tags=["old"] if number % 2 else [])
    expire(key, "a0")
    assert client.delete_many("?tag=old").json() == {"deleted": 2}
    assert used(key.row.tenant_id) == Used(writes=5, deletes=2, stored=3)
    assert client.delete_many("?all=true").json() == {"deleted": 2}
    assert used(key.row.tenant_id) == Used(writes=5, deletes=4)


@pytest.mark.parametrize(
    "ask",
    (
        lambda client: client.patch("a", ttl=10, tags=["x"]),
        lambda client: client.patch("absent", ttl=10),
        lambda client: client.list(),
        lambda client: client.put("a", 2, headers={"if-none-match": "*"}),
        lambda client: client.put("absent", 2, headers={"if-match": '"0000000000000001"'}),
        lambda client: client.delete("a", headers={"if-match": '"0000000000000001"'}),
        lambda client: client.put("a", 2, ttl=0),
        lambda client: client.get("a", "?unknown=1"),
        lambda client: client.send("GET", "/api/v1/cache/%00"),
        lambda client: client.delete_many("?prefix=nothing"),
        lambda client: client.send("POST", "/api/v1/cache/a"),
    ),
    ids=(
        "patch", "patch of nothing", "list", "put not met", "put not met either", "delete not met", "bad ttl",
        "bad query", "bad key", "bulk delete of nothing", "bad method",
    ),
)  # fmt: skip
def test_the_rest_leaves_no_receipt(client: Client, key: Key, ask: Callable[[Client], Answer]) -> None:
    client.put("a", 1)
    before = booked(key)
    answer = ask(client)
    assert answer.status in (200, 400, 404, 405, 412)
    assert answer.header(CHARGED) is None
    assert booked(key) == before


def test_each_api_key_has_its_receipts_and_the_tenant_one_account(
    client: Client, server: RunningServer, tenant: Tenant, key: Key
) -> None:
    other = new_key(tenant)
    client.put("a", "value")
    with Client(server.url, other.token) as second:
        for _ in range(2):
            assert second.get("a").json()["hit"] is True
        assert second.put("a", "longer value").status == 200
        assert second.get("absent").status == 200
    assert client.delete("a").json()["deleted"] is True
    # The bytes count for who wrote them, the rest for who asked.
    assert used(tenant.id, key.row.id) == Used(writes=1, deletes=1)
    assert used(tenant.id, other.row.id) == Used(hits=2, misses=1, writes=1, duplicates=1, units=2)
    assert balance(tenant.id) == GRANTED - 2
    assert discrepancies(tenant.id) == []


def test_api_key_without_the_scope_is_not_charged(client: Client, server: RunningServer, tenant: Tenant) -> None:
    client.put("a", 1)
    blind = new_key(tenant, ["write"])
    with Client(server.url, blind.token) as other:
        assert other.get("a").status == 403
        assert other.batch([{"op": "get", "key": "a"}]).json()["results"][0]["status"] == 403
    assert booked(blind) == []
    assert balance(tenant.id) == GRANTED


# Batches.


def test_batch_counts_as_its_operations_would_alone(client: Client, key: Key) -> None:
    operations = [
        {"op": "put", "key": "a", "value": "value", "cost": "0.5"},
        {"op": "get", "key": "a"},
        {"op": "get", "key": "a"},
        {"op": "get", "key": "absent"},
        {"op": "put", "key": "a", "value": 1},
        {"op": "get", "key": "a"},
        {"op": "delete", "key": "a"},
        {"op": "delete", "key": "a"},
        {"op": "get", "key": "a"},
        {"op": "put", "key": "b", "value": 1, "ttl": 0},
    ]
    answer = client.batch(operations)
    assert [result["status"] for result in answer.json()["results"]] == [
        201,
        200,
        200,
        200,
        200,
        200,
        200,
        200,
        200,
        400,
    ]
    assert answer.header(CHARGED) == "0.03"
    expected = Used(hits=3, misses=2, writes=2, duplicates=1, deletes=1, units=3, saved=Decimal("1.0"))
    assert used(key.row.tenant_id) == expected
    assert balance(key.row.tenant_id) == GRANTED - 3


def test_hits_of_a_batch_share_a_receipt(client: Client, key: Key) -> None:
    versions = [version_of(client.put(f"key {number}", number)) for number in range(5)]
    client.batch([{"op": "get", "key": f"key {number}"} for number in (0, 1, 1, 2, 3, 4)])
    assert hits(key.row.tenant_id) == Counter([*versions, versions[1]])
    assert [receipt.used.hits for receipt in receipts(key.row.id) if receipt.used.hits] == [6]


def test_batch_beyond_the_balance_pays_what_it_can(client: Client, server: RunningServer) -> None:
    poor = new_key(prepaid_tenant(2))
    with Client(server.url, poor.token) as other:
        other.put("a", "secret")
        answer = other.batch([{"op": "get", "key": "a"}] * 4 + [{"op": "get", "key": "absent"}])
    results = answer.json()["results"]
    assert answer.header(CHARGED) == "0.02"
    assert [result["status"] for result in results] == [200, 200, 402, 402, 200]
    assert "secret" not in json.dumps(results[2:])
    assert used(poor.row.tenant_id) == Used(hits=2, misses=1, writes=1, units=2, stored=len('"secret"'))
    assert balance(poor.row.tenant_id) == 0


# Gathered statements.


def test_a_round_trip_leaves_one_receipt_for_each_api_key(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = unlimited_tenant()
    callers = [new_caller(tenant), new_caller(tenant), new_caller()]
    sent = Sent(monkeypatch)

    async def scenario(store: Store) -> None:
        for caller in (callers[0], callers[2]):
            await store.put(caller, "a", entry(b"1"))
        sent.batches.clear()
        asked = [store.get(callers[number % 3], "a" if number % 2 else "absent") for number in range(MAX_BATCH)]
        found = await asyncio.gather(*asked)
        assert sum(hit is not None for hit in found) == MAX_BATCH // 2

    run_with_store(scenario)
    assert sent.sizes(b"read") == [MAX_BATCH]
    reads = [[each.used for each in receipts(caller.api_key_id) if not each.used.stored] for caller in callers]
    assert [len(each) for each in reads] == [1, 1, 1]
    assert sum(each.hits for [each] in reads) == sum(each.misses for [each] in reads) == MAX_BATCH // 2
    assert balance(tenant.id) == -used(tenant.id).units
    assert [balance(callers[2].tenant_id), used(callers[2].tenant_id).hits] == [-reads[2][0].units, reads[2][0].hits]
