"""The forms of budgets and of a tenant's own prices. Amounts are USD, exact to nine decimals."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final, cast

from django import forms
from django.core.exceptions import ValidationError

from accounts import tokens
from accounts.models import APIKey
from console.api_key_forms import NO_CONTROL
from gateway.budget_settings import RATES
from gateway.models import Budget, ModelPrice
from gateway.requests import MAX_MODEL_BYTES

PLACES: Final = 9
MOST_USD: Final = Decimal("999999999.999999999")
_PERCENT_PROBLEM: Final = "Give a whole number from 1 to 100."


class USDField(forms.DecimalField):
    """USD, None where it is left empty."""

    def __init__(self, *, required: bool = False, **arguments: Any) -> None:
        problem = f"Give USD such as 2.50, with at most {PLACES} decimals{'' if required else ', or leave it empty'}."
        names = (
            "required",
            "invalid",
            "min_value",
            "max_value",
            "max_decimal_places",
            "max_digits",
            "max_whole_digits",
        )
        super().__init__(
            required=required,
            min_value=0,
            max_value=MOST_USD,
            decimal_places=PLACES,
            error_messages=dict.fromkeys(names, problem),
            **arguments,
        )


class ModelField(forms.CharField):
    """A model's name, as clients send it."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(
            widget=forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"}),
            validators=[NO_CONTROL],
            **arguments,
        )

    def clean(self, value: Any) -> Any:
        model: str = super().clean(value)
        if (size := len(model.encode())) > MAX_MODEL_BYTES:
            raise ValidationError(f"These are {size} bytes; give at most {MAX_MODEL_BYTES}.")
        return model


class BudgetForm(forms.Form):
    """How much may be spent in a day, and from where on the tenant is told."""

    usd_per_day = USDField(
        label="USD a day",
        required=True,
        help_text="Per UTC day. A call that could pass it is refused before it is made.",
    )
    alert_percent = forms.IntegerField(
        label="Alert at, in %",
        initial=80,
        min_value=1,
        max_value=100,
        help_text="Of the day's USD; once a day.",
        error_messages=dict.fromkeys(("required", "invalid", "min_value", "max_value"), _PERCENT_PROBLEM),
    )


class CreateBudgetForm(BudgetForm):
    """What a new budget is about, too."""

    api_key = forms.ChoiceField(
        label="API key",
        required=False,
        error_messages={"invalid_choice": "There is no such API key any more; choose another one."},
    )
    model = ModelField(
        label="Model", required=False, help_text="As clients name it, such as gpt-4o-mini. Empty: all of them together."
    )

    def __init__(self, *arguments: Any, keys: Iterable[APIKey], **named: Any) -> None:
        super().__init__(*arguments, **named)
        field = cast(forms.ChoiceField, self.fields["api_key"])
        field.choices = [("", "All API keys together"), *((tokens.encode_id(key.id), key.name) for key in keys)]

    def scope(self) -> dict[str, Any]:
        """The arguments of `create_budget` that say what it is about."""
        code = self.cleaned_data["api_key"]
        return {"api_key_id": tokens.decode_id(code) if code else None, "model": self.cleaned_data["model"]}


class PriceForm(forms.Form):
    """What a model costs; at least one of the rates is given."""

    input_per_million = USDField(label="USD for 1,000,000 input tokens")
    cached_input_per_million = USDField(
        label="USD for 1,000,000 cached ones",
        help_text="Input that the provider had in a cache of its own. Empty: as other input.",
    )
    output_per_million = USDField(label="USD for 1,000,000 output tokens")
    per_call = USDField(label="USD for each call")
    per_image = USDField(label="USD for each image")
    per_second = USDField(label="USD for each second", help_text="Of the time that the provider takes.")

    def clean(self) -> dict[str, Any]:
        if not self.errors and all(self.cleaned_data[name] is None for name in RATES):
            raise ValidationError("Give at least one price. What is left empty costs nothing.")
        return self.cleaned_data

    def rates(self) -> dict[str, Decimal | None]:
        return {name: self.cleaned_data[name] for name in RATES}


class CreatePriceForm(PriceForm):
    """Of which model of which provider, too."""

    provider = forms.ChoiceField(error_messages={"required": "Choose one."})
    model = ModelField(
        help_text="As clients name it, such as gpt-4o-mini.", error_messages={"required": "Give the model's name."}
    )

    def __init__(self, *arguments: Any, names: Iterable[str], **named: Any) -> None:
        super().__init__(*arguments, **named)
        field = cast(forms.ChoiceField, self.fields["provider"])
        field.choices = [(name, name) for name in names]


def plain(amount: Decimal | None) -> str:
    """As people type it: without zeros at the end."""
    return "" if amount is None else f"{amount.normalize():f}"


def initial_of(found: Budget | ModelPrice) -> dict[str, Any]:
    """What the form shows of a budget or a price."""
    if isinstance(found, Budget):
        return {"usd_per_day": plain(found.usd_per_day), "alert_percent": found.alert_percent}
    return {name: plain(getattr(found, name)) for name in RATES}
