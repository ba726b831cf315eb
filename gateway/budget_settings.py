"""A tenant's budgets and its own prices: making, changing and deleting them.

Each change stands in the audit log, in the same transaction, and holds in every server process within a second.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from django.db import transaction

from accounts import audit, tokens
from accounts.models import APIKey, Tenant
from billing.units import usd
from cacheservice.entries.requests import shown
from cacheservice.errors import Conflict, NotFound
from gateway import providers
from gateway.budgets import NO_MODEL
from gateway.models import Budget, BudgetDay, ModelPrice

MOST_BUDGETS: Final = 100  # of a tenant; each call looks at all of them
MOST_PRICES: Final = 1000
RATES: Final = (
    "input_per_million",
    "cached_input_per_million",
    "output_per_million",
    "per_call",
    "per_image",
    "per_second",
)


def list_budgets(tenant_id: int) -> list[Budget]:
    """The oldest first."""
    return list(Budget.objects.filter(tenant_id=tenant_id).order_by("created_at", "id"))


def find_budget(tenant_id: int, budget_id: int) -> Budget | None:
    found: Budget | None = Budget.objects.filter(tenant_id=tenant_id, id=budget_id).first()
    return found


def used_today(tenant_id: int) -> dict[int, Decimal]:
    """What counts against the tenant's budgets in the running UTC day, by budget; those without calls are missing."""
    days = BudgetDay.objects.filter(tenant_id=tenant_id, day=datetime.now(UTC).date())
    return dict(days.values_list("budget_id", "used"))


@transaction.atomic
def create_budget(
    tenant_id: int, *, api_key_id: int | None, model: str, usd_per_day: Decimal, alert_percent: int, actor: str
) -> Budget:
    """Raises Conflict where there is one for the same, or too many; NotFound where the API key is not the tenant's."""
    _lock(tenant_id)
    others = Budget.objects.filter(tenant_id=tenant_id)
    if others.count() >= MOST_BUDGETS:
        raise Conflict(f"There are {MOST_BUDGETS} budgets already, which is the most: delete one first.")
    if others.filter(api_key_id=api_key_id, model=model).exists():
        raise Conflict("There is a budget for this API key and model already: change that one.")
    if api_key_id is not None and not APIKey.objects.filter(tenant_id=tenant_id, id=api_key_id).exists():
        raise NotFound("There is no such API key; GET /api/v1/keys lists them, and null is all of them.")
    budget = Budget.objects.create(
        tenant_id=tenant_id,
        api_key_id=api_key_id,
        model=model,
        usd_per_day=usd_per_day,
        alert_percent=alert_percent,
    )
    audit.record(tenant_id, actor, "budget.create", tokens.encode_id(budget.id), **_details(budget))
    return budget


@transaction.atomic
def update_budget(budget: Budget, fields: Mapping[str, Any], actor: str) -> None:
    """Change its `usd_per_day` or `alert_percent`. What the day has used stays."""
    changed = Budget.objects.filter(tenant_id=budget.tenant_id, id=budget.id).update(**fields)
    for name, value in fields.items():
        setattr(budget, name, value)
    if changed:
        audit.record(budget.tenant_id, actor, "budget.update", tokens.encode_id(budget.id), **_details(budget))


@transaction.atomic
def delete_budget(tenant_id: int, budget_id: int, actor: str) -> bool:
    """Whether it was there."""
    deleted, _ = Budget.objects.filter(tenant_id=tenant_id, id=budget_id).delete()
    if deleted:
        audit.record(tenant_id, actor, "budget.delete", tokens.encode_id(budget_id))
    return bool(deleted)


def list_prices(tenant_id: int) -> list[ModelPrice]:
    """By provider and model."""
    return list(ModelPrice.objects.filter(tenant_id=tenant_id).order_by("provider", "model"))


@transaction.atomic
def put_price(
    tenant_id: int, provider: str, model: str, rates: Mapping[str, Decimal | None], actor: str
) -> tuple[ModelPrice, bool]:
    """The price as it is now, with all of `RATES`, and whether it is new. `model`: NO_MODEL, or '', for calls that name
    none. Raises NotFound where there is no such
    provider, and Conflict where there are too many prices."""
    _lock(tenant_id)
    _check_provider(tenant_id, provider)
    model = _kept(model)
    there = ModelPrice.objects.filter(tenant_id=tenant_id, provider=provider, model=model)
    new = not there.exists()
    if new and ModelPrice.objects.filter(tenant_id=tenant_id).count() >= MOST_PRICES:
        raise Conflict(f"There are {MOST_PRICES} prices already, which is the most: delete one first.")
    price = ModelPrice(tenant_id=tenant_id, provider=provider, model=model, **{name: rates[name] for name in RATES})
    price.save(force_insert=new, force_update=not new)
    told = {name: None if rate is None else usd(rate) for name, rate in rates.items()}
    audit.record(tenant_id, actor, "price.set", f"{provider}/{model or NO_MODEL}", **told)
    return price, new


@transaction.atomic
def delete_price(tenant_id: int, provider: str, model: str, actor: str) -> bool:
    """Whether it was there; `model` as `put_price`. Raises NotFound where there is no such provider."""
    _check_provider(tenant_id, provider)
    model = _kept(model)
    deleted, _ = ModelPrice.objects.filter(tenant_id=tenant_id, provider=provider, model=model).delete()
    if deleted:
        audit.record(tenant_id, actor, "price.delete", f"{provider}/{model or NO_MODEL}")
    return bool(deleted)


def _kept(model: str) -> str:
    return "" if model == NO_MODEL else model


def _check_provider(tenant_id: int, name: str) -> None:
    if providers.find_provider(tenant_id, name) is None:
        raise NotFound(f"There is no provider '{shown(name)}'; GET /api/v1/providers lists them.")


def _lock(tenant_id: int) -> None:
    """What is counted here stays so until the transaction ends."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)


def _details(budget: Budget) -> dict[str, Any]:
    return {
        "api_key_id": None if budget.api_key_id is None else tokens.encode_id(budget.api_key_id),
        "model": budget.model,
        "usd_per_day": usd(budget.usd_per_day),
        "alert_percent": budget.alert_percent,
    }
