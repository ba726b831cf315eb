"""Budgets and prices as the API shows them. The structs are the OpenAPI document's schemas too."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

import msgspec

from accounts import tokens
from billing.units import usd
from cacheservice.entries.collection import wire
from cacheservice.entries.schema import USD, Time
from cacheservice.http import JSON, Answer
from gateway.budget_requests import Percent
from gateway.budget_settings import RATES
from gateway.budgets import NO_MODEL, resets_at
from gateway.models import Budget, ModelPrice


class ShownBudget(msgspec.Struct, kw_only=True):
    """A hard limit on what is spent in a UTC day, and what the running day has used of it."""

    id: str
    api_key_id: Annotated[str | None, msgspec.Meta(description="Null: of all API keys together.")]
    model: Annotated[str | None, msgspec.Meta(description="Null: of all models together.")]
    usd_per_day: USD
    alert_percent: Percent
    used_usd: Annotated[USD, msgspec.Meta(description="Today, with the worst cases of calls under way.")]
    resets_at: Time
    created_at: Time


class Budgets(msgspec.Struct):
    """All of the tenant's, the oldest first."""

    budgets: list[ShownBudget]


class DeletedBudget(msgspec.Struct):
    id: str
    deleted: bool


class ShownPrice(msgspec.Struct, kw_only=True):
    """A tenant's own price of a model, in USD. Null: not priced by that."""

    provider: str
    model: Annotated[str, msgspec.Meta(description="`-`: of calls that name no model.")]
    input_per_million: USD | None
    cached_input_per_million: USD | None
    output_per_million: USD | None
    per_call: USD | None
    per_image: USD | None
    per_second: USD | None
    updated_at: Time


class Prices(msgspec.Struct):
    """All of the tenant's own, by provider and model."""

    prices: list[ShownPrice]


class DeletedPrice(msgspec.Struct):
    provider: str
    model: str
    deleted: bool


def budgets(found: Iterable[Budget], used: Mapping[int, Decimal]) -> Answer:
    return _json(200, Budgets([_budget(each, used) for each in found]))


def budget(status: int, found: Budget, used: Mapping[int, Decimal]) -> Answer:
    return _json(status, _budget(found, used))


def deleted_budget(id: str, *, was_there: bool) -> Answer:
    return _json(200, DeletedBudget(id, was_there))


def prices(found: Iterable[ModelPrice]) -> Answer:
    return _json(200, Prices([_price(each) for each in found]))


def price(status: int, found: ModelPrice) -> Answer:
    return _json(status, _price(found))


def deleted_price(provider: str, model: str, *, was_there: bool) -> Answer:
    return _json(200, DeletedPrice(provider, model, was_there))


def _budget(found: Budget, used: Mapping[int, Decimal]) -> ShownBudget:
    return ShownBudget(
        id=tokens.encode_id(found.id),
        api_key_id=None if found.api_key_id is None else tokens.encode_id(found.api_key_id),
        model=found.model or None,
        usd_per_day=usd(found.usd_per_day),
        alert_percent=found.alert_percent,
        used_usd=usd(used.get(found.id, Decimal(0))),
        resets_at=wire(resets_at(datetime.now(UTC).date())),
        created_at=wire(found.created_at),
    )


def _price(found: ModelPrice) -> ShownPrice:
    rates = {name: getattr(found, name) for name in RATES}
    shown = {name: None if rate is None else usd(rate) for name, rate in rates.items()}
    return ShownPrice(
        provider=found.provider, model=found.model or NO_MODEL, updated_at=wire(found.updated_at), **shown
    )


def _json(status: int, content: msgspec.Struct) -> Answer:
    return Answer(status, (JSON,), msgspec.json.encode(content))
