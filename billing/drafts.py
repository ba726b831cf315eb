"""What a month comes to for tenants, from what they used: the month's invoice to be, or how far it has got by now."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

from billing import months
from billing.integrals import byte_microseconds
from billing.invoice_sql import API_KEYS, BALANCES, FREE_STORAGE, PRICES, TENANTS, USAGE
from billing.models import Price
from billing.pricing import APIKey, Bill, Period, Usage, Used, bill
from billing.rows import Rows


class Draft(NamedTuple):
    """A month of a tenant."""

    tenant_id: int
    tenant_name: str
    plan: str
    as_of: datetime  # the month's end, or the moment up to which all is counted
    periods: list[Period]  # of the whole month
    usage: Usage  # of the API keys that used anything
    bill: Bill


class Balances(NamedTuple):
    """What moved a tenant's balance in a month, in units."""

    month: date
    granted: int
    charged: int
    invoiced: int  # what the month's invoice asked for
    closed: bool


def drafts(rows: Rows, tenant_ids: Sequence[int], month: date) -> list[Draft]:
    """In order of the tenants' names. Raises ValueError when a price or a plan has no row that holds in the month."""
    terms = _Terms(rows, month)
    as_of, usage = _usage(rows, tenant_ids, terms)
    balances = _balances(rows, tenant_ids)
    found = []
    for tenant_id, name, plan in rows(TENANTS, {"tenant_ids": list(tenant_ids)}):
        periods, used = terms.periods(plan), usage.get(tenant_id, {})
        comes_to = bill(periods, used, available(balances[tenant_id], month))
        found.append(Draft(tenant_id, name, plan, as_of, periods, used, comes_to))
    return found


def available(balances: Sequence[Balances], month: date) -> int:
    """The units that may pay for a month's hits: the balance at its start, and what was granted in it.

    `balances` in order of months. Months behind the last closed one are yet to get invoices, which will ask for what
    they used beyond the balance: they leave nothing below zero. What came to a closed month later counts from then on.
    """
    last_closed = max((each.month for each in balances if each.closed), default=date.min)
    balance = 0
    for each in balances:
        if each.month == month:
            return balance + each.granted
        if each.month > month:
            break
        balance += each.granted - each.charged + each.invoiced
        if each.month > last_closed:
            balance = max(0, balance)
    return balance


class _Terms:
    """Prices and plans within a month."""

    def __init__(self, rows: Rows, month: date) -> None:
        following = months.following(month)
        self.start, self.end = months.start(month), months.start(following)
        self._prices = _by_code(rows(PRICES, {"end": following}))
        self._free = _by_code(rows(FREE_STORAGE, {"end": following}))
        changes = {day for table in (self._prices, self._free) for changed in table.values() for day, _ in changed}
        self._days = [month, *sorted(day for day in changes if day > month)]
        self.bounds = [months.midnight(day) for day in self._days]

    def periods(self, plan: str) -> list[Period]:
        ends = [*self.bounds[1:], self.end]
        return [
            Period(
                start,
                end,
                _holding(self._prices, Price.CACHE_HIT, day),
                _holding(self._prices, Price.CREDIT, day),
                _holding(self._prices, Price.STORAGE, day),
                _holding(self._free, plan, day),
            )
            for day, start, end in zip(self._days, self.bounds, ends, strict=True)
        ]


def _by_code(found: Iterable[tuple[Any, ...]]) -> dict[str, list[tuple[date, Any]]]:
    """The rows (day from which it holds, value) of each code, in order of days."""
    table: dict[str, list[tuple[date, Any]]] = defaultdict(list)
    for code, valid_from, value in found:
        table[code].append((valid_from, value))
    return table


def _holding(table: Mapping[str, Sequence[tuple[date, Any]]], code: str, day: date) -> Any:
    values = [value for valid_from, value in table.get(code, ()) if valid_from <= day]
    if not values:
        raise ValueError(f"prices: '{code}' has no row that holds on {day}; add one.")
    return values[-1]


def _usage(rows: Rows, tenant_ids: Sequence[int], terms: _Terms) -> tuple[datetime, dict[int, Usage]]:
    """Up to when it counts, and what each API key of each tenant used in each period."""
    parameters = {"tenant_ids": list(tenant_ids), "start": terms.start, "end": terms.end, "bounds": terms.bounds}
    found = rows(USAGE, parameters)
    as_of: datetime = found[0][0]
    events: dict[tuple[int, int], dict[int, tuple[Any, ...]]] = defaultdict(dict)
    for _, tenant_id, api_key_id, ordinal, *sums in found:
        if tenant_id is not None:
            events[tenant_id, api_key_id][ordinal] = tuple(sums)
    used = {key: _used(each, [*terms.bounds, terms.end], as_of) for key, each in events.items()}
    used = {key: each for key, each in used.items() if any(map(any, each))}
    names = _names(rows, used)
    usage: dict[int, dict[APIKey, list[Used]]] = defaultdict(dict)
    for (tenant_id, api_key_id), each in used.items():
        usage[tenant_id][APIKey(names.get((tenant_id, api_key_id), ""), api_key_id)] = each
    return as_of, dict(usage)


def _used(events: Mapping[int, tuple[Any, ...]], bounds: Sequence[datetime], as_of: datetime) -> list[Used]:
    """What an API key used in each period, from the sums of each: 0 is before the first one."""
    *_, standing, _ = events.get(0, _NOTHING)
    used = []
    for ordinal, (start, end) in enumerate(pairwise(bounds), 1):
        hits, misses, writes, units, saved, delta, moment = events.get(ordinal, _NOTHING)
        integral = byte_microseconds(standing, delta, moment, start, min(end, as_of))
        used.append(Used(hits, misses, writes, units, saved, integral))
        standing += delta
    return used


_NOTHING = (0, 0, 0, 0, Decimal(0), 0, 0)


def _names(rows: Rows, api_keys: Iterable[tuple[int, int]]) -> dict[tuple[int, int], str]:
    tenant_ids, ids = {tenant_id for tenant_id, _ in api_keys}, [api_key_id for _, api_key_id in api_keys]
    found = rows(API_KEYS, {"tenant_ids": list(tenant_ids), "ids": ids})
    return {(tenant_id, api_key_id): name for tenant_id, api_key_id, name in found}


def _balances(rows: Rows, tenant_ids: Sequence[int]) -> Mapping[int, list[Balances]]:
    balances: dict[int, list[Balances]] = defaultdict(list)
    for tenant_id, *each in rows(BALANCES, {"tenant_ids": list(tenant_ids)}):
        balances[tenant_id].append(Balances._make(each))
    return balances
