"""Issuing invoices and credit notes. They share one sequence of numbers a tenant, without gaps, and never change."""

from datetime import date, datetime, timedelta
from decimal import Decimal

import msgspec
from django.conf import settings
from django.db import transaction

from accounts import audit
from accounts.models import Tenant
from billing import months
from billing.credits import grant
from billing.documents import Content, reference
from billing.drafts import drafts
from billing.invoice_sql import DUE, NOT_BOOKED, NOT_FOLDED, NOW
from billing.models import Account, Invoice, LedgerEntry
from billing.pricing import ROUNDING_RULE, InvoiceLine
from billing.rows import django_rows

# A refund may count up to an hour back; its statement ends soon after.
GRACE = timedelta(hours=1, minutes=5)
ACTOR = "service"
CENT = Decimal("0.01")
REASON_LENGTH = 200


def last_over(now: datetime | None = None) -> date:
    """The latest month that may be closed; now is by the database's clock, which receipts go by."""
    if now is None:
        [(now,)] = django_rows(NOW, {})
    return months.before(months.of(now - GRACE))


def due(until: date, tenant_id: int | None = None) -> list[tuple[int, date]]:
    """The tenants with the first month, up to `until`, that each has yet to get an invoice for; all, or one."""
    tenant_ids = None if tenant_id is None else [tenant_id]
    found = django_rows(DUE, {"tenant_ids": tenant_ids, "end": months.following(until)})
    return [(each, month) for each, month in found]


def not_folded(until: date, tenant_id: int | None = None) -> int:
    """How many receipts of the months up to `until` are in no rollup yet; all tenants', or one's."""
    tenant_ids = None if tenant_id is None else [tenant_id]
    [(count,)] = django_rows(NOT_FOLDED, {"tenant_ids": tenant_ids, "end": months.start(months.following(until))})
    return int(count)


@transaction.atomic
def close(tenant_id: int, month: date) -> Invoice | None:
    """Issue a month's invoice. None when it has one, or when there is nothing to bill.

    Raises ValueError when the month is not over, when an earlier one must be closed first, or when receipts or expired
    entries of the month are not booked yet.
    """
    _require_settled(tenant_id, month)
    open_months = due(month, tenant_id)
    if not open_months:
        return None
    [(_, first)] = open_months
    if first < month:
        raise ValueError(f"month: {months.wire(first)} is to be closed before {months.wire(month)}.")
    # Nothing of the month changes any more, so the account, which every hit charges, is locked for the rest only.
    [draft] = drafts(django_rows, [tenant_id], month)
    Account.objects.select_for_update().get(tenant_id=tenant_id)
    if Invoice.objects.filter(tenant_id=tenant_id, month=month, kind=Invoice.Kind.INVOICE).exists():
        return None
    invoice = _issue(
        Invoice(tenant_id=tenant_id, kind=Invoice.Kind.INVOICE, month=month, plan=draft.plan, total=draft.bill.total),
        Content(settings.SELLER, draft.tenant_name, ROUNDING_RULE, draft.bill.lines),
    )
    if draft.bill.units:
        key, note = f"invoice {months.wire(month)}", reference(invoice.kind, invoice.number)
        grant(tenant_id, LedgerEntry.Kind.INVOICE, draft.bill.units, idempotency_key=key, actor=ACTOR, note=note)
    _record(invoice, ACTOR)
    return invoice


@transaction.atomic
def issue_credit_note(tenant: Tenant, number: int, amount_usd: Decimal, reason: str, actor: str) -> Invoice:
    """Take back some of an invoice, in USD and cents. Raises ValueError naming the argument, the limit and the fix."""
    reason = reason.strip()
    if not 1 <= len(reason) <= REASON_LENGTH or not reason.isprintable():
        raise ValueError(f"reason: give 1 to {REASON_LENGTH} characters on one line; it stands on the credit note.")
    Account.objects.select_for_update().get(tenant=tenant)
    issued = {each.number: each for each in Invoice.objects.filter(tenant_id=tenant.id).defer("document")}
    invoice = issued.get(number)
    if invoice is None or invoice.kind != Invoice.Kind.INVOICE:
        raise ValueError(f"number: tenant '{tenant.name}' has no invoice {number}; 'manage.py report' shows them.")
    left = invoice.total + sum(each.total for each in issued.values() if each.corrects == number)
    if not 0 < amount_usd <= left or amount_usd % CENT:
        raise ValueError(
            f"amount_usd: {amount_usd} is not allowed; give more than 0, with up to two decimals, "
            f"and at most the {left} USD that invoice {number} has left."
        )
    total = -amount_usd.quantize(CENT)
    line = InvoiceLine(kind="credit_note", description=reason, amount_usd=f"{total}")
    note = _issue(
        Invoice(
            tenant_id=tenant.id,
            kind=Invoice.Kind.CREDIT_NOTE,
            month=invoice.month,
            corrects=number,
            plan=invoice.plan,
            total=total,
        ),
        Content(settings.SELLER, tenant.name, ROUNDING_RULE, [line]),
    )
    _record(note, actor, corrects=reference(invoice.kind, number), reason=reason)
    return note


def _require_settled(tenant_id: int, month: date) -> None:
    """Nothing of the month can come any more. Raises ValueError otherwise."""
    latest = last_over()
    if month > latest:
        raise ValueError(
            f"month: {months.wire(month)} cannot be closed until {GRACE} after its end; "
            f"the latest that can is {months.wire(latest)}."
        )
    end = months.start(months.following(month))
    [(not_booked,)] = django_rows(NOT_BOOKED, {"tenant_id": tenant_id, "end": end})
    if not_booked or not_folded(month, tenant_id):
        raise ValueError(f"month: usage of {months.wire(month)} is not booked yet; run 'manage.py close_month'.")


def _issue(invoice: Invoice, content: Content) -> Invoice:
    """Number and store it. The caller holds the account's lock, so that numbers come one after the other."""
    last = Invoice.objects.filter(tenant_id=invoice.tenant_id).defer("document").order_by("-number").first()
    invoice.number = last.number + 1 if last else 1
    invoice.document = msgspec.to_builtins(content)
    invoice.save(force_insert=True)
    return invoice


def _record(invoice: Invoice, actor: str, **details: str) -> None:
    name = reference(invoice.kind, invoice.number)
    month, total = months.wire(invoice.month), str(invoice.total)
    audit.record(invoice.tenant_id, actor, f"{invoice.kind}.issue", name, month=month, total_usd=total, **details)
