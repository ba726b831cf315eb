"""The tenant's invoices and credit notes: a list, and each as a page and as files."""

import re

from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import render
from django.urls import path

from accounts.policy import Permission
from billing import documents, invoice_answers
from billing.documents import InvoiceDocument
from cacheservice.views import to_django
from console import reports
from console.access import MemberRequest, page

ON_A_PAGE = 24
LINES_ON_A_PAGE = 100
FILES = ("pdf", "csv")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_LAST = 2**31 - 1  # above every number


@page(Permission.SEE_BILLING)
def index(request: MemberRequest) -> HttpResponse:
    before = request.GET.get("before", "")
    last = int(before) if _NUMBER.fullmatch(before) else _LAST
    found = documents.page(reports.rows, request.tenant.id, last, ON_A_PAGE)
    return render(request, "console/billing_invoices.html", {"found": found, "first_page": last == _LAST})


@page(Permission.SEE_BILLING)
def one(request: MemberRequest, number: str) -> HttpResponse:
    invoice = _invoice(request, number)
    lines = Paginator(invoice.lines, LINES_ON_A_PAGE).get_page(request.GET.get("page"))
    return render(request, "console/invoice.html", {"invoice": invoice, "lines": lines})


@page(Permission.SEE_BILLING)
def file(request: MemberRequest, number: str, wanted: str) -> HttpResponse:
    if wanted not in FILES:
        raise Http404("There is no such file.")
    return to_django(invoice_answers.document(_invoice(request, number), wanted))


def _invoice(request: MemberRequest, number: str) -> InvoiceDocument:
    """Raises Http404 for a number that is none of the tenant's."""
    found = None
    if _NUMBER.fullmatch(number):
        found = documents.find(reports.rows, request.tenant.id, int(number))
    if found is None:
        raise Http404("There is no such invoice.")
    return found


urls = [
    path("billing/invoices", index, name="billing-invoices"),
    path("billing/invoices/<str:number>", one, name="billing-invoice"),
    path("billing/invoices/<str:number>/<str:wanted>", file, name="billing-invoice-file"),
]
