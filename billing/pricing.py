"""What a month's usage costs in USD: pure functions on integers, fractions and decimals."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby
from typing import Annotated, Literal, NamedTuple

import msgspec

from accounts import tokens
from billing.integrals import MICROSECOND
from billing.units import UNITS, usd

ROUNDING_RULE = (
    "Each amount is the exact quantity times the unit price, rounded half up to 0.000001 USD; no line takes off more "
    "than the amounts that it reduces. The total is their sum, rounded half up to cents. GB-months are shown to nine "
    "decimals."
)
AMOUNT_PLACES, GB_MONTH_PLACES, CENT_PLACES = 6, 9, 2
GB = 10**9
DAY = timedelta(days=1)

Day = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\d$", description="A UTC day.")]
USD = Annotated[str, msgspec.Meta(pattern=r"^-?\d+\.\d+$", description="US dollars.")]
Quantity = Annotated[str, msgspec.Meta(pattern=r"^-?\d+\.\d+$", description="Credits, or GB-months to nine decimals.")]
Kind = Literal["cache_hits", "owed_credits", "covered_credits", "storage", "free_storage", "credit_note"]
Unit = Literal["credit", "GB-month"]
PLACES: Mapping[Unit, int] = {"credit": 2, "GB-month": GB_MONTH_PLACES}


class InvoiceLineAPIKey(msgspec.Struct, frozen=True):
    """Named as it was when the document was made."""

    id: str
    name: Annotated[str | None, msgspec.Meta(description="Null: there was no such API key any more.")]


class InvoiceLine(msgspec.Struct, frozen=True, kw_only=True):
    """A line of an invoice or a credit note. What is taken off is negative."""

    kind: Kind
    description: str
    amount_usd: USD
    api_key: InvoiceLineAPIKey | None = None  # None: of the whole tenant
    first_day: Day | None = None
    last_day: Day | None = None
    hits: int | None = None
    quantity: Quantity | None = None
    unit: Unit | None = None
    unit_price_usd: USD | None = None


class Period(NamedTuple):
    """A part of a month, from one UTC midnight to another, in which no price changes."""

    start: datetime
    end: datetime
    hit: Decimal  # units a hit
    credit: Decimal  # USD a credit
    storage: Decimal  # USD a GB-month
    free_bytes: int  # of the tenant's plan


class Used(NamedTuple):
    """What an API key used in a period."""

    hits: int = 0
    misses: int = 0
    writes: int = 0
    units: int = 0
    saved: Decimal = Decimal(0)  # USD
    byte_microseconds: int = 0


class APIKey(NamedTuple):
    """Sorts by name."""

    name: str  # empty: there is no such API key any more
    id: int


Usage = Mapping[APIKey, Sequence[Used]]  # of each API key for each period


class Bill(NamedTuple):
    """What a month comes to."""

    lines: list[InvoiceLine]
    units: int  # that the lines ask for: what the balance did not pay
    total: Decimal  # USD, in cents


def bill(periods: Sequence[Period], usage: Usage, available: int) -> Bill:
    """The lines of a month. `periods` are those of the whole month, even of one that is not over.

    `available`: the units that may pay for the month's hits: the balance at its start and what was granted in it. Below
    zero, corrections took more than there was: the tenant owes that, and it stands on the bill.
    """
    credit_lines, units = _credit_lines(periods, usage, available)
    lines = credit_lines + _storage_lines(periods, usage)
    amounts = sum((Fraction(line.amount_usd) for line in lines), Fraction())
    return Bill(lines, units, rounded(max(Fraction(), amounts), CENT_PLACES))


def rounded(number: Fraction, places: int) -> Decimal:
    """Half up, and below zero half down: away from zero."""
    scaled = abs(number) * 10**places + Fraction(1, 2)
    return Decimal(scaled.numerator // scaled.denominator * (-1 if number < 0 else 1)).scaleb(-places)


def gb_months(byte_microseconds: int, periods: Sequence[Period]) -> Fraction:
    """By the real length of the periods' month."""
    return Fraction(byte_microseconds, GB * ((periods[-1].end - periods[0].start) // MICROSECOND))


class _Part(NamedTuple):
    """Periods that follow each other and have one price of what is sold."""

    periods: slice
    start: datetime
    end: datetime
    price: Decimal  # USD


class _Sold(NamedTuple):
    """What is sold, and what takes some of it off again."""

    kind: Kind
    description: str
    unit: Unit
    off_kind: Kind
    off_description: str


_CREDITS = _Sold("cache_hits", "Cache hits", "credit", "covered_credits", "Paid from the credit balance")
_STORAGE = _Sold("storage", "Storage", "GB-month", "free_storage", "Free storage")


def _credit_lines(periods: Sequence[Period], usage: Usage, available: int) -> tuple[list[InvoiceLine], int]:
    """What hits cost and what of it the balance paid; then the units that it did not pay."""
    parts = _parts(periods, lambda each: (each.credit, each.hit))
    hits = {key: [sum(one.hits for one in used[part.periods]) for part in parts] for key, used in usage.items()}
    spent = {
        key: [Fraction(sum(one.units for one in used[part.periods]), UNITS) for part in parts]
        for key, used in usage.items()
    }
    lines, unpaid = _lines(_CREDITS, parts, spent, Fraction(max(0, available), UNITS), hits)
    owed = Fraction(max(0, -available), UNITS)
    if owed:
        lines.append(_line("owed_credits", "Owed from corrections", owed, "credit", parts[0]))
    return lines, int((unpaid + owed) * UNITS)


def _storage_lines(periods: Sequence[Period], usage: Usage) -> list[InvoiceLine]:
    parts = _parts(periods, lambda each: (each.storage,))
    held = {
        key: [gb_months(sum(one.byte_microseconds for one in used[part.periods]), periods) for part in parts]
        for key, used in usage.items()
    }
    free = sum(each.free_bytes * ((each.end - each.start) // MICROSECOND) for each in periods)
    lines, _ = _lines(_STORAGE, parts, held, gb_months(free, periods), None)
    return lines


def _parts(periods: Sequence[Period], prices: Callable[[Period], tuple[Decimal, ...]]) -> list[_Part]:
    """A part for each run of periods with the same `prices`, of which the first is what is sold at."""
    parts, first = [], 0
    for (price, *_), group in groupby(periods, prices):
        run = list(group)
        parts.append(_Part(slice(first, first + len(run)), run[0].start, run[-1].end, price))
        first += len(run)
    return parts


def _lines(
    sold: _Sold,
    parts: Sequence[_Part],
    quantities: Mapping[APIKey, Sequence[Fraction]],
    off: Fraction,
    hits: Mapping[APIKey, Sequence[int]] | None,
) -> tuple[list[InvoiceLine], Fraction]:
    """Each API key's lines, part by part, and those that take `off` again; then the quantity that remains."""
    lines, amounts = [], [Fraction()] * len(parts)
    for api_key in sorted(quantities):
        for n, part in enumerate(parts):
            quantity, hit = quantities[api_key][n], hits[api_key][n] if hits else None
            if quantity or hit:
                line = _line(sold.kind, sold.description, quantity, sold.unit, part, api_key=api_key, hits=hit)
                lines.append(line)
                amounts[n] += Fraction(line.amount_usd)
    totals = [sum((each[n] for each in quantities.values()), Fraction()) for n in range(len(parts))]
    taken = _first(off, totals)
    for part, quantity, whole, amount in zip(parts, taken, totals, amounts, strict=True):
        if quantity:
            most = amount if quantity == whole else min(amount, quantity * Fraction(part.price))
            lines.append(_line(sold.off_kind, sold.off_description, -quantity, sold.unit, part, amount=-most))
    return lines, sum(totals, Fraction()) - sum(taken, Fraction())


def _first(most: Fraction, quantities: Sequence[Fraction]) -> list[Fraction]:
    """Up to `most` of the quantities, the first ones first. Late refunds may have brought one below zero."""
    if sum(quantities) <= most:
        return list(quantities)
    taken = []
    for quantity in quantities:
        taken.append(max(Fraction(), min(quantity, most)))
        most -= taken[-1]
    return taken


def _line(
    kind: Kind,
    description: str,
    quantity: Fraction,
    unit: Unit,
    part: _Part,
    *,
    amount: Fraction | None = None,
    api_key: APIKey | None = None,
    hits: int | None = None,
) -> InvoiceLine:
    """Its amount is the quantity times the part's price, unless it is given."""
    if amount is None:
        amount = quantity * Fraction(part.price)
    return InvoiceLine(
        kind=kind,
        description=description,
        amount_usd=f"{rounded(amount, AMOUNT_PLACES):f}",
        api_key=InvoiceLineAPIKey(tokens.encode_id(api_key.id), api_key.name or None) if api_key else None,
        first_day=f"{part.start:%Y-%m-%d}",
        last_day=f"{part.end - DAY:%Y-%m-%d}",
        hits=hits,
        quantity=f"{rounded(quantity, PLACES[unit]):f}",
        unit=unit,
        unit_price_usd=usd(part.price),
    )
