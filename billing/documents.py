"""Invoices and credit notes as clients get them, and the preview of the next one.

A document is made from its row alone, so that it reads the same for ever: names, prices, the rounding rule are in it.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from django.conf import settings
from msgspec.structs import asdict

from billing import months
from billing.drafts import drafts
from billing.invoice_sql import INVOICE, INVOICES, NOW
from billing.models import Invoice
from billing.pricing import ROUNDING_RULE, USD, InvoiceLine
from billing.rows import Rows

Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="RFC 3339, UTC.")]
Month = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d$", description="A UTC month.")]
Number = Annotated[int, msgspec.Meta(ge=1, description="1, 2, … of the tenant, without gaps.")]
DocumentKind = Literal["invoice", "credit_note"]


class Content(msgspec.Struct, frozen=True):
    """What the row of an invoice holds of its document, as JSON."""

    seller: str  # lines of text
    bill_to: str
    rounding_rule: str
    lines: list[InvoiceLine]


class InvoiceSummary(msgspec.Struct, frozen=True):
    """An invoice or a credit note in a list."""

    number: Number
    reference: str
    kind: DocumentKind
    month: Month
    issued_at: Time
    corrects: Annotated[int | None, msgspec.Meta(description="A credit note's invoice.")]
    total_usd: USD


class InvoiceList(msgspec.Struct, frozen=True):
    """Newest first."""

    invoices: list[InvoiceSummary]
    next_cursor: str | None


class InvoiceDocument(msgspec.Struct, frozen=True):
    """An invoice or a credit note."""

    number: Number
    reference: str
    kind: DocumentKind
    month: Month
    issued_at: Time
    corrects: Annotated[int | None, msgspec.Meta(description="A credit note's invoice.")]
    plan: Annotated[str, msgspec.Meta(description="When it was issued.")]
    seller: str
    bill_to: str
    lines: list[InvoiceLine]
    total_usd: USD
    rounding_rule: str


class InvoicePreview(msgspec.Struct, frozen=True):
    """What the running month comes to so far."""

    preview: Annotated[bool, msgspec.Meta(extra_json_schema={"const": True})]
    month: Month
    as_of: Time
    plan: str
    seller: str
    bill_to: str
    lines: list[InvoiceLine]
    total_usd: USD
    rounding_rule: str


def reference(kind: str, number: int) -> str:
    """What people call it."""
    return f"{'INV' if kind == Invoice.Kind.INVOICE else 'CN'}-{number:04}"


def page(rows: Rows, tenant_id: int, before: int, limit: int) -> InvoiceList:
    """Those with numbers below `before`, newest first."""
    found = rows(INVOICES, {"tenant_id": tenant_id, "before": before, "limit": limit + 1})
    shown = [_summary(*row) for row in found[:limit]]
    return InvoiceList(shown, str(shown[-1].number) if len(found) > limit else None)


def find(rows: Rows, tenant_id: int, number: int) -> InvoiceDocument | None:
    found = rows(INVOICE, {"tenant_id": tenant_id, "number": number})
    if not found:
        return None
    [(*row, plan, document)] = found
    content = msgspec.json.decode(document, type=Content)
    return InvoiceDocument(plan=plan, **asdict(_summary(*row)), **asdict(content))


def preview(rows: Rows, tenant_id: int) -> InvoicePreview:
    """Of the running month, by the database's clock."""
    [(now,)] = rows(NOW, {})
    month = months.of(now)
    [draft] = drafts(rows, [tenant_id], month)
    return InvoicePreview(
        True,
        months.wire(month),
        _time(draft.as_of),
        draft.plan,
        settings.SELLER,
        draft.tenant_name,
        draft.bill.lines,
        str(draft.bill.total),
        ROUNDING_RULE,
    )


def _summary(
    number: int, kind: DocumentKind, month: date, issued_at: datetime, corrects: int | None, total: Decimal
) -> InvoiceSummary:
    return InvoiceSummary(
        number, reference(kind, number), kind, months.wire(month), _time(issued_at), corrects, str(total)
    )


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
