"""Refunds: what was charged for a value that was then not given out, is given back before anybody can tell."""

import secrets
from collections.abc import Iterator
from decimal import Decimal

import pytest

from billing.limits import set_api_key_limits
from cacheservice.entries import reconciliation
from cacheservice.entries.operations import INLINE_BYTES
from cacheservice.entries.store import Store
from tests.cast import ACTOR, Key, new_key
from tests.client import Client
from tests.meters import Used, balance, discrepancies, hits, prepaid_tenant, receipts, tamper, used
from tests.processes import RunningServer, wait_for
from tests.servers import own_server
from tests.store_cast import entry, new_caller, run_with_store

GRANTED = 1000  # units
CHARGED = "x-credits-charged"


@pytest.fixture
def key() -> Key:
    return new_key(prepaid_tenant(GRANTED))


@pytest.fixture(params=["server", "server_without_lane"])
def client(request: pytest.FixtureRequest, key: Key) -> Iterator[Client]:
    """Of the API key; by the lane, and by Django."""
    server: RunningServer = request.getfixturevalue(request.param)
    with Client(server.url, key.token) as client:
        yield client


def assert_refunded(key: Key, before: Used) -> None:
    """Nothing but what was used `before` is charged, and the refund stands beside the charge."""
    assert used(key.row.tenant_id) == before
    assert balance(key.row.tenant_id) == GRANTED
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
    tamper(key.row.tenant_id, "a")
    answer = client.get("a", headers=headers)
    assert (answer.status, answer.error_code()) == (500, "internal_error")
    assert answer.header(CHARGED) is None
    assert_refunded(key, before)


def test_entry_that_does_not_open_is_refunded_in_a_batch(client: Client, key: Key) -> None:
    client.put("a", "value", cost="0.04")
    client.put("b", "value", cost="0.01")
    tamper(key.row.tenant_id, "a")
    results = client.batch([{"op": "get", "key": "a"}, {"op": "get", "key": "b"}]).json()["results"]
    assert [result["status"] for result in results] == [500, 200]
    counted = used(key.row.tenant_id)
    assert (counted.hits, counted.units, counted.saved) == (1, 1, Decimal("0.01"))
    assert balance(key.row.tenant_id) == GRANTED - 1


def test_refund_goes_back_to_the_api_keys_credit_limit(client: Client, key: Key) -> None:
    set_api_key_limits(key.row, credit_limit=1, actor=ACTOR)
    client.put("a", "value")
    client.put("b", "value")
    tamper(key.row.tenant_id, "a")
    for _ in range(3):
        assert client.get("a").status == 500
    assert client.get("b").status == 200
    assert client.get("b").status == 402


def test_large_value_that_does_not_open_is_refunded(client: Client, key: Key) -> None:
    """Larger ones are fetched apart from the batch that charges."""
    client.put("a", secrets.token_hex(4 * INLINE_BYTES))
    tamper(key.row.tenant_id, "a")
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
