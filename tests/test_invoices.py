"""What a month comes to, to the last hit and byte: amounts against an oracle of its own, and balances."""

import random
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction
from typing import NamedTuple

import pytest
from django.utils import timezone

from accounts import tokens
from accounts.models import APIKey, Tenant
from billing import drafts, months, pricing
from billing.drafts import Balances, Draft, available
from billing.models import Price
from billing.pricing import InvoiceLine, Period, Used
from billing.rows import django_rows
from cacheservice.entries.rollup import rollup
from tests.billing_cast import at, book, book_ledger, new_api_key, new_tenant
from tests.receipts import receipt

MICROSECOND = timedelta(microseconds=1)
MB, GB = 10**6, 10**9
CREDIT, STORAGE = Decimal("0.001"), Decimal("0.10")


def draft(tenant: Tenant, month: str) -> Draft:
    [found] = drafts.drafts(django_rows, [tenant.id], months.parse(month))
    return found


def amounts(lines: list[InvoiceLine]) -> list[tuple[str, str]]:
    return [(line.kind, line.amount_usd) for line in lines]


@contextmanager
def prices(*changes: tuple[str, date, str]) -> Iterator[None]:
    """Rows of the price table, as long as the test runs."""
    rows = [Price(code=code, valid_from=day, amount=Decimal(amount)) for code, day, amount in changes]
    Price.objects.bulk_create(rows)
    try:
        yield
    finally:
        for code, day, _ in changes:
            Price.objects.filter(code=code, valid_from=day).delete()


# The contract's prices


def test_a_million_hits_cost_ten_dollars() -> None:
    tenant = new_tenant("pro")
    api_key = new_api_key(tenant, "chat")
    book(receipt(tenant.id, at(2025, 5, 20), api_key_id=api_key.id, hits=10**6))
    found = draft(tenant, "2025-05")
    assert found.bill.lines == [
        InvoiceLine(
            kind="cache_hits",
            description="Cache hits",
            amount_usd="10.000000",
            api_key=pricing.InvoiceLineAPIKey(tokens.encode_id(api_key.id), "chat"),
            first_day="2025-05-01",
            last_day="2025-05-31",
            hits=10**6,
            quantity="10000.00",
            unit="credit",
            unit_price_usd="0.001",
        )
    ]
    assert (found.bill.units, found.bill.total) == (10**6, Decimal("10.00"))


@pytest.mark.parametrize("month", ["2025-02", "2024-02", "2025-03", "2025-04"])
def test_a_gigabyte_for_a_month_costs_nine_cents(month: str) -> None:
    """Whatever the month's real length."""
    tenant, first = new_tenant("pro"), months.parse(month)
    api_key = new_api_key(tenant)
    book(
        receipt(tenant.id, months.start(first), api_key_id=api_key.id, storage_delta=GB),
        receipt(tenant.id, months.start(months.following(first)), api_key_id=api_key.id, storage_delta=-GB),
    )
    found = draft(tenant, month)
    assert amounts(found.bill.lines) == [("storage", "0.100000"), ("free_storage", "-0.010000")]
    assert [line.quantity for line in found.bill.lines] == ["1.000000000", "-0.100000000"]
    assert found.bill.total == Decimal("0.09")


def test_a_hundred_megabytes_for_a_month_are_free() -> None:
    tenant = new_tenant("pro")
    api_key = new_api_key(tenant)
    book(receipt(tenant.id, at(2025, 6, 1), api_key_id=api_key.id, storage_delta=100 * MB))
    found = draft(tenant, "2025-06")
    assert amounts(found.bill.lines) == [("storage", "0.010000"), ("free_storage", "-0.010000")]
    assert found.bill.total == Decimal("0.00")


def test_a_byte_second_beyond_the_free_ones_is_counted() -> None:
    """The quantity is shown to nine decimals, but the amount is of the exact one."""
    tenant = new_tenant("pro")
    book(
        receipt(tenant.id, at(2025, 6, 1), storage_delta=100 * MB), receipt(tenant.id, at(2025, 6, 15), storage_delta=1)
    )
    [stored, free] = draft(tenant, "2025-06").bill.lines
    assert stored.quantity == "0.100000001"  # 16 of 30 days: 0.1000000005333
    assert (free.quantity, free.amount_usd) == ("-0.100000000", "-0.010000")


def test_hits_of_the_last_microsecond_are_the_months_own() -> None:
    tenant = new_tenant("pro")
    book(
        receipt(tenant.id, at(2025, 8, 1) - MICROSECOND, hits=3),
        receipt(tenant.id, at(2025, 8, 1), hits=40),
        receipt(tenant.id, at(2025, 9, 1) - MICROSECOND, hits=500),
        receipt(tenant.id, at(2025, 9, 1), hits=6000),
    )
    for folded in (False, True):
        assert [draft(tenant, month).bill.lines[0].hits for month in ("2025-07", "2025-08", "2025-09")] == [
            3,
            540,
            6000,
        ]
        assert (rollup() > 0) is not folded


def test_storage_of_the_last_microsecond_is_the_months_own() -> None:
    tenant = new_tenant("pro")
    book(
        receipt(tenant.id, at(2025, 8, 1) - MICROSECOND, storage_delta=GB),
        receipt(tenant.id, at(2025, 8, 1), storage_delta=-GB),
    )
    [(_, [used])] = draft(tenant, "2025-07").usage.items()
    assert used.byte_microseconds == GB
    assert draft(tenant, "2025-08").usage == {}


def test_api_keys_without_usage_have_no_lines() -> None:
    tenant = new_tenant("pro")
    new_api_key(tenant, "idle")
    busy = new_api_key(tenant, "busy")
    misses = new_api_key(tenant, "only misses")
    book(
        receipt(tenant.id, at(2025, 5, 3), api_key_id=busy.id, hits=1),
        receipt(tenant.id, at(2025, 5, 3), api_key_id=misses.id, hits=0, units=0, misses=5),
    )
    found = draft(tenant, "2025-05")
    assert [line.api_key.name for line in found.bill.lines if line.api_key] == ["busy"]
    assert {api_key.name for api_key in found.usage} == {"busy", "only misses"}


def test_lines_are_in_order_of_the_api_keys_names_credits_first() -> None:
    tenant = new_tenant("pro")
    for name in ("zebra", "ant", "monkey"):
        api_key = new_api_key(tenant, name)
        book(receipt(tenant.id, at(2025, 5, 3), api_key_id=api_key.id, hits=7, storage_delta=GB))
    book_ledger(tenant, 5, at(2025, 5, 4))
    lines = draft(tenant, "2025-05").bill.lines
    assert [(line.kind, line.api_key and line.api_key.name) for line in lines] == [
        ("cache_hits", "ant"),
        ("cache_hits", "monkey"),
        ("cache_hits", "zebra"),
        ("covered_credits", None),
        ("storage", "ant"),
        ("storage", "monkey"),
        ("storage", "zebra"),
        ("free_storage", None),
    ]


def test_a_revoked_or_deleted_api_key_still_pays() -> None:
    tenant = new_tenant("pro")
    api_key = new_api_key(tenant, "gone")
    book(receipt(tenant.id, at(2025, 5, 3), api_key_id=api_key.id, hits=7))
    APIKey.objects.filter(id=api_key.id).delete()
    [line] = draft(tenant, "2025-05").bill.lines
    assert line.api_key == pricing.InvoiceLineAPIKey(tokens.encode_id(api_key.id), None)
    assert line.amount_usd == "0.000070"


# Price changes


def test_price_change_within_the_month_splits_its_lines() -> None:
    tenant = new_tenant("pro")
    api_key = new_api_key(tenant)
    book(
        receipt(tenant.id, at(2025, 4, 11) - MICROSECOND, api_key_id=api_key.id, hits=100_000),
        receipt(tenant.id, at(2025, 4, 11), api_key_id=api_key.id, hits=100_000),
        receipt(tenant.id, at(2025, 4, 1), api_key_id=api_key.id, storage_delta=GB),
    )
    changes = [("credit", date(2025, 4, 11), "0.002"), ("storage", date(2025, 4, 21), "0.40")]
    back = [("credit", date(2025, 5, 1), "0.001"), ("storage", date(2025, 5, 1), "0.10")]
    with prices(*changes, *back):
        found = draft(tenant, "2025-04").bill
        before, after = draft(tenant, "2025-03").bill, draft(tenant, "2025-05").bill
    assert [
        (line.kind, line.first_day, line.last_day, line.quantity, line.unit_price_usd, line.amount_usd)
        for line in found.lines
    ] == [
        ("cache_hits", "2025-04-01", "2025-04-10", "1000.00", "0.001", "1.000000"),
        ("cache_hits", "2025-04-11", "2025-04-30", "1000.00", "0.002", "2.000000"),
        ("storage", "2025-04-01", "2025-04-20", "0.666666667", "0.10", "0.066667"),
        ("storage", "2025-04-21", "2025-04-30", "0.333333333", "0.40", "0.133333"),
        ("free_storage", "2025-04-01", "2025-04-20", "-0.100000000", "0.10", "-0.010000"),
    ]
    assert found.total == Decimal("3.19")
    assert before.lines == []
    assert [line.unit_price_usd for line in after.lines] == ["0.10", "0.10"]


def test_grants_pay_for_the_first_hits_first() -> None:
    tenant = new_tenant("pro")
    book(receipt(tenant.id, at(2025, 4, 2), hits=100_000), receipt(tenant.id, at(2025, 4, 20), hits=100_000))
    book_ledger(tenant, 150_000, at(2025, 4, 30))
    with prices(("credit", date(2025, 4, 11), "0.002"), ("credit", date(2025, 5, 1), "0.001")):
        found = draft(tenant, "2025-04").bill
    assert amounts(found.lines) == [
        ("cache_hits", "1.000000"),
        ("cache_hits", "2.000000"),
        ("covered_credits", "-1.000000"),
        ("covered_credits", "-1.000000"),
    ]
    assert (found.units, found.total) == (50_000, Decimal("1.00"))


def test_price_row_that_changes_nothing_splits_nothing() -> None:
    tenant = new_tenant("pro")
    book(receipt(tenant.id, at(2025, 4, 2), hits=1), receipt(tenant.id, at(2025, 4, 20), hits=1))
    with prices(("credit", date(2025, 4, 11), "0.001")):
        [line] = draft(tenant, "2025-04").bill.lines
    assert (line.hits, line.first_day, line.last_day) == (2, "2025-04-01", "2025-04-30")


def test_price_of_a_hit_splits_its_lines_too() -> None:
    """So that each line's hits and credits explain each other."""
    tenant = new_tenant("pro")
    book(receipt(tenant.id, at(2025, 4, 10), hits=50), receipt(tenant.id, at(2025, 4, 11), hits=50, units=150))
    with prices(("cache_hit", date(2025, 4, 11), "3"), ("cache_hit", date(2025, 5, 1), "1")):
        lines = draft(tenant, "2025-04").bill.lines
    assert [(line.hits, line.quantity, line.first_day) for line in lines] == [
        (50, "0.50", "2025-04-01"),
        (50, "1.50", "2025-04-11"),
    ]


def test_free_storage_counts_by_the_days_that_it_held() -> None:
    before = Period(at(2025, 4, 1), at(2025, 4, 11), Decimal(1), CREDIT, STORAGE, 100 * MB)
    after = before._replace(start=at(2025, 4, 11), end=at(2025, 5, 1), free_bytes=400 * MB)
    a_month = GB * ((after.end - before.start) // MICROSECOND)
    bill = pricing.bill([before, after], {pricing.APIKey("", 1): [Used(byte_microseconds=a_month), Used()]}, 0)
    assert [(line.kind, line.quantity) for line in bill.lines] == [
        ("storage", "1.000000000"),
        ("free_storage", "-0.300000000"),
    ]
    assert bill.total == Decimal("0.07")


def test_missing_price_is_no_zero() -> None:
    tenant = new_tenant("pro")
    with pytest.raises(ValueError, match="'cache_hit' has no row that holds on 2019-12-01"):
        draft(tenant, "2019-12")


# Balances: months, in units, as (granted, charged, invoiced, closed)


def balances(*each: tuple[int, int, int, bool]) -> list[Balances]:
    return [Balances(date(2025, month, 1), *rest) for month, rest in enumerate(each, 1)]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([], 0),
        ([(100, 0, 0, False)], 100),  # granted in the month itself
        ([(100, 500, 0, False)], 100),  # the month's own charges are what it pays for
        ([(100, 30, 0, True), (0, 0, 0, False)], 70),
        ([(100, 130, 30, True), (7, 0, 0, False)], 7),  # the invoice took the debt out
        ([(100, 130, 0, False), (7, 0, 0, False)], 7),  # its own invoice will ask for it
        ([(0, 130, 130, True), (0, 50, 0, False), (7, 0, 0, False)], 7),
        ([(0, 127, 130, True), (0, 0, 0, False)], 3),  # refunded after the month was closed
        ([(0, 133, 130, True), (0, 0, 0, False)], -3),  # and the other way round
        ([(-5, 0, 0, False)], -5),  # a correction, which the month's invoice asks for
        ([(-5, 0, 5, True), (0, 0, 0, False)], 0),
        ([(100, 0, 0, False), (0, 30, 0, True), (0, 20, 0, False), (1, 9, 0, False)], 51),
    ],
)
def test_available(history: list[tuple[int, int, int, bool]], expected: int) -> None:
    found = balances(*history)
    month = found[-1].month if found else date(2025, 1, 1)
    assert available(found, month) == expected
    assert available([*found, Balances(date(2026, 1, 1), 1000, 1000, 0, False)], month) == expected


# Against an oracle


class Event(NamedTuple):
    at: datetime
    api_key_id: int
    units: int  # a hit each
    delta: int  # bytes


class Terms(NamedTuple):
    """From a day of the month on."""

    start: datetime
    credit: Fraction
    storage: Fraction


def six_places(amount: Fraction) -> Decimal:
    """Decimal's own rounding, from more digits than could be a tie by chance."""
    exact = Context(prec=60).divide(Decimal(amount.numerator), Decimal(amount.denominator))
    return exact.quantize(Decimal("0.000001"), ROUND_HALF_UP)


def oracle(events: list[Event], terms: list[Terms], end: datetime, granted: int, free: int) -> dict[str, list[Decimal]]:
    """The amounts of a month's lines by kind: hit by hit, and level by level of the bytes."""
    starts = [each.start for each in terms]
    ends = [*starts[1:], end]
    found: dict[str, list[Decimal]] = defaultdict(list)
    owed = [Fraction(0) for _ in terms]
    held = [Fraction(0) for _ in terms]
    sums = {kind: [Decimal(0) for _ in terms] for kind in ("cache_hits", "storage")}
    for api_key_id in sorted({event.api_key_id for event in events}):
        own = sorted(event for event in events if event.api_key_id == api_key_id)
        for n, (each, until) in enumerate(zip(terms, ends, strict=True)):
            units = sum(event.units for event in own if each.start <= event.at < until)
            owed[n] += units
            if units:
                found["cache_hits"].append(six_places(Fraction(units, 100) * each.credit))
                sums["cache_hits"][n] += found["cache_hits"][-1]
        for n, (each, until) in enumerate(zip(terms, ends, strict=True)):
            level, last, area = 0, each.start, Fraction(0)
            for event in own:
                if event.at < until:
                    area += level * max(0, (max(event.at, each.start) - last) // MICROSECOND)
                    last, level = max(event.at, each.start), level + event.delta
            area += level * ((until - last) // MICROSECOND)
            gb_months = area / (GB * ((end - starts[0]) // MICROSECOND))
            held[n] += gb_months
            if gb_months:
                found["storage"].append(six_places(gb_months * each.storage))
                sums["storage"][n] += found["storage"][-1]
    left = Fraction(granted)
    for n, each in enumerate(terms):
        covered = min(left, owed[n])
        left -= covered
        if covered:
            exact = six_places(covered / 100 * each.credit)
            all_of_it = covered == owed[n]
            found["covered_credits"].append(
                -(sums["cache_hits"][n] if all_of_it else min(exact, sums["cache_hits"][n]))
            )
    left = Fraction(free, GB)
    for n, each in enumerate(terms):
        taken = min(left, held[n])
        left -= taken
        if taken:
            exact = six_places(taken * each.storage)
            all_of_it = taken == held[n]
            found["free_storage"].append(-(sums["storage"][n] if all_of_it else min(exact, sums["storage"][n])))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_amounts_are_the_oracles(seed: int) -> None:
    random.seed(seed)
    month = date(2024, random.randint(1, 12), 1)
    start, end = months.start(month), months.start(months.following(month))
    tenant = new_tenant("pro")
    ids = sorted(random.getrandbits(60) for _ in range(random.randint(1, 5)))
    span = (end - start) // MICROSECOND
    events = []
    for _ in range(random.randint(1, 120)):
        written = start + random.randint(-span, span) * MICROSECOND
        removed = min(written + random.randint(0, span) * MICROSECOND, timezone.now())
        size, api_key_id = random.choice([1, 999, 10**6, 3 * 10**8]), random.choice(ids)
        events += [Event(written, api_key_id, 0, size), Event(removed, api_key_id, 0, -size)]
        hit = start + random.randint(0, span - 1) * MICROSECOND
        events.append(Event(hit, api_key_id, random.randint(0, 10**5), 0))
    granted = random.choice([0, 0, 10**4, 10**6, 10**8])
    if granted:
        book_ledger(tenant, granted, start - MICROSECOND * random.randint(-span + 1, span))
    days = sorted(random.sample(range(2, 28), random.randint(0, 3)))
    terms = [Terms(start, Fraction(CREDIT), Fraction(STORAGE))]
    changes = []
    for day in days:
        credit, storage = (Decimal(random.randint(1, 10**8)).scaleb(-10) for _ in range(2))
        changes += [("credit", month.replace(day=day), str(credit)), ("storage", month.replace(day=day), str(storage))]
        terms.append(Terms(start.replace(day=day), Fraction(credit), Fraction(storage)))
    back = [("credit", end.date(), "0.001"), ("storage", end.date(), "0.10")] if days else []
    book(
        *(
            receipt(
                tenant.id,
                each.at,
                api_key_id=each.api_key_id,
                hits=each.units,
                units=each.units,
                storage_delta=each.delta,
            )
            for each in events
        )
    )
    expected = oracle(events, terms, end, granted, 100 * MB)
    with prices(*changes, *back):
        for _ in range(2):
            bill = draft(tenant, months.wire(month)).bill
            found: dict[str, list[Decimal]] = defaultdict(list)
            for line in bill.lines:
                found[line.kind].append(Decimal(line.amount_usd))
            assert found == expected
            total = sum((amount for each in expected.values() for amount in each), Decimal(0))
            assert bill.total == total.quantize(Decimal("0.01"), ROUND_HALF_UP)
            assert bill.total >= 0
            rollup()


def test_what_covers_all_takes_off_what_its_lines_amount_to() -> None:
    """Ten thousand amounts that are each rounded up: rounding the sum would leave half a cent, and more keys more."""
    period = Period(at(2025, 4, 1), at(2025, 5, 1), Decimal(1), Decimal("0.00015"), STORAGE, 10**15)
    usage = {pricing.APIKey("", number): [Used(1, 0, 0, 1, Decimal(0), 10**12)] for number in range(10_000)}
    bill = pricing.bill([period], usage, available=10_000)
    assert {line.amount_usd for line in bill.lines if line.kind == "cache_hits"} == {"0.000002"}
    assert [each for each in amounts(bill.lines) if each[0] == "covered_credits"] == [("covered_credits", "-0.020000")]
    assert bill.total == 0


def test_late_refunds_never_pay_out() -> None:
    """A month that has nothing but refunds of the hits of the one before: they stay in the balance."""
    period = Period(at(2025, 4, 1), at(2025, 5, 1), Decimal(1), CREDIT, STORAGE, 0)
    bill = pricing.bill([period], {pricing.APIKey("", 1): [Used(hits=-7, units=-7)]}, available=0)
    assert amounts(bill.lines) == [("cache_hits", "-0.000070"), ("covered_credits", "0.000070")]
    assert (bill.units, str(bill.total)) == (0, "0.00")


@pytest.mark.parametrize(
    ("number", "places", "expected"),
    [
        (Fraction(1, 200), 2, "0.01"),
        (Fraction(-1, 200), 2, "-0.01"),
        (Fraction(49, 10_000), 2, "0.00"),
        (Fraction(1, 3), 6, "0.333333"),
        (Fraction(2, 3), 6, "0.666667"),
        (Fraction(0), 2, "0.00"),
        (Fraction(10**20 + 1, 2), 0, "5" + "0" * 18 + "1"),
    ],
)
def test_rounding_is_half_up(number: Fraction, places: int, expected: str) -> None:
    assert f"{pricing.rounded(number, places):f}" == expected
