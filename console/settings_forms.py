"""The forms of a tenant's settings. People type times such as 7 d, and credits; the values are seconds and units."""

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxLengthValidator, validate_email

from accounts.models import Tenant
from billing.limits import MOST
from billing.models import Account
from billing.units import UNITS
from cacheservice.entries.requests import DEFAULT_TTL_SECONDS, MAX_TTL_SECONDS, shown
from console import webhook_client
from console.api_key_forms import NO_CONTROL, ServiceForm
from console.models import MOST_EMAILS, AlertSettings
from console.webhook_client import NotDelivered

_SECONDS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86_400}
_TIME: Final = re.compile(r"(\d{1,9})\s*(s|min|h|d)", re.ASCII | re.IGNORECASE)
MOST_CREDITS: Final = MOST["credit_limit"] // UNITS
LONGEST_EMAIL: Final = 254  # characters


def written(seconds: int | None) -> str:
    """A time as people type it, in its largest whole unit."""
    if seconds is None:
        return ""
    unit = next(unit for unit in ("d", "h", "min", "s") if seconds % _SECONDS[unit] == 0)
    return f"{seconds // _SECONDS[unit]} {unit}"


class TimeField(forms.CharField):
    """A length of time in seconds, None where it is left empty."""

    def to_python(self, value: Any) -> Any:
        text = (super().to_python(value) or "").strip()
        if not text:
            return None
        match = _TIME.fullmatch(text)
        seconds = int(match[1]) * _SECONDS[match[2].lower()] if match else 0
        if not 1 <= seconds <= MAX_TTL_SECONDS:
            most = MAX_TTL_SECONDS // _SECONDS["d"]
            raise ValidationError(f"Give a number and s, min, h or d, such as 12 h; at least 1 s, at most {most} d.")
        return seconds


class CreditsField(forms.DecimalField):
    """Credits in units of 0.01, None where it is left empty."""

    def __init__(self, **arguments: Any) -> None:
        problem = f"Give 0 to {MOST_CREDITS:,} credits, with two decimals at most, or leave it empty."
        names = ("invalid", "min_value", "max_value", "max_decimal_places", "max_digits", "max_whole_digits")
        super().__init__(
            required=False,
            min_value=0,
            max_value=MOST_CREDITS,
            decimal_places=2,
            error_messages=dict.fromkeys(names, problem),
            **arguments,
        )

    def clean(self, value: Any) -> Any:
        credits: Decimal | None = super().clean(value)
        return None if credits is None else int(credits * UNITS)


def checked_addresses(addresses: Iterable[str]) -> list[str]:
    """Each once, empty ones left out. Raises ValidationError for too many, and for what is no e-mail address."""
    found = [address for address in dict.fromkeys(addresses) if address]
    if len(found) > MOST_EMAILS:
        raise ValidationError(f"These are {len(found)} addresses; give at most {MOST_EMAILS}.")
    for address in found:
        try:
            validate_email(address)
            MaxLengthValidator(LONGEST_EMAIL)(address)
        except ValidationError:
            raise ValidationError(f"“{shown(address)}” is no e-mail address; correct it or leave it out.") from None
    return found


class NameForm(ServiceForm):
    """The tenant's name."""

    name = forms.CharField(
        max_length=100,
        validators=[NO_CONTROL],
        help_text="No other tenant has it. URLs and API keys stay as they are.",
        error_messages={
            "required": "Give the tenant a name of 1 to 100 characters.",
            "max_length": "These are %(show_value)d characters; give at most %(limit_value)d.",
        },
    )


class TTLsForm(ServiceForm):
    """How long entries live."""

    default_ttl = TimeField(
        label="Default TTL",
        required=False,
        help_text=f"Of entries that are written without a TTL. Empty: {written(DEFAULT_TTL_SECONDS)}.",
    )
    max_ttl = TimeField(
        label="Maximum TTL",
        required=False,
        help_text=f"Whoever asks for more is refused. Empty: {written(MAX_TTL_SECONDS)}.",
    )


class AlertsForm(ServiceForm):
    """When the tenant is told, and where."""

    storage_percent = forms.IntegerField(
        label="Storage, in % of a quota",
        min_value=1,
        max_value=100,
        help_text="Of the tenant's quota and of each API key's.",
        error_messages=dict.fromkeys(
            ("required", "invalid", "min_value", "max_value"), "Give a whole number from 1 to 100."
        ),
    )
    low_balance = CreditsField(
        label="Credits left", help_text="Of plans that are paid for in advance. Empty: you are not told."
    )
    month_credits = CreditsField(label="Credits used in a month", help_text="Of a UTC month. Empty: you are not told.")
    emails = forms.CharField(
        label="E-mail addresses",
        required=False,
        max_length=MOST_EMAILS * 260,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false"}),
        help_text=f"One to a line, at most {MOST_EMAILS}. Empty: the owners, as far as their addresses are verified.",
    )

    def clean_emails(self) -> list[str]:
        return checked_addresses(re.split(r"[\s,;]+", self.cleaned_data["emails"].strip()))


class WebhookForm(forms.Form):
    """Where the webhook is."""

    webhook_url = forms.CharField(
        label="URL",
        required=False,
        max_length=2000,
        widget=forms.URLInput(attrs={"placeholder": "https://example.com/cache-alerts", "spellcheck": "false"}),
        help_text="It gets a signed POST for each alert. Empty: no webhook.",
    )

    def clean_webhook_url(self) -> str:
        url: str = self.cleaned_data["webhook_url"]
        try:
            return url and webhook_client.checked_url(url).geturl()
        except NotDelivered as error:
            reason = str(error)
            raise ValidationError(f"{reason[:1].upper()}{reason[1:]}.") from None


class DeleteForm(forms.Form):
    """The tenant's name, typed."""

    name = forms.CharField(strip=False, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}))

    def __init__(self, *arguments: Any, tenant: Tenant, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._name = tenant.name
        self.fields["name"].label = f"Type the tenant's name, {tenant.name}, to confirm"
        self.fields["name"].widget.attrs["data-confirm"] = tenant.name

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self._name:
            raise ValidationError("This is not the tenant's name; type it as it stands above.")
        return name


def initial_of(tenant: Tenant, account: Account, alerts: AlertSettings) -> dict[str, Any]:
    """What the forms show of a tenant: times as text, credits as decimals."""
    return {
        "name": tenant.name,
        "default_ttl": written(account.default_ttl),
        "max_ttl": written(account.max_ttl),
        "storage_percent": alerts.storage_percent,
        "low_balance": _credits(alerts.low_balance),
        "month_credits": _credits(alerts.month_credits),
        "emails": "\n".join(alerts.emails),
        "webhook_url": alerts.webhook_url,
    }


def _credits(units: int | None) -> Decimal | None:
    return None if units is None else Decimal(units) / UNITS
