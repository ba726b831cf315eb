"""Removing expired entries, which readers never see, and booking their storage until they expired.

A purge is a writer like any other: it works under the tenants' locks, so that what it removes is what the meters count
down, and a renewed entry no longer qualifies. Every batch is a transaction of its own, sized so that it stays far below
a second, and between batches the database rests three times as long as the last one took, so that hits hardly feel it.
Safe to run twice at once, and to kill.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from django.db import transaction

from accounts.models import random_id
from billing.rows import django_rows
from cacheservice.entries import sql

FIRST_BATCH, LEAST, MOST = 100, 50, 5000
TENANTS = 50  # in a batch
BOOKED = 500  # entries in a transaction while somebody waits for it, large ones too
AIM_SECONDS = 0.01  # for a batch
REST = 3  # times as long as a batch took; 1 raised the 99th percentile of hits 2.3 times (docs/performance.md)
MOST_REST_SECONDS = 1.0  # after one that the disk held up

Progress = Callable[[int], None]
NEVER = datetime.min.replace(tzinfo=UTC)


def purge(*, seconds: float = 50.0, progress: Progress | None = None) -> int:
    """Remove what has expired by now, for at most about `seconds`; returns how many entries that were."""
    django_rows(sql.DROP_LEASES, {})
    # Each tenant with something left to remove, and the expiry that the last removed one had.
    left = {tenant_id: NEVER for (tenant_id,) in django_rows(sql.EXPIRED_TENANTS, {})}
    deadline = time.monotonic() + seconds
    limit, removed = FIRST_BATCH, 0
    while left and time.monotonic() < deadline:
        began = time.monotonic()
        batch = {tenant_id: left.pop(tenant_id) for tenant_id in list(left)[:TENANTS]}
        share = max(1, limit // len(batch))
        for tenant_id, count, last in _remove(batch, share):
            removed += count
            if count == share:
                left[tenant_id] = last  # behind the others: they take turns
        took = time.monotonic() - began
        if progress is not None:
            progress(removed)
        limit = max(LEAST, min(MOST, int(limit * AIM_SECONDS / max(took, 0.001))))
        if left:
            time.sleep(min(REST * took, MOST_REST_SECONDS))
    return removed


def book_expired(tenant_id: int) -> None:
    """Remove all of one tenant's entries that have expired by now."""
    while any(count == BOOKED for _, count, _ in _remove({tenant_id: NEVER}, BOOKED)):
        pass


def _remove(tenants: dict[int, datetime], limit: int) -> list[tuple[int, int, datetime]]:
    """Of each tenant at most `limit`: tenant, how many, the last one's expiry."""
    with transaction.atomic():
        django_rows(sql.UNFLUSHED.decode(), {})  # what a crash brings back is purged again
        django_rows(sql.LOCK_TENANTS, {"tenant_ids": list(tenants)})
        return django_rows(sql.PURGE, purge_parameters(tenants, limit))


def purge_parameters(tenants: dict[int, datetime], limit: int) -> dict[str, object]:
    """Of sql.PURGE."""
    return {
        "tenant_ids": list(tenants),
        "afters": list(tenants.values()),
        "limit": limit,
        "first_id": random_id(),
    }
