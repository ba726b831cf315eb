"""Folding receipts into what is read: usage by hour, day and month, hits of entries, use of tags.

A chunk of receipts is marked and added up in one transaction, so that at any instant usage is the rollups plus the
receipts that are not folded. Nothing else is remembered between chunks: whoever is killed midway leaves nothing behind,
and receipts of transactions still open are found by a later run. Safe to run twice at once: receipts that another run
has in hand are skipped, and both write rows in one order (usage, entries, tags, each by its primary key), so that they
cannot wait for each other in a circle.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Final

import structlog
from django.db import DatabaseError, transaction

from billing import receipt_days
from billing.receipt_days import Dropped
from billing.rows import django_rows

# Receipts in a transaction, fitted to the time that the last ones took: hits of entries with many tags take far longer.
# A chunk writes an entry's statistics once, and their indexes with them, so large chunks take less altogether.
FIRST_CHUNK, LEAST, MOST = 100, 10, 8000
AIM_SECONDS = 0.5  # for a transaction, which nobody waits for
REFUNDED_WITHIN = timedelta(hours=1)  # so long ago may be what a new receipt tells of (`billing/sql.py`)
SEEN_WITHIN = timedelta(minutes=1)  # a receipt's transaction has ended; its statements are cut off far sooner
STATS = 1000  # rows, in a transaction that drops orphaned ones

log = structlog.get_logger(__name__)
Progress = Callable[[int], None]

# What a crash undoes is done again. Compiling statements that run for a moment would not pay.
SHORT: Final = "set local synchronous_commit = off; set local jit = off"

# Marks the next receipts of a day as folded; their tenants and ids as two arrays. Of one day, here and below: then only
# that day's table is planned for and opened.
CLAIM: Final = """
with chunk as materialized (
  select tenant_id, id from receipt
  where not folded and id_day = %(day)s and (%(tenant_id)s::bigint is null or tenant_id = %(tenant_id)s)
  order by tenant_id limit %(limit)s for update skip locked
),
claimed as (
  update receipt r set folded = true from chunk c where r.tenant_id = c.tenant_id and r.id_day = %(day)s and r.id = c.id
  returning r.tenant_id, r.id
)
select coalesce(array_agg(tenant_id), '{}'), coalesce(array_agg(id), '{}') from claimed
"""

TENANTS: Final = "select distinct tenant_id from receipt where not folded order by 1"

# Adds the claimed receipts to the UTC hour, day and month of each API key.
FOLD_USAGE: Final = """
insert into usage_rollup as u (tenant_id, period, api_key_id, start, hits, misses, writes, duplicates, deletes, units,
                               saved, storage_delta, storage_moment)
select r.tenant_id, p.period, r.api_key_id, p.start, sum(r.hits), sum(r.misses), sum(r.writes), sum(r.duplicates),
       sum(r.deletes), sum(r.units), sum(r.saved), sum(r.storage_delta), sum(r.storage_moment)
from unnest(%(tenant_ids)s::bigint[], %(ids)s::bigint[]) as c (tenant_id, id)
join receipt r on r.tenant_id = c.tenant_id and r.id_day = %(day)s and r.id = c.id
cross join lateral (
  values (0::smallint, date_trunc('hour', r.at, 'UTC')), (1::smallint, date_trunc('day', r.at, 'UTC')),
         (2::smallint, date_trunc('month', r.at, 'UTC'))
) as p (period, start)
group by r.tenant_id, p.period, r.api_key_id, p.start
order by r.tenant_id, p.period, r.api_key_id, p.start
on conflict (tenant_id, period, api_key_id, start) do update set
  hits = u.hits + excluded.hits, misses = u.misses + excluded.misses, writes = u.writes + excluded.writes,
  duplicates = u.duplicates + excluded.duplicates, deletes = u.deletes + excluded.deletes,
  units = u.units + excluded.units, saved = u.saved + excluded.saved,
  storage_delta = u.storage_delta + excluded.storage_delta, storage_moment = u.storage_moment + excluded.storage_moment
"""

# Adds the claimed receipts' hits, and what they saved, to the versions that are still there; a refund takes a hit of
# each back. Folded before the hit itself, which another run may have in hand, it leaves the version below zero until
# that is folded too.
FOLD_STATS: Final = """
insert into entry_stats as s (tenant_id, version, hits, last_hit_at, saved)
select h.tenant_id, h.version, h.hits, h.last_hit_at, h.hits * coalesce(e.cost, 0)
from (
  select r.tenant_id, v.version, sum(case when r.hits < 0 then -1 else 1 end) as hits,
         coalesce(max(r.at) filter (where r.hits > 0), 'epoch') as last_hit_at
  from unnest(%(tenant_ids)s::bigint[], %(ids)s::bigint[]) as c (tenant_id, id)
  join receipt r on r.tenant_id = c.tenant_id and r.id_day = %(day)s and r.id = c.id
  cross join lateral unnest(r.versions) as v (version)
  group by r.tenant_id, v.version
) h
cross join lateral (select cost from entry e where e.tenant_id = h.tenant_id and e.version = h.version limit 1) e
order by h.tenant_id, h.version
on conflict (tenant_id, version) do update set
  hits = s.hits + excluded.hits, last_hit_at = greatest(s.last_hit_at, excluded.last_hit_at),
  saved = s.saved + excluded.saved
"""

# Adds the claimed receipts' hits, and what they saved, to the tags of their versions, there or gone.
FOLD_TAGS: Final = """
insert into tag_usage as u (tenant_id, day, tag, hits, saved)
select h.tenant_id, h.day, t.tag, sum(h.hits), sum(h.hits * coalesce(e.cost, 0))
from (
  select r.tenant_id, (r.at at time zone 'UTC')::date as day, v.version,
         sum(case when r.hits < 0 then -1 else 1 end) as hits
  from unnest(%(tenant_ids)s::bigint[], %(ids)s::bigint[]) as c (tenant_id, id)
  join receipt r on r.tenant_id = c.tenant_id and r.id_day = %(day)s and r.id = c.id
  cross join lateral unnest(r.versions) as v (version)
  group by r.tenant_id, day, v.version
) h
cross join lateral (
  (select e.tags, e.cost from entry e where e.tenant_id = h.tenant_id and e.version = h.version limit 1)
  union all
  (select d.tags, d.cost from entry_tombstone d where d.tenant_id = h.tenant_id and d.version = h.version limit 1)
  limit 1
) e
cross join lateral unnest(e.tags) as t (tag)
group by h.tenant_id, h.day, t.tag
order by h.tenant_id, h.day, t.tag
on conflict (tenant_id, day, tag) do update set hits = u.hits + excluded.hits, saved = u.saved + excluded.saved
"""

# Those that no receipt can need any more: neither one that is not folded, nor one that is yet to come.
DROP_TOMBSTONES: Final = """
with needless as materialized (
  select tenant_id, version from entry_tombstone
  where at < least(
    (select min(at) from receipt where not folded) - %(seen_within)s::interval,
    now() - %(refunded_within)s::interval - %(seen_within)s::interval
  )
  for update skip locked
)
delete from entry_tombstone d using needless n where d.tenant_id = n.tenant_id and d.version = n.version
"""

# Of the next rows behind (tenant_id, version), drops those whose entry is gone: how many, and the last row looked at.
# (A cast, for `::` comes before the minus: the lowest version would be out of range.)
DROP_ORPHANED_STATS: Final = """
with page as materialized (
  select tenant_id, version from entry_stats
  where (tenant_id, version) > (%(tenant_id)s, cast(%(version)s as bigint))
  order by tenant_id, version limit %(limit)s
),
orphan as materialized (
  select s.tenant_id, s.version from page p
  join entry_stats s on s.tenant_id = p.tenant_id and s.version = p.version
  left join lateral (
    select true as here from entry e where e.tenant_id = p.tenant_id and e.version = p.version limit 1
  ) e on true
  where e.here is null
  for update of s skip locked
),
dropped as (
  delete from entry_stats s using orphan o where s.tenant_id = o.tenant_id and s.version = o.version returning 1
)
select (select count(*) from dropped), tenant_id, version from page order by tenant_id desc, version desc limit 1
"""


def rollup(*, seconds: float = 50.0, progress: Progress | None = None) -> int:
    """Fold the receipts there are, for at most about `seconds`; returns how many that were.

    A tenant whose receipts cannot be folded is reported, and holds up no other.
    """
    deadline = time.monotonic() + seconds
    try:
        return _fold(None, deadline, progress)
    except DatabaseError:
        log.exception("receipts_not_folded")
    folded = 0
    for (tenant_id,) in django_rows(TENANTS, {}):
        try:
            folded += _fold(tenant_id, deadline, progress)
        except DatabaseError:
            log.critical("tenant_not_folded", tenant_id=tenant_id, exc_info=True)
    return folded


def _fold(tenant_id: int | None, deadline: float, progress: Progress | None) -> int:
    """Day by day, chunk by chunk: of one tenant, or of all."""
    folded, limit = 0, FIRST_CHUNK
    days = receipt_days.days()
    while days and time.monotonic() < deadline:
        began = time.monotonic()
        count = _fold_chunk(tenant_id, days[0], limit)
        folded += count
        if progress is not None and count:
            progress(folded)
        if count < limit:
            days = days[1:]
        else:
            limit = max(LEAST, min(MOST, int(limit * AIM_SECONDS / max(time.monotonic() - began, 0.001))))
    return folded


def _fold_chunk(tenant_id: int | None, day: date, limit: int) -> int:
    with _short_transaction():
        [(tenant_ids, ids)] = django_rows(CLAIM, {"tenant_id": tenant_id, "day": day, "limit": limit})
        if ids:
            for statement in (FOLD_USAGE, FOLD_STATS, FOLD_TAGS):
                django_rows(statement, {"tenant_ids": tenant_ids, "day": day, "ids": ids})
    return len(ids)


def drop_old() -> tuple[Dropped, int]:
    """Drop what nobody will read again; returns the receipts, and how many hit counts of versions that are gone. And
    make the days to come."""
    receipt_days.make_ahead()
    drop_tombstones()
    return receipt_days.drop_old(), drop_orphaned_stats()


def drop_tombstones() -> None:
    """Drop the tombstones of which every hit is folded, those of refunds to come included."""
    with _short_transaction():
        django_rows(DROP_TOMBSTONES, {"seen_within": SEEN_WITHIN, "refunded_within": REFUNDED_WITHIN})


def drop_orphaned_stats() -> int:
    """Drop the hit counts of versions that are gone; returns how many."""
    dropped, last = 0, {"tenant_id": 0, "version": 0}
    while True:
        with _short_transaction():
            page = django_rows(DROP_ORPHANED_STATS, {**last, "limit": STATS})
        if not page:
            return dropped
        [(count, tenant_id, version)] = page
        dropped, last = dropped + count, {"tenant_id": tenant_id, "version": version}


@contextmanager
def _short_transaction() -> Iterator[None]:
    with transaction.atomic():
        django_rows(SHORT, {})
        yield
