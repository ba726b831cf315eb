"""What tenants used in a month and what it comes to, for operators: figures as texts, ready for a table or CSV."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, date
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from accounts import tokens
from billing.documents import reference
from billing.drafts import Draft, drafts
from billing.invoice_sql import INVOICES_OF_MONTH
from billing.pricing import GB_MONTH_PLACES, Period, Used, gb_months, rounded
from billing.rows import Rows
from billing.units import credits, usd

FIGURES = ("hits", "misses", "hit ratio", "writes", "credits", "GB-months", "saved USD")
TENANTS = 500  # read at once


class Report(NamedTuple):
    """A table. The first `names` columns are names, the others figures."""

    columns: tuple[str, ...]
    names: int
    rows: list[tuple[str, ...]]


def of_tenant(rows: Rows, tenant_id: int, month: date) -> tuple[Draft, Report, str]:
    """The month's draft, its usage by API key, and its invoice in words: its number and total, or what is to come."""
    [draft] = drafts(rows, [tenant_id], month)
    used = [
        (api_key.name, tokens.encode_id(api_key.id), *_figures(_sum(each), draft.periods))
        for api_key, each in sorted(draft.usage.items())
    ]
    total = _sum([one for each in draft.usage.values() for one in each])
    table = Report(("API key", "id", *FIGURES), 2, [*used, ("total", "", *_figures(total, draft.periods))])
    number, amount, credited = _invoice(draft, _documents(rows, [tenant_id], month).get(tenant_id, ()))
    if not number:
        as_of = f"{draft.as_of.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        return draft, table, f"Not invoiced yet; up to {as_of} it comes to {amount} USD."
    return draft, table, f"Invoice {number}: {amount} USD, of which {credited} USD credited."


def of_all(rows: Rows, tenant_ids: Sequence[int], month: date) -> Report:
    """A row for each of the tenants that used anything, or has an invoice."""
    found = [row for n in range(0, len(tenant_ids), TENANTS) for row in _rows(rows, tenant_ids[n : n + TENANTS], month)]
    columns = ("tenant", "plan", "invoice", *FIGURES, "total USD", "credited USD")
    return Report(columns, 3, sorted(found))


def _rows(rows: Rows, tenant_ids: Sequence[int], month: date) -> Iterator[tuple[str, ...]]:
    documents = _documents(rows, tenant_ids, month)
    for draft in drafts(rows, tenant_ids, month):
        number, amount, credited = _invoice(draft, documents.get(draft.tenant_id, ()))
        if number or draft.usage or draft.bill.lines:
            total = _sum([one for each in draft.usage.values() for one in each])
            figures = _figures(total, draft.periods)
            yield draft.tenant_name, draft.plan, number or "preview", *figures, amount, credited


_Documents = Sequence[tuple[int, str, Decimal]]  # number, kind, total


def _documents(rows: Rows, tenant_ids: Sequence[int], month: date) -> dict[int, _Documents]:
    found: dict[int, list[tuple[int, str, Decimal]]] = defaultdict(list)
    for tenant_id, number, kind, total in rows(INVOICES_OF_MONTH, {"tenant_ids": list(tenant_ids), "month": month}):
        found[tenant_id].append((number, kind, total))
    return dict(found)


def _invoice(draft: Draft, documents: _Documents) -> tuple[str, str, str]:
    """Its reference, empty where there is none yet, its total, and what credit notes took back."""
    invoices = [(number, total) for number, kind, total in documents if kind == "invoice"]
    credited = -sum((total for _, kind, total in documents if kind != "invoice"), Decimal("0.00"))
    if not invoices:
        return "", str(draft.bill.total), str(credited)
    [(number, total)] = invoices
    return reference("invoice", number), str(total), str(credited)


def _sum(used: Sequence[Used]) -> Used:
    return Used._make(map(sum, zip(*used, strict=True))) if used else Used()


def _figures(used: Used, periods: Sequence[Period]) -> tuple[str, ...]:
    reads = used.hits + used.misses
    ratio = f"{rounded(Fraction(used.hits, reads), 4)}" if reads > 0 else ""
    held = f"{rounded(gb_months(used.byte_microseconds, periods), GB_MONTH_PLACES):f}"
    return str(used.hits), str(used.misses), ratio, str(used.writes), credits(used.units), held, usd(used.saved)
