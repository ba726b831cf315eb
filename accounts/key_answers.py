"""API keys as the API shows them. The structs are the OpenAPI document's schemas too."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import msgspec

from accounts import tokens
from accounts.key_requests import Bytes, CreditAmount, Name, Requests, ScopeName
from accounts.models import APIKey
from billing.units import credits
from cacheservice.entries.collection import wire
from cacheservice.entries.schema import Time
from cacheservice.http import JSON, Answer


class ShownAPIKey(msgspec.Struct, kw_only=True):
    """An API key, without its secret. Limits that are null are the tenant's or the plan's; a credit limit of null is
    none."""

    id: str
    name: Name
    scopes: list[ScopeName]
    prefix: Annotated[str, msgspec.Meta(description="How its tokens begin.")]
    created_at: Time
    expires_at: Time | None
    revoked_at: Time | None
    last_used_at: Annotated[Time | None, msgspec.Meta(description="To the minute.")]
    former_secret_until: Annotated[
        Time | None, msgspec.Meta(description="How long the secret before the latest rotation still works.")
    ]
    requests_per_minute: Requests | None
    storage_quota: Annotated[Bytes | None, msgspec.Meta(description="Bytes of the entries that it wrote.")]
    credit_limit: CreditAmount | None
    allowed_networks: Annotated[
        list[str] | None, msgspec.Meta(description="From which alone it may be used; null: from everywhere.")
    ]


class NewAPIKey(ShownAPIKey, kw_only=True):
    """An API key with a secret that was made just now."""

    token: Annotated[str, msgspec.Meta(description="What to send as the API key. It is shown only now.")]


class APIKeyPage(msgspec.Struct):
    """A page of API keys, newest first."""

    keys: list[ShownAPIKey]
    next_cursor: str | None


def page(keys: Iterable[APIKey], next_cursor: str | None, now: datetime) -> Answer:
    return _json(200, APIKeyPage([ShownAPIKey(**_fields(key, now)) for key in keys], next_cursor))


def one(key: APIKey, now: datetime) -> Answer:
    return _json(200, ShownAPIKey(**_fields(key, now)))


def new(status: int, key: APIKey, token: str, now: datetime) -> Answer:
    """With its token, which is nowhere else."""
    return _json(status, NewAPIKey(**_fields(key, now), token=token))


def _fields(key: APIKey, now: datetime) -> dict[str, Any]:
    former = key.previous_expires_at
    return {
        "id": tokens.encode_id(key.id),
        "name": key.name,
        "scopes": key.scope_names,
        "prefix": tokens.PREFIX + tokens.encode_id(key.id),
        "created_at": wire(key.created_at),
        "expires_at": _time(key.expires_at),
        "revoked_at": _time(key.revoked_at),
        "last_used_at": _time(key.last_used_at),
        "former_secret_until": _time(former) if former is not None and former > now else None,
        "requests_per_minute": key.requests_per_minute,
        "storage_quota": key.storage_quota,
        "credit_limit": None if key.credit_limit is None else credits(key.credit_limit),
        "allowed_networks": key.allowed_networks,
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else wire(moment)


def _json(status: int, content: msgspec.Struct) -> Answer:
    return Answer(status, (JSON,), msgspec.json.encode(content))
