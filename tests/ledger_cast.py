"""What the tests of the ledger share: calls, events, budgets, and a started ledger."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar

from msgspec.structs import replace

from gateway.budgets import Budget
from gateway.ledger import Call, Event, Ledger, Reservation, new_id
from gateway.models import Budget as BudgetRow
from gateway.models import CacheStatus, SpendState
from tests.store_cast import SCENARIO_SECONDS, database_dsn, query

KEY, OTHER_KEY = 7, 8
Outcome = TypeVar("Outcome")


def usd(amount: str) -> Decimal:
    return Decimal(amount)


def call(tenant_id: int, model: str = "gpt-4o", api_key_id: int = KEY, **changes: Any) -> Call:
    return Call(tenant_id, "openai", model, "ann", api_key_id, CacheStatus.MISS, "request-1")._replace(**changes)


def event(tenant_id: int, cost: Decimal | None = Decimal(0), **changes: Any) -> Event:
    at = datetime.now(UTC)
    settled = SpendState.SETTLED
    usual = Event(
        tenant_id, new_id(), at, "openai", "gpt-4o", "ann", KEY, CacheStatus.MISS, settled, 200, "request-1", cost
    )
    return replace(usual, **changes)


def outcome_of(reservation: Reservation, cost: Decimal | None, asked: Call, **changes: Any) -> Event:
    """The event of a call that was reserved."""
    given = {"model": asked.model, "api_key_id": asked.api_key_id, "provider": asked.provider, **changes}
    return event(reservation.tenant_id, cost, id=reservation.id, at=reservation.at, **given)


def budget(
    tenant_id: int, limit: str, *, model: str = "", api_key_id: int | None = None, id: int | None = None
) -> Budget:
    return Budget(tenant_id, new_id() if id is None else id, api_key_id, model, Decimal(limit))


def saved_budget(tenant_id: int, limit: str, **fields: Any) -> Budget:
    row = BudgetRow.objects.create(tenant_id=tenant_id, usd_per_day=Decimal(limit), **fields)
    return Budget(tenant_id, row.id, row.api_key_id, row.model, row.usd_per_day)


def run_with_ledger(scenario: Callable[[Ledger], Awaitable[Outcome]], dsn: str = "") -> Outcome:
    """Run the scenario with a ledger that is started before and closed after it."""

    async def bounded() -> Outcome:
        ledger = Ledger(dsn or database_dsn())
        async with asyncio.timeout(SCENARIO_SECONDS):
            await ledger.start()
            try:
                return await scenario(ledger)
            finally:
                await ledger.close()

    return asyncio.run(bounded())


def used(tenant_id: int) -> dict[int, Decimal]:
    """What the tenant's budgets' days have used, by budget."""
    return dict(query("select budget_id, used from gateway_budget_day where tenant_id = %s", [tenant_id]))


def events(tenant_id: int) -> list[tuple[SpendState, Decimal | None]]:
    rows = query("select state, cost from gateway_spend_event where tenant_id = %s order by at, id", [tenant_id])
    return [(SpendState(state), cost) for state, cost in rows]


def spent(tenant_id: int) -> tuple[int, Decimal]:
    """Requests and cost as the sums of days have them."""
    statement = (
        "select coalesce(sum(requests), 0)::int, coalesce(sum(cost), 0) from gateway_spend_day where tenant_id = %s"
    )
    [(requests, cost)] = query(statement, [tenant_id])
    return requests, cost
