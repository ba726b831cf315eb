"""What the tenant owes: its plan, its credits, the running month so far.

All figures are billing's own, so that no page says another amount than the API and the invoice.
"""

from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path

from accounts.policy import Permission
from billing import documents, invoice_answers
from cacheservice.views import to_django
from console import billing_credits, billing_invoices, billing_prices, billing_summary, reports
from console.access import MemberRequest, page

LINES_ON_A_PAGE = 50


@page(Permission.SEE_BILLING)
def index(request: MemberRequest) -> HttpResponse:
    preview = documents.preview(reports.rows, request.tenant.id)
    content = {
        "summary": billing_summary.read(reports.rows, request.tenant),
        "preview": preview,
        "lines": Paginator(preview.lines, LINES_ON_A_PAGE).get_page(request.GET.get("page")),
    }
    return render(request, "console/billing.html", content)


@page(Permission.SEE_BILLING)
def preview_file(request: MemberRequest) -> HttpResponse:
    preview = documents.preview(reports.rows, request.tenant.id)
    return to_django(invoice_answers.preview(preview, "csv"))


urls = [
    path("billing", index, name="billing"),
    path("billing/preview.csv", preview_file, name="billing-preview-file"),
    *billing_invoices.urls,
    *billing_credits.urls,
    *billing_prices.urls,
]
