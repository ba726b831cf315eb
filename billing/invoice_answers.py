"""Invoices as clients get them: JSON, CSV, PDF."""

from collections.abc import Iterator
from typing import Any

import msgspec

from billing import csvs, pdf
from billing.documents import InvoiceDocument, InvoicePreview, reference
from billing.models import Invoice
from billing.pricing import InvoiceLine
from cacheservice.http import JSON, Answer, Header

COLUMNS = (
    "reference", "kind", "month", "issued_at", "corrects", "line", "description", "api_key_id", "api_key_name",
    "first_day", "last_day", "hits", "quantity", "unit", "unit_price_usd", "amount_usd",
)  # fmt: skip


def document(found: InvoiceDocument, wanted: str) -> Answer:
    if wanted == "pdf":
        return _pdf(found)
    if wanted == "csv":
        corrects = "" if found.corrects is None else reference(Invoice.Kind.INVOICE, found.corrects)
        head = (found.reference, found.kind, found.month, found.issued_at, corrects)
        return csvs.answer(f"{found.reference}.csv", COLUMNS, _rows(head, found))
    return json(found, csvs.VARY)


def preview(found: InvoicePreview, wanted: str) -> Answer:
    """In CSV, the moment up to which it counts stands in place of that of issue."""
    if wanted == "csv":
        head = ("", "preview", found.month, found.as_of, "")
        return csvs.answer(f"preview-{found.month}.csv", COLUMNS, _rows(head, found))
    return json(found, csvs.VARY)


def json(content: Any, *headers: Header) -> Answer:
    return Answer(200, (JSON, *headers), msgspec.json.encode(content))


def _pdf(found: InvoiceDocument) -> Answer:
    name = f'inline; filename="{found.reference}.pdf"'.encode()
    headers = ((b"content-type", b"application/pdf"), (b"content-disposition", name), csvs.VARY)
    return Answer(200, headers, pdf.render(found))


def _rows(head: tuple[str, ...], found: InvoiceDocument | InvoicePreview) -> Iterator[tuple[object, ...]]:
    """A row for each line, and one of the total."""
    for line in found.lines:
        yield *head, line.kind, csvs.plain(line.description), *_fields(line)
    yield *head, "total", found.rounding_rule, *[None] * 8, found.total_usd


def _fields(line: InvoiceLine) -> tuple[object, ...]:
    api_key = (line.api_key.id, csvs.plain(line.api_key.name or "")) if line.api_key else (None, None)
    price = (line.quantity, line.unit, line.unit_price_usd, line.amount_usd)
    return *api_key, line.first_day, line.last_day, line.hits, *price
