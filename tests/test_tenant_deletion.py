"""The end of a tenant: nothing is given out or opens any more, and what it used stays, counted until then."""

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import AuditEvent, DataKey, Membership, Tenant, TenantSecret
from accounts.policy import Role
from cacheservice.entries.store import Store
from cacheservice.errors import InvalidAPIKey
from cacheservice.tenant_deletion import cancel_deletion, delete_due, delete_tenant, request_deletion
from console import settings_changes
from console.models import AlertSettings, Delivery
from tests.console_cast import new_person, visitor
from tests.processes import RunningServer
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


def due(tenant: Tenant) -> None:
    """The day has come."""
    Tenant.objects.filter(pk=tenant.pk).update(deletion_at=timezone.now())


def test_a_week_passes_and_nothing_changes_until_then() -> None:
    tenant = new_person(Role.OWNER, new_tenant()).tenant
    caller = new_caller(tenant)
    at = request_deletion(tenant, "tests")
    assert timedelta(days=6, hours=23) < at - timezone.now() <= timedelta(days=7)
    assert request_deletion(tenant, "tests") == at  # asked again
    delete_due()

    async def use(store: Store) -> None:
        await store.put(caller, "key", entry(b"1"))
        assert await store.get(caller, "key") is not None

    run_with_store(use)
    assert cancel_deletion(tenant, "tests")
    assert not cancel_deletion(tenant, "tests")
    events = AuditEvent.objects.filter(tenant_id=tenant.id).order_by("at").values_list("action", flat=True)
    assert list(events)[-2:] == ["tenant.request_deletion", "tenant.cancel_deletion"]
    told = Delivery.objects.filter(tenant=tenant).values_list("event", flat=True)
    assert sorted(told) == ["tenant.deletion_cancelled", "tenant.deletion_requested"]


def test_on_the_day_it_goes_and_cannot_be_kept() -> None:
    tenant, kept = new_person(Role.OWNER, new_tenant()).tenant, new_tenant()
    caller = new_caller(tenant)
    settings_changes.set_webhook(tenant, "https://example.com/", "tests")
    request_deletion(tenant, "tests")
    due(tenant)
    assert not cancel_deletion(tenant, "tests")
    output = StringIO()
    call_command("delete_due_tenants", stdout=output)
    assert "tenants deleted." in output.getvalue()
    assert delete_due() == 0
    assert DataKey.objects.filter(tenant=kept).exists()
    for model in (DataKey, Membership, TenantSecret, AlertSettings, Delivery):
        assert not model._default_manager.filter(tenant=tenant).exists()
    assert query("select revoked_at is not null from api_key where id = %s", [caller.api_key_id]) == [(True,)]


def test_owners_delete_by_typing_the_name_and_anyone_sees_the_banner(server: RunningServer) -> None:
    owner = new_person(Role.OWNER)
    viewer = new_person(Role.VIEWER, owner.tenant)
    browser, guest = visitor(server, owner), visitor(server, viewer)
    for wrong in ("", owner.tenant.name.upper(), owner.tenant.name + " "):
        assert browser.post(owner.path("settings/delete"), {"name": wrong}).status_code == 422
    assert "will be deleted" not in browser.get(owner.path("settings")).text
    page = browser.post(owner.path("settings/delete"), {"name": owner.tenant.name}, follow_redirects=True).text
    assert "will be deleted on" in page
    assert "Cancel the deletion" in page
    seen = guest.get(viewer.path("team")).text
    assert "An owner can cancel it." in seen
    assert "Cancel the deletion" not in seen
    assert guest.post(viewer.path("settings/delete/cancel")).status_code == 403
    page = browser.post(owner.path("settings/delete/cancel"), follow_redirects=True).text
    assert "its deletion is cancelled" in page
    assert "will be deleted on" not in page
    due(owner.tenant)
    page = browser.post(owner.path("settings/delete/cancel"), follow_redirects=True).text
    assert "the day has come already" in page


def test_members_of_a_deleted_tenant_find_nothing(server: RunningServer) -> None:
    owner = new_person(Role.OWNER)
    delete_tenant(owner.tenant, "tests")
    assert visitor(server, owner).get(owner.path()).status_code == 404
