"""Metering where it is easily got wrong: great costs, quotas that can never be met, requests that no statement sees."""

from importlib import import_module

import psycopg
import pytest

from billing import credits
from billing.limits import set_api_key_limits
from billing.models import Account
from billing.tenants import change_plan
from cacheservice.entries.rollup import rollup
from cacheservice.entries.store import Store
from cacheservice.errors import StorageQuotaExceeded
from tests.cast import ACTOR, Key, new_key
from tests.client import Client
from tests.processes import RunningServer
from tests.store_cast import change_ledger, database_dsn, entry, new_caller, new_tenant, query, run_with_store

GREATEST_COST = "999999999.999999999"


def test_migration_meters_what_was_there() -> None:
    """More bytes than a 64-bit moment would hold, and an entry that had expired and was not purged."""
    migration = import_module("cacheservice.entries.migrations.0003_meter_what_is_there")
    with psycopg.connect(database_dsn()) as connection:
        for table in ("entry", "storage_meter", "receipt"):
            connection.execute(f"create temp table {table} (like public.{table} including all) on commit drop")
        connection.execute(
            "insert into entry (tenant_id, space, key, value, data_key_version, size, tags, version, api_key_id, "
            "created_at, expires_at) select 1, 0, 'k' || i, '', 1, 1000000, '{}', i, 7, now(), "
            "now() + case i when 1 then interval '-1 day' else interval '1 day' end from generate_series(1, 11) i"
        )
        connection.execute(migration.EXPIRED)
        connection.execute(migration.METER)
        meters = connection.execute(
            "select api_key_id, bytes, moment = bytes * extract(epoch from now()) * 1000000 from storage_meter "
            "order by api_key_id"
        ).fetchall()
        receipts = connection.execute("select api_key_id, storage_delta from receipt").fetchall()
    assert meters == [(0, 10_000_000, True), (7, 10_000_000, True)]
    assert receipts == [(7, 10_000_000)]


def test_hits_of_the_greatest_cost_fold() -> None:
    caller, other = new_caller(), new_caller()

    async def scenario(store: Store) -> None:
        await store.put(caller, "dear", entry(b"1", tags=["dear"])._replace(cost=GREATEST_COST))
        await store.get(caller, "dear")
        await store.get(other, "missing")

    run_with_store(scenario)
    query(
        "insert into receipt (tenant_id, id, api_key_id, at, hits, saved, versions) "
        "select tenant_id, i, api_key_id, at, 1000000, saved * 1000000, versions "
        "from receipt, generate_series(1, 50) i where tenant_id = %s and hits = 1",
        [caller.tenant_id],
    )
    rollup()
    assert query(
        "select count(*) from receipt where not folded and tenant_id in (%s, %s)", [caller.tenant_id, other.tenant_id]
    ) == [(0,)]
    saved = "select saved from usage_rollup where tenant_id = %s and period = 2"
    assert query(saved, [caller.tenant_id]) == query("select %s::numeric * 50000001", [GREATEST_COST])


def test_tenant_that_does_not_fold_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """Such as one whose sums are beyond what a row holds."""
    broken, sound = sorted((new_caller(), new_caller()), key=lambda caller: caller.tenant_id)
    insert = (
        "insert into receipt (tenant_id, id, api_key_id, at, units) values (%s, 1, 1, now(), %s), (%s, 2, 1, now(), %s)"
    )
    query(insert, [broken.tenant_id, 2**62, broken.tenant_id, 2**62])
    query(insert, [sound.tenant_id, 1, sound.tenant_id, 2])
    try:
        rollup()
        assert query("select units from usage_rollup where tenant_id = %s and period = 0", [sound.tenant_id]) == [(3,)]
        assert any("tenant_not_folded" in record.getMessage() for record in caplog.records)
        assert query("select count(*) from receipt where not folded and tenant_id = %s", [broken.tenant_id]) == [(2,)]
    finally:
        query("delete from receipt where tenant_id = %s", [broken.tenant_id])


def test_value_that_can_never_fit_is_refused_whatever_expires() -> None:
    tenant = new_tenant()
    Account.objects.filter(tenant=tenant).update(storage_quota=1000)
    caller = new_caller(tenant)

    async def scenario(store: Store) -> None:
        for number in range(30):
            query(
                "insert into entry (tenant_id, space, key, value, data_key_version, size, tags, version, api_key_id, "
                "created_at, expires_at) values (%s, 0, %s, '', 1, 0, '{}', %s, %s, now(), now() - interval '1 s')",
                [tenant.id, f"expired {number}", number, caller.api_key_id],
            )
            with pytest.raises(StorageQuotaExceeded, match=r"2000 bytes.* 0 of the 1000 bytes"):
                await store.put(caller, "large", entry(b"x" * 2000))

    run_with_store(scenario)


@pytest.fixture
def limited() -> Key:
    """May make three requests a minute."""
    key = new_key(new_tenant())
    set_api_key_limits(key.row, requests_per_minute=3, actor=ACTOR)
    return key


def test_malformed_batches_count(server: RunningServer, limited: Key) -> None:
    with Client(server.url, limited.token) as client:
        sent = [client.send("POST", "/api/v1/batch", b"{", {"content-type": "application/json"}) for _ in range(5)]
    assert [answer.status for answer in sent] == [400, 400, 400, 429, 429]


def test_malformed_operations_count(server: RunningServer, limited: Key) -> None:
    deep = "[" * 600 + "]" * 600
    operations = [{"op": "get"}, {"op": "put", "key": "a", "value": 1, "ttl": 0}, {"op": "get", "key": ""}]
    with Client(server.url, limited.token) as client:
        results = client.batch(operations).json()["results"]
        assert [result["status"] for result in results] == [400, 400, 400]
        nested = b'{"operations": [{"op": "put", "key": "a", "value": %s}]}' % deep.encode()
        [result] = client.send("POST", "/api/v1/batch", nested, {"content-type": "application/json"}).json()["results"]
        assert result["status"] == 429


def test_large_body_that_is_refused_tells_the_rate_limit(server: RunningServer, limited: Key) -> None:
    with Client(server.url, limited.token) as client:
        answer = client.send("POST", "/api/v1/batch", b"x" * 11_000_000, {"content-type": "application/json"})
        assert (answer.status, answer.header("ratelimit-limit"), answer.header("ratelimit-remaining")) == (
            413,
            "3",
            "2",
        )


def test_former_plan_grants_nothing() -> None:
    """The account is read anew behind its lock: whoever had read it before has another plan now."""
    tenant = new_tenant()
    change_plan(tenant, "free", ACTOR)
    change_plan(tenant, "pro", ACTOR)
    change_ledger("delete from credit_ledger where tenant_id = %s", [tenant.id])
    assert not credits.grant_month(tenant.id)


def test_removed_credit_limit_keeps_its_window_for_reads_under_way() -> None:
    key = new_key(new_tenant())
    set_api_key_limits(key.row, credit_limit=1000, actor=ACTOR)
    set_api_key_limits(key.row, credit_limit=None, actor=ACTOR)
    assert query("select units from credit_window where api_key_id = %s", [key.row.id]) == [(0,)]
