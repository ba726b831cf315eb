"""The OpenAPI description of invoices."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from billing.documents import InvoiceDocument, InvoiceList, InvoicePreview
from cacheservice.entries.schema import answers, ref

COMPONENTS = (InvoiceList, InvoiceDocument, InvoicePreview)

_CSV = {
    (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "The lines, a header line before and the total behind them.")
}


def _format(*offered: str) -> OpenApiParameter:
    schema: dict[str, Any] = {"type": "string", "enum": list(offered)}
    return OpenApiParameter("format", schema, OpenApiParameter.QUERY, description="For links, which set no Accept.")


list_invoices = extend_schema(
    operation_id="list_invoices",
    summary="List invoices and credit notes",
    description="Newest first. Follow `next_cursor` until it is null.",
    parameters=[
        OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 24}),
        OpenApiParameter("cursor", str, description="`next_cursor` of the page before."),
    ],
    responses=answers({200: (ref(InvoiceList), "A page.")}),
)
get_invoice = extend_schema(
    operation_id="get_invoice",
    summary="Get an invoice or a credit note",
    description="It never changes. JSON, or with `Accept` or `format` CSV or PDF.",
    parameters=[
        OpenApiParameter("number", {"type": "integer", "minimum": 1}, OpenApiParameter.PATH),
        _format("json", "csv", "pdf"),
    ],
    responses={
        **answers({200: (ref(InvoiceDocument), "The document.")}, 404),
        **_CSV,
        (200, "application/pdf"): OpenApiResponse(OpenApiTypes.BINARY, "To print and to file."),
    },
)
preview_invoice = extend_schema(
    operation_id="preview_invoice",
    summary="What the running month comes to so far",
    description="As the invoice would say it now; it has no number. JSON, or CSV with `Accept` or `format`.",
    parameters=[_format("json", "csv")],
    responses={**answers({200: (ref(InvoicePreview), "As of `as_of`.")}), **_CSV},
)
