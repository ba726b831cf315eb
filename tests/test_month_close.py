"""Closing months: each tenant's month gets one invoice, in order, numbered without gaps, and never changes."""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from pytest_django import Settings

from accounts.models import APIKey, AuditEvent, Tenant
from billing import invoices, months
from billing.credits import grant
from billing.drafts import drafts
from billing.invoices import issue_credit_note
from billing.models import Account, Invoice, LedgerEntry, StorageMeter
from billing.rows import django_rows
from cacheservice.entries import purge, tasks
from cacheservice.entries.models import Entry
from cacheservice.entries.rollup import rollup
from cacheservice.month_close import close_months
from tests.billing_cast import at, book, book_ledger, new_api_key, new_tenant
from tests.cast import ACTOR
from tests.receipts import at_once, entry, moment, receipt
from tests.store_cast import query

GB = 10**9
MICROSECOND = timedelta(microseconds=1)


def close(tenant: Tenant, until: str | None = None) -> int:
    return close_months(months.parse(until) if until else None, tenant_id=tenant.id)


def issued(tenant: Tenant) -> list[Invoice]:
    return list(Invoice.objects.filter(tenant_id=tenant.id).order_by("number"))


def totals(tenant: Tenant) -> list[tuple[int, str, str]]:
    return [(each.number, months.wire(each.month), str(each.total)) for each in issued(tenant)]


def amounts(invoice: Invoice) -> list[tuple[str, str]]:
    return [(line["kind"], line["amount_usd"]) for line in invoice.document["lines"]]


def balance(tenant: Tenant) -> int:
    """The account's, which is what the ledger says less what receipts charged."""
    [(found, ledger, charged)] = query(
        "select balance, (select coalesce(sum(units), 0) from credit_ledger l where l.tenant_id = a.tenant_id),"
        " (select coalesce(sum(units), 0) from receipt r where r.tenant_id = a.tenant_id)"
        " from account a where tenant_id = %s",
        [tenant.id],
    )
    assert found == ledger - charged
    assert isinstance(found, int)
    return found


# What an invoice says


def test_invoice_of_a_postpaid_tenant(settings: Settings) -> None:
    settings.SELLER = "Cache Ltd.\n1 Main Street"
    tenant = new_tenant("pro")
    api_key = new_api_key(tenant, "chat")
    book(receipt(tenant.id, at(2025, 10, 5), api_key_id=api_key.id, hits=250_000))
    before = timezone.now()
    assert close(tenant) == 1
    [invoice] = issued(tenant)
    assert (invoice.number, invoice.kind, invoice.month, invoice.corrects) == (1, "invoice", date(2025, 10, 1), None)
    assert (invoice.plan, invoice.total) == ("pro", Decimal("2.50"))
    assert before <= invoice.issued_at <= timezone.now()
    assert {name: invoice.document[name] for name in ("seller", "bill_to")} == {
        "seller": "Cache Ltd.\n1 Main Street",
        "bill_to": tenant.name,
    }
    assert "half up" in invoice.document["rounding_rule"]
    assert amounts(invoice) == [("cache_hits", "2.500000")]
    [booked] = LedgerEntry.objects.filter(tenant_id=tenant.id)
    assert (booked.kind, booked.units, booked.idempotency_key) == ("invoice", 250_000, "invoice 2025-10")
    assert booked.note == "INV-0001"
    assert balance(tenant) == 0
    event = AuditEvent.objects.get(tenant_id=tenant.id, action="invoice.issue")
    assert (event.actor, event.target) == ("service", "INV-0001")
    assert event.details == {"month": "2025-10", "total_usd": "2.50"}


def test_grants_cover_a_part_and_the_rest_is_billed() -> None:
    tenant = new_tenant("pro")
    book_ledger(tenant, 100_000, at(2025, 8, 31))
    book_ledger(tenant, 50_000, at(2025, 9, 30), kind="promotional")
    book(receipt(tenant.id, at(2025, 9, 1), hits=400_000))
    assert close(tenant, "2025-09") == 1
    [invoice] = issued(tenant)
    assert amounts(invoice) == [("cache_hits", "4.000000"), ("covered_credits", "-1.500000")]
    assert invoice.total == Decimal("2.50")
    assert LedgerEntry.objects.get(tenant_id=tenant.id, kind="invoice").units == 250_000
    assert balance(tenant) == 0


def test_prepaid_tenant_is_billed_nothing_for_credits() -> None:
    tenant = new_tenant("free")
    book_ledger(tenant, 10_000, at(2025, 9, 1), kind="monthly")
    book(receipt(tenant.id, at(2025, 9, 2), hits=9_999), receipt(tenant.id, at(2025, 9, 3), hits=1))
    assert close(tenant, "2025-09") == 1
    [invoice] = issued(tenant)
    assert amounts(invoice) == [("cache_hits", "0.100000"), ("covered_credits", "-0.100000")]
    assert invoice.total == Decimal("0.00")
    assert not LedgerEntry.objects.filter(tenant_id=tenant.id, kind="invoice").exists()


def test_each_month_bills_its_own_use() -> None:
    """What a month left unpaid is on its own invoice, whenever that is made; what it left over pays for the next."""
    tenant = new_tenant("pro")
    book_ledger(tenant, 1_000, at(2025, 6, 10))
    book(
        receipt(tenant.id, at(2025, 6, 20), hits=301_000),
        receipt(tenant.id, at(2025, 7, 1), hits=200_000),
        receipt(tenant.id, at(2025, 8, 1), hits=50_000),
    )
    book_ledger(tenant, 80_000, at(2025, 8, 2))
    book(receipt(tenant.id, at(2025, 9, 1), hits=40_000))
    assert close(tenant, "2025-09") == 4
    assert totals(tenant) == [
        (1, "2025-06", "3.00"),
        (2, "2025-07", "2.00"),
        (3, "2025-08", "0.00"),
        (4, "2025-09", "0.10"),
    ]
    billed = LedgerEntry.objects.filter(tenant_id=tenant.id, kind="invoice").order_by("idempotency_key")
    assert [(each.idempotency_key, each.units) for each in billed] == [
        ("invoice 2025-06", 300_000),
        ("invoice 2025-07", 200_000),
        ("invoice 2025-09", 10_000),
    ]
    assert balance(tenant) == 0


def test_months_closed_one_by_one_bill_the_same() -> None:
    """The invoice's own ledger entry comes after the month's end, when the next month has begun to use credits."""
    tenant = new_tenant("pro")
    for month in (6, 7, 8):
        book(receipt(tenant.id, at(2025, month, 3), hits=100_000 * month))
    book_ledger(tenant, 50_000, at(2025, 8, 1))
    for month in (6, 7, 8):
        assert close(tenant, f"2025-0{month}") == 1
    assert totals(tenant) == [(1, "2025-06", "6.00"), (2, "2025-07", "7.00"), (3, "2025-08", "7.50")]
    assert balance(tenant) == 0


def test_refund_after_the_close_pays_for_the_next_month() -> None:
    tenant = new_tenant("pro")
    book(receipt(tenant.id, at(2025, 8, 3), hits=1_000_000))
    assert close(tenant, "2025-08") == 1
    book(receipt(tenant.id, at(2025, 8, 3), hits=-200_000), receipt(tenant.id, at(2025, 9, 3), hits=300_000))
    assert close(tenant, "2025-09") == 1
    assert totals(tenant) == [(1, "2025-08", "10.00"), (2, "2025-09", "1.00")]
    assert balance(tenant) == 0


def test_correction_below_zero_is_billed() -> None:
    """A month without any use, but with a debt."""
    tenant = new_tenant("pro")
    book_ledger(tenant, -700_000, at(2025, 8, 3), kind="correction")
    assert close(tenant, "2025-09") == 1
    [invoice] = issued(tenant)
    assert amounts(invoice) == [("owed_credits", "7.000000")]
    assert (months.wire(invoice.month), balance(tenant)) == ("2025-08", 0)


def test_only_misses_make_no_invoice() -> None:
    tenant = new_tenant("pro")
    book(receipt(tenant.id, at(2025, 9, 3), hits=0, misses=10))
    assert close(tenant) == 0
    assert issued(tenant) == []


# Storage


def write(tenant: Tenant, api_key: APIKey, size: int, when: datetime, expires_at: datetime) -> Entry:
    """An entry with its receipt and its meters."""
    for api_key_id in (0, api_key.id):
        meter, _ = StorageMeter.objects.get_or_create(
            tenant_id=tenant.id, api_key_id=api_key_id, defaults={"bytes": 0, "moment": 0}
        )
        StorageMeter.objects.filter(tenant_id=tenant.id, api_key_id=api_key_id).update(
            bytes=meter.bytes + size, moment=meter.moment + size * moment(when)
        )
    book(receipt(tenant.id, when, api_key_id=api_key.id, writes=1, storage_delta=size))
    return entry(
        tenant.id, secrets.randbits(62), size=size, api_key_id=api_key.id, created_at=when, expires_at=expires_at
    )


def test_expired_entries_are_booked_at_their_expiry_before_the_close() -> None:
    tenant = new_tenant("pro")
    api_key = new_api_key(tenant)
    write(tenant, api_key, GB + GB // 2, at(2025, 9, 1), at(2025, 9, 21))
    assert close(tenant, "2025-09") == 1
    [invoice] = issued(tenant)
    assert amounts(invoice) == [("storage", "0.100000"), ("free_storage", "-0.010000")]
    assert not Entry.objects.filter(tenant_id=tenant.id).exists()
    assert close(tenant) == 0, "nothing stands in October"


def test_expired_entry_counts_to_its_expiry_booked_or_not() -> None:
    tenant = new_tenant("pro")
    api_key = new_api_key(tenant)
    write(tenant, api_key, GB, at(2025, 9, 1), at(2025, 9, 16))
    for booked in (False, True):
        [draft] = drafts(django_rows, [tenant.id], date(2025, 9, 1))
        assert [line.quantity for line in draft.bill.lines] == ["0.500000000", "-0.100000000"]
        [later] = drafts(django_rows, [tenant.id], date(2025, 10, 1))
        assert later.bill.lines == []
        assert Entry.objects.filter(tenant_id=tenant.id).exists() is not booked
        purge.book_expired(tenant.id)


def test_running_month_reads_of_the_entries_only_those_that_expired() -> None:
    """However many there are, it finds by index what has expired and is not booked, and counts it to its expiry."""
    tenant = new_tenant("pro")
    api_key = new_api_key(tenant)
    now = timezone.now()
    write(tenant, api_key, GB, now - timedelta(hours=3), now - timedelta(hours=1))
    query(
        "insert into entry (tenant_id, space, key, value, data_key_version, size, tags, version, api_key_id, "
        "created_at, expires_at) select %s, 0, 'key ' || i, '\\x00', 1, 1, '{}', i, 1, now(), now() "
        "+ i * interval '1 hour' from generate_series(1, 3000) as i",
        [tenant.id],
    )
    query("analyze entry")
    plans = []

    def explained(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        plans.append("\n".join(line for (line,) in django_rows(f"explain {statement}", parameters)))
        return django_rows(statement, parameters)

    [unbooked] = drafts(explained, [tenant.id], months.of(now))
    [plan] = [each for each in plans if "on entry" in each]
    assert "entry_expires_at" in plan
    assert "Seq Scan on entry" not in plan
    purge.book_expired(tenant.id)
    [booked] = drafts(django_rows, [tenant.id], months.of(now))
    assert booked.usage == unbooked.usage
    Entry.objects.filter(tenant_id=tenant.id).delete()


def test_month_with_nothing_but_what_stands_in_it() -> None:
    tenant = new_tenant("pro")
    api_key = new_api_key(tenant)
    last = invoices.last_over()
    before = months.before(last)
    write(tenant, api_key, GB, months.start(before), timezone.now() + timedelta(days=1))
    assert close(tenant) == 2
    assert totals(tenant) == [(1, months.wire(before), "0.09"), (2, months.wire(last), "0.09")]


# When


def test_running_month_cannot_be_closed() -> None:
    tenant = new_tenant("pro")
    book(receipt(tenant.id, timezone.now(), hits=5))
    running = months.of(timezone.now())
    latest = months.wire(invoices.last_over())
    for month in (running, months.following(running)):
        with pytest.raises(
            ValueError, match=f"{months.wire(month)} cannot be closed yet; the latest that can is {latest}"
        ):
            close_months(month, tenant_id=tenant.id)
        with pytest.raises(ValueError, match="cannot be closed until 1:05:00 after its end"):
            invoices.close(tenant.id, month)
        with pytest.raises(CommandError, match=f"the latest that can is {latest}"):
            call_command("close_month", months.wire(month))
    assert close(tenant) == 0
    assert issued(tenant) == []


@pytest.mark.parametrize(
    ("now", "latest"),
    [
        (datetime(2026, 11, 1, 1, 4, 59, 999_999, UTC), date(2026, 9, 1)),
        (datetime(2026, 11, 1, 1, 5, 0, 0, UTC), date(2026, 10, 1)),
        (datetime(2026, 12, 1, 0, 0, 0, 0, UTC), date(2026, 10, 1)),
        (datetime(2027, 1, 1, 1, 5, 0, 0, UTC), date(2026, 12, 1)),
    ],
)
def test_latest_month_that_is_over(now: datetime, latest: date) -> None:
    """A refund may count an hour back."""
    assert invoices.last_over(now) == latest


def test_months_are_closed_in_order() -> None:
    tenant = new_tenant("pro")
    book(receipt(tenant.id, at(2025, 8, 3), hits=1), receipt(tenant.id, at(2025, 9, 3), hits=1))
    rollup()
    with pytest.raises(ValueError, match="2025-08 is to be closed before 2025-09"):
        invoices.close(tenant.id, date(2025, 9, 1))
    assert close(tenant, "2025-08") == 1
    assert close(tenant, "2025-10") == 1
    assert [month for _, month, _ in totals(tenant)] == ["2025-08", "2025-09"]


def test_month_is_not_closed_before_all_is_booked() -> None:
    tenant = new_tenant("pro")
    book(receipt(tenant.id, at(2025, 8, 3), hits=1))
    with pytest.raises(ValueError, match="usage of 2025-08 is not booked yet"):
        invoices.close(tenant.id, date(2025, 8, 1))
    rollup()
    api_key = new_api_key(tenant)
    write(tenant, api_key, 5, at(2025, 7, 3), at(2025, 9, 1) - MICROSECOND)
    rollup()
    with pytest.raises(ValueError, match="usage of 2025-08 is not booked yet"):
        invoices.close(tenant.id, date(2025, 8, 1))
    assert issued(tenant) == []


def test_month_is_closed_once() -> None:
    tenant = new_tenant("pro")
    book(receipt(tenant.id, at(2025, 9, 3), hits=77_000))
    assert close(tenant) == 1
    before = totals(tenant)
    assert close(tenant) == 0
    assert invoices.close(tenant.id, date(2025, 9, 1)) is None
    assert (totals(tenant), balance(tenant)) == (before, 0)


def test_many_closing_at_once_make_one_invoice_a_month() -> None:
    """With hits of the running month and credit notes coming in between."""
    tenant = new_tenant("pro")
    api_key = new_api_key(tenant)
    for month in (6, 7, 8, 9):
        book(receipt(tenant.id, at(2025, month, 3), api_key_id=api_key.id, hits=100_000))
    assert close(tenant, "2025-06") == 1
    noting = [partial(note, tenant, 1, "0.01") for _ in range(3)]
    charging = [partial(charge, tenant) for _ in range(2)]
    counts = at_once(*[partial(close, tenant)] * 4, *noting, *charging)
    assert sum(counts[:4]) == 3
    found = issued(tenant)
    assert [each.number for each in found] == list(range(1, 8))
    assert [months.wire(each.month) for each in found if each.kind == "invoice"] == [f"2025-0{n}" for n in (6, 7, 8, 9)]
    assert [str(each.total) for each in found if each.kind == "invoice"] == ["1.00"] * 4
    assert LedgerEntry.objects.filter(tenant_id=tenant.id, kind="invoice").count() == 4
    assert balance(tenant) == -20


def charge(tenant: Tenant) -> int:
    for _ in range(10):
        book(receipt(tenant.id, timezone.now(), hits=1))
    return 0


def note(tenant: Tenant, number: int, amount: str) -> int:
    return issue_credit_note(tenant, number, Decimal(amount), "an outage", ACTOR).number


def test_a_tenant_that_cannot_be_closed_holds_up_no_other() -> None:
    """There is no price before 2020."""
    broken, sound = new_tenant("pro"), new_tenant("pro")
    book(receipt(broken.id, at(2019, 12, 3), hits=1), receipt(sound.id, at(2020, 1, 3), hits=100_000))
    try:
        with pytest.raises(ExceptionGroup, match="could not be closed") as raised:
            close_months(date(2020, 1, 1))
        assert any("has no row that holds on 2019-12-01" in str(error) for error in raised.value.exceptions)
        assert totals(sound) == [(1, "2020-01", "1.00")]
        assert issued(broken) == []
        with pytest.raises(CommandError, match=r"could not be closed.*add one"):
            call_command("close_month", "2020-01", "--tenant", broken.name)
    finally:
        broken.delete()


def test_run_out_of_time_goes_on_with_the_next_run() -> None:
    tenant = new_tenant("pro")
    book(receipt(tenant.id, at(2025, 8, 3), hits=1))
    assert close_months(tenant_id=tenant.id, seconds=-1) == 0
    assert issued(tenant) == []
    assert close(tenant) == 1


def test_command_closes_what_is_over() -> None:
    tenant = new_tenant("pro")
    book(receipt(tenant.id, at(2025, 9, 3), hits=1), receipt(tenant.id, at(2025, 10, 3), hits=1))
    for until, count in (("2025-08", 0), ("2025-09", 1), ("2025-10", 1)):
        output = StringIO()
        call_command("close_month", until, "--tenant", tenant.name, stdout=output)
        assert output.getvalue() == f"{count} invoices issued.\n"
    with pytest.raises(CommandError, match="'2025-13' is no month; give one as YYYY-MM"):
        call_command("close_month", "2025-13")


# Credit notes


def invoice_of_ten_dollars(plan: str = "pro") -> Tenant:
    tenant = new_tenant(plan)
    book(receipt(tenant.id, at(2025, 9, 3), hits=1_000_000))
    assert close(tenant) == 1
    return tenant


def test_credit_note_takes_back_some_of_its_invoice() -> None:
    tenant = invoice_of_ten_dollars()
    first = issue_credit_note(tenant, 1, Decimal("2.5"), " The outage of 12 September ", ACTOR)
    assert (first.number, first.kind, first.corrects, first.total) == (2, "credit_note", 1, Decimal("-2.50"))
    assert (first.month, first.plan, first.document["bill_to"]) == (date(2025, 9, 1), "pro", tenant.name)
    [line] = first.document["lines"]
    assert (line["kind"], line["description"], line["amount_usd"]) == (
        "credit_note",
        "The outage of 12 September",
        "-2.50",
    )
    event = AuditEvent.objects.get(tenant_id=tenant.id, action="credit_note.issue")
    assert (event.actor, event.target) == (ACTOR, "CN-0002")
    assert event.details == {
        "month": "2025-09",
        "total_usd": "-2.50",
        "corrects": "INV-0001",
        "reason": "The outage of 12 September",
    }
    assert issue_credit_note(tenant, 1, Decimal("7.50"), "the rest", ACTOR).number == 3
    assert totals(tenant) == [(1, "2025-09", "10.00"), (2, "2025-09", "-2.50"), (3, "2025-09", "-7.50")]
    with pytest.raises(
        ValueError, match=r"amount_usd: 0.01 is not allowed; .* at most the 0.00 USD that invoice 1 has"
    ):
        issue_credit_note(tenant, 1, Decimal("0.01"), "more", ACTOR)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"amount_usd": "10.01"}, "amount_usd: 10.01 is not allowed; .* at most the 10.00 USD"),
        ({"amount_usd": "0"}, "amount_usd: 0 is not allowed; give more than 0"),
        ({"amount_usd": "-1"}, "amount_usd: -1 is not allowed"),
        ({"amount_usd": "1.005"}, "amount_usd: 1.005 is not allowed; .* up to two decimals"),
        ({"amount_usd": "1e400"}, r"amount_usd: 1E\+400 is not allowed"),
        ({"number": 2}, "number: tenant '.*' has no invoice 2"),
        ({"number": 0}, "number: tenant '.*' has no invoice 0"),
        ({"reason": "  "}, "reason: give 1 to 200 characters"),
        ({"reason": "x" * 201}, "reason: give 1 to 200 characters"),
        ({"reason": "two\nlines"}, "reason: give 1 to 200 characters on one line"),
    ],
)
def test_credit_note_refuses(arguments: dict[str, Any], message: str) -> None:
    tenant = invoice_of_ten_dollars()
    given = {"number": 1, "amount_usd": "1.00", "reason": "an outage", **arguments}
    with pytest.raises(ValueError, match=message):
        issue_credit_note(tenant, given["number"], Decimal(given["amount_usd"]), given["reason"], ACTOR)
    assert len(issued(tenant)) == 1


def test_credit_note_of_a_credit_note_is_refused() -> None:
    tenant = invoice_of_ten_dollars()
    issue_credit_note(tenant, 1, Decimal(1), "an outage", ACTOR)
    with pytest.raises(ValueError, match="has no invoice 2"):
        issue_credit_note(tenant, 2, Decimal(1), "an outage", ACTOR)


def test_another_tenants_invoice_is_not_found() -> None:
    invoice_of_ten_dollars()
    with pytest.raises(ValueError, match="has no invoice 1"):
        issue_credit_note(new_tenant("pro"), 1, Decimal(1), "an outage", ACTOR)


def test_credit_notes_at_once_never_pass_the_invoice() -> None:
    tenant = invoice_of_ten_dollars()

    def three() -> int:
        try:
            return note(tenant, 1, "3.00")
        except ValueError:
            return 0

    assert sorted(at_once(*[three] * 6)) == [0, 0, 0, 2, 3, 4]
    assert sum(each.total for each in issued(tenant)) == Decimal("1.00")


def test_command_issues_a_credit_note() -> None:
    tenant = invoice_of_ten_dollars()
    output = StringIO()
    call_command("issue_credit_note", tenant.name, "1", "4.00", "an outage", stdout=output)
    assert output.getvalue() == f"Credit note CN-0002 of -4.00 USD for tenant '{tenant.name}' issued.\n"
    for arguments, message in (
        (("1", "six", "why"), "amount_usd: 'six' is not an amount; give US dollars such as 12.50"),
        (("1", "nan", "why"), "amount_usd: 'nan' is not an amount"),
        (("1", "6.01", "why"), "at most the 6.00 USD that invoice 1 has left"),
    ):
        with pytest.raises(CommandError, match=message):
            call_command("issue_credit_note", tenant.name, *arguments)


# For ever


def test_invoice_is_never_changed_or_deleted() -> None:
    tenant = invoice_of_ten_dollars()
    [invoice] = issued(tenant)
    invoice.total = Decimal(0)
    with pytest.raises(TypeError, match="append-only"):
        invoice.save()
    with pytest.raises(TypeError, match="append-only"):
        invoice.delete()
    with pytest.raises(TypeError, match="append-only"):
        Invoice.objects.filter(tenant_id=tenant.id).update(total=0)
    with pytest.raises(TypeError, match="append-only"):
        Invoice.objects.filter(tenant_id=tenant.id).delete()
    assert totals(tenant) == [(1, "2025-09", "10.00")]


def test_invoice_keeps_what_it_said(settings: Settings) -> None:
    tenant = new_tenant("pro")
    api_key = new_api_key(tenant, "as it was")
    book(receipt(tenant.id, at(2025, 9, 3), api_key_id=api_key.id, hits=1_000_000))
    assert close(tenant) == 1
    before = json.dumps(issued(tenant)[0].document)
    settings.SELLER = "Somebody else"
    APIKey.objects.filter(id=api_key.id).update(name="renamed")
    Tenant.objects.filter(id=tenant.id).update(name=f"renamed {tenant.name}")
    Account.objects.filter(tenant=tenant).update(plan="free")
    grant(tenant.id, "correction", 5, idempotency_key="late", actor=ACTOR)
    assert close(tenant) == 0
    [invoice] = issued(tenant)
    assert json.dumps(invoice.document) == before
    assert '"as it was"' in before
    assert invoice.plan == "pro"


def test_task_is_on_the_schedule(settings: Settings) -> None:
    assert tasks.close_month.name in {each["task"] for each in settings.CELERY_BEAT_SCHEDULE.values()}
