"""What clients may ask of budgets and prices. The structs are the OpenAPI document's schemas too.

Raises InvalidRequest naming the field, the limit and what to send instead.
"""

import re
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from accounts import tokens
from cacheservice.entries.requests import decode, require_json
from cacheservice.errors import InvalidRequest
from gateway.budget_settings import RATES
from gateway.requests import MAX_MODEL_BYTES

NO_CONTROL = r"^[^\x00-\x1f\x7f-\x9f]*$"
Amount = Annotated[
    str,
    msgspec.Meta(pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$", description="USD: a decimal string."),
]
ModelName = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_MODEL_BYTES, pattern=NO_CONTROL)]
Percent = Annotated[
    int, msgspec.Meta(ge=1, le=100, description="Of the budget: from there on the tenant is alerted, once a day.")
]

_USD = 'send USD as a decimal string with at most nine places, such as "25.00"'
_FIXES = {
    "usd_per_day": _USD,
    "alert_percent": "send whole percents from 1 to 100",
    "api_key_id": "send an API key's id, or null for all of them",
    "model": f"send a model's name of 1 to {MAX_MODEL_BYTES} bytes without control characters, or null for all of them",
    **dict.fromkeys(RATES, f"{_USD}, or null"),
}


class CreateBudget(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a POST: a hard limit on what is spent in a UTC day."""

    usd_per_day: Amount
    api_key_id: Annotated[str, msgspec.Meta(pattern="^[0-9A-Za-z]{11}$")] | None = None
    model: ModelName | None = None
    alert_percent: Percent = 80


class UpdateBudget(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a PATCH: what to change."""

    usd_per_day: Amount | msgspec.UnsetType = msgspec.UNSET
    alert_percent: Percent | msgspec.UnsetType = msgspec.UNSET


class PutPrice(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a PUT. What is null is not priced by that; where all is null, the public price list's holds."""

    input_per_million: Amount | None = None
    cached_input_per_million: Annotated[Amount | None, msgspec.Meta(description="Null: as the other input.")] = None
    output_per_million: Amount | None = None
    per_call: Amount | None = None
    per_image: Amount | None = None
    per_second: Annotated[Amount | None, msgspec.Meta(description="Of the upstream's time.")] = None


_create = msgspec.json.Decoder(CreateBudget)
_update = msgspec.json.Decoder(UpdateBudget)
_put = msgspec.json.Decoder(PutPrice)


def parse_create(content_type: bytes | None, body: bytes) -> dict[str, Any]:
    """The arguments of `create_budget`."""
    require_json(content_type)
    sent = decode(_create, body, _FIXES)
    return {
        "usd_per_day": Decimal(sent.usd_per_day),
        "api_key_id": None if sent.api_key_id is None else tokens.known_id(sent.api_key_id),
        "model": "" if sent.model is None else check_model(sent.model),
        "alert_percent": sent.alert_percent,
    }


def parse_update(content_type: bytes | None, body: bytes) -> dict[str, Any]:
    """The fields that were sent."""
    require_json(content_type)
    sent = msgspec.structs.asdict(decode(_update, body, _FIXES))
    fields = {name: value for name, value in sent.items() if value is not msgspec.UNSET}
    if not fields:
        raise InvalidRequest("body: it changes nothing; send one or more of usd_per_day, alert_percent.")
    if "usd_per_day" in fields:
        fields["usd_per_day"] = Decimal(fields["usd_per_day"])
    return fields


def parse_price(content_type: bytes | None, body: bytes) -> dict[str, Decimal | None]:
    """All of RATES."""
    require_json(content_type)
    sent = msgspec.structs.asdict(decode(_put, body, _FIXES))
    return {name: None if amount is None else Decimal(amount) for name, amount in sent.items()}


def check_model(model: str) -> str:
    if not 1 <= len(model.encode()) <= MAX_MODEL_BYTES or not re.fullmatch(NO_CONTROL, model, re.DOTALL):
        raise InvalidRequest(f"model: {_FIXES['model']}.")
    return model
