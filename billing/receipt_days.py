"""The receipts' table by days: a partition for each UTC day, so that a day is dropped and not deleted row by row.

    made ahead ─▶ today ─▶ folded ─▶ detached, a table of its own ─▶ dropped after the retention

A receipt's day is that of its id: the process that makes an id says its day by its own clock, and whoever names the
receipt names both. `(tenant_id, id)` is unique within a day's table. A receipt whose day has no table goes to
`receipt_other`, so that no request fails; from there it moves when its table is made. Those of programs that knew of no
days have the day `UNDATED`, in `receipt_undated`.

A detached day can be read by its name, as `receipt_20260131`. Reads of what is not folded would take longer with every
table that is attached (docs/decisions/021), so few are.

The hot path never waits here for longer than LOCK_MILLISECONDS: whatever needs a lock on the receipts' table tries for
so long, lets go and comes back. Safe to run twice at once, and to stop anywhere.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Final, NamedTuple

import psycopg
import structlog
from django.conf import settings
from django.db import DatabaseError, OperationalError, connection, transaction

from billing.models import UNDATED
from billing.rows import django_rows

log = structlog.get_logger(__name__)

AHEAD = 7  # days that are made before they come: the worker may be away for so long
ATTACHED = 3  # days that stay attached when they are over: no refund of a round trip in doubt comes so late
MOST_MOVED = 5000  # receipts of a day that are moved out of `receipt_other` at once, under its lock
PAGES = 1000  # of a table, in a transaction that deletes old receipts without a day's table
LOCK_MILLISECONDS, SCAN_MILLISECONDS = 100, 1000
ATTEMPTS, PAUSE_SECONDS = 5, 2.0

# The tables of days, and whether they are attached.
TABLES: Final = """
select to_date(substr(c.relname, 9), 'YYYYMMDD'), c.relispartition from pg_class c
where c.relkind = 'r' and c.relname ~ '^receipt_[0-9]{8}$' and pg_table_is_visible(c.oid) order by 1
"""

# Of the days from `first` to `last`, those with receipts that have no table of their own, and how many, up to `most`.
APART: Final = """
select d.day, a.count
from (select %(first)s::date + n as day from generate_series(0, %(last)s::date - %(first)s::date) as n) d
cross join lateral (
  select count(*) as count from (select from receipt_other where id_day = d.day limit %(most)s) o
) a
where a.count > 0
"""
APART_NOT_FOLDED: Final = "select distinct id_day from receipt_other where not folded order by 1"

BOUND_LOCKS: Final = f"set local lock_timeout = {LOCK_MILLISECONDS}; set local statement_timeout = {SCAN_MILLISECONDS}"
ONE_AT_A_TIME: Final = "select pg_advisory_xact_lock(hashtext('receipt_days'))"
EXISTS: Final = "select to_regclass(%(table)s) is not null"
MAKE: Final = "create table {table} (like receipt including defaults, primary key (tenant_id, id))"
LOCK_OTHER: Final = "lock table receipt_other in access exclusive mode"
MOVE: Final = """
with moved as (delete from receipt_other where id_day = %(day)s returning *) insert into {table} select * from moved
"""
ATTACH: Final = "alter table receipt attach partition {table} for values from ('{day}') to ('{next}')"
OPEN: Final = "select exists (select from {table} where not folded)"
LOCK_ALL: Final = "lock table only receipt in access exclusive mode"
DETACH: Final = "alter table receipt detach partition {table}"
DROP: Final = "drop table if exists {table}"

# Of the tables that are no day's: how many pages they have, and what goes from the pages [first, end).
PAGES_OF: Final = "select pg_relation_size('{table}') / current_setting('block_size')::bigint"
DELETE: Final = """
delete from {table}
where ctid >= %(first)s::tid and ctid < %(end)s::tid and folded and at < now() - %(retention)s::interval
returning 1
"""


class Dropped(NamedTuple):
    days: int  # whole
    receipts: int  # of no day's table


def table_of(day: date) -> str:
    """The name of the day's table, whether there is one or not."""
    return f"receipt_{day:%Y%m%d}"


def days() -> list[date]:
    """The days of which receipts may be there that are not folded."""
    attached = {day for day, is_attached in django_rows(TABLES, {}) if is_attached}
    return sorted({UNDATED, *attached, *(day for (day,) in django_rows(APART_NOT_FOLDED, {}))})


def make_ahead(today: date | None = None) -> int:
    """Make the tables of today and the next days, and of those whose receipts have none; how many that were.

    Where a lock cannot be had, or too many receipts would have to move, a day's receipts stay apart: they count all the
    same, and are deleted one by one.
    """
    today = today or datetime.now(UTC).date()
    known = {day for day, _ in django_rows(TABLES, {})}
    bounds = {"first": today - timedelta(ATTACHED), "last": today + timedelta(AHEAD), "most": MOST_MOVED + 1}
    apart: dict[date, int] = dict(django_rows(APART, bounds))
    ahead = {today + timedelta(n) for n in range(AHEAD + 1)}
    made = 0
    for day in sorted((ahead | set(apart)) - known):
        if apart.get(day, 0) > MOST_MOVED:
            log.error("receipts_stay_apart", day=day.isoformat(), count=apart[day])
        else:
            made += _patiently(lambda day=day: _make(day), "receipt_day_not_made", day)  # type: ignore[misc]
    return made


def make_at_start() -> None:
    """`make_ahead` for a server that starts, in a thread of its own: whatever is wrong, it starts all the same."""
    try:
        make_ahead()
    except DatabaseError:
        log.warning("receipt_days_not_made", exc_info=True)
    finally:
        connection.close()


def drop_old(today: date | None = None) -> Dropped:
    """Detach the days that are over and folded, and drop what is folded and older than the retention."""
    today = today or datetime.now(UTC).date()
    retention = timedelta(settings.RECEIPT_RETENTION_DAYS)
    dropped = 0
    for day, attached in django_rows(TABLES, {}):
        if day >= today - min(timedelta(ATTACHED), retention):
            break
        if attached and not _patiently(lambda day=day: _detach(day), "receipt_day_not_detached", day):  # type: ignore[misc]
            continue
        if day < today - retention:
            dropped += _patiently(lambda day=day: _drop(day), "receipt_day_not_dropped", day)  # type: ignore[misc]
    return Dropped(dropped, sum(_delete_old(table, retention) for table in ("receipt_undated", "receipt_other")))


def _make(day: date) -> bool:
    """False where somebody else has made it."""
    names = {"table": table_of(day), "day": day, "next": day + timedelta(1)}
    with _short_locks():
        if django_rows(EXISTS, {"table": names["table"]}) == [(True,)]:
            return False
        django_rows(MAKE.format(**names), {})
        django_rows(LOCK_OTHER, {})
        django_rows(MOVE.format(**names), {"day": day})
        django_rows(ATTACH.format(**names), {})
    return True


def _detach(day: date) -> bool:
    """False where not all of it is folded."""
    table = table_of(day)
    if django_rows(OPEN.format(table=table), {}) == [(True,)]:
        return False
    with _short_locks():
        django_rows(LOCK_ALL, {})  # then nobody can be about to add to it
        if django_rows(OPEN.format(table=table), {}) == [(True,)]:
            return False
        django_rows(DETACH.format(table=table), {})
    return True


def _drop(day: date) -> bool:
    with _short_locks():
        django_rows(DROP.format(table=table_of(day)), {})
    return True


def _delete_old(table: str, retention: timedelta) -> int:
    """Goes once through the whole table, page by page: neither its ids nor its pages are in the order of time."""
    [(pages,)] = django_rows(PAGES_OF.format(table=table), {})
    deleted = 0
    for first in range(0, pages, PAGES):
        with transaction.atomic():
            place = {"first": f"({first},0)", "end": f"({first + PAGES},0)"}
            deleted += len(django_rows(DELETE.format(table=table), {**place, "retention": retention}))
    return deleted


def _patiently(work: Callable[[], bool], failed: str, day: date) -> bool:
    """`work`, again where a lock was not to be had in time. False, and logged, where it never was."""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            return work()
        except OperationalError as error:
            if not isinstance(error.__cause__, psycopg.errors.LockNotAvailable | psycopg.errors.QueryCanceled):
                raise
    log.error(failed, day=day.isoformat(), attempts=ATTEMPTS)
    return False


@contextmanager
def _short_locks() -> Iterator[None]:
    with transaction.atomic():
        django_rows(ONE_AT_A_TIME, {})
        django_rows(BOUND_LOCKS, {})
        yield
