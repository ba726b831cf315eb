"""The statements of reports on usage and of the account. They only read."""

from typing import Final

# What a tenant used: the rollups of the ranges (period, from, to), the receipts that are not folded yet, and the end
# of what entries held that have expired and are not booked yet; in one snapshot, in which all is in one of the three.
# `now` comes after all that the snapshot holds, for it is looked up later.
#
# A range is one range of the primary key for each API key; every API key that has a rollup has one of a month.
# `offset 0` keeps the planner to those indexes, whatever it believes about the tables.
#
# `now`, then the sums for each period that starts at `from` or later, and with `by_api_key` for each API key. What is
# before `from` comes without a start; where there is nothing at all, the sums are null.
USAGE: Final = """
with moment as materialized (select clock_timestamp() as now),
counted as (
  select u.*
  from unnest(%(periods)s::int2[], %(froms)s::timestamptz[], %(tos)s::timestamptz[]) as r (period, "from", "to")
  cross join (
    select distinct api_key_id from usage_rollup
    where tenant_id = %(tenant_id)s and period = 2 and start < %(to)s
  ) k
  cross join lateral (
    select u.start, u.api_key_id, u.hits, u.misses, u.writes, u.duplicates, u.deletes, u.units, u.saved,
           u.storage_delta, u.storage_moment
    from usage_rollup u
    where u.tenant_id = %(tenant_id)s and u.period = r.period and u.api_key_id = k.api_key_id
      and u.start >= r."from" and u.start < r."to"
    offset 0
  ) u
  union all
  select date_trunc(%(group_by)s::text, at, 'UTC'), api_key_id, hits, misses, writes, duplicates, deletes, units, saved,
         storage_delta, storage_moment
  from (select * from receipt where tenant_id = %(tenant_id)s and not folded offset 0) r
  where at < %(to)s
  union all
  select date_trunc(%(group_by)s::text, e.expires_at, 'UTC'), e.api_key_id, 0, 0, 0, 0, 0, 0, 0,
         -e.size, -e.size * (extract(epoch from e.expires_at) * 1000000)
  from moment
  cross join lateral (
    select expires_at, api_key_id, size from entry
    where tenant_id = %(tenant_id)s and expires_at <= moment.now and expires_at < %(to)s
      and expires_at <= statement_timestamp() + interval '1 minute'  -- which is later: for the planner, who knows it
    offset 0
  ) e
)
select moment.now, s.*
from moment
left join (
  select case when start >= %(from)s then start end, case when %(by_api_key)s::bool then api_key_id end,
         sum(hits)::bigint, sum(misses)::bigint, sum(writes)::bigint, sum(duplicates)::bigint, sum(deletes)::bigint,
         sum(units)::bigint, sum(saved), sum(storage_delta)::bigint, sum(storage_moment)
  from counted group by 1, 2 limit %(limit)s
) s on true
"""

API_KEY_NAMES: Final = "select id, name from api_key where tenant_id = %(tenant_id)s and id = any(%(ids)s::bigint[])"

TAG_USAGE: Final = """
select date_trunc(%(group_by)s::text, day::timestamp) at time zone 'UTC', tag, sum(hits)::bigint, sum(saved)
from tag_usage where tenant_id = %(tenant_id)s and day >= %(from)s::date and day < %(to)s::date
group by 1, 2 order by 1, 3 desc, 2 limit %(limit)s
"""

# The account of an API key: its own limits where it has some, else the tenant's, else the plan's of today. API key 0 is
# none in particular.
ACCOUNT: Final = """
select t.id, t.name, coalesce(k.id, 0), coalesce(k.name, ''), a.plan, p.prepaid, p.monthly_grant, a.balance, c.units,
       p.free_storage, coalesce(a.storage_quota, p.storage_quota),
       coalesce(k.storage_quota, a.api_key_storage_quota, p.api_key_storage_quota),
       coalesce(k.requests_per_minute, a.requests_per_minute, p.requests_per_minute),
       k.credit_limit, coalesce(w.units, 0), a.default_ttl, a.max_ttl
from (
  select (statement_timestamp() at time zone 'UTC')::date as day,
         date_trunc('month', statement_timestamp(), 'UTC') as month
) n
join tenant t on t.id = %(tenant_id)s
join account a on a.tenant_id = %(tenant_id)s
left join api_key k on k.tenant_id = %(tenant_id)s and k.id = %(api_key_id)s::bigint
cross join lateral (
  select * from plan p where p.code = a.plan and p.valid_from <= n.day order by p.valid_from desc limit 1
) p
cross join lateral (
  select coalesce(sum(units), 0)::bigint as units
  from (
    select units from usage_rollup where tenant_id = %(tenant_id)s and period = 2 and start = n.month
    union all
    select units from (select * from receipt where tenant_id = %(tenant_id)s and not folded offset 0) r
    where at >= n.month
  ) u
) c
left join credit_window w on w.tenant_id = %(tenant_id)s and w.api_key_id = %(api_key_id)s
  and w.month = (extract(year from n.day) - 1970) * 12 + extract(month from n.day) - 1
"""

# What each thing costs today.
PRICES: Final = """
select distinct on (code) code, amount from price
where valid_from <= (statement_timestamp() at time zone 'UTC')::date order by code, valid_from desc
"""
