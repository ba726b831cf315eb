"""Receipts by day: days are made ahead, detached when folded and dropped when old, and no request waits or fails."""

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
from django.conf import settings as django_settings
from psycopg.conninfo import make_conninfo
from pytest_django import Settings

from accounts.models import random_id
from billing import receipt_days
from billing.models import UNDATED, Receipt
from cacheservice.entries import operations
from cacheservice.entries.rollup import rollup
from cacheservice.entries.store import Store
from cacheservice.errors import Unavailable
from tests.failing_database import DOWN, Proxy
from tests.faults.cuts import connected, settled
from tests.meters import Used, balance, discrepancies, prepaid_tenant, used
from tests.processes import ROOT
from tests.receipts import at_once, receipt
from tests.store_cast import database_dsn, entry, new_caller, query

FAR = date(2091, 6, 1)  # days of which nobody else has receipts
DAY = timedelta(days=1)
INSERT = "insert into receipt (tenant_id, id, id_day, api_key_id, at, hits) values (%s, %s, %s, 1, now(), 1)"


@pytest.fixture
def tenant_id() -> int:
    return random_id()


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> Iterator[date]:
    """A day that is today to what the test calls, which sees no table of before, for it would drop those of other
    tests; the tables made for it are gone afterwards."""
    first = f"and c.relname >= '{receipt_days.table_of(FAR - 30 * DAY)}' order by 1"
    with monkeypatch.context() as patched:
        patched.setattr(receipt_days, "TABLES", receipt_days.TABLES.replace("order by 1", first))
        yield FAR
    for table, attached in tables(FAR - 30 * DAY):
        if attached:
            query(f"alter table receipt detach partition {table}")
        query(f"drop table {table}")


def tables(since: date) -> list[tuple[str, bool]]:
    """The days' tables from then on, and whether they are attached."""
    rows = query(receipt_days.TABLES)
    return [(receipt_days.table_of(day), attached) for day, attached in rows if day >= since]


def place(tenant_id: int) -> list[str]:
    """In which table the tenant's receipts are."""
    return [name for (name,) in query("select tableoid::regclass::text from receipt where tenant_id = %s", [tenant_id])]


def insert(tenant_id: int, day: date, id: int = 1) -> None:
    query(INSERT, [tenant_id, id, day])


# Made ahead


def test_days_are_made_ahead_and_once(far: date, tenant_id: int) -> None:
    assert receipt_days.make_ahead(far) == receipt_days.AHEAD + 1
    assert tables(far) == [(receipt_days.table_of(far + n * DAY), True) for n in range(receipt_days.AHEAD + 1)]
    assert receipt_days.make_ahead(far) == 0
    insert(tenant_id, far + DAY)
    assert place(tenant_id) == [receipt_days.table_of(far + DAY)]


def test_today_is_there() -> None:
    """Since the migration; or else the server's start or the daily task makes it."""
    receipt_days.make_ahead()
    today = datetime.now(UTC).date()
    assert (receipt_days.table_of(today), True) in tables(today)


def test_receipts_of_a_day_without_a_table_count_and_move_when_it_is_made(far: date, tenant_id: int) -> None:
    insert(tenant_id, far)
    insert(tenant_id, far - 2 * DAY, 2)
    insert(tenant_id, far - 9 * DAY, 3)
    assert place(tenant_id) == ["receipt_other"] * 3
    assert far in receipt_days.days()
    assert receipt_days.make_ahead(far) == receipt_days.AHEAD + 2
    assert sorted(place(tenant_id)) == [
        receipt_days.table_of(far - 2 * DAY), receipt_days.table_of(far), "receipt_other"
    ]  # fmt: skip
    with pytest.raises(psycopg.errors.UniqueViolation):
        insert(tenant_id, far)
    rollup()
    assert used(tenant_id).hits == 3
    query("delete from receipt where tenant_id = %s", [tenant_id])


def test_too_many_receipts_stay_where_they_are(far: date, tenant_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipt_days, "MOST_MOVED", 1)
    insert(tenant_id, far)
    insert(tenant_id, far, 2)
    assert receipt_days.make_ahead(far) == receipt_days.AHEAD
    assert place(tenant_id) == ["receipt_other"] * 2
    rollup()
    assert used(tenant_id).hits == 2
    query("delete from receipt where tenant_id = %s", [tenant_id])


def test_a_lock_that_cannot_be_had_is_let_go(far: date, tenant_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long report has read all days, and writes go on beside it."""
    monkeypatch.setattr(receipt_days, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(receipt_days, "AHEAD", 0)
    with psycopg.connect(database_dsn()) as report:
        report.execute("select count(*) from receipt where not folded")
        assert receipt_days.make_ahead(far) == 0
        insert(tenant_id, far)
    assert receipt_days.make_ahead(far) == 1
    assert place(tenant_id) == [receipt_days.table_of(far)]
    rollup()


# Detached and dropped


def test_days_are_detached_when_folded_and_dropped_when_old(far: date, tenant_id: int, settings: Settings) -> None:
    settings.RECEIPT_RETENTION_DAYS = 10
    receipt_days.make_ahead(far)
    table, later = receipt_days.table_of(far), far + timedelta(receipt_days.ATTACHED + 1)
    insert(tenant_id, far)
    receipt_days.drop_old(later - DAY)
    assert (table, True) in tables(far)  # not long enough over
    receipt_days.drop_old(far + 30 * DAY)
    assert [each for each in tables(far) if each[1]] == [(table, True)]  # not folded; its empty neighbours went
    rollup()
    assert receipt_days.drop_old(later).days == 0
    assert (table, False) in tables(far)
    assert query(f"select hits from {table} where tenant_id = %s", [tenant_id]) == [(1,)]
    assert used(tenant_id).hits == 1
    assert receipt_days.drop_old(far + 10 * DAY).days == 0
    assert receipt_days.drop_old(far + 11 * DAY).days == 1
    assert tables(far) == []
    assert used(tenant_id).hits == 1


def test_detaching_lets_go_where_a_report_reads(far: date, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what comes behind it waits for a tenth of a second, not for the report."""
    monkeypatch.setattr(receipt_days, "PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(receipt_days, "AHEAD", 0)
    receipt_days.make_ahead(far)
    with psycopg.connect(database_dsn()) as report:
        report.execute("select count(*) from receipt where not folded")
        [_, inserted] = at_once(lambda: receipt_days.drop_old(far + 5 * DAY).days, lambda: insert_some(20))
        assert inserted == 20
        assert tables(far) == [(receipt_days.table_of(far), True)]
    receipt_days.drop_old(far + 5 * DAY)
    assert tables(far) == [(receipt_days.table_of(far), False)]
    rollup()


def insert_some(count: int) -> int:
    for _ in range(count):
        insert(random_id(), datetime.now(UTC).date())
        time.sleep(0.01)
    return count


# Exactly once


@pytest.mark.parametrize(
    "day", (datetime.now(UTC).date(), FAR - 300 * DAY, date(2001, 2, 3)), ids=("now", "far", "past")
)
def test_receipts_are_of_the_day_that_their_process_says(day: date, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its clock says, and over its midnight: a lost hit is found under that day, and refunded once."""
    caller, clock = new_caller(prepaid_tenant(10)), Clock(day)
    monkeypatch.setattr(operations, "time", clock)

    async def scenario() -> None:
        async with asyncio.timeout(60), Proxy(database_dsn()) as proxy:
            store = Store(proxy.dsn)
            await store.start()
            try:
                await connected(store)
                await store.put(caller, "a", entry(b"1"))
                proxy.cut_after(DOWN, 0)
                with pytest.raises(Unavailable):
                    await store.get(caller, "a")
                clock.now += 86_400
                await settled(store)
            finally:
                await store.close()

    asyncio.run(scenario())
    hits = "select id_day, sum(hits)::int from receipt where tenant_id = %s and hits <> 0 group by 1"
    assert query(hits, [caller.tenant_id]) == [(day, 0)]
    assert used(caller.tenant_id) == Used(writes=1, stored=1)
    assert balance(caller.tenant_id) == 10
    assert discrepancies(caller.tenant_id) == []


class Clock:
    """The module `time` of a process in which it is `day`."""

    def __init__(self, day: date) -> None:
        self.now = (day - UNDATED).total_seconds()

    def time(self) -> float:
        return self.now


# From before


@pytest.fixture(scope="module")
def database_of_before(django_db_setup: None) -> Iterator[str]:
    """A database of its own; its address."""
    name = f"before_{random_id()}"
    query(f"create database {name}")
    dsn = make_conninfo(django_settings.DATABASE_DSN, dbname=name)
    yield dsn
    query(f"drop database {name} with (force)")


def migrate(dsn: str, *arguments: str) -> None:
    command = [sys.executable, "manage.py", "migrate", "-v", "0", *arguments]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "DATABASE_URL": dsn}, check=True, timeout=120)


def test_receipts_of_before_stay_and_count(database_of_before: str) -> None:
    """Back with receipts of days, and forward with a table of receipts, while a program of before writes."""
    dsn = database_of_before
    migrate(dsn)
    today = datetime.now(UTC).date()
    query(
        "insert into tenant (id, name, created_at, data_key_version) values (7, 'a', now(), 1), (8, 'b', now(), 1)",
        dsn=dsn,
    )
    query("insert into account (tenant_id, plan, balance) values (7, 'pro', -2000), (8, 'pro', 0)", dsn=dsn)
    query(
        "insert into receipt (tenant_id, id, id_day, api_key_id, at, hits, units) "
        "select 7, i, %s::date + mod(i, 9) - 1, 1, now(), 1, 1 from generate_series(1, 2000) i",
        [today],
        dsn=dsn,
    )
    migrate(dsn, "billing", "0004")
    assert query("select sum(units) from receipt", dsn=dsn) == [(2000,)]
    with writing_as_before(dsn) as ids:
        migrate(dsn, "billing")
    counted = "select tableoid::regclass::text, tenant_id, count(*) from receipt group by 1, 2 order by 2"
    assert query(counted, dsn=dsn) == [("receipt_undated", 7, 2000), ("receipt_undated", 8, len(ids))]
    query(INSERT.replace("hits", "units"), [7, 2001, today], dsn=dsn)  # by the version of now
    query("update account set balance = balance - 1 where tenant_id = 7", dsn=dsn)
    for taken in ([7, 2001, today], [7, 5, UNDATED]):
        with pytest.raises(psycopg.errors.UniqueViolation):
            query(INSERT, taken, dsn=dsn)
    query(
        "insert into receipt (tenant_id, id, api_key_id, at, folded) values (7, 5, 0, now(), true) "
        "on conflict do nothing",  # as programs of before cancel
        dsn=dsn,
    )
    reconcile = [sys.executable, "manage.py", "reconcile"]
    subprocess.run(reconcile, cwd=ROOT, env={**os.environ, "DATABASE_URL": dsn}, check=True, timeout=120)


@contextmanager
def writing_as_before(dsn: str) -> Iterator[list[int]]:
    """A program of before, with its statement prepared, charges tenant 8; the ids of its receipts."""
    stop, ids = threading.Event(), list[int]()

    def write() -> None:
        with psycopg.connect(dsn, autocommit=True, prepare_threshold=0) as connection:
            while not stop.is_set():
                connection.execute(
                    "with charged as (update account set balance = balance - 1 where tenant_id = 8) "
                    "insert into receipt (tenant_id, id, api_key_id, at, hits, units) values (8, %s, 1, now(), 1, 1)",
                    [len(ids) + 1],
                )
                ids.append(len(ids) + 1)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(write)
        try:
            yield ids
        finally:
            stop.set()
        writer.result()


def test_a_receipt_of_no_day_is_of_before(tenant_id: int) -> None:
    Receipt.objects.bulk_create([receipt(tenant_id, datetime.now(UTC), hits=1)])
    assert place(tenant_id) == ["receipt_undated"]
    assert Receipt.objects.get(tenant_id=tenant_id).id_day == UNDATED
    rollup()
