"""What a tenant used: reports by UTC hour, day or month, exact up to the moment they are made.

A report adds the rollups and what is not in them yet, read in one statement. Storage is an integral: over a period it
is the bytes that stood at the period's start times its length, and the bytes of each event within it times what is left
of it. All in whole bytes and microseconds; nothing is rounded here.
"""

import calendar
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple, Protocol

from billing.integrals import EPOCH, MICROSECOND, byte_microseconds
from billing.models import UsageRollup
from billing.rows import Rows
from billing.usage_sql import API_KEY_NAMES, TAG_USAGE, USAGE
from cacheservice.errors import InvalidRequest

PERIODS = {
    "hour": UsageRollup.Period.HOUR,
    "day": UsageRollup.Period.DAY,
    "month": UsageRollup.Period.MONTH,
}
MAX_ROWS = 50_000  # of a report by API key: 50 of them by hour for a month, and some
MAX_TAG_ROWS = 10_000


class Range(NamedTuple):
    """The periods from `start` up to, not including, `end`. Both are starts of such periods."""

    start: datetime
    end: datetime
    group_by: str  # of PERIODS

    def starts(self, as_of: datetime) -> Iterator[datetime]:
        """The starts of its periods that have begun."""
        start = self.start
        while start < self.end and start <= as_of:
            yield start
            start = shifted(start, self.group_by, 1)


class Counts(NamedTuple):
    """What was used: see `models.Counts`. The bytes are integrated over time."""

    hits: int = 0
    misses: int = 0
    writes: int = 0
    duplicates: int = 0
    deletes: int = 0
    units: int = 0
    saved: Decimal = Decimal(0)  # USD
    byte_microseconds: int = 0

    @property
    def reads(self) -> int:
        return self.hits + self.misses

    @property
    def hit_ratio(self) -> Fraction | None:
        return share(self.hits, self.reads)

    @property
    def duplicate_rate(self) -> Fraction | None:
        return share(self.duplicates, self.writes)


class APIKeyName(NamedTuple):
    id: int
    name: str | None  # None: there is no such API key any more


class Counted(Protocol):
    """A row of any report."""

    @property
    def start(self) -> datetime: ...

    @property
    def counts(self) -> Counts: ...


class Used(NamedTuple):
    """A row of a report: what one API key, or the whole tenant (None), used within the period."""

    start: datetime
    api_key: APIKeyName | None
    counts: Counts


class Report(NamedTuple):
    """Exact as of `as_of`, in the running period too."""

    as_of: datetime
    rows: list[Used]


class TagUsed(NamedTuple):
    """A row of a report by tag."""

    start: datetime
    tag: str
    hits: int
    saved: Decimal  # USD


def read(rows: Rows, tenant_id: int, asked: Range, *, by_api_key: bool = False) -> Report:
    """A row for every period that has begun; by API key, for every one that used anything in it, in order of names.

    Raises InvalidRequest for too many rows.
    """
    as_of, standing, happened = _found(rows, tenant_id, asked, by_api_key)
    ids = {api_key_id for api_key_id in set(standing).union(*happened.values()) if api_key_id is not None}
    api_keys = _names(rows, tenant_id, ids) if by_api_key else {None: None}
    report = Report(as_of, [])
    for start in asked.starts(as_of):
        end = end_of(start, asked.group_by, as_of)
        for api_key_id, api_key in api_keys.items():
            *counted, delta, moment = happened.get(start, {}).get(api_key_id, _NOTHING)
            integral = byte_microseconds(standing[api_key_id], delta, moment, start, end)
            standing[api_key_id] += delta
            counts = Counts._make((*counted, integral))
            if any(counts) or not by_api_key:
                report.rows.append(Used(start, api_key, counts))
        if len(report.rows) > MAX_ROWS:
            raise _too_many(MAX_ROWS)
    return report


def read_tags(rows: Rows, tenant_id: int, asked: Range) -> list[TagUsed]:
    """What hits of entries with a tag saved, by day or month: most hits first. As far as receipts are folded.

    Raises InvalidRequest for too many rows.
    """
    parameters = {
        "tenant_id": tenant_id,
        "group_by": asked.group_by,
        "from": asked.start.date(),
        "to": asked.end.date(),
        "limit": MAX_TAG_ROWS + 1,
    }
    found = rows(TAG_USAGE, parameters)
    if len(found) > MAX_TAG_ROWS:
        raise _too_many(MAX_TAG_ROWS)
    return [TagUsed(*row) for row in found]


def share(part: int, of: int) -> Fraction | None:
    """None of nothing, and where a refund of an earlier hour's hit leaves less than nothing."""
    return Fraction(part, of) if of > 0 and part >= 0 else None


def total(rows: Iterable[Counted]) -> Counts:
    return Counts._make(map(sum, zip(Counts(), *(used.counts for used in rows), strict=True)))


def gb_months(rows: Iterable[Counted]) -> Fraction:
    """The rows' storage, each in GB-months of the real length of its UTC month; exact."""
    months: dict[tuple[int, int], int] = defaultdict(int)
    for used in rows:
        months[used.start.year, used.start.month] += used.counts.byte_microseconds
    return sum(
        (Fraction(integral, calendar.monthrange(*month)[1] * _GB_DAY) for month, integral in months.items()), Fraction()
    )


def mean_bytes(counts: Counts, start: datetime, end: datetime) -> Fraction:
    """What stood on average from `start` to `end`, in which `counts` were counted."""
    return Fraction(counts.byte_microseconds, max(1, (end - start) // MICROSECOND))


def end_of(start: datetime, group_by: str, as_of: datetime) -> datetime:
    """The end of the period that starts at `start`; of the running one, `as_of`."""
    return min(shifted(start, group_by, 1), as_of)


def start_of(moment: datetime, group_by: str) -> datetime:
    """The start of the UTC hour, day or month that `moment`, in UTC, lies in."""
    hour = moment.replace(minute=0, second=0, microsecond=0)
    if group_by == "hour":
        return hour
    return hour.replace(hour=0) if group_by == "day" else hour.replace(hour=0, day=1)


def shifted(start: datetime, group_by: str, count: int) -> datetime:
    """The start of the period `count` periods after the one that starts at `start`; before it when negative."""
    if group_by == "hour":
        return start + timedelta(hours=count)
    if group_by == "day":
        return start + timedelta(days=count)
    years, month = divmod(start.month - 1 + count, 12)
    return start.replace(year=start.year + years, month=month + 1)


_Bytes = dict[int | None, int]
_Sums = dict[datetime, dict[int | None, Sequence[Any]]]
_NOTHING = (0, 0, 0, 0, 0, 0, Decimal(0), 0, Decimal(0))
_GB_DAY = 10**9 * 86_400 * 10**6  # in byte-microseconds


def _found(rows: Rows, tenant_id: int, asked: Range, by_api_key: bool) -> tuple[datetime, _Bytes, _Sums]:
    """Until when; the bytes that stood at the start of the range; what happened in each period; by API key's id."""
    most = 2 * MAX_ROWS
    found = rows(USAGE, _parameters(tenant_id, asked) | {"by_api_key": by_api_key, "limit": most})
    if len(found) == most:
        raise _too_many(MAX_ROWS)
    standing: _Bytes = defaultdict(int)
    happened: _Sums = defaultdict(dict)
    for _, start, api_key_id, *sums in found:
        if start is not None:
            happened[start][api_key_id] = sums
        elif sums[0] is not None:
            *_, standing[api_key_id], _ = sums
    return found[0][0], standing, happened


def _parameters(tenant_id: int, asked: Range) -> dict[str, Any]:
    """What stood at the start is summed up from the months before, the month's days before, the day's hours before."""
    month, day = start_of(asked.start, "month"), start_of(asked.start, "day")
    ranges = [
        (PERIODS["month"], EPOCH, month),
        (PERIODS["day"], month, day),
        (PERIODS["hour"], day, asked.start),
        (PERIODS[asked.group_by], asked.start, asked.end),
    ]
    periods, froms, tos = zip(*(each for each in ranges if each[1] < each[2]), strict=True)
    return {
        "tenant_id": tenant_id,
        "periods": [int(period) for period in periods],
        "froms": list(froms),
        "tos": list(tos),
        "from": asked.start,
        "to": asked.end,
        "group_by": asked.group_by,
    }


def _names(rows: Rows, tenant_id: int, ids: Iterable[int]) -> dict[int | None, APIKeyName | None]:
    """The API keys in order of their names."""
    names: dict[int, str] = dict(rows(API_KEY_NAMES, {"tenant_id": tenant_id, "ids": list(ids)}))
    return {each: APIKeyName(each, names.get(each)) for each in sorted(ids, key=lambda id: (names.get(id, ""), id))}


def _too_many(most: int) -> InvalidRequest:
    return InvalidRequest(
        f"query: the report has more than {most} rows; ask for a shorter time with 'from' and 'to', or for longer "
        "periods with 'group_by'."
    )
