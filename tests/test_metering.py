"""What an operation leaves in the receipts, and what a caller is told that it was charged."""

import asyncio
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal

import pytest

from accounts.models import Tenant
from billing.limits import set_api_key_limits
from cacheservice.entries import reconciliation
from cacheservice.entries.gather import MAX_BATCH
from cacheservice.entries.operations import INLINE_BYTES
from cacheservice.entries.requests import etag
from cacheservice.entries.store import Store
from tests.cast import ACTOR, Key, new_key
from tests.client import Answer, Client
from tests.meters import Used, balance, discrepancies, hits, prepaid_tenant, receipts, used
from tests.processes import RunningServer, wait_for
from tests.servers import own_server
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


def tamper(key: Key, name: str) -> None:
    """Change a byte of the sealed value behind the service's back."""
    query(
        "update entry set value = set_byte(value, 20, get_byte(value, 20) # 1) where tenant_id = %s and key = %s",
        [key.row.tenant_id, name],
    )


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
    assert answer.header(CHARGED) is None
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
        results = other.batch([{"op": "get", "key": "a"}] * 4 + [{"op": "get", "key": "absent"}]).json()["results"]
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


# Refunds: what was charged for a value that was then not given out.


def assert_refunded(key: Key, before: Used, spent: int = 0) -> None:
    """Nothing but what was used `before` is charged, and the refund stands beside the charge."""
    assert used(key.row.tenant_id) == before
    assert balance(key.row.tenant_id) == GRANTED - spent
    charge, refund = receipts(key.row.id)[-2:]
    assert refund.used == Used._make(-count for count in charge.used)
    assert refund.versions == charge.versions
    assert refund.at == charge.at
    assert discrepancies(key.row.tenant_id) == []
    assert reconciliation.reconcile(key.row.tenant_id).differences == []


@pytest.mark.parametrize("headers", ({}, {"if-none-match": "*"}), ids=("get", "not modified"))
def test_entry_that_does_not_open_is_refunded(client: Client, key: Key, headers: dict[str, str]) -> None:
    client.put("a", "value", cost="0.04")
    before = used(key.row.tenant_id)
    tamper(key, "a")
    answer = client.get("a", headers=headers)
    assert (answer.status, answer.error_code()) == (500, "internal_error")
    assert answer.header(CHARGED) is None
    assert_refunded(key, before)


def test_entry_that_does_not_open_is_refunded_in_a_batch(client: Client, key: Key) -> None:
    client.put("a", "value", cost="0.04")
    client.put("b", "value", cost="0.01")
    tamper(key, "a")
    results = client.batch([{"op": "get", "key": "a"}, {"op": "get", "key": "b"}]).json()["results"]
    assert [result["status"] for result in results] == [500, 200]
    counted = used(key.row.tenant_id)
    assert (counted.hits, counted.units, counted.saved) == (1, 1, Decimal("0.01"))
    assert balance(key.row.tenant_id) == GRANTED - 1


def test_refund_goes_back_to_the_api_keys_credit_limit(client: Client, key: Key) -> None:
    set_api_key_limits(key.row, credit_limit=1, actor=ACTOR)
    client.put("a", "value")
    client.put("b", "value")
    tamper(key, "a")
    for _ in range(3):
        assert client.get("a").status == 500
    assert client.get("b").status == 200
    assert client.get("b").status == 402


def test_large_value_that_does_not_open_is_refunded(client: Client, key: Key) -> None:
    """Larger ones are fetched apart from the batch that charges."""
    client.put("a", secrets.token_hex(4 * INLINE_BYTES))
    tamper(key, "a")
    before = used(key.row.tenant_id)
    assert client.get("a").status == 500
    assert_refunded(key, before)


@pytest.fixture(scope="module")
def small_server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Small allowances: 150,000 bytes of values for a batch, 100,000 bytes of large answers under way."""
    allowances = {"CACHE_MAX_VALUE_BYTES": "150000", "CACHE_ANSWER_BYTES_IN_FLIGHT": "100000"}
    with own_server(tmp_path_factory.mktemp("small"), **allowances) as server:
        yield server


def test_value_beyond_the_batchs_allowance_is_refunded(small_server: RunningServer, key: Key) -> None:
    with Client(small_server.url, key.token) as client:
        for name in ("a", "b", "c"):
            client.put(name, "v" * 60_000, cost="0.04")
        results = client.batch([{"op": "get", "key": name} for name in ("a", "b", "c")]).json()["results"]
    assert sorted(result["status"] for result in results) == [200, 200, 413]
    counted = used(key.row.tenant_id)
    assert (counted.hits, counted.units, counted.saved) == (2, 2, Decimal("0.08"))
    assert balance(key.row.tenant_id) == GRANTED - 2
    assert discrepancies(key.row.tenant_id) == []


def test_answer_for_which_there_is_no_room_is_refunded(small_server: RunningServer, key: Key) -> None:
    with Client(small_server.url, key.token) as client:
        client.put("a", "v" * 110_000, cost="0.04")
        before = used(key.row.tenant_id)
        answer = client.get("a")
        assert (answer.status, answer.error_code()) == (503, "unavailable")
        assert answer.header(CHARGED) is None
        assert answer.header("retry-after") == "1"
    wait_for(lambda: used(key.row.tenant_id) == before, 10, "refunded")  # once the answer is out
    assert_refunded(key, before)


def test_value_replaced_before_it_was_fetched_is_charged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large value is fetched by the version that was charged; where that is gone, the new one is read and charged."""
    caller = new_caller()
    first, second = (entry(secrets.token_bytes(2 * INLINE_BYTES), content_type="image/png") for _ in range(2))
    fetch = Store._fetch_value
    replaced = 0

    async def scenario(store: Store) -> bytes:
        async def replacing(store: Store, *place: object) -> object:
            nonlocal replaced
            if not replaced:
                replaced += 1
                await store.put(caller, "a", second)
            return await fetch(store, *place)  # type: ignore[arg-type]

        await store.put(caller, "a", first)
        monkeypatch.setattr(Store, "_fetch_value", replacing)
        hit = await store.get(caller, "a")
        assert hit is not None
        return hit.value

    assert run_with_store(scenario) == second.value
    assert replaced == 1
    assert sorted(hits(caller.tenant_id).values()) == [0, 1]
    assert used(caller.tenant_id).hits == 1
    assert balance(caller.tenant_id) == -1
    assert discrepancies(caller.tenant_id) == []
