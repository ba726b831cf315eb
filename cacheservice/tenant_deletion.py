"""The end of a tenant: its API keys hold no more, its entries are gone, and nothing opens what a backup still has.

What it used and owes stays: receipts, usage, ledger and invoices. What it spent at others through the gateway goes: it
names the tenant's own users, and may hold prompts.

An owner asks for it, and may take that back for some days, in which nothing changes. Then `delete_due` does it.
"""

from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError, transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django.utils import timezone

from accounts import audit
from accounts.models import APIKey, DataKey, Invitation, Membership, Tenant, TenantSecret
from billing.rows import django_rows
from cacheservice.entries import sql
from cacheservice.entries.purge import book_expired
from console import alert_messages
from console.models import Alert, AlertSettings, Delivery
from gateway import retention

log = structlog.get_logger(__name__)

BATCH = 5000  # entries in a transaction


@transaction.atomic
def request_deletion(tenant: Tenant, actor: str) -> datetime:
    """Let it be deleted CACHE_TENANT_DELETION_DAYS from now; when that is. Asked again, the first time holds."""
    tenant = Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    if tenant.deletion_at is None:
        tenant.deletion_at = timezone.now() + timedelta(days=settings.TENANT_DELETION_DAYS)
        tenant.save(update_fields=["deletion_at"])
        audit.record(
            tenant.id, actor, "tenant.request_deletion", tenant.name, deletion_at=tenant.deletion_at.isoformat()
        )
        _tell(
            "tenant.deletion_requested", tenant, f"It will be deleted on {tenant.deletion_at:%Y-%m-%d %H:%M} UTC", actor
        )
    return tenant.deletion_at


@transaction.atomic
def cancel_deletion(tenant: Tenant, actor: str) -> bool:
    """Keep the tenant. False when nobody asked for its deletion, or the day has come: then it may be under way."""
    kept = Tenant.objects.filter(pk=tenant.pk, deletion_at__gt=Now()).update(deletion_at=None)
    if kept:
        tenant.deletion_at = None
        audit.record(tenant.id, actor, "tenant.cancel_deletion", tenant.name)
        _tell("tenant.deletion_cancelled", tenant, "It will not be deleted", actor)
    return bool(kept)


def delete_due() -> int:
    """Delete the tenants whose day has come; how many. One that fails holds up no other. Safe to run twice."""
    alive = DataKey.objects.filter(tenant_id=OuterRef("pk"))
    count = 0
    for tenant in Tenant.objects.filter(Exists(alive), deletion_at__lte=Now()).order_by("deletion_at"):
        try:
            delete_tenant(tenant, "service")
            count += 1
        except DatabaseError:  # the next run goes on with it
            log.exception("tenant_not_deleted", tenant_id=tenant.id)
    return count


def delete_tenant(tenant: Tenant, actor: str) -> None:
    """Storage counts until now. Safe to repeat where it was stopped midway."""
    APIKey.objects.filter(tenant=tenant, revoked_at=None).update(revoked_at=timezone.now())
    while _expire(tenant.id) == BATCH:
        pass
    book_expired(tenant.id)
    retention.drop_all(tenant.id)
    with transaction.atomic():
        _forget_people(tenant)
        destroyed, _ = DataKey.objects.filter(tenant=tenant).delete()
        if destroyed:
            audit.record(tenant.id, actor, "tenant.delete", tenant.name, data_keys=destroyed)


def _tell(event: str, tenant: Tenant, title: str, actor: str) -> None:
    """The owners too, whoever gets the alerts."""
    text = f"{actor} asked for that. Owners of the tenant decide about it on its settings page."
    owners = frozenset(alert_messages.owners(tenant.id))
    alert_messages.send_email(tenant.id, event, title, text, also=owners)
    at = None if tenant.deletion_at is None else tenant.deletion_at.isoformat().replace("+00:00", "Z")
    alert_messages.send_webhook(tenant.id, event, {"deletion_at": at})


def _forget_people(tenant: Tenant) -> None:
    """Nobody is a member any more, and no address is kept that the tenant was told at."""
    for model in (Membership, Invitation, TenantSecret, AlertSettings, Alert, Delivery):
        model._default_manager.filter(tenant=tenant).delete()


@transaction.atomic
def _expire(tenant_id: int) -> int:
    """Let the next entries expire now, as the tenant's only writer; how many."""
    django_rows(sql.LOCK_TENANTS, {"tenant_ids": [tenant_id]})
    return len(django_rows(sql.EXPIRE, {"tenant_id": tenant_id, "limit": BATCH}))
