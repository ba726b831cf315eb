"""Operators' pages of plans and prices: rows are added for a coming day; what has begun is never changed."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import IntegrityError, models, transaction
from django.http import HttpRequest

from accounts import audit
from billing.models import Plan, Price
from billing.plans import today
from console.staff_models import PlanTerms, PriceTerms
from console.staff_people import operator
from console.staff_site import StaffAdmin, StaffForm


class TermsForm(StaffForm):
    """A row of a coming day."""

    rows: ClassVar[type[models.Model]]

    def clean(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().clean() or {}
        day, code = fields.get("valid_from"), fields.get("code")
        if day is not None and day <= today():
            self.add_error("valid_from", "Give a day after today (UTC): what has begun may have been billed.")
        if self.rows._default_manager.filter(code=code, valid_from=day).exists():
            self.add_error("valid_from", "There is a row of this day already; delete it, or choose another day.")
        return fields


class PlanForm(TermsForm):
    rows = Plan
    requests_per_minute = forms.IntegerField(required=False, min_value=1, help_text="Of each API key. Empty: no limit.")
    storage_quota = forms.IntegerField(required=False, min_value=1, help_text="Bytes. Empty: no limit.")
    api_key_storage_quota = forms.IntegerField(required=False, min_value=1, help_text="Bytes. Empty: no limit.")
    monthly_grant = forms.IntegerField(min_value=0, help_text="Units of 0.01 credit.")
    free_storage = forms.IntegerField(min_value=0, help_text="Bytes that an invoice takes off the month.")

    class Meta:
        model = PlanTerms
        exclude = ("id",)


class PriceForm(TermsForm):
    rows = Price
    code = forms.ChoiceField(
        choices=[
            (Price.CACHE_HIT, "cache_hit: units of 0.01 credit a hit"),
            (Price.CREDIT, "credit: USD a credit"),
            (Price.STORAGE, "storage: USD a GB-month"),
        ]
    )
    amount = forms.DecimalField(max_digits=20, decimal_places=10, min_value=0)

    class Meta:
        model = PriceTerms
        exclude = ("id",)

    def clean(self) -> dict[str, Any]:
        fields = super().clean()
        if fields.get("code") == Price.CACHE_HIT and (fields.get("amount") or 0) % 1:
            self.add_error("amount", "A hit costs a whole number of units.")
        return fields


class TermsAdmin(StaffAdmin):
    rows: ClassVar[type[models.Model]]
    ordering = ("code", "-valid_from")
    list_filter = ("code",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What has not begun may be taken back."""
        return (obj is not None and obj.valid_from > today()) and admin.ModelAdmin.has_delete_permission(
            self, request, obj
        )

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        row = self.rows._default_manager.create(**form.cleaned_data)
        obj.id = f"{obj.code} {obj.valid_from}"
        audit.record(audit.SERVICE, operator(request), f"{self.rows._meta.model_name}.add", str(row))

    @transaction.atomic
    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        row = self.rows._default_manager.filter(code=obj.code, valid_from=obj.valid_from, valid_from__gt=today())
        if not row.delete()[0]:
            raise IntegrityError("it has begun meanwhile")
        audit.record(audit.SERVICE, operator(request), f"{self.rows._meta.model_name}.delete", str(obj))


@admin.register(PlanTerms)
class PlanAdmin(TermsAdmin):
    rows, form = Plan, PlanForm
    list_display = ("code", "valid_from", "prepaid", "monthly_grant", "requests_per_minute", "storage_quota")


@admin.register(PriceTerms)
class PriceAdmin(TermsAdmin):
    rows, form = Price, PriceForm
    list_display = ("code", "valid_from", "amount")
