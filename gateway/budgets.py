"""Budgets: hard limits in USD on what a tenant spends in a UTC day."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final, NamedTuple

from accounts import tokens
from cacheservice.errors import APIError

# How the price of calls that name no model, neither in the body nor in the path, is called: kept as ''.
NO_MODEL: Final = "-"


class Budget(NamedTuple):
    """A limit on one API key or all (None), and one model or all ('')."""

    tenant_id: int
    id: int
    api_key_id: int | None
    model: str
    usd_per_day: Decimal
    alert_percent: int = 80


class ModelUnknown(APIError):
    """A budget of a model may bind the call, whose body cannot be read here: it did not go upstream."""

    status, code = 402, "price_unknown"

    def __init__(self, budget: Budget) -> None:
        super().__init__(
            f"Budget {tokens.encode_id(budget.id)} limits the model {budget.model}, and which model this body asks for "
            "cannot be told: send a JSON object in UTF-8, without a byte order mark and without Content-Encoding."
        )


def matching(budgets: Sequence[Budget], api_key_id: int, model: str | None) -> tuple[Budget, ...]:
    """Those that a call of the API key to the model counts against: all of them must have room for it. `model` '': the
    call names none; None: which one it names is not known, so that it may be any."""
    return tuple(
        budget
        for budget in budgets
        if (budget.api_key_id is None or budget.api_key_id == api_key_id)
        and (model is None or budget.model in ("", model))
    )


def resets_at(day: date) -> datetime:
    """When what a UTC day has used counts no more: the midnight that ends it."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)
