"""The tenant's credits: what was granted, and how to ask for more."""

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import path

from accounts import tokens
from accounts.policy import Permission
from billing.models import Account, LedgerEntry
from console import credit_requests
from console.access import MemberRequest, page
from console.credit_requests import RequestForm

ON_A_PAGE = 50


@page(Permission.SEE_BILLING)
def index(request: MemberRequest) -> HttpResponse:
    ledger = LedgerEntry.objects.filter(tenant_id=request.tenant.id).order_by("-at", "-id")
    content = {
        "account": Account.objects.get(tenant=request.tenant),
        "found": Paginator(ledger, ON_A_PAGE).get_page(request.GET.get("page")),
    }
    return render(request, "console/billing_credits.html", content)


@page(Permission.MANAGE_BILLING)
def ask(request: MemberRequest) -> HttpResponse:
    form = RequestForm(request.POST or None)
    if form.is_valid():
        try:
            credit_requests.send(request.member, form.units(), form.cleaned_data["note"])
        except credit_requests.Refused as error:
            form.add_error(None, str(error))
        else:
            messages.success(request, f"Your request is on its way. The answer comes to {request.user.email}.")
            return redirect("console:billing-credits", tenant=tokens.encode_id(request.tenant.id))
    content = {"form": form, "most": credit_requests.MOST_A_DAY}
    return render(request, "console/billing_request.html", content, status=422 if form.errors else 200)


urls = [
    path("billing/credits", index, name="billing-credits"),
    path("billing/credits/request", ask, name="billing-credits-request"),
]
