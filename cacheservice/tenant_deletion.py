"""The end of a tenant: its API keys hold no more, its entries are gone, and nothing opens what a backup still has.

What it used and owes stays: receipts, usage, ledger and invoices.
"""

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.models import APIKey, DataKey, Tenant
from billing.rows import django_rows
from cacheservice.entries import sql
from cacheservice.entries.purge import book_expired

BATCH = 5000  # entries in a transaction


def delete_tenant(tenant: Tenant, actor: str) -> None:
    """Storage counts until now. Safe to repeat where it was stopped midway."""
    APIKey.objects.filter(tenant=tenant, revoked_at=None).update(revoked_at=timezone.now())
    while _expire(tenant.id) == BATCH:
        pass
    book_expired(tenant.id)
    with transaction.atomic():
        destroyed, _ = DataKey.objects.filter(tenant=tenant).delete()
        if destroyed:
            audit.record(tenant.id, actor, "tenant.delete", tenant.name, data_keys=destroyed)


@transaction.atomic
def _expire(tenant_id: int) -> int:
    """Let the next entries expire now, as the tenant's only writer; how many."""
    django_rows(sql.LOCK_TENANTS, {"tenant_ids": [tenant_id]})
    return len(django_rows(sql.EXPIRE, {"tenant_id": tenant_id, "limit": BATCH}))
