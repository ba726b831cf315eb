"""The statements of invoices and of reports over tenants. They only read.

`start` and `end` are a month's first instant and the next month's.
"""

from typing import Final

# What tenants used in a month, by API key and price period; those begin at `bounds`, of which the first is `start`.
# With ordinal 0 what happened before the month, of which only the bytes matter, for they still stand when it begins.
# Nothing is missing in the statement's snapshot: receipts are either folded or not, and an expired entry is either
# booked or there. Each row begins with the moment up to which it holds: the month's end, or now. The clock is read
# behind the snapshot, so that no event is later. A row of nulls where there is nothing.
USAGE: Final = """
with until as materialized (select least(%(end)s::timestamptz, clock_timestamp()) as at),
event as (
  select tenant_id, api_key_id, start as at, hits, misses, writes, units, saved, storage_delta, storage_moment
  from usage_rollup where tenant_id = any(%(tenant_ids)s::bigint[]) and period = 2 and start < %(start)s
  union all
  select d.*
  from usage_rollup m
  cross join lateral (
    select d.tenant_id, d.api_key_id, d.start, d.hits, d.misses, d.writes, d.units, d.saved, d.storage_delta,
           d.storage_moment
    from usage_rollup d
    where d.tenant_id = m.tenant_id and d.period = 1 and d.api_key_id = m.api_key_id
      and d.start >= %(start)s and d.start < %(end)s
    offset 0
  ) d
  where m.tenant_id = any(%(tenant_ids)s::bigint[]) and m.period = 2 and m.start = %(start)s
  union all
  select tenant_id, api_key_id, at, hits, misses, writes, units, saved, storage_delta, storage_moment
  from receipt where tenant_id = any(%(tenant_ids)s::bigint[]) and not folded and at < %(end)s
  union all
  select tenant_id, api_key_id, expires_at, 0, 0, 0, 0, 0, -size,
         -size * (extract(epoch from expires_at) * 1000000)
  from entry where tenant_id = any(%(tenant_ids)s::bigint[]) and expires_at < (select at from until)
    and expires_at <= statement_timestamp() + interval '1 minute'  -- which is later: for the planner, who knows it
)
select u.at, e.*
from until u
left join (
  select tenant_id, api_key_id, width_bucket(at, %(bounds)s::timestamptz[]), sum(hits)::bigint, sum(misses)::bigint,
         sum(writes)::bigint, sum(units)::bigint, sum(saved), sum(storage_delta)::bigint, sum(storage_moment)
  from event group by 1, 2, 3
) e on true
"""

# Ledger entries, each with the month that it belongs to: what an invoice asked for belongs to the invoice's month,
# though it is booked later.
_LEDGER: Final = """
  select l.tenant_id, l.units, i.month is not null as invoiced,
         coalesce(i.month, (date_trunc('month', l.at, 'UTC') at time zone 'UTC')::date) as month
  from credit_ledger l
  left join invoice i on i.tenant_id = l.tenant_id and i.kind = 'invoice' and l.kind = 'invoice'
    and l.idempotency_key = 'invoice ' || to_char(i.month, 'YYYY-MM')
"""

# What was granted, charged and invoiced in each month of tenants, in units, and whether the month is closed.
BALANCES: Final = f"""
select tenant_id, month, sum(granted)::bigint, sum(charged)::bigint, sum(invoiced)::bigint, bool_or(closed)
from (
  select tenant_id, (start at time zone 'UTC')::date as month, 0 as granted, units as charged, 0 as invoiced,
         false as closed
  from usage_rollup where tenant_id = any(%(tenant_ids)s::bigint[]) and period = 2
  union all
  select tenant_id, (date_trunc('month', at, 'UTC') at time zone 'UTC')::date, 0, units, 0, false
  from receipt where tenant_id = any(%(tenant_ids)s::bigint[]) and not folded
  union all
  select tenant_id, month, case when invoiced then 0 else units end, 0, case when invoiced then units else 0 end, false
  from ({_LEDGER} where l.tenant_id = any(%(tenant_ids)s::bigint[])) l
  union all
  select tenant_id, month, 0, 0, 0, true
  from invoice where tenant_id = any(%(tenant_ids)s::bigint[]) and kind = 'invoice'
) b
group by tenant_id, month order by tenant_id, month
"""

# The first month before the month `end` for which each tenant has yet to get an invoice: behind its last invoice's,
# with hits or storage, or with a balance below zero at its end. Of all tenants, or of `tenant_ids`. Receipts must be
# folded.
DUE: Final = f"""
with booked as (
  select a.tenant_id, c.month as closed, b.month, bool_or(b.used) as used, sum(b.bytes) as bytes, sum(b.units) as units
  from account a
  left join lateral (
    select month from invoice where tenant_id = a.tenant_id and kind = 'invoice' order by month desc limit 1
  ) c on true
  cross join lateral (
    select (start at time zone 'UTC')::date as month, storage_delta as bytes, -units as units,
           hits <> 0 or units <> 0 or storage_delta <> 0 or storage_moment <> 0 as used
    from usage_rollup where tenant_id = a.tenant_id and period = 2
    union all
    select month, 0, units, false from ({_LEDGER} where l.tenant_id = a.tenant_id) l
  ) b
  where (%(tenant_ids)s::bigint[] is null or a.tenant_id = any(%(tenant_ids)s::bigint[])) and b.month < %(end)s::date
  group by a.tenant_id, c.month, b.month
),
state as (
  select tenant_id, closed, month, used, sum(bytes) over behind <> 0 or sum(units) over behind < 0 as left_over
  from booked window behind as (partition by tenant_id order by month)
),
candidate as (
  select tenant_id, month from state where (used or left_over) and (closed is null or month > closed)
  union all
  (select tenant_id, case when left_over then (closed + interval '1 month')::date end
   from (select distinct on (tenant_id) * from state where month <= closed order by tenant_id, month desc) s)
)
select tenant_id, min(month) from candidate where month < %(end)s::date group by tenant_id order by 2, 1
"""

# How many receipts of before `end` are in no rollup yet: of all tenants, or of `tenant_ids`.
NOT_FOLDED: Final = """
select count(*) from receipt
where (%(tenant_ids)s::bigint[] is null or tenant_id = any(%(tenant_ids)s::bigint[])) and not folded and at < %(end)s
"""

# Whether an entry that expired before `end` is not booked yet.
NOT_BOOKED: Final = """
select exists (select from entry where tenant_id = %(tenant_id)s and expires_at < %(end)s)
"""

NOW: Final = "select statement_timestamp()"

TENANTS: Final = """
select t.id, t.name, a.plan from tenant t join account a on a.tenant_id = t.id
where t.id = any(%(tenant_ids)s::bigint[]) order by t.name
"""

API_KEYS: Final = """
select tenant_id, id, name from api_key
where tenant_id = any(%(tenant_ids)s::bigint[]) and id = any(%(ids)s::bigint[])
"""

PRICES: Final = "select code, valid_from, amount from price where valid_from < %(end)s::date order by valid_from"

FREE_STORAGE: Final = (
    "select code, valid_from, free_storage from plan where valid_from < %(end)s::date order by valid_from"
)

# A tenant's invoices and credit notes below a number, newest first.
INVOICES: Final = """
select number, kind, month, issued_at, corrects, total from invoice
where tenant_id = %(tenant_id)s and number < %(before)s order by number desc limit %(limit)s
"""

INVOICE: Final = """
select number, kind, month, issued_at, corrects, total, plan, document::text from invoice
where tenant_id = %(tenant_id)s and number = %(number)s
"""

# The invoices of tenants for a month, and the credit notes that correct them.
INVOICES_OF_MONTH: Final = """
select tenant_id, number, kind, total from invoice
where tenant_id = any(%(tenant_ids)s::bigint[]) and month = %(month)s order by tenant_id, number
"""
