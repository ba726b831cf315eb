"""Operators' pages of tenants, users and the audit log."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join

from accounts import audit, tokens
from accounts.models import Tenant, User
from billing import limits
from billing.models import Account, Plan
from billing.tenants import change_plan
from console.staff_models import AuditRecord
from console.staff_site import StaffAdmin, StaffForm
from console.templatetags.console import credits

LIMITS = ("requests_per_minute", "storage_quota", "api_key_storage_quota")


def operator(request: HttpRequest) -> str:
    """How the audit log names who acts here."""
    return f"operator {request.user}"


class TenantForm(StaffForm):
    """The plan, and limits in place of the plan's."""

    plan = forms.ChoiceField(help_text="Holds from now on; the running month's credits of the plan come with it.")
    requests_per_minute = forms.IntegerField(
        required=False, min_value=1, max_value=limits.MOST["requests_per_minute"], help_text="Empty: the plan's."
    )
    storage_quota = forms.IntegerField(
        label="Storage quota in bytes",
        required=False,
        min_value=1,
        max_value=limits.MOST["storage_quota"],
        help_text="Empty: the plan's.",
    )
    api_key_storage_quota = forms.IntegerField(
        label="Storage quota of each API key in bytes",
        required=False,
        min_value=1,
        max_value=limits.MOST["api_key_storage_quota"],
        help_text="Empty: the plan's.",
    )

    class Meta:
        model = Tenant
        fields: tuple[str, ...] = ()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        account = Account.objects.get(tenant=self.instance)
        codes = Plan.objects.order_by("code").values_list("code", flat=True).distinct()
        self.fields["plan"].choices = [(code, code) for code in codes]  # type: ignore[attr-defined]
        for name in ("plan", *LIMITS):
            self.initial[name] = getattr(account, name)


@admin.register(Tenant)
class TenantAdmin(StaffAdmin):
    form = TenantForm
    list_display = ("name", "plan", "balance", "created_at", "deletion_at")
    list_select_related = ("account",)
    search_fields = ("name",)
    ordering = ("name",)
    readonly_fields = ("name", "code", "balance", "members", "created_at", "deletion_at")
    fields = (*readonly_fields, "plan", *LIMITS)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: Tenant, form: Any, change: bool) -> None:
        if "plan" in form.changed_data:
            change_plan(obj, form.cleaned_data["plan"], operator(request))
        changed = {name: form.cleaned_data[name] for name in LIMITS if name in form.changed_data}
        if changed:
            limits.set_tenant_limits(obj, **changed, actor=operator(request))

    @admin.display(description="plan")
    def plan(self, tenant: Tenant) -> str:
        return tenant.account.plan

    @admin.display(description="credits left")
    def balance(self, tenant: Tenant) -> str:
        return credits(tenant.account.balance)

    @admin.display(description="id in URLs")
    def code(self, tenant: Tenant) -> str:
        return tokens.encode_id(tenant.id)

    @admin.display(description="members")
    def members(self, tenant: Tenant) -> str:
        found = tenant.memberships.select_related("user").order_by("user__email")
        return format_html_join(", ", "{} ({})", ((member.user.email, member.role) for member in found)) or "–"


@admin.register(User)
class UserAdmin(StaffAdmin):
    """To deactivate and activate. Staff are made on the command line, and left alone here."""

    list_display = ("email", "name", "is_active", "is_staff", "date_joined", "last_login")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    ordering = ("email",)
    readonly_fields = ("email", "name", "is_staff", "date_joined", "last_login", "tenants")
    fields = (*readonly_fields, "is_active")

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return (obj is None or not obj.is_staff) and admin.ModelAdmin.has_change_permission(self, request, obj)

    @transaction.atomic
    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        if "is_active" in form.changed_data:
            obj.save(update_fields=["is_active"])
            action = "user.activate" if obj.is_active else "user.deactivate"
            audit.record(audit.SERVICE, operator(request), action, obj.email[:200])

    @admin.display(description="tenants")
    def tenants(self, user: User) -> str:
        found = user.memberships.select_related("tenant").order_by("tenant__name")
        return format_html_join(", ", "{} ({})", ((member.tenant.name, member.role) for member in found)) or "–"


@admin.register(AuditRecord)
class AuditRecordAdmin(StaffAdmin):
    list_display = ("at", "tenant", "actor", "address", "action", "target")
    search_fields = ("actor", "action", "target", "=tenant_id")
    ordering = ("-at",)

    @admin.display(description="tenant")
    def tenant(self, record: AuditRecord) -> str:
        return "the service" if record.tenant_id == audit.SERVICE else self._names.get(record.tenant_id, "–")

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditRecord]:
        self._names: dict[int, str] = dict(Tenant.objects.values_list("id", "name"))
        found: QuerySet[AuditRecord] = super().get_queryset(request)
        return found
