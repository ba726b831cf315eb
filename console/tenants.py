"""Creating a tenant."""

from typing import cast

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path

from accounts import tokens
from accounts.models import User
from console import tenancy


class TenantForm(forms.Form):
    name = forms.CharField(max_length=100, label="Name", help_text="Your company, team or project.")


@login_required
def create(request: HttpRequest) -> HttpResponse:
    form = TenantForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            tenant = tenancy.create(form.cleaned_data["name"], cast(User, request.user))
        except tenancy.Refused as error:
            form.add_error("name", str(error))
        else:
            messages.success(request, f"{tenant.name} is there. Its first API key you make under API keys.")
            return redirect("console:start", tenant=tokens.encode_id(tenant.id))
    return render(request, "console/tenant_create.html", {"form": form}, status=422 if form.errors else 200)


urls = [path("tenants/new", create, name="tenant-create")]
