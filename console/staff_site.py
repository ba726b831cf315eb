"""Django's admin, for operators only, at /staff/. They sign in on the console's own page, second factor and all."""

from typing import TYPE_CHECKING, Any, TypeAlias

from allauth.mfa.utils import is_mfa_enabled
from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

if TYPE_CHECKING:  # generic in the stubs alone
    _ModelAdmin: TypeAlias = admin.ModelAdmin[Any]
    _ModelForm: TypeAlias = forms.ModelForm[Any]
else:
    _ModelAdmin, _ModelForm = admin.ModelAdmin, forms.ModelForm


class StaffForm(_ModelForm):
    """A form of a page below."""


class StaffAdmin(_ModelAdmin):
    """Read-only, unless a subclass says otherwise. Nothing is done to many rows at once."""

    actions = None
    list_per_page = 50
    show_full_result_count = False

    class Media:
        css = {"all": ["console/staff.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class AdminSite(admin.AdminSite):
    site_header = site_title = "cacheservice operators"
    index_title = "Operate"
    site_url = "/console/"

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Only what was written for here: the admin that a library brings along may show secrets."""
        if admin_class is not None and issubclass(admin_class, StaffAdmin):
            super().register(model_or_iterable, admin_class, **options)

    def has_permission(self, request: HttpRequest) -> bool:
        return super().has_permission(request) and (not settings.STAFF_MFA or is_mfa_enabled(request.user))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """To the console's page, which throttles and asks for the second factor."""
        if not request.user.is_authenticated:
            return redirect_to_login(request.GET.get("next") or "/staff/")
        if not super().has_permission(request):
            raise PermissionDenied("This is for operators.")
        messages.warning(request, "Operators need a second factor: set one up, then open /staff/ again.")
        return redirect("mfa_index")

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        return redirect("account_change_password")
