"""Receipts, and entries without a value, for tests to which it does not matter how they came about."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from django.db import connections

from accounts.models import random_id
from billing.models import Receipt
from cacheservice.entries.models import Entry, Space, Tombstone

Result = TypeVar("Result")


def at_once(*work: Callable[[], Result]) -> list[Result]:
    """What each returned, run in a thread with Django connections of its own. Raises what the first of them raised."""

    def closing(one: Callable[[], Result]) -> Result:
        try:
            return one()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(work)) as pool:
        futures = [pool.submit(closing, one) for one in work]
        return [future.result() for future in futures]


def moment(at: datetime) -> int:
    """Microseconds since 1970."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def receipt(tenant_id: int, at: datetime, versions: Sequence[int] = (), **counts: Any) -> Receipt:
    """Not saved. Hits, if not given, are those of the versions; `storage_moment` is that of the delta."""
    hits = counts.pop("hits", len(versions))
    delta = counts.get("storage_delta", 0)
    return Receipt(
        tenant_id=tenant_id,
        id=random_id(),
        api_key_id=counts.pop("api_key_id", 1),
        at=at,
        versions=list(versions) or None,
        folded=counts.pop("folded", False),
        **{
            "hits": hits,
            "misses": 0,
            "writes": 0,
            "duplicates": 0,
            "deletes": 0,
            "units": hits,
            "saved": Decimal(0),
            "storage_delta": delta,
            "storage_moment": delta * moment(at),
            **counts,
        },
    )


def entry(tenant_id: int, version: int, *, tags: Sequence[str] = (), cost: str | None = None, **fields: Any) -> Entry:
    now = datetime.now(UTC)
    values = {
        "space": Space.TENANT, "key": f"key of {version}", "value": b"", "data_key_version": 1, "size": 0,
        "api_key_id": 1, "created_at": now, "expires_at": now + timedelta(days=1),
    }  # fmt: skip
    return Entry.objects.create(
        tenant_id=tenant_id, version=version, tags=list(tags), cost=cost, **{**values, **fields}
    )


def tombstone(
    tenant_id: int, version: int, at: datetime, *, tags: Sequence[str], cost: str | Decimal | None = None
) -> None:
    Tombstone.objects.create(tenant_id=tenant_id, version=version, tags=list(tags), cost=cost, at=at)


def replace(old: Entry) -> None:
    """As a write over it does: the entry goes, and its tombstone comes."""
    tombstone(old.tenant_id, old.version, datetime.now(UTC), tags=old.tags, cost=old.cost)
    Entry.objects.filter(tenant_id=old.tenant_id, version=old.version).delete()
