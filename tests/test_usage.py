"""Reports on usage: exactly what happened, whatever of it is folded, booked, or just happening."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.conninfo import make_conninfo

from accounts.models import random_id
from billing import usage
from billing.rows import django_rows
from billing.usage import Range, Used
from billing.usage_sql import USAGE
from cacheservice.entries.collection import wire
from cacheservice.entries.models import Entry, Space
from cacheservice.errors import InvalidRequest
from tests.cast import new_key, new_tenant
from tests.store_cast import database_dsn
from tests.usage_cast import Event, expected, utc, write_receipts, write_rollups, write_tags

KEYS = (11, 12, 13)
BOUNDARIES = [utc(2024, 1, 31), utc(2024, 2, 1), utc(2024, 2, 29), utc(2024, 3, 1), utc(2024, 2, 29, 12)]
RANGES = [
    Range(utc(2024, 1, 31, 7), utc(2024, 3, 1, 9), "hour"),
    Range(utc(2024, 2, 29, 23), utc(2024, 3, 1, 1), "hour"),
    Range(utc(2024, 1, 30), utc(2024, 3, 3), "day"),
    Range(utc(2024, 2, 29), utc(2024, 3, 1), "day"),
    Range(utc(2023, 12, 1), utc(2024, 4, 1), "month"),
    Range(utc(2024, 2, 1), utc(2024, 3, 1), "month"),
]
MB = 10**6


def times() -> st.SearchStrategy[datetime]:
    anywhere = st.integers(0, 32 * 86_400 * 10**6).map(lambda n: utc(2024, 1, 30) + timedelta(microseconds=n))
    beside = st.builds(
        lambda boundary, n: boundary + timedelta(microseconds=n), st.sampled_from(BOUNDARIES), st.integers(-2, 2)
    )
    return st.one_of(anywhere, beside)


def events() -> st.SearchStrategy[list[Event]]:
    count = st.integers(0, 1000)
    return st.lists(
        st.builds(
            Event,
            at=times(),
            api_key_id=st.sampled_from(KEYS),
            delta=st.integers(-(10**13), 10**13),
            hits=st.integers(-5, 1000),
            misses=count,
            writes=count,
            duplicates=count,
            deletes=count,
            units=st.integers(-5, 10**12),
            saved=st.decimals(-1, 10**9, places=9),
        ),
        max_size=12,
    )


def book_later(tenant_id: int, expiries: list[tuple[datetime, int]]) -> list[Event]:
    """Entries that are still there, and what comes of it when they expire."""
    Entry.objects.bulk_create(
        Entry(
            tenant_id=tenant_id,
            space=Space.GATEWAY if size % 2 else Space.TENANT,
            key=f"{at} {number}",
            value=b"",
            data_key_version=1,
            size=size,
            tags=[],
            version=number,
            api_key_id=KEYS[number % len(KEYS)],
            created_at=utc(2024, 1, 1),
            expires_at=at,
        )
        for number, (at, size) in enumerate(expiries)
    )
    return [Event(at, KEYS[number % len(KEYS)], -size) for number, (at, size) in enumerate(expiries)]


def read(tenant_id: int, asked: Range, *, by_api_key: bool = False) -> list[Used]:
    return usage.read(django_rows, tenant_id, asked, by_api_key=by_api_key).rows


def ids(rows: list[Used]) -> list[int | None]:
    return [used.api_key.id if used.api_key else None for used in rows]


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    folded=events(),
    not_folded=events(),
    expiries=st.lists(st.tuples(times(), st.integers(1, 10**7)), max_size=5),
    asked=st.sampled_from(RANGES),
)
def test_report_is_what_happened(
    folded: list[Event], not_folded: list[Event], expiries: list[tuple[datetime, int]], asked: Range
) -> None:
    tenant_id = random_id()
    write_rollups(tenant_id, folded)
    write_receipts(tenant_id, not_folded)
    happened = [*folded, *not_folded, *book_later(tenant_id, expiries)]
    starts = list(asked.starts(timezone.now()))
    ends = [*starts[1:], asked.end]
    periods = list(zip(starts, ends, strict=True))

    whole = read(tenant_id, asked)
    assert [(used.start, used.counts) for used in whole] == [
        (start, expected(happened, start, end)) for start, end in periods
    ]
    assert usage.total(whole) == expected(happened, asked.start, asked.end)

    by_key = {
        (start, api_key_id): counts
        for start, end in periods
        for api_key_id in KEYS
        if any(counts := expected([each for each in happened if each.api_key_id == api_key_id], start, end))
    }
    rows = read(tenant_id, asked, by_api_key=True)
    assert {(used.start, used.api_key.id): used.counts for used in rows if used.api_key} == by_key
    assert len(rows) == len(by_key)
    assert usage.total(rows) == usage.total(whole)


@pytest.mark.parametrize("group_by", ["hour", "day", "month"])
def test_running_period_is_exact_up_to_the_moment(group_by: str) -> None:
    now, tenant_id = timezone.now(), random_id()
    happened = [
        Event(now - timedelta(days=40), 11, 5 * MB, writes=1),
        Event(now - timedelta(hours=30), 11, -MB),
        Event(now - timedelta(minutes=61), 11, 3 * MB, writes=1),
        Event(now - timedelta(microseconds=1), 11, 7 * MB, writes=1, hits=3, units=3),
        *book_later(tenant_id, [(now - timedelta(minutes=2), 4 * MB)]),
    ]
    write_rollups(tenant_id, happened[:2])
    write_receipts(tenant_id, happened[2:4])
    book_later(tenant_id, [(now + timedelta(minutes=30), MB)])  # which has not happened
    last = usage.start_of(now, group_by)
    asked = Range(usage.shifted(last, group_by, -2), usage.shifted(last, group_by, 3), group_by)
    report = usage.read(django_rows, tenant_id, asked)
    assert now <= report.as_of <= timezone.now()
    starts = [used.start for used in report.rows]
    assert starts[:3] == [asked.start, usage.shifted(last, group_by, -1), last]  # and the next, if it has just begun
    assert [used.counts for used in report.rows] == [
        expected(happened, start, min(end, report.as_of))
        for start, end in zip(starts, [*starts[1:], report.as_of], strict=True)
    ]


def test_every_period_has_a_row_and_nothing_is_zero() -> None:
    rows = read(random_id(), Range(utc(2024, 2, 28), utc(2024, 3, 2), "day"))
    assert [used.start for used in rows] == [utc(2024, 2, 28), utc(2024, 2, 29), utc(2024, 3, 1)]
    assert {used.counts for used in rows} == {usage.Counts()}
    assert read(random_id(), Range(utc(2024, 2, 28), utc(2024, 3, 2), "day"), by_api_key=True) == []


def test_periods_that_have_not_begun_do_not_show() -> None:
    assert read(random_id(), Range(utc(2199, 1, 1), utc(2199, 2, 1), "day")) == []


def test_bytes_of_a_key_show_in_periods_in_which_nothing_happens() -> None:
    tenant_id = random_id()
    write_rollups(tenant_id, [Event(utc(2024, 1, 5), 11, 10), Event(utc(2024, 1, 5), 12, 10)])
    write_receipts(tenant_id, [Event(utc(2024, 2, 1), 12, -10)])
    rows = read(tenant_id, Range(utc(2024, 1, 1), utc(2024, 4, 1), "month"), by_api_key=True)
    assert [(used.start.month, api_key_id) for used, api_key_id in zip(rows, ids(rows), strict=True)] == [
        (1, 11), (1, 12), (2, 11), (3, 11),
    ]  # fmt: skip
    assert rows[-1].counts.byte_microseconds == 10 * 31 * 86_400 * 10**6


def test_rows_by_api_key_are_in_order_of_start_and_name() -> None:
    tenant = new_tenant()
    keys = {name: new_key(tenant) for name in ("b", "a", "B")}
    for name, key in keys.items():
        key.row.name = name
        key.row.save(update_fields=["name"])
    gone = 5
    events = [
        Event(utc(2024, 2, day), each, hits=1) for day in (2, 1) for each in (*(k.row.id for k in keys.values()), gone)
    ]
    write_receipts(tenant.id, events)
    rows = read(tenant.id, Range(utc(2024, 2, 1), utc(2024, 2, 3), "day"), by_api_key=True)
    names = [None, "B", "a", "b"]  # the one that is gone first
    assert [(used.start.day, used.api_key.name) for used in rows if used.api_key] == [
        (day, name) for day in (1, 2) for name in names
    ]


def test_other_tenants_use_never_shows() -> None:
    mine, theirs = random_id(), random_id()
    at = utc(2024, 2, 1)
    for tenant_id, hits in ((mine, 1), (theirs, 100)):
        write_rollups(tenant_id, [Event(at, 11, 10, hits=hits)])
        write_receipts(tenant_id, [Event(at, 11, 10, hits=hits)])
        write_tags(tenant_id, ("2024-02-01", "tag", hits, "1"))
    book_later(theirs, [(at, 10)])
    asked = Range(at, utc(2024, 3, 1), "month")
    for by_api_key in (False, True):
        [row] = read(mine, asked, by_api_key=by_api_key)
        assert (row.counts.hits, row.counts.byte_microseconds) == (2, 20 * 29 * 86_400 * 10**6)
    [tag] = usage.read_tags(django_rows, mine, asked)
    assert tag.hits == 1


def test_time_zone_of_the_database_changes_nothing() -> None:
    tenant_id, asked = random_id(), Range(utc(2024, 1, 31), utc(2024, 3, 2), "day")
    events = [Event(boundary + timedelta(microseconds=n), 11, 7, hits=1) for boundary in BOUNDARIES for n in (-1, 0)]
    write_rollups(tenant_id, events[::2])
    write_receipts(tenant_id, events[1::2])
    write_tags(tenant_id, ("2024-02-01", "tag", 1, "0"))
    dsn = make_conninfo(database_dsn(), options="-c timezone=Pacific/Auckland")
    with psycopg.connect(dsn, autocommit=True) as connection:

        def rows(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
            with connection.cursor(binary=True) as cursor:
                return cursor.execute(statement.encode(), parameters).fetchall()

        report = usage.read(rows, tenant_id, asked)
        [tag] = usage.read_tags(rows, tenant_id, asked)
    assert report.rows == read(tenant_id, asked)
    assert sum(used.counts.hits for used in report.rows) == len(events) - 1  # one was before
    assert wire(tag.start) == "2024-02-01T00:00:00Z"


def test_an_hour_reads_no_more_than_its_range() -> None:
    """And what is needed to know what stood at its start: months, days and hours before, each once."""
    tenant_id, asked = random_id(), Range(utc(2024, 2, 3, 4), utc(2024, 2, 3, 9), "hour")
    write_rollups(tenant_id, [Event(utc(2023, 1, 1) + timedelta(hours=n), 11, hits=1) for n in range(0, 15_000, 3)])
    django_rows("analyze usage_rollup", {})
    parameters = usage._parameters(tenant_id, asked) | {"by_api_key": True, "limit": 10}
    [(plan,)] = django_rows(f"explain (analyze, format json) {USAGE}", parameters)
    count = sum(rows_read(each) for each in nodes(plan[0]["Plan"]) if each.get("Relation Name") == "usage_rollup")
    months = 14  # in the range's tenant up to its end: once for the API keys, once for what stood
    assert 3 <= count <= 2 * months + 2 + 2 + 3


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for each in plan.get("Plans", ()):
        yield from nodes(each)


def rows_read(node: dict[str, Any]) -> float:
    removed: float = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    count: float = (node["Actual Rows"] + removed) * node["Actual Loops"]
    return count


def test_too_many_rows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    tenant_id, asked = random_id(), Range(utc(2024, 2, 1), utc(2024, 2, 3), "day")
    write_receipts(tenant_id, [Event(utc(2024, 2, 1), api_key_id, 1) for api_key_id in KEYS])
    write_tags(tenant_id, *(("2024-02-01", f"tag {number}", 1, "0") for number in range(6)))
    monkeypatch.setattr(usage, "MAX_ROWS", 6)
    monkeypatch.setattr(usage, "MAX_TAG_ROWS", 6)
    assert len(read(tenant_id, asked, by_api_key=True)) == 6
    assert len(usage.read_tags(django_rows, tenant_id, asked)) == 6
    for most in (5, 1):  # found while adding up; by the statement
        monkeypatch.setattr(usage, "MAX_ROWS", most)
        with pytest.raises(InvalidRequest, match=f"more than {most} rows"):
            read(tenant_id, asked, by_api_key=True)
    monkeypatch.setattr(usage, "MAX_TAG_ROWS", 5)
    with pytest.raises(InvalidRequest, match="more than 5 rows"):
        usage.read_tags(django_rows, tenant_id, asked)


def test_tags_by_day_and_month_most_hits_first() -> None:
    tenant_id = random_id()
    write_tags(
        tenant_id,
        ("2024-01-31", "a", 100, "1"),
        ("2024-02-01", "a", 1, "0.04"),
        ("2024-02-01", "b", 2, "0"),
        ("2024-02-29", "a", 2, "0.06"),
        ("2024-03-01", "a", 100, "1"),
    )
    by_day = usage.read_tags(django_rows, tenant_id, Range(utc(2024, 2, 1), utc(2024, 3, 1), "day"))
    assert [(each.start, each.tag, each.hits) for each in by_day] == [
        (utc(2024, 2, 1), "b", 2), (utc(2024, 2, 1), "a", 1), (utc(2024, 2, 29), "a", 2),
    ]  # fmt: skip
    by_month = usage.read_tags(django_rows, tenant_id, Range(utc(2024, 2, 1), utc(2024, 3, 1), "month"))
    assert by_month == [
        usage.TagUsed(utc(2024, 2, 1), "a", 3, Decimal("0.1")), usage.TagUsed(utc(2024, 2, 1), "b", 2, Decimal(0)),
    ]  # fmt: skip
