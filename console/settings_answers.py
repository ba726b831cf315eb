"""A tenant's settings and its webhook as the API shows them. The structs are the OpenAPI document's schemas too."""

from typing import Annotated

import msgspec

from accounts.models import Tenant
from billing.models import Account
from billing.units import credits
from cacheservice.http import JSON, Answer
from console.models import AlertSettings, Delivery
from console.settings_requests import Percent

Credits = Annotated[str, msgspec.Meta(description="A decimal string. Null: not told.")]


class AlertsShown(msgspec.Struct, kw_only=True):
    """When and where to the tenant is told."""

    storage_percent: Percent
    low_balance: Credits | None
    month_credits: Credits | None
    emails: Annotated[list[str], msgspec.Meta(description="None: the owners', as far as they are verified.")]


class ShownSettings(msgspec.Struct, kw_only=True):
    """A tenant's settings. TTLs are in seconds; null: the service's."""

    name: str
    default_ttl: int | None
    max_ttl: int | None
    alerts: AlertsShown


class ShownWebhook(msgspec.Struct):
    """The tenant's webhook."""

    url: Annotated[str | None, msgspec.Meta(description="Null: there is none.")]


class NewWebhookSecret(msgspec.Struct):
    """The webhook with a signing secret that was made just now."""

    url: str
    secret: Annotated[str, msgspec.Meta(description="What its requests are signed with. It is shown only now.")]


class DeletedWebhook(msgspec.Struct):
    deleted: bool


class TestedWebhook(msgspec.Struct):
    """What became of a test."""

    delivered: bool
    outcome: Annotated[str, msgspec.Meta(description="In words.")]


def settings(tenant: Tenant, account: Account, alerts: AlertSettings) -> Answer:
    return _json(
        200,
        ShownSettings(
            name=tenant.name,
            default_ttl=account.default_ttl,
            max_ttl=account.max_ttl,
            alerts=AlertsShown(
                storage_percent=alerts.storage_percent,
                low_balance=_credits(alerts.low_balance),
                month_credits=_credits(alerts.month_credits),
                emails=alerts.emails,
            ),
        ),
    )


def webhook(url: str) -> Answer:
    return _json(200, ShownWebhook(url or None))


def new_secret(status: int, url: str, secret: str) -> Answer:
    """With its secret, which is nowhere else."""
    return _json(status, NewWebhookSecret(url, secret))


def deleted_webhook(*, was_there: bool) -> Answer:
    return _json(200, DeletedWebhook(was_there))


def tested(delivery: Delivery) -> Answer:
    return _json(200, TestedWebhook(delivery.delivered_at is not None, delivery.outcome))


def _credits(units: int | None) -> str | None:
    return None if units is None else credits(units)


def _json(status: int, content: msgspec.Struct) -> Answer:
    return Answer(status, (JSON,), msgspec.json.encode(content))
