"""What clients may ask of a tenant's settings and its webhook. The structs are the OpenAPI document's schemas too.

Raises InvalidRequest naming the field, the limit and what to send instead.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec
from django.core.exceptions import ValidationError

from billing.units import UNITS
from cacheservice.entries.requests import MAX_TTL_SECONDS, decode, require_json
from cacheservice.errors import InvalidRequest
from console import webhook_client
from console.models import MOST_EMAILS
from console.settings_forms import LONGEST_EMAIL, checked_addresses
from console.webhook_client import NotDelivered

LONGEST_NAME, LONGEST_URL = 100, 2000  # characters

Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=LONGEST_NAME,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$",
        description="No other tenant has it.",
    ),
]
Seconds = Annotated[int, msgspec.Meta(ge=1, le=MAX_TTL_SECONDS)]
Percent = Annotated[
    int, msgspec.Meta(ge=1, le=100, description="Of a storage quota, the tenant's and each API key's: told from there.")
]
Amount = Annotated[
    str,
    msgspec.Meta(pattern=r"^[0-9]{1,12}(\.[0-9]{1,2})?$", description="Credits, a decimal string. Null: not told."),
]
Email = Annotated[
    str,
    msgspec.Meta(
        min_length=3,
        max_length=LONGEST_EMAIL,
        pattern=r"^[^\s,;\x00-\x1f\x7f-\x9f]*$",  # the console's form takes the others for what stands between two
        extra_json_schema={"format": "email"},
    ),
]
Emails = Annotated[
    list[Email],
    msgspec.Meta(
        max_length=MOST_EMAILS,
        description="Where alerts go. None: to the owners, as far as their addresses are verified.",
    ),
]
URL = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=LONGEST_URL,
        description="It begins with `https://`, and its host must lead to a public address.",
        extra_json_schema={"pattern": r"^https?://\S+$"},  # `checked_url` says better what is wrong
    ),
]

_TTL = f"send whole seconds from 1 to {MAX_TTL_SECONDS}, or null for the service's"
_CREDITS = (
    'send credits as a decimal string with at most 12 digits and two places, such as "10.00", or null not to be told'
)
_FIXES = {
    "name": f"send 1 to {LONGEST_NAME} characters that are not all spaces, no control characters among them",
    "default_ttl": _TTL,
    "max_ttl": _TTL,
    "alerts": "send an object with one or more of storage_percent, low_balance, month_credits, emails",
    "alerts.storage_percent": "send whole percents from 1 to 100",
    "alerts.low_balance": _CREDITS,
    "alerts.month_credits": _CREDITS,
    "alerts.emails": f"send a list of at most {MOST_EMAILS} e-mail addresses; an empty one is the owners'",
    "url": f"send an https:// URL of at most {LONGEST_URL} characters",
}


class UpdateAlerts(msgspec.Struct, forbid_unknown_fields=True):
    """When and where to the tenant is told: what to change."""

    storage_percent: Percent | msgspec.UnsetType = msgspec.UNSET
    low_balance: Amount | msgspec.UnsetType | None = msgspec.UNSET
    month_credits: Amount | msgspec.UnsetType | None = msgspec.UNSET
    emails: Emails | msgspec.UnsetType = msgspec.UNSET


class UpdateSettings(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a PATCH: what to change."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    default_ttl: Seconds | msgspec.UnsetType | None = msgspec.UNSET
    max_ttl: Seconds | msgspec.UnsetType | None = msgspec.UNSET
    alerts: UpdateAlerts | msgspec.UnsetType = msgspec.UNSET


class PutWebhook(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a PUT: where the webhook is."""

    url: URL


_update = msgspec.json.Decoder(UpdateSettings)
_put = msgspec.json.Decoder(PutWebhook)


def parse_update(content_type: bytes | None, body: bytes) -> dict[str, Any]:
    """The fields that were sent, as the services take them: credits are units. `alerts` too has only those."""
    require_json(content_type)
    fields = _given(decode(_update, body, _FIXES), "body")
    if "name" in fields:
        fields["name"] = fields["name"].strip()
    if "alerts" in fields:
        fields["alerts"] = _alerts(_given(fields["alerts"], "alerts"))
    return fields


def parse_webhook(content_type: bytes | None, body: bytes) -> str:
    """Its URL. Where the host leads is looked at again whenever something is sent there."""
    require_json(content_type)
    try:
        return webhook_client.checked_url(decode(_put, body, _FIXES).url).geturl()
    except NotDelivered as error:
        raise InvalidRequest(f"url: {error}.") from None


def _alerts(fields: dict[str, Any]) -> dict[str, Any]:
    for name in ("low_balance", "month_credits"):
        if fields.get(name) is not None:
            fields[name] = int(Decimal(fields[name]) * UNITS)
    if "emails" in fields:
        try:
            fields["emails"] = checked_addresses(fields["emails"])
        except ValidationError as error:
            raise InvalidRequest(f"alerts.emails: {error.message}") from None
    return fields


def _given(sent: msgspec.Struct, what: str) -> dict[str, Any]:
    fields: Mapping[str, Any] = msgspec.structs.asdict(sent)
    given = {name: value for name, value in fields.items() if value is not msgspec.UNSET}
    if not given:
        raise InvalidRequest(f"{what}: it changes nothing; send one or more of {', '.join(fields)}.")
    return given
