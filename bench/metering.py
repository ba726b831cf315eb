"""What metering takes: the size of receipts, the speed of their rollup, and of reading a year's usage."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any, LiteralString

import psycopg

from bench import wrk
from bench.measurement import BenchError
from bench.service import Service, disconnect_django
from bench.throughput import say

CONNECTIONS = 128
HITS, HITS_A_RECEIPT = 1_000_000, 64
API_KEYS, HOURS = 50, 8760
OTHERS = 12  # tenants whose hours fill the table up to a million rows and more
RUNS = 5


@dataclass(frozen=True)
class MeteringReport:
    connections: int
    receipt_bytes: float  # on disk, with indexes, a hit
    folded_hits_per_second: float
    usage_seconds: dict[str, float]  # by what is asked


def measure(service: Service, dsn: str, entries: int, seconds: float) -> MeteringReport:
    """Receipts of real hits; then a rollup of a million, and reports over rollups of a million hours."""
    say("the size of receipts")
    stored = "select sum(pg_total_relation_size(relid)) from pg_partition_tree('receipt')"
    before = _value(dsn, stored)
    counted = _value(dsn, "select sum(hits) from receipt")
    wrk.requests_of(service, "hit", CONNECTIONS, 2 * seconds, entries)
    size = _value(dsn, stored) - before
    hits = _value(dsn, "select sum(hits) from receipt") - counted
    return MeteringReport(CONNECTIONS, float(size / hits), _folded_per_second(dsn), _usage_seconds(dsn))


def _folded_per_second(dsn: str) -> float:
    """Of HITS hits on the entries there are, spread over API_KEYS keys."""
    from cacheservice.entries.rollup import rollup

    say(f"folding {HITS:,} hits")
    with django_on(dsn):
        rollup(seconds=600)  # what there is already
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into receipt (tenant_id, id, api_key_id, at, hits, units, versions) "
            "select t.tenant_id, r, r %% %s, now() - r * interval '1 second', %s, %s, "
            "(select array_agg(t.versions[1 + (r * 7919 + h * 104729) %% array_length(t.versions, 1)]) "
            " from generate_series(1, %s) h) "
            "from (select tenant_id, array_agg(version) as versions from entry group by tenant_id limit 1) t, "
            "generate_series(1, %s::bigint) r",
            [API_KEYS, HITS_A_RECEIPT, HITS_A_RECEIPT, HITS_A_RECEIPT, HITS // HITS_A_RECEIPT],
        )
        connection.execute("vacuum analyze receipt")
    with django_on(dsn):
        began = time.perf_counter()
        folded = rollup(seconds=600)
        return folded * HITS_A_RECEIPT / (time.perf_counter() - began)


def _usage_seconds(dsn: str) -> dict[str, float]:
    """The median time of each report, from the question to its rows as objects."""
    say(f"usage of {API_KEYS} API keys over {HOURS:,} hours")
    tenant_id = 1
    start = datetime(2025, 1, 1, tzinfo=UTC)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for period, unit in enumerate(("hour", "day", "month")):
            connection.execute(
                "insert into usage_rollup (tenant_id, period, api_key_id, start, hits, misses, units, saved, "
                "storage_delta, storage_moment) "
                "select t, %s, k, date_trunc(%s, s, 'UTC'), sum(h), sum(h), sum(h), sum(h) * 0.04, 0, 0 "
                "from generate_series(1, 1 + %s) t, generate_series(1, case when t = 1 then %s else 6 end) k, "
                "generate_series(%s::timestamptz, %s, interval '1 hour') with ordinality as g (s, h) "
                "group by 1, 2, 3, 4",
                [period, unit, OTHERS, API_KEYS, start, start + timedelta(hours=HOURS - 1)],
            )
        connection.execute("vacuum analyze usage_rollup")
    reports = {"by month and API key": ("month", True), "by day": ("day", False)}
    with django_on(dsn):
        return {name: _median_seconds(tenant_id, start, *asked) for name, asked in reports.items()}


def _median_seconds(tenant_id: int, start: datetime, group_by: str, by_api_key: bool) -> float:
    from billing import usage
    from billing.rows import django_rows

    asked = usage.Range(start, start.replace(year=start.year + 1), group_by)
    seconds = []
    for _ in range(1 + RUNS):
        began = time.perf_counter()
        if not usage.read(django_rows, tenant_id, asked, by_api_key=by_api_key):
            raise BenchError("the report is empty")
        seconds.append(time.perf_counter() - began)
    return median(seconds[1:])  # the first fills PostgreSQL's buffers


@contextmanager
def django_on(dsn: str) -> Iterator[None]:
    """Django's connection leads to this database meanwhile."""
    from django.db import connection

    disconnect_django()
    former = connection.settings_dict["NAME"]
    connection.settings_dict["NAME"] = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    try:
        yield
    finally:
        disconnect_django()
        connection.settings_dict["NAME"] = former


def _value(dsn: str, query: LiteralString) -> Any:
    with psycopg.connect(dsn) as connection:
        [value] = connection.execute(query).fetchall()[0]
        return value or 0
