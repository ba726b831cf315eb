"""Budgets: hard limits in USD on what a tenant spends in a UTC day."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from cacheservice.errors import APIError

# How the price of calls that name no model is called, such as Azure's, whose model stands in the path: kept as ''.
NO_MODEL: Final = "-"


class Conflict(APIError):
    """There is such a budget already, or there are too many of what is to be made. Nothing is changed."""

    status, code = 409, "conflict"


class Budget(NamedTuple):
    """A limit on one API key or all (None), and one model or all ('')."""

    tenant_id: int
    id: int
    api_key_id: int | None
    model: str
    usd_per_day: Decimal
    alert_percent: int = 80


def matching(budgets: Sequence[Budget], api_key_id: int, model: str) -> tuple[Budget, ...]:
    """Those that a call of the API key to the model counts against: all of them must have room for it."""
    return tuple(
        budget
        for budget in budgets
        if (budget.api_key_id is None or budget.api_key_id == api_key_id) and budget.model in ("", model)
    )


def resets_at(day: date) -> datetime:
    """When what a UTC day has used counts no more: the midnight that ends it."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
