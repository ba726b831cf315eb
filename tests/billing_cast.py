"""Tenants of a past: API keys with names, receipts and grants of months long ago, charged as the statements do."""

import secrets
from datetime import UTC, datetime

from accounts.models import APIKey, Tenant
from billing.models import LedgerEntry, Receipt
from billing.tenants import create_tenant
from tests.cast import ACTOR, new_key
from tests.store_cast import query


def at(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


def new_tenant(plan: str) -> Tenant:
    return create_tenant(f"billing {secrets.token_hex(8)}", ACTOR, plan)


def new_api_key(tenant: Tenant, name: str = "key") -> APIKey:
    api_key = new_key(tenant).row
    APIKey.objects.filter(id=api_key.id).update(name=name)
    api_key.name = name
    return api_key


def book(*receipts: Receipt) -> None:
    """Store them, and charge for them as the gathered statements do."""
    Receipt.objects.bulk_create(receipts)
    for each in receipts:
        query("update account set balance = balance - %s where tenant_id = %s", (each.units, each.tenant_id))


def book_ledger(tenant: Tenant, units: int, when: datetime, kind: str = "purchase") -> None:
    """Credits granted at a time long ago."""
    LedgerEntry.objects.create(
        tenant_id=tenant.id, kind=kind, units=units, idempotency_key=secrets.token_hex(8), at=when, actor=ACTOR
    )
    query("update account set balance = balance + %s where tenant_id = %s", (units, tenant.id))
