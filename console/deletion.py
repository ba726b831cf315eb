"""Deleting the tenant: an owner asks for it, and can take it back until the day comes."""

from django.conf import settings
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_POST

from accounts import tokens
from accounts.policy import Permission
from cacheservice import tenant_deletion
from console import access
from console.access import MemberRequest, page, recently_authenticated
from console.form_pages import REFUSED
from console.settings_forms import DeleteForm


@page(Permission.OWN)
@recently_authenticated
def delete(request: MemberRequest) -> HttpResponse:
    form = DeleteForm(request.POST or None, tenant=request.tenant)
    if form.is_valid():
        tenant_deletion.request_deletion(request.tenant, access.actor(request))
        return _back(request)
    content = {"form": form, "days": settings.TENANT_DELETION_DAYS}
    return render(request, "console/deletion.html", content, status=REFUSED if request.method == "POST" else 200)


@page(Permission.OWN)
@require_POST
def cancel(request: MemberRequest) -> HttpResponse:
    if tenant_deletion.cancel_deletion(request.tenant, access.actor(request)):
        messages.success(request, "The tenant stays: its deletion is cancelled.")
    else:
        messages.warning(request, "There was nothing to cancel, or the day has come already.")
    return _back(request)


def _back(request: MemberRequest) -> HttpResponse:
    return redirect("console:settings", tenant=tokens.encode_id(request.tenant.id))


urls = [
    path("settings/delete", delete, name="settings-delete"),
    path("settings/delete/cancel", cancel, name="settings-delete-cancel"),
]
