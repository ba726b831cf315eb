"""The end of a tenant: nothing is given out or opens any more, and what it used stays, counted until then."""

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts.models import DataKey
from cacheservice.entries.store import Store
from cacheservice.errors import InvalidAPIKey
from cacheservice.tenant_deletion import delete_tenant
from tests.store_cast import entry, new_caller, new_tenant, query, run_with_store


def test_deleted_tenant_keeps_its_usage_and_nothing_else() -> None:
    tenant, other = new_tenant(), new_caller()
    caller = new_caller(tenant)

    async def write(store: Store) -> None:
        for number in range(20):
            await store.put(caller, f"key {number}", entry(b"x" * 100))
        await store.put(other, "other's", entry(b"1"))
        assert await store.get(caller, "key 1") is not None

    run_with_store(write)
    delete_tenant(tenant, "tests")
    delete_tenant(tenant, "tests")  # midway stopped and repeated

    async def ask(store: Store) -> None:
        for attempt in (store.get(caller, "key 1"), store.put(caller, "key 1", entry(b"2"))):
            with pytest.raises(InvalidAPIKey):
                await attempt
        assert await store.get(other, "other's") is not None

    run_with_store(ask)
    assert query("select count(*) from entry where tenant_id = %s", [tenant.id]) == [(0,)]
    assert not DataKey.objects.filter(tenant=tenant).exists()
    meters = query("select bytes from storage_meter where tenant_id = %s order by api_key_id", [tenant.id])
    assert meters == [(0,), (0,)]
    # 2,000 bytes, for as long as they stood: the meters' integral no longer grows.
    [(moment,)] = query("select -moment from storage_meter where tenant_id = %s and api_key_id = 0", [tenant.id])
    assert 0 < moment < 2000 * 60 * 10**6
    counted = query(
        "select sum(hits), sum(writes), sum(storage_delta), -sum(storage_moment) from receipt where tenant_id = %s",
        [tenant.id],
    )
    assert counted == [(1, 20, 0, moment)]


def test_command_wants_the_name_twice() -> None:
    tenant = new_tenant()
    caller = new_caller(tenant)
    with pytest.raises(CommandError, match="nothing was deleted"):
        call_command("delete_tenant", tenant.name, "--confirm", "another")
    output = StringIO()
    call_command("delete_tenant", tenant.name, "--confirm", tenant.name, stdout=output)
    assert "entries deleted" in output.getvalue()
    assert query("select revoked_at is not null from api_key where id = %s", [caller.api_key_id]) == [(True,)]
