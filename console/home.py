"""Where signing in leads: the invitation one came with, the tenant looked at last, the only one, else a choice.

And one's own account.
"""

from typing import cast

from allauth.account.models import EmailAddress
from allauth.mfa.utils import is_mfa_enabled
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path

from accounts import tokens
from accounts.models import User
from console import access, first_key, invitations, sessions


@login_required
def home(request: HttpRequest) -> HttpResponse:
    if signed := request.session.pop(invitations.SESSION_KEY, None):  # they came with it, and had to sign up first
        return redirect("console:invitation", signed=signed)
    return _to_page(request, "console:overview")


@login_required
def billing(request: HttpRequest) -> HttpResponse:
    """Where the API's errors lead, which know of no console."""
    return _to_page(request, "console:billing")


def _to_page(request: HttpRequest, name: str) -> HttpResponse:
    """Of the tenant looked at last, or of the only one."""
    codes = [tokens.encode_id(member.tenant_id) for member in access.memberships(cast(User, request.user))]
    last = request.session.get(first_key.TENANT)
    if last in codes or len(codes) == 1:
        return redirect(name, tenant=last if last in codes else codes[0])
    return redirect("console:tenants")


@login_required
def tenants(request: HttpRequest) -> HttpResponse:
    lines = [
        {"member": member, "code": tokens.encode_id(member.tenant_id)}
        for member in access.memberships(cast(User, request.user))
    ]
    return render(request, "console/tenants.html", {"lines": lines})


@login_required
def account(request: HttpRequest) -> HttpResponse:
    context = {
        "verified": EmailAddress.objects.filter(user=cast(User, request.user), verified=True).exists(),
        "factors": is_mfa_enabled(cast(User, request.user)),
        "connects": bool(settings.OIDC_ISSUER),
    }
    return render(request, "console/account.html", context)


urls = [
    path("", home, name="home"),
    path("billing", billing, name="own_billing"),
    path("tenants", tenants, name="tenants"),
    path("you", account, name="account"),
    *sessions.urls,
]
