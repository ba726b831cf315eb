"""The forms of API keys. Their limits are those of `billing.limits`; what people type is MB and credits there."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django import forms
from django.core.validators import RegexValidator
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import keys, networks
from accounts.models import SCOPES, APIKey
from accounts.policy import may_grant
from billing.limits import MOST
from billing.units import UNITS

MB = 10**6
MOST_MB, MOST_CREDITS = MOST["storage_quota"] // MB, MOST["credit_limit"] // UNITS
NO_CONTROL = RegexValidator("[\x00-\x1f\x7f-\x9f]", "Leave out control characters, such as tabs.", inverse_match=True)

SCOPE_HELP = {
    "read": "Get and list entries; see usage, the account and what AI calls cost.",
    "write": "Store entries, and change their TTL and tags.",
    "delete": "Delete entries, one by one or many at once.",
    "gateway": "Call AI APIs through the gateway.",
    "admin": "API keys, members, settings, audit log, invoices; the gateway's providers, budgets and prices.",
}
OVERLAPS = (
    (0, "Not at all: the former token stops working at once"),
    (3600, "For 1 hour"),
    (86_400, "For 24 hours"),
    (7 * 86_400, "For 7 days"),
)


class ScopeChoice(NamedTuple):
    """A check box of the form to create a key."""

    tag: str  # the <input>, escaped
    id_for_label: str
    name: str
    help: str


class Defaults(NamedTuple):
    """What holds for a key without limits of its own, as text."""

    requests: str
    storage: str


class FilterForm(forms.Form):
    """Which of the tenant's keys are listed."""

    q = forms.CharField(label="Name", required=False, max_length=keys.LONGEST_NAME)
    show = forms.ChoiceField(
        label="State", required=False, choices=[("", "All"), ("working", "Working"), ("ended", "Expired or revoked")]
    )

    def found(self, of: QuerySet[APIKey]) -> QuerySet[APIKey]:
        """Those that match; what cannot be read filters nothing."""
        self.is_valid()
        if name := self.cleaned_data.get("q"):
            of = of.filter(name__icontains=name)
        ended = Q(revoked_at__isnull=False) | Q(expires_at__lte=timezone.now())
        show = self.cleaned_data.get("show")
        return of.filter(ended) if show == "ended" else of.exclude(ended) if show == "working" else of


class ServiceForm(forms.Form):
    """A form whose content a service may refuse still."""

    def refuse(self, error: ValueError) -> None:
        """Beside the field that the service names, else above the form."""
        field = str(error).partition(":")[0]
        self.add_error(field if field in self.fields else None, _without_field(error))


class APIKeyForm(ServiceForm):
    """An API key's name, limits and networks; `values` has them as the services take them."""

    name = forms.CharField(
        max_length=keys.LONGEST_NAME,
        validators=[NO_CONTROL],
        help_text="What the key is for, such as “chat backend, production”.",
        error_messages={
            "required": f"Give the key a name of 1 to {keys.LONGEST_NAME} characters.",
            "max_length": "These are %(show_value)d characters; give at most %(limit_value)d.",
        },
    )
    requests_per_minute = forms.IntegerField(
        label="Requests a minute",
        required=False,
        min_value=1,
        max_value=MOST["requests_per_minute"],
        error_messages=dict.fromkeys(
            ("invalid", "min_value", "max_value"),
            f"Give a whole number from 1 to {MOST['requests_per_minute']:,}, or leave it empty.",
        ),
    )
    storage_quota = forms.DecimalField(
        label="Storage quota in MB",
        required=False,
        min_value=Decimal(1) / MB,
        max_value=MOST_MB,
        decimal_places=6,
        error_messages=dict.fromkeys(
            ("invalid", "min_value", "max_value", "max_decimal_places"),
            f"Give 0.000001 to {MOST_MB:,} MB, or leave it empty.",
        ),
    )
    credit_limit = forms.DecimalField(
        label="Credits a month",
        required=False,
        min_value=Decimal(1) / UNITS,
        max_value=MOST_CREDITS,
        decimal_places=2,
        help_text="What the key may spend in a UTC month. Empty: no limit.",
        error_messages=dict.fromkeys(
            ("invalid", "min_value", "max_value", "max_decimal_places"),
            f"Give 0.01 to {MOST_CREDITS:,} credits, with at most two decimals, or leave it empty.",
        ),
    )
    allowed_networks = forms.CharField(
        label="Allowed networks",
        required=False,
        widget=forms.Textarea(attrs={"rows": 3, "spellcheck": "false", "placeholder": "203.0.113.0/24\n2001:db8::/32"}),
        help_text=(
            f"IP networks or addresses from which alone the key may be used, one a line, at most "
            f"{networks.MOST_NETWORKS}. Empty: from everywhere."
        ),
    )

    def __init__(self, *arguments: Any, defaults: Defaults, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.fields["requests_per_minute"].help_text = f"Empty: {defaults.requests}."
        self.fields["storage_quota"].help_text = f"Of the entries that the key wrote. Empty: {defaults.storage}."

    def clean_allowed_networks(self) -> list[str] | None:
        texts = re.split(r"[\s,]+", self.cleaned_data["allowed_networks"].strip())
        try:
            return networks.checked([text for text in texts if text] or None)
        except ValueError as error:
            raise forms.ValidationError(_without_field(error)) from None

    def values(self) -> dict[str, Any]:
        """In bytes and units, named as the columns of an API key."""
        fields = self.cleaned_data
        storage, credits = fields["storage_quota"], fields["credit_limit"]
        return {
            "name": fields["name"],
            "requests_per_minute": fields["requests_per_minute"],
            "storage_quota": None if storage is None else int(storage * MB),
            "credit_limit": None if credits is None else int(credits * UNITS),
            "allowed_networks": fields["allowed_networks"],
        }


class CreateForm(APIKeyForm):
    """A new API key."""

    scopes = forms.MultipleChoiceField(
        label="What it may do",
        initial=["read", "write"],
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one.", "invalid_choice": "Your role may not give '%(value)s'."},
    )
    expires_at = forms.DateTimeField(
        label="Expires, in UTC",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
        help_text="Empty: never.",
        error_messages={"invalid": "Give a date and a time, such as 2027-01-31 12:00, or leave it empty."},
    )

    def __init__(self, *arguments: Any, role: str, **named: Any) -> None:
        super().__init__(*arguments, **named)
        scopes: Any = self.fields["scopes"]
        scopes.choices = [(scope, scope) for scope in SCOPES if may_grant(role, scope)]

    def clean_expires_at(self) -> datetime | None:
        moment: datetime | None = self.cleaned_data["expires_at"]
        if moment is not None and moment <= timezone.now():
            raise forms.ValidationError("This has passed; give a time to come, or leave it empty.")
        return moment

    def scope_choices(self) -> Iterator[ScopeChoice]:
        for box in self["scopes"]:
            name = str(box.data["value"])
            yield ScopeChoice(box.tag(), str(box.id_for_label), name, SCOPE_HELP[name])


class RotateForm(ServiceForm):
    """How long the former token goes on working."""

    overlap = forms.TypedChoiceField(
        label="How long shall the former token still work?",
        choices=OVERLAPS,
        coerce=int,
        initial=86_400,
        widget=forms.RadioSelect,
    )

    def length(self) -> timedelta:
        return timedelta(seconds=self.cleaned_data["overlap"])


class RevokeForm(forms.Form):
    """The name of the key, typed."""

    name = forms.CharField(strip=False, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}))

    def __init__(self, *arguments: Any, key: APIKey, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._name = key.name
        self.fields["name"].label = f"Type the key's name, {key.name}, to confirm"
        self.fields["name"].widget.attrs["data-confirm"] = key.name

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self._name:
            raise forms.ValidationError("This is not the key's name; type it as it stands above.")
        return name


def initial_of(key: APIKey) -> dict[str, Any]:
    """What the form shows of a key: quotas in MB, credit limits in credits."""
    return {
        "name": key.name,
        "requests_per_minute": key.requests_per_minute,
        "storage_quota": _decimal(key.storage_quota, -6),
        "credit_limit": _decimal(key.credit_limit, -2),
        "allowed_networks": "\n".join(key.allowed_networks or ()),
    }


def _decimal(amount: int | None, places: int) -> str | None:
    """The amount with its point shifted, without zeros at the end."""
    if amount is None:
        return None
    text = f"{Decimal(amount).scaleb(places):f}"
    return text.rstrip("0").rstrip(".")


def _without_field(error: ValueError) -> str:
    """A service's refusal as a sentence; its field stands beside it already."""
    field, separator, reason = str(error).partition(": ")
    text = reason if separator and field.isidentifier() else str(error)
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
