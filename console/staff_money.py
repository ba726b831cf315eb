"""Operators' pages of the credit ledger: to read, and to grant credits."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse

from billing.credits import OWN_KINDS, grant
from billing.models import LedgerEntry
from billing.units import UNITS
from console.staff_models import Grant
from console.staff_people import operator
from console.staff_site import StaffAdmin, StaffForm
from console.templatetags.console import credits

KINDS = [kind for kind in LedgerEntry.Kind if kind not in OWN_KINDS]


class GrantForm(StaffForm):
    """Credits for a tenant."""

    kind = forms.ChoiceField(choices=[(kind.value, kind.label) for kind in KINDS])
    credits = forms.DecimalField(
        decimal_places=2, max_digits=16, help_text="With two decimals at most; a correction may be below 0."
    )
    note = forms.CharField(max_length=200, required=False)

    class Meta:
        model = Grant
        fields = ("tenant", "kind", "idempotency_key", "note")
        help_texts = {"idempotency_key": "Such as a payment's number: the same key is booked once, however often."}

    def clean(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().clean() or {}
        units = (fields.get("credits") or 0) * UNITS
        if units == 0 or (units < 0 and fields.get("kind") != LedgerEntry.Kind.CORRECTION):
            self.add_error("credits", "Give more than 0 credits; only a correction may take some.")
        return fields


@admin.register(Grant)
class GrantAdmin(StaffAdmin):
    form = GrantForm
    add_fields = ("tenant", "kind", "credits", "idempotency_key", "note")
    list_display = ("at", "tenant", "kind", "amount", "idempotency_key", "actor", "note")
    list_select_related = ("tenant",)
    list_filter = ("kind",)
    search_fields = ("tenant__name", "idempotency_key", "note")
    ordering = ("-at",)
    raw_id_fields = ("tenant",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (
            self.add_fields if obj is None else ("at", "tenant", "kind", "amount", "idempotency_key", "actor", "note")
        )

    def changeform_view(self, request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponse:
        try:
            with transaction.atomic():
                answer: HttpResponse = super().changeform_view(request, *arguments, **named)
        except ValueError as error:  # of `grant`
            messages.error(request, str(error))
            answer = self.response_post_save_add(request, Grant())
        return answer

    def save_model(self, request: HttpRequest, obj: Grant, form: Any, change: bool) -> None:
        fields = form.cleaned_data
        booked = grant(
            obj.tenant_id,
            fields["kind"],
            int(fields["credits"] * UNITS),
            idempotency_key=fields["idempotency_key"],
            actor=operator(request),
            note=fields["note"],
        )
        if not booked:
            messages.warning(request, "This key was booked before: nothing was granted now.")
        row = LedgerEntry.objects.get(tenant_id=obj.tenant_id, idempotency_key=fields["idempotency_key"])
        obj.id, obj.units = row.id, row.units

    @admin.display(description="credits")
    def amount(self, row: Grant) -> str:
        return credits(row.units)
