"""How long spend events stay, and what becomes of those whose process died."""

from datetime import UTC, datetime, timedelta

import structlog

from billing.rows import django_rows
from gateway import sql
from gateway.models import Budget, BudgetDay, ModelPrice, Provider, SpendDay

# No call is under way for so long: the longest total time of a policy is an hour, fallbacks included.
LOST_AFTER = timedelta(minutes=70)
KEPT = timedelta(days=90)  # events, and what budgets' days used; the sums of days stay
CHUNK = 1000  # rows in a transaction

log = structlog.get_logger(__name__)


def abandon(now: datetime | None = None) -> int:
    """Book calls whose process is gone: what they cost nobody knows, so their worst case stays spent. How many."""
    until = (now or datetime.now(UTC)) - LOST_AFTER
    total, count = 0, CHUNK
    while count == CHUNK:
        [(count,)] = django_rows(sql.ABANDON, {"until": until, "limit": CHUNK})
        total += count
    if total:
        log.warning("calls_abandoned", count=total)
    return total


def drop_all(tenant_id: int) -> None:
    """Drop all that the gateway has of a tenant that is deleted. Safe to repeat where it was stopped midway."""
    count = CHUNK
    while count == CHUNK:
        [(count,)] = django_rows(sql.DROP_TENANTS_EVENTS, {"tenant_id": tenant_id, "limit": CHUNK})
    for model in (SpendDay, BudgetDay, Budget, ModelPrice, Provider):
        model._default_manager.filter(tenant_id=tenant_id).delete()


def drop_old(now: datetime | None = None) -> int:
    """Drop old events and days of budgets; how many events."""
    until = (now or datetime.now(UTC)) - KEPT
    total = 0
    for (tenant_id,) in django_rows(sql.EVENT_TENANTS, {}):
        count = CHUNK
        while count == CHUNK:
            parameters = {"tenant_id": tenant_id, "until": until, "limit": CHUNK}
            [(count,)] = django_rows(sql.DROP_EVENTS, parameters)
            total += count
    django_rows(sql.DROP_BUDGET_DAYS, {"until": until.date()})
    return total
