"""What clients may ask of a tenant's API keys. The structs are the OpenAPI document's schemas too.

Raises InvalidRequest naming the field, the limit and what to send instead.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec

from accounts.keys import LONGEST_NAME
from accounts.models import SCOPES
from accounts.networks import MOST_NETWORKS
from billing.limits import MOST
from billing.units import UNITS
from cacheservice.entries.requests import decode, require_json, shown
from cacheservice.errors import InvalidRequest

TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
LONGEST_TTL_SECONDS = 10 * 365 * 86_400
DEFAULT_OVERLAP_SECONDS, LONGEST_OVERLAP_SECONDS = 86_400, 30 * 86_400

Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=LONGEST_NAME,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
        description="What the key is for.",
    ),
]
ScopeName = Literal["read", "write", "delete", "gateway", "admin"]
Requests = Annotated[int, msgspec.Meta(ge=1, le=MOST["requests_per_minute"])]
Bytes = Annotated[int, msgspec.Meta(ge=1, le=MOST["storage_quota"])]
CreditAmount = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9]{1,12}(\.[0-9]{1,2})?$", description="Credits a UTC month: a decimal string, at least 0.01."
    ),
]
Networks = Annotated[
    list[Annotated[str, msgspec.Meta(min_length=1, max_length=100)]],
    msgspec.Meta(
        min_length=1,
        max_length=MOST_NETWORKS,
        description="IP networks from which alone the key may be used, IPv4 or IPv6: `203.0.113.0/24`, `2001:db8::1`.",
    ),
]

_FIXES = {
    "name": f"send 1 to {LONGEST_NAME} characters, no control characters among them",
    "scopes": f"send a list of one or more of {', '.join(SCOPES)}",
    "expires_at": "send a time in UTC such as 2027-01-31T00:00:00Z, or null for a key without end",
    "ttl": f"send whole seconds from 1 to {LONGEST_TTL_SECONDS}, or leave it out for a key without end",
    "requests_per_minute": f"send 1 to {MOST['requests_per_minute']}, or null for the tenant's or the plan's limit",
    "storage_quota": f"send 1 to {MOST['storage_quota']} bytes, or null for the tenant's or the plan's quota",
    "credit_limit": 'send credits as a decimal string with at most two places, such as "5.00", or null for no limit',
    "allowed_networks": f"send a list of 1 to {MOST_NETWORKS} networks such as 203.0.113.0/24, or null for everywhere",
    "overlap": f"send whole seconds from 0 to {LONGEST_OVERLAP_SECONDS}",
}


class CreateAPIKey(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a POST. Limits that are null are the tenant's or the plan's; a credit limit of null is none."""

    name: Name
    scopes: Annotated[list[ScopeName], msgspec.Meta(min_length=1, max_length=len(SCOPES))]
    expires_at: (
        Annotated[str, msgspec.Meta(pattern=f"^{TIME}$", description="A time to come; or send `ttl`. Null: never.")]
        | None
    ) = None
    ttl: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_TTL_SECONDS, description="Seconds until it expires.")] | None = (
        None
    )
    requests_per_minute: Requests | None = None
    storage_quota: Bytes | None = None
    credit_limit: CreditAmount | None = None
    allowed_networks: Networks | None = None


class UpdateAPIKey(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a PATCH: what to change."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    requests_per_minute: Requests | msgspec.UnsetType | None = msgspec.UNSET
    storage_quota: Bytes | msgspec.UnsetType | None = msgspec.UNSET
    credit_limit: CreditAmount | msgspec.UnsetType | None = msgspec.UNSET
    allowed_networks: Networks | msgspec.UnsetType | None = msgspec.UNSET


class RotateAPIKey(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a rotation."""

    overlap: Annotated[
        int,
        msgspec.Meta(ge=0, le=LONGEST_OVERLAP_SECONDS, description="Seconds for which the former secret still works."),
    ] = DEFAULT_OVERLAP_SECONDS


_create = msgspec.json.Decoder(CreateAPIKey)
_update = msgspec.json.Decoder(UpdateAPIKey)
_rotate = msgspec.json.Decoder(RotateAPIKey)


def parse_create(content_type: bytes | None, body: bytes) -> CreateAPIKey:
    require_json(content_type)
    return decode(_create, body, _FIXES)


def parse_update(content_type: bytes | None, body: bytes) -> UpdateAPIKey:
    require_json(content_type)
    update = decode(_update, body, _FIXES)
    if not given(update):
        raise InvalidRequest(f"body: it changes nothing; send one or more of {', '.join(update.__struct_fields__)}.")
    return update


def parse_rotate(content_type: bytes | None, body: bytes) -> timedelta:
    """The overlap; the default one for no body at all."""
    if not body:
        return timedelta(seconds=DEFAULT_OVERLAP_SECONDS)
    require_json(content_type)
    return timedelta(seconds=decode(_rotate, body, _FIXES).overlap)


def given(fields: msgspec.Struct) -> dict[str, Any]:
    """The fields that were sent."""
    return {name: value for name, value in msgspec.structs.asdict(fields).items() if value is not msgspec.UNSET}


def limits(fields: Mapping[str, Any]) -> dict[str, int | None]:
    """Those of the fields that are limits, as `billing.limits` takes them."""
    found = {name: fields[name] for name in ("requests_per_minute", "storage_quota") if name in fields}
    if "credit_limit" in fields:
        found["credit_limit"] = _units(fields["credit_limit"])
    return found


def expiry(fields: CreateAPIKey, now: datetime) -> datetime | None:
    """When the key shall expire; None: never."""
    if fields.ttl is not None and fields.expires_at is not None:
        raise InvalidRequest("ttl: 'expires_at' says it already; send one of the two.")
    if fields.ttl is not None:
        return now + timedelta(seconds=fields.ttl)
    if fields.expires_at is None:
        return None
    try:
        moment = datetime.fromisoformat(fields.expires_at).astimezone(UTC)
    except ValueError:
        raise InvalidRequest(
            f"expires_at: there is no such time as '{shown(fields.expires_at)}'; {_FIXES['expires_at']}."
        ) from None
    if moment <= now:
        raise InvalidRequest(f"expires_at: {fields.expires_at} has passed; {_FIXES['expires_at']}.")
    return moment


def _units(amount: str | None) -> int | None:
    if amount is None:
        return None
    whole, _, places = amount.partition(".")
    units = int(whole) * UNITS + int(places.ljust(2, "0"))
    if not units:
        raise InvalidRequest(f"credit_limit: '{amount}' is nothing; {_FIXES['credit_limit']}.")
    return units
