"""Storage quotas: never passed, and what fits is written; expired entries are out of the way at once."""

from collections import Counter

import pytest
from django.conf import settings

from billing.limits import set_api_key_limits, set_tenant_limits
from cacheservice.entries.store import Stored
from cacheservice.errors import StorageQuotaExceeded
from tests.cast import ACTOR, new_key
from tests.client import Client
from tests.fake_clock import FakeClock
from tests.meters import discrepancies, new_plan
from tests.processes import RunningServer
from tests.running_stores import RunningStores
from tests.storage_writer import (  # noqa: F401  fixtures
    Writer,
    clock_fixture,
    seconds,
    stores_fixture,
    writer_fixture,
)
from tests.store_cast import entry, new_caller, new_tenant, query, scaled

ROUNDS = scaled(3, 100)
QUOTA = 1000


@pytest.fixture(params=["tenant", "API key", "tenant's plan", "API key's plan", "tenant's for API keys"])
def bounded(request: pytest.FixtureRequest, stores: RunningStores, clock: FakeClock) -> Writer:
    """Holds at most QUOTA, for one reason or another."""
    plans = {"tenant's plan": {"storage_quota": QUOTA}, "API key's plan": {"api_key_storage_quota": QUOTA}}
    tenant = new_tenant(new_plan(**plans.get(request.param, {})))
    writer = Writer(stores, clock, new_caller(tenant))
    if request.param == "tenant":
        set_tenant_limits(tenant, storage_quota=QUOTA, actor=ACTOR)
    elif request.param == "API key":
        writer.limit(QUOTA)
    elif request.param == "tenant's for API keys":
        set_tenant_limits(tenant, api_key_storage_quota=QUOTA, actor=ACTOR)
    return writer


def test_quota_is_met_to_the_byte(bounded: Writer) -> None:
    bounded.put("a", QUOTA - 1)
    bounded.put("b", 1)
    with pytest.raises(StorageQuotaExceeded):
        bounded.put("c", 1)
    bounded.put("empty", 0)
    assert bounded.holds() == QUOTA


def test_writes_that_shrink_pass_above_the_quota(bounded: Writer) -> None:
    bounded.put("a", QUOTA)
    # As if the quota had come after the bytes.
    query("update storage_meter set bytes = bytes + %s where tenant_id = %s", [QUOTA, bounded.caller.tenant_id])
    bounded.put("empty", 0)
    for size, fits in ((QUOTA, True), (QUOTA + 1, False), (QUOTA - 1, True), (QUOTA, False), (10, True)):
        if fits:
            assert bounded.put("a", size).replaced
        else:
            with pytest.raises(StorageQuotaExceeded):
                bounded.put("a", size)
    assert bounded.patch("a", 10)
    assert bounded.delete("a")


def test_expired_entries_make_room_at_once(bounded: Writer, clock: FakeClock) -> None:
    bounded.put("a", QUOTA // 2, ttl=10)
    bounded.put("b", QUOTA // 2, ttl=20)
    clock.advance(seconds(9))
    with pytest.raises(StorageQuotaExceeded):
        bounded.put("c", 1)
    clock.advance(seconds(1))
    bounded.put("c", QUOTA // 2, ttl=100)
    with pytest.raises(StorageQuotaExceeded):
        bounded.put("d", 1)
    clock.advance(seconds(10))
    bounded.put("d", QUOTA // 2, ttl=100)
    assert bounded.byte_seconds() == QUOTA // 2 * (10 + 20 + 10)
    assert discrepancies(bounded.caller.tenant_id) == []


def test_an_expired_entry_is_replaced_at_the_quota(bounded: Writer, clock: FakeClock) -> None:
    bounded.put("a", QUOTA, ttl=10)
    clock.advance(seconds(10))
    assert not bounded.put("a", QUOTA, ttl=10).replaced
    clock.advance(seconds(10))
    with pytest.raises(StorageQuotaExceeded):
        bounded.put("b", QUOTA + 1)
    bounded.put("b", QUOTA)
    assert (bounded.holds(), bounded.byte_seconds()) == (QUOTA, QUOTA * 20)


def test_several_writes_of_a_batch_share_what_is_left(bounded: Writer, stores: RunningStores) -> None:
    """Each is decided with those before it; one that looks too large only for that is tried again alone."""
    sizes = [600, 600, 300, 100, 50, 400]
    told = stores.at_once(
        [stores[0].put(bounded.caller, f"key {number}", entry(bytes(size))) for number, size in enumerate(sizes)]
    )
    assert set(Counter(map(type, told))) == {Stored, StorageQuotaExceeded}
    written = sum(each.size for each in told if isinstance(each, Stored))
    assert bounded.holds() == written <= QUOTA
    refused = [size for size, each in zip(sizes, told, strict=True) if isinstance(each, StorageQuotaExceeded)]
    assert all(written + size > QUOTA for size in refused)


def test_replacements_within_a_batch_leave_room_for_each_other(bounded: Writer, stores: RunningStores) -> None:
    """One shrinks and one grows: together they fit, whichever comes first."""
    for _ in range(ROUNDS):
        bounded.put("a", 10)
        bounded.put("b", 900)
        told = stores.at_once(
            [
                stores[0].put(bounded.caller, "a", entry(bytes(900))),
                stores[0].put(bounded.caller, "b", entry(bytes(10))),
            ]
        )
        assert isinstance(told[1], Stored)
        if not isinstance(told[0], Stored):  # it was decided before the other, and had no room then
            bounded.put("a", 900)
        assert bounded.holds() == 910


def test_the_tenants_quota_counts_all_its_api_keys(writer: Writer) -> None:
    set_tenant_limits(writer.tenant, storage_quota=QUOTA, actor=ACTOR)
    other = writer.another()
    writer.put("a", 600)
    with pytest.raises(StorageQuotaExceeded, match="the tenant uses 600 of the 1000 bytes"):
        other.put("b", 401)
    other.put("a", 1000)
    with pytest.raises(StorageQuotaExceeded, match="the tenant uses 1000 of the 1000 bytes"):
        writer.put("c", 1)


def test_an_api_keys_quota_counts_its_own_entries(writer: Writer) -> None:
    writer.limit(QUOTA)
    other = writer.another()
    other.put("b", 5000)
    writer.put("a", 600)
    # What replaces another's entry counts in full, and is no longer the other's.
    with pytest.raises(StorageQuotaExceeded, match="the API key uses 600 of the 1000 bytes"):
        writer.put("b", 401)
    writer.put("b", 400)
    assert (writer.holds(), other.holds()) == (1000, 0)
    other.put("a", 1)
    writer.put("c", 600)


@pytest.mark.parametrize("named", ("API key", "tenant"))
def test_own_quota_wins_over_the_plans(stores: RunningStores, clock: FakeClock, named: str) -> None:
    for quota in (QUOTA // 10, QUOTA * 10):
        tenant = new_tenant(new_plan(storage_quota=QUOTA if named == "tenant" else None, api_key_storage_quota=QUOTA))
        writer = Writer(stores, clock, new_caller(tenant))
        if named == "API key":
            writer.limit(quota)
        else:
            set_tenant_limits(tenant, storage_quota=quota, api_key_storage_quota=10**9, actor=ACTOR)
        writer.put("a", quota)
        with pytest.raises(StorageQuotaExceeded, match=f"of the {quota} bytes"):
            writer.put("b", 1)


def test_free_plan_ends_at_100_mb_however_many_api_keys(stores: RunningStores, clock: FakeClock) -> None:
    tenant = new_tenant("free")
    writer = Writer(stores, clock, new_caller(tenant))
    writer.put("a", 1)
    query("update storage_meter set bytes = 100000000 - 10 where tenant_id = %s", [tenant.id])  # as if it held that
    other = writer.another()
    with pytest.raises(StorageQuotaExceeded, match="the tenant uses 99999990 of the 100000000 bytes"):
        other.put("b", 11)
    other.put("b", 10)


def test_self_hosted_has_no_bound(writer: Writer) -> None:
    writer.put("a", 1)
    query("update storage_meter set bytes = 10^15 where tenant_id = %s", [writer.caller.tenant_id])
    assert writer.put("b", 5_000_000).size == 5_000_000


def test_concurrent_writers_never_pass_the_quota_nor_stay_out(bounded: Writer, clock: FakeClock) -> None:
    """While entries expire and are replaced too. `tests/faults/races.py` does the same by the thousand."""
    tenant_id = bounded.caller.tenant_id
    with RunningStores(2, clock.dsn) as stores:
        for _ in range(ROUNDS):
            work = [
                stores[each % 2].put(bounded.caller, f"key {each % 23}", entry(bytes(each * 13 % 90), ttl=10))
                for each in range(64)
            ]
            assert set(map(type, stores.at_once(work))) <= {Stored, StorageQuotaExceeded}
            assert bounded.holds() <= QUOTA
            assert discrepancies(tenant_id) == []
            clock.advance(seconds(10))
            stores.run(stores[0].put(bounded.caller, "all of it", entry(bytes(QUOTA), ttl=10)))
            clock.advance(seconds(10))


@pytest.mark.parametrize("size", (QUOTA - 5, QUOTA + 1))
def test_full_tenant_is_told_so_while_others_expire_all_the_time(size: int) -> None:
    """Booking those makes no room here, and there are always new ones: that must not end in a 503."""
    tenant = new_tenant()
    caller = new_caller(tenant)
    set_tenant_limits(tenant, storage_quota=QUOTA, actor=ACTOR)
    query(
        "insert into entry (tenant_id, space, key, value, data_key_version, size, tags, version, api_key_id, "
        "created_at, expires_at) select %s, 0, 'key ' || i, '', 1, 0, '{}', i, %s, now() - interval '1 day', "
        "now() + i * interval '0.1 ms' from generate_series(1, 10000) as i",
        [tenant.id, caller.api_key_id],
    )
    with RunningStores() as stores:
        stores.run(stores[0].put(caller, "live", entry(bytes(10))))
        told = [stores.at_once([stores[0].put(caller, "a", entry(bytes(size)))]) for _ in range(10)]
    assert [type(each) for [each] in told] == [StorageQuotaExceeded] * 10


def test_refusal_names_the_bytes_and_leaves_the_old_value(server: RunningServer) -> None:
    key = new_key(new_tenant())
    set_api_key_limits(key.row, storage_quota=100, actor=ACTOR)
    with Client(server.url, key.token) as client:
        etag = client.put("a", "x" * 58).header("etag")
        answer = client.put("a", "y" * 99)
        assert (answer.status, answer.error_code()) == (402, "storage_quota_exceeded")
        assert answer.error_message() == (
            "value: it has 101 bytes, and the API key uses 60 of the 100 bytes that it is allowed: "
            f"delete entries, shorten their ttl, or have the quota raised at {settings.PUBLIC_URL}/console/billing."
        )
        after = client.get("a")
        assert (after.json()["value"], after.header("etag")) == ("x" * 58, etag)
        results = client.batch(
            [{"op": "put", "key": "b", "value": "z" * 39}, {"op": "put", "key": "c", "value": "z" * 38}]
        ).json()["results"]
        assert [result["status"] for result in results] == [402, 201]
        assert results[0]["body"]["error"]["code"] == "storage_quota_exceeded"
