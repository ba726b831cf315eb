"""The views of invoices: parse, read, answer."""

import re

from asgiref.sync import async_to_sync
from django.http import HttpResponse
from rest_framework.request import Request

from accounts.policy import Permission, scope_for
from billing import documents, formats, invoice_answers, invoice_schema
from cacheservice.authentication import caller_of
from cacheservice.entries import requests, store
from cacheservice.errors import InvalidRequest, NotFound
from cacheservice.views import APIView, query_string, to_django

MOST, DEFAULT = 100, 24  # invoices on a page
_NUMBER = re.compile(r"[1-9][0-9]{0,8}", re.ASCII)
_LAST = 2**31 - 1  # above every number


class InvoicesView(APIView):
    """The tenant's invoices and credit notes."""

    scopes = {"GET": scope_for(Permission.SEE_BILLING)}
    http_method_names = ["get"]

    @invoice_schema.list_invoices
    def get(self, request: Request) -> HttpResponse:
        parameters = requests.parse_query(query_string(request), ("limit", "cursor"))
        limit = requests.parse_limit(parameters, MOST, DEFAULT)
        rows = async_to_sync(store.current().rows)
        page = documents.page(rows, caller_of(request).tenant_id, _before(parameters), limit)
        return to_django(invoice_answers.json(page))


class InvoiceView(APIView):
    """One of them."""

    scopes = {"GET": scope_for(Permission.SEE_BILLING)}
    http_method_names = ["get"]

    @invoice_schema.get_invoice
    def get(self, request: Request, number: str) -> HttpResponse:
        wanted = _format(request, ("json", "csv", "pdf"))
        rows = async_to_sync(store.current().rows)
        tenant_id = caller_of(request).tenant_id
        found = documents.find(rows, tenant_id, int(number)) if _NUMBER.fullmatch(number) else None
        if found is None:
            raise NotFound(f"There is no invoice '{requests.shown(number)}'; GET /api/v1/invoices lists them.")
        return to_django(invoice_answers.document(found, wanted))


class InvoicePreviewView(APIView):
    """What the running month's invoice would say by now."""

    scopes = {"GET": scope_for(Permission.SEE_BILLING)}
    http_method_names = ["get"]

    @invoice_schema.preview_invoice
    def get(self, request: Request) -> HttpResponse:
        wanted = _format(request, ("json", "csv"))
        rows = async_to_sync(store.current().rows)
        preview = documents.preview(rows, caller_of(request).tenant_id)
        return to_django(invoice_answers.preview(preview, wanted))


def _format(request: Request, offered: tuple[str, ...]) -> str:
    parameters = requests.parse_query(query_string(request), ("format",))
    return formats.wanted(parameters, request.headers.get("Accept", ""), offered)


def _before(parameters: dict[str, list[str]]) -> int:
    """The number below which a page begins."""
    if "cursor" not in parameters:
        return _LAST
    [cursor] = parameters["cursor"]
    if not _NUMBER.fullmatch(cursor):
        raise InvalidRequest("cursor: send 'next_cursor' of the page before, unchanged.")
    return int(cursor)
