"""Every statement that touches entries, but for the rollup's (`rollup.py`) and those of lists (`list_sql.py`).

The gathered statements (READ, LIMITED_READ, WRITE, UPDATE, DELETE, LEASE, AUTHORISE) take the callers of a batch as
five arrays and its requests as further ones, and answer a row for each request by its ordinal `n`. A request whose
caller's API key does not hold (unknown, revoked, expired) gets no row: revocation, expiry, scopes, allow-lists and
limits hold at once in every process.
Each row begins with `n`, an outcome (`operations.Outcome`), the API key's rate limit, and how much of it is used.

Rows are looked up by `lateral (… limit 1)`: that can only be planned as one index look-up a row, whatever the planner
believes about tables that were empty when the plan was made.

Metering happens in the same statement: receipts, the charge to the account, the move of the storage meter. Locks are
taken in one order, each kind in the order of its primary key, so that no two statements wait for each other in a
circle: tenant, rate window, account, credit window, storage meter. Reads lock no tenant and writes no account.

Writers run as one pipelined round trip `BEGIN; LOCK; statement; COMMIT`. The lock serialises a tenant's writers, and
the statement's snapshot is taken after it: what it reads of the old entry and of the meter is what it replaces. Time is
`statement_timestamp()`, the moment the statement itself starts (`now()` would be before the wait for the lock).
"""

from typing import Final

from accounts.models import SCOPE_BITS
from cacheservice.entries.requests import DEFAULT_TTL_SECONDS, MAX_TTL_SECONDS

BEGIN: Final = b"begin"
COMMIT: Final = b"commit"
# In a transaction whose loss in a crash of PostgreSQL harms nobody.
UNFLUSHED: Final = b"set local synchronous_commit = off"

# $1 tenants. One order for all writers, so that they cannot wait for each other in a circle.
LOCK: Final = b"""
select from tenant where id = any($1::bigint[]) order by id for no key update
"""

# Whoever waits for the end of a lease listens here: `<kind> <tenant> <space> <key>`, with kind `filled` or `free`, or
# `all <tenant> <space> ` where every lease of a space was voided.
LEASE_CHANNEL: Final = "cacheservice_lease"

_TODAY: Final = b"(statement_timestamp() at time zone 'UTC')::date"

_RATE_LIMIT: Final = "coalesce(k.requests_per_minute, a.requests_per_minute, p.requests_per_minute)"


def _holding(refusal: str, scopes: str, rate_limit: str) -> bytes:
    """The callers that hold, with their scopes and limits, of: $1 tenants, $2 API keys, $3 digests of the presented
    tokens, $4 how many requests count against their rate limits, $5 the addresses they come from, null where none was
    known to matter. `refusal` is the outcome of a caller that lacks a scope."""
    return f"""
with caller as materialized (
  select c.n, c.tenant_id, c.api_key_id, c.requests, k.credit_limit, p.prepaid,
         k.refusal, {scopes} as scopes, {rate_limit} as rate_limit, k.allowed_networks is not null as listed,
         coalesce(a.storage_quota, p.storage_quota) as storage_quota,
         coalesce(k.storage_quota, a.api_key_storage_quota, p.api_key_storage_quota) as api_key_storage_quota,
         a.max_ttl, a.default_ttl
  from unnest($1::bigint[], $2::bigint[], $3::bytea[], $4::int4[]) with ordinality
    as c (tenant_id, api_key_id, digest, requests, n)
  cross join lateral (
    select *, case when k.allowed_networks is null then 1 {refusal} end as refusal from api_key k
    where k.tenant_id = c.tenant_id and k.id = c.api_key_id and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > statement_timestamp())
      and (k.digest = c.digest or (k.previous_digest = c.digest and k.previous_expires_at > statement_timestamp()))
    limit 1
  ) k
  cross join lateral (select * from account a where a.tenant_id = c.tenant_id limit 1) a
  cross join lateral (
    select * from plan p where p.code = a.plan and p.valid_from <= {_TODAY.decode()}
    order by p.valid_from desc limit 1
  ) p
)""".encode()


# An API key's allow-list may not hold the address (11), or need one (12): then the caller has no scope at all, and does
# not count against the rate limit.
_HOLDING: Final = _holding(
    "when ($5::text[])[c.n] is null then 12 when ($5::text[])[c.n]::inet <<= any (k.allowed_networks) then 1 else 11",
    "case k.refusal when 1 then k.scopes else 0 end",
    f"case k.refusal when 1 then {_RATE_LIMIT} end",
)

# The same without a look at allow-lists, which would take every reader time: whoever has one is left to others (10).
_HOLDING_UNLISTED: Final = _holding("when $5::text[] is not null then 10", "k.scopes", _RATE_LIMIT)

# The callers that hold, and their requests counted in the UTC minute of the statement.
_CALLER: Final = (
    _HOLDING
    + b""",
rate as (
  insert into rate_window as r (tenant_id, api_key_id, minute, used)
  select tenant_id, api_key_id, floor(extract(epoch from statement_timestamp()) / 60)::int4, sum(requests)
  from caller where rate_limit is not null group by tenant_id, api_key_id order by tenant_id, api_key_id
  on conflict (tenant_id, api_key_id) do update set
    used = excluded.used + case when r.minute >= excluded.minute then r.used else 0 end,
    minute = greatest(r.minute, excluded.minute)
  returning tenant_id, api_key_id, used
)"""
)


def _needed(scopes: bytes) -> bytes:
    """The scope bits that a request `q` takes: `scopes`, but for the gateway's space always that of the gateway."""
    return b"(case q.space when 0 then " + scopes + b"::int2 else %d::int2 end)" % SCOPE_BITS["gateway"]


# A request `q`'s caller `c`, and how much of the rate limit its API key has used, this batch included.
_WITH_CALLER: Final = b"""
  join caller c on c.n = q.caller
  left join rate r on r.tenant_id = c.tenant_id and r.api_key_id = c.api_key_id"""

# `q.later`: how many of the used requests came after this one.
_OVER_RATE: Final = b"c.rate_limit is not null and r.used - q.later > c.rate_limit"

# The entry `e` that is there before a write, live or not.
_WITH_OLD: Final = b"""
  left join lateral (
    select e.version, e.expires_at, e.size, e.api_key_id, e.tags, e.cost from entry e
    where e.tenant_id = c.tenant_id and e.space = q.space and e.key = q.key
    limit 1
  ) e on true"""

# The ttls `d` of a caller's tenant, in seconds: the contract's where it has none of its own.
_WITH_TTLS: Final = b"""
  cross join lateral (
    select coalesce(c.max_ttl, %d) as max_ttl, least(c.max_ttl, coalesce(c.default_ttl, %d)) as default_ttl
  ) d""" % (MAX_TTL_SECONDS, DEFAULT_TTL_SECONDS)

# The lease `l` on a place that is to be filled or deleted.
_WITH_LEASE: Final = b"""
  left join lateral (
    select l.token, l.expires_at > statement_timestamp() as held from lease l
    where l.tenant_id = c.tenant_id and l.space = q.space and l.key = q.key
    limit 1
  ) l on true"""

_OLD: Final = b"""
         coalesce(e.expires_at > statement_timestamp(), false) as live, e.version, e.expires_at as old_expires_at,
         e.size as old_size, e.api_key_id as old_api_key_id, e.tags as old_tags, e.cost as old_cost"""

# The condition of a write on what is there (`condition`, `if_version`): see requests.Condition.
_MET: Final = b"""
(q.condition = 0 or (q.condition = 1 and not q.live) or (q.condition = 2 and q.live and q.version = q.if_version)
 or (q.condition = 3 and q.live))"""


def _booked(first_id: str) -> str:
    """The common end of whatever adds or removes entries: from `event` (tenant_id, api_key_id, at, delta in bytes,
    writes, duplicates, deletes) and `gone` (tenant_id, version, tags, cost of removed versions) to receipts, one for
    each API key and hour, to the storage meters and to tombstones. `first_id` is the SQL of the id before the first
    receipt's."""
    return f"""
booked as materialized (
  select tenant_id, api_key_id, max(at) as at, sum(writes) as writes, sum(duplicates) as duplicates,
         sum(deletes) as deletes, sum(delta)::bigint as delta,
         sum(delta * (extract(epoch from at) * 1000000)) as moment, row_number() over () as n
  from event group by tenant_id, api_key_id, date_trunc('hour', at, 'UTC')
),
metered as (
  insert into storage_meter as m (tenant_id, api_key_id, bytes, moment)
  select tenant_id, coalesce(api_key_id, 0), sum(delta), sum(moment) from booked
  group by grouping sets ((tenant_id, api_key_id), (tenant_id))
  on conflict (tenant_id, api_key_id) do update set
    bytes = m.bytes + excluded.bytes, moment = m.moment + excluded.moment
),
receipts as (
  insert into receipt (tenant_id, id_day, id, api_key_id, at, writes, duplicates, deletes, storage_delta,
                       storage_moment)
  select tenant_id, {_TODAY.decode()}, {first_id} + n, api_key_id, at, writes, duplicates, deletes, delta, moment
  from booked
),
buried as (
  insert into entry_tombstone (tenant_id, version, tags, cost, at)
  select tenant_id, version, tags, cost, statement_timestamp() from gone where tags <> '{{}}'
  on conflict do nothing
)"""


# ... $6 the request's caller (ordinal), $7 later, $8 the scope bit needed, or 0.
AUTHORISE: Final = (
    _CALLER
    + b"""
select q.n::int4, (case when c.refusal <> 1 or (q.scope <> 0 and c.scopes & q.scope = 0) then c.refusal when """
    + _OVER_RATE
    + b""" then 2 else 0 end)::int2, c.rate_limit, r.used
from unnest($6::int4[], $7::int4[], $8::int2[]) with ordinality as q (caller, later, scope, n)"""
    + _WITH_CALLER
)

# The price of a hit in units, and the UTC month, counted from 1970.
_PRICE: Final = (
    b"""
price as materialized (
  select amount::bigint as hit, (extract(year from day) - 1970) * 12 + extract(month from day) - 1 as month
  from (select """
    + _TODAY
    + b""" as day) d cross join lateral (
    select amount from price where code = 'cache_hit' and valid_from <= d.day order by valid_from desc limit 1
  ) p
)"""
)

# The requests `q` of a batch of reads.
_READS: Final = b"""
  from unnest($6::int4[], $7::int4[], $8::int2[], $9::text[], $10::bool[]) with ordinality
    as q (caller, later, space, key, wanted, n)"""

# The columns of the entry `e` that a read finds.
_ENTRY: Final = b"""
         e.version, e.data_key_version, e.size, e.created_at, e.expires_at, e.content_type, e.cost,
         case when q.wanted and octet_length(e.value) <= $12::int4 then e.value end as value"""

# The live entry `e` at the request's place, if nothing forbids the caller to see it.
_LIVE: Final = (
    b"""
    select * from entry e
    where e.tenant_id = c.tenant_id and e.space = q.space and e.key = q.key and e.expires_at > statement_timestamp()
      and c.scopes & """
    + _needed(b"$11")
    + b""" <> 0"""
)

# A receipt for each caller of a batch of reads, of what was `paid`.
_READ_RECEIPTS: Final = b"""
receipts as (
  insert into receipt (tenant_id, id_day, id, api_key_id, at, hits, misses, units, saved, versions)
  select tenant_id, $14::date, $13::bigint + caller, api_key_id, statement_timestamp(), count(version),
         count(*) - count(version), count(version) * (select hit from price), coalesce(sum(cost), 0),
         array_agg(version) filter (where version is not null)
  from paid where outcome = 0 and wanted group by tenant_id, api_key_id, caller
)"""

# ... $6 the request's caller (ordinal), $7 later, $8 space, $9 key, $10 whether the value is wanted, $11 the scope bit
# needed, $12 largest value to give inline: a larger one is null here and fetched apart with VALUE, $13 the id before
# the first receipt's, $14 the ids' day. This is the short way of those who may read as much as they like: where the API
# key has a rate or a credit limit or an allow-list, or a prepaid balance does not pay for all of the tenant's hits,
# nothing is done (10), and LIMITED_READ decides. It takes two thirds of that one's time.
READ: Final = (
    _HOLDING_UNLISTED
    + b""",
found as materialized (
  select q.n, q.caller, q.wanted, c.tenant_id, c.api_key_id, c.prepaid,
         case when c.rate_limit is not null or c.credit_limit is not null or c.listed then 10
              when c.scopes & """
    + _needed(b"$11")
    + b""" = 0 then c.refusal else 0 end as status,"""
    + _ENTRY
    + _READS
    + b"""
  join caller c on c.n = q.caller
  left join lateral ("""
    + _LIVE
    + b""" and c.rate_limit is null and c.credit_limit is null and not c.listed
    limit 1
  ) e on true
),"""
    + _PRICE
    + b""",
charged as (
  update account a set balance = a.balance - h.units
  from (
    select tenant_id, prepaid, count(*) * (select hit from price) as units from found
    where version is not null and wanted group by tenant_id, prepaid order by tenant_id
  ) h
  where a.tenant_id = h.tenant_id and (a.balance >= h.units or not h.prepaid)
  returning a.tenant_id
),
paid as materialized (
  select f.*, case when f.version is not null and f.wanted and c.tenant_id is null then 10 else f.status end as outcome
  from found f left join charged c on c.tenant_id = f.tenant_id
),"""
    + _READ_RECEIPTS
    + b"""
select n::int4, outcome::int2, null::int4, null::bigint, null::bigint, null::bigint,
       case when outcome = 0 then version end, data_key_version, size, created_at, expires_at, content_type,
       case when outcome = 0 then value end, case when wanted then (select hit from price) else 0 end, cost::text
from paid
"""
)

# As READ, for everyone. A wanted hit is charged, or refused: by the API key's credit limit (4), by a prepaid balance
# (3). Requests are looked at one after the other only where not all can be paid. A refusal says what was left. The last
# column says whether READ would not have decided.
LIMITED_READ: Final = (
    _CALLER
    + b""",
found as materialized (
  select q.n, q.caller, q.wanted, c.tenant_id, c.api_key_id, c.credit_limit, c.prepaid, c.rate_limit, c.listed, r.used,
         case when c.scopes & """
    + _needed(b"$11")
    + b""" = 0 then c.refusal when """
    + _OVER_RATE
    + b""" then 2 else 0 end as status,"""
    + _ENTRY
    + _READS
    + _WITH_CALLER
    + b"""
  left join lateral ("""
    + _LIVE
    + b""" and ("""
    + _OVER_RATE
    + b""") is not true
    limit 1
  ) e on true
),"""
    + _PRICE
    + b""",
payer as materialized (
  select h.tenant_id, h.hits, a.balance
  from (
    select tenant_id, count(*) as hits from found where version is not null and wanted
    group by tenant_id order by tenant_id
  ) h
  cross join lateral (select a.balance from account a where a.tenant_id = h.tenant_id limit 1 for no key update) a
),
limited as materialized (
  select h.tenant_id, h.api_key_id, w.units
  from (
    select f.tenant_id, f.api_key_id from found f join payer p on p.tenant_id = f.tenant_id
    where f.version is not null and f.wanted and f.credit_limit is not null
    group by f.tenant_id, f.api_key_id order by f.tenant_id, f.api_key_id
  ) h
  cross join lateral (
    select case when w.month >= (select month from price) then w.units else 0 end as units from credit_window w
    where w.tenant_id = h.tenant_id and w.api_key_id = h.api_key_id limit 1 for no key update
  ) w
),
within as materialized (
  select f.*, p.hits, p.balance, l.units as limit_used,
         f.credit_limit is null or coalesce(l.units + (select hit from price) * (
           select count(*) from found o where o.tenant_id = f.tenant_id and o.api_key_id = f.api_key_id
             and o.version is not null and o.wanted and o.n <= f.n) <= f.credit_limit, false) as within_limit
  from found f
  left join payer p on p.tenant_id = f.tenant_id
  left join limited l on l.tenant_id = f.tenant_id and l.api_key_id = f.api_key_id
),
paid as materialized (
  select w.*, case
    when w.status <> 0 then w.status
    when w.version is null or not w.wanted then 0
    when not w.within_limit then 4
    when not w.prepaid or w.balance >= w.hits * (select hit from price) then 0
    when w.balance < (select hit from price) * (
      select count(*) from within o where o.tenant_id = w.tenant_id and o.version is not null and o.wanted
        and o.within_limit and o.n <= w.n) then 3
    else 0 end as outcome
  from within w
),
charged as (
  update account a set balance = a.balance - c.units
  from (
    select tenant_id, count(*) * (select hit from price) as units from paid
    where outcome = 0 and wanted and version is not null group by tenant_id
  ) c
  where a.tenant_id = c.tenant_id
),
counted as (
  update credit_window w set
    units = c.units + case when w.month >= (select month from price) then w.units else 0 end,
    month = greatest(w.month, (select month from price))
  from (
    select tenant_id, api_key_id, count(*) * (select hit from price) as units from paid
    where outcome = 0 and wanted and version is not null and credit_limit is not null group by tenant_id, api_key_id
  ) c
  where w.tenant_id = c.tenant_id and w.api_key_id = c.api_key_id
),"""
    + _READ_RECEIPTS
    + b"""
select n::int4, outcome::int2, rate_limit, used,
       case outcome when 3 then balance when 4 then limit_used end, case outcome when 4 then credit_limit end,
       case when outcome = 0 then version end, data_key_version, size, created_at, expires_at, content_type,
       case when outcome = 0 then value end, case when wanted then (select hit from price) else 0 end, cost::text,
       rate_limit is not null or credit_limit is not null or listed or outcome = 3
from paid
"""
)

# ... $6 caller, $7 later, $8 space, $9 key, $10 condition, $11 if_version, $12 the scope bit needed, $13 the id before
# the first receipt's, $14 sealed value, $15 data-key version, $16 size, $17 content type, $18 ttl in seconds or 0 for
# the tenant's default, $19 tags joined by U+001F, $20 cost, $21 new version. Not done where the ttl is above the
# tenant's maximum (13), the data key it was sealed with has been replaced (6), the condition is not met (5), the
# tenant's (7) or the API key's (8) storage quota would be passed. A quota is decided with all that the batch may add
# before the request; `again` says that it may look better alone, or once expired entries are booked. $22 the lease that
# the write uses, or 0: where it is not the one that is held (9), nothing is written. A write ends the lease on its key,
# and tells those who wait for it.
WRITE: Final = (
    _CALLER
    + b""",
request as materialized (
  select q.*, c.tenant_id, c.api_key_id, c.scopes, c.refusal, c.rate_limit, r.used, c.storage_quota,
         c.api_key_storage_quota, d.max_ttl, d.default_ttl, """
    + _OVER_RATE
    + b""" as over_rate, t.data_key_version = q.data_key_version as current,"""
    + _OLD
    + b""",
         q.size - coalesce(e.size, 0) as tenant_delta,
         q.size - case when e.api_key_id = c.api_key_id then e.size else 0 end as api_key_delta,
         l.token is not null as leased, q.lease <> 0 and (l.held and l.token = q.lease) is not true as lost
  from unnest($6::int4[], $7::int4[], $8::int2[], $9::text[], $10::int2[], $11::bigint[], $14::bytea[], $15::int4[],
              $16::int4[], $17::text[], $18::int4[], $19::text[], $20::text[], $21::bigint[], $22::bigint[])
    with ordinality
    as q (caller, later, space, key, condition, if_version, value, data_key_version, size,
          content_type, ttl, tags, cost, new_version, lease, n)
"""
    + _WITH_CALLER
    + _WITH_TTLS
    + _WITH_OLD
    + _WITH_LEASE
    + b"""
  cross join lateral (select t.data_key_version from tenant t where t.id = c.tenant_id limit 1) t
),
checked as materialized (
  select q.*, case when q.scopes & """
    + _needed(b"$12")
    + b""" = 0 then q.refusal when q.over_rate then 2 when q.ttl > q.max_ttl then 13
                   when not q.current then 6 when q.lost then 9
                   when not """
    + _MET
    + b""" then 5 else 0 end as status
  from request q
),
decided as materialized (
  select q.*, t.bytes as tenant_bytes, k.bytes as api_key_bytes, case
    when q.status <> 0 then q.status
    when q.storage_quota is not null and q.tenant_delta > 0 and coalesce(t.bytes, 0) + (
      select sum(greatest(o.tenant_delta, 0)) from checked o
      where o.tenant_id = q.tenant_id and o.status = 0 and o.n <= q.n) > q.storage_quota then 7
    when q.api_key_storage_quota is not null and q.api_key_delta > 0 and coalesce(k.bytes, 0) + (
      select sum(greatest(o.api_key_delta, 0)) from checked o
      where o.tenant_id = q.tenant_id and o.api_key_id = q.api_key_id and o.status = 0 and o.n <= q.n
    ) > q.api_key_storage_quota then 8
    else 0 end as outcome
  from checked q
  left join lateral (
    select bytes from storage_meter m
    where m.tenant_id = q.tenant_id and m.api_key_id = 0 and q.storage_quota is not null limit 1
  ) t on true
  left join lateral (
    select bytes from storage_meter m
    where m.tenant_id = q.tenant_id and m.api_key_id = q.api_key_id and q.api_key_storage_quota is not null limit 1
  ) k on true
),
written as (
  insert into entry (tenant_id, space, key, value, data_key_version, size, content_type, tags, cost, version,
                     api_key_id, created_at, expires_at)
  select q.tenant_id, q.space, q.key, q.value, q.data_key_version, q.size, q.content_type,
         coalesce(string_to_array(q.tags, e'\\x1f'), '{}'), q.cost::numeric, q.new_version,
         q.api_key_id, statement_timestamp(),
         statement_timestamp() + case q.ttl when 0 then q.default_ttl else q.ttl end * interval '1 second'
  from decided q where q.outcome = 0
  order by q.tenant_id, q.space, q.key
  on conflict (tenant_id, space, key) do update set
    value = excluded.value, data_key_version = excluded.data_key_version, size = excluded.size,
    content_type = excluded.content_type, tags = excluded.tags, cost = excluded.cost, version = excluded.version,
    api_key_id = excluded.api_key_id, created_at = excluded.created_at, expires_at = excluded.expires_at
  returning version, created_at, expires_at
),
gone as materialized (
  select tenant_id, version, old_api_key_id as api_key_id, old_size as size, old_tags as tags, old_cost as cost,
         old_expires_at as expires_at
  from decided where outcome = 0 and version is not null
),
event as (
  select tenant_id, api_key_id, statement_timestamp() as at, size as delta, 1 as writes, live::int as duplicates,
         0 as deletes
  from decided where outcome = 0
  union all
  select tenant_id, api_key_id, least(expires_at, statement_timestamp()), -size, 0, 0, 0 from gone
),"""
    + _booked("$13::bigint").encode()
    + b""",
filled as (
  delete from lease l using decided q
  where q.outcome = 0 and q.leased and l.tenant_id = q.tenant_id and l.space = q.space and l.key = q.key
  returning l.tenant_id, l.space, l.key, l.waited
),
told as (
  select pg_notify('cacheservice_lease', 'filled ' || tenant_id || ' ' || space || ' ' || key) from filled where waited
)
select q.n::int4, q.outcome::int2, q.rate_limit, q.used,
       case q.outcome when 7 then coalesce(q.tenant_bytes, 0) when 8 then coalesce(q.api_key_bytes, 0) end,
       case q.outcome when 7 then q.storage_quota when 8 then q.api_key_storage_quota when 13 then q.max_ttl end,
       case when q.outcome in (7, 8) then
         case q.outcome when 7 then coalesce(q.tenant_bytes, 0) + q.tenant_delta <= q.storage_quota
                        else coalesce(q.api_key_bytes, 0) + q.api_key_delta <= q.api_key_storage_quota end
         or q.size <= case q.outcome when 7 then q.storage_quota else q.api_key_storage_quota end and exists (
           select from entry x where x.tenant_id = q.tenant_id and x.expires_at <= statement_timestamp())
       end as again,
       q.live, w.created_at, w.expires_at, (select count(*) from told)
from decided q left join written w on w.version = q.new_version
"""
)

# ... $6 caller, $7 later, $8 space, $9 key, $10 condition, $11 if_version, $12 the scope bit needed, $13 ttl in seconds
# or 0 to keep it, $14 tags joined by U+001F or null to keep them. Not done where the ttl is above the tenant's maximum
# (13). No receipt: nothing is charged, and the meters count an entry until it expires, whenever that will be.
UPDATE: Final = (
    _CALLER
    + b""",
request as materialized (
  select q.*, c.tenant_id, c.rate_limit, r.used, case when c.scopes & """
    + _needed(b"$12")
    + b""" = 0 then c.refusal when """
    + _OVER_RATE
    + b""" then 2 when q.ttl > d.max_ttl then 13 else 0 end as status, d.max_ttl,
         coalesce(e.expires_at > statement_timestamp(), false) as live, e.version
  from unnest($6::int4[], $7::int4[], $8::int2[], $9::text[], $10::int2[], $11::bigint[], $13::int4[], $14::text[])
    with ordinality as q (caller, later, space, key, condition, if_version, ttl, tags, n)"""
    + _WITH_CALLER
    + _WITH_TTLS
    + _WITH_OLD
    + b"""
),
updated as (
  update entry e set
    expires_at = case when q.ttl > 0 then statement_timestamp() + q.ttl * interval '1 second' else e.expires_at end,
    tags = case when q.tags is null then e.tags else string_to_array(q.tags, e'\\x1f') end
  from request q
  where e.tenant_id = q.tenant_id and e.space = q.space and e.key = q.key
    and e.expires_at > statement_timestamp() and q.status = 0 and """
    + _MET
    + b"""
  returning q.n, e.version, e.size, e.created_at, e.expires_at
)
select q.n::int4, q.status::int2, q.rate_limit, q.used, q.live, u.version, u.size, u.created_at, u.expires_at,
       case q.status when 13 then q.max_ttl end
from request q left join updated u on u.n = q.n
"""
)

# The events of `gone` (and deleted_by, live) where somebody deleted it: a deletion by one API key, and the end of what
# counted for the API key that wrote it.
_DELETED: Final = """
event as (
  select tenant_id, deleted_by as api_key_id, statement_timestamp() as at, 0 as delta, 0 as writes, 0 as duplicates,
         1 as deletes
  from gone where live
  union all
  select tenant_id, api_key_id, least(expires_at, statement_timestamp()), -size, 0, 0, 0 from gone
),"""

# ... $6 caller, $7 later, $8 space, $9 key, $10 condition, $11 if_version, $12 the scope bit needed, $13 the id before
# the first receipt's, $14 the lease that is given back, or 0: then the entry goes, and whatever lease is on its key;
# $15 the scope bit needed to give a lease back.
DELETE: Final = (
    _CALLER
    + b""",
request as materialized (
  select q.*, c.tenant_id, c.api_key_id, c.rate_limit, r.used,
         case when c.scopes & """
    + _needed(b"case when q.lease <> 0 then $15::int2 else $12::int2 end")
    + b""" = 0 then c.refusal when """
    + _OVER_RATE
    + b""" then 2 else 0 end as status, l.token as lease_token,"""
    + _OLD
    + b"""
  from unnest($6::int4[], $7::int4[], $8::int2[], $9::text[], $10::int2[], $11::bigint[], $14::bigint[]) with ordinality
    as q (caller, later, space, key, condition, if_version, lease, n)"""
    + _WITH_CALLER
    + _WITH_OLD
    + _WITH_LEASE
    + b"""
),
deleted as (
  delete from entry e using request q
  where e.tenant_id = q.tenant_id and e.space = q.space and e.key = q.key and q.status = 0 and q.lease = 0 and """
    + _MET
    + b"""
  returning q.n
),
gone as materialized (
  select q.tenant_id, q.api_key_id as deleted_by, q.live, q.version, q.old_api_key_id as api_key_id, q.old_size as size,
         q.old_tags as tags, q.old_cost as cost, q.old_expires_at as expires_at
  from request q join deleted d on d.n = q.n
),"""
    + _DELETED.encode()
    + _booked("$13::bigint").encode()
    + b""",
freed as (
  update lease l set token = 0, expires_at = statement_timestamp()
  from request q
  where l.tenant_id = q.tenant_id and l.space = q.space and l.key = q.key and q.status = 0 and l.token <> 0
    and case when q.lease <> 0 then l.token = q.lease else """
    + _MET
    + b""" end
  returning l.tenant_id, l.space, l.key, l.waited
),
told as (
  select pg_notify('cacheservice_lease', 'free ' || tenant_id || ' ' || space || ' ' || key) from freed where waited
)
select q.n::int4, q.status::int2, q.rate_limit, q.used, q.live, d.n is not null, (select count(*) from told)
from request q left join deleted d on d.n = q.n
"""
)

# ... $6 caller, $7 later, $8 space, $9 key, $10 the scope bits needed, $11 for how many seconds, $12 the new token, $13
# whether the caller will wait if another one holds the lease. Taken where the entry is missing and no lease is held.
LEASE: Final = (
    _CALLER
    + b""",
request as materialized (
  select q.*, c.tenant_id, c.rate_limit, r.used, coalesce(l.held, false) as held,
         case when c.scopes & """
    + _needed(b"$10")
    + b""" <> """
    + _needed(b"$10")
    + b""" then c.refusal when """
    + _OVER_RATE
    + b""" then 2 else 0 end as status,
         exists (
           select from entry e where e.tenant_id = c.tenant_id and e.space = q.space and e.key = q.key
             and e.expires_at > statement_timestamp()
         ) as live
  from unnest($6::int4[], $7::int4[], $8::int2[], $9::text[], $11::int4[], $12::bigint[], $13::bool[])
    with ordinality as q (caller, later, space, key, seconds, token, waits, n)"""
    + _WITH_CALLER
    + _WITH_LEASE
    + b"""
),
taken as (
  insert into lease (tenant_id, space, key, token, expires_at, waited)
  select tenant_id, space, key, token, statement_timestamp() + seconds * interval '1 second', false
  from request where status = 0 and not live and not held order by tenant_id, space, key
  on conflict (tenant_id, space, key) do update set token = excluded.token, expires_at = excluded.expires_at
  returning token
),
marked as (
  update lease l set waited = true from request q
  where l.tenant_id = q.tenant_id and l.space = q.space and l.key = q.key
    and q.status = 0 and not q.live and q.held and q.waits and not l.waited
)
select q.n::int4, q.status::int2, q.rate_limit, q.used, q.live, t.token is not null
from request q left join taken t on t.token = q.token
"""
)

# $1 ids that tokens name (63 random bits: at most one row each, whatever the tenant).
LOOK_UP: Final = b"""
select id, tenant_id, digest, previous_digest, allowed_networks is not null from api_key where id = any($1::bigint[])
"""

# Below: not gathered; run one by one on the side pool.

# LOCK for the side pool and tasks.
LOCK_TENANTS: Final = "select from tenant where id = any(%(tenant_ids)s) order by id for no key update"

# Of the places ($1 tenants, $2 spaces, $3 keys): whether their entry is live, and their lease held.
LOOK: Final = """
select e.version is not null, coalesce(l.held, false)
from unnest(%(tenant_ids)s::bigint[], %(spaces)s::int2[], %(keys)s::text[]) with ordinality
  as p (tenant_id, space, key, n)
left join lateral (
  select e.version from entry e where e.tenant_id = p.tenant_id and e.space = p.space and e.key = p.key
    and e.expires_at > statement_timestamp() limit 1
) e on true
left join lateral (
  select l.expires_at > statement_timestamp() as held from lease l
  where l.tenant_id = p.tenant_id and l.space = p.space and l.key = p.key limit 1
) l on true
order by p.n
"""

# Voids every lease of a tenant's space: what was made before a bulk delete is not to fill an entry after it.
VOID_LEASES: Final = """
with freed as (
  update lease set token = 0, expires_at = statement_timestamp()
  where tenant_id = %(tenant_id)s and space = %(space)s and token <> 0 returning waited
)
select pg_notify('cacheservice_lease', 'all ' || %(tenant_id)s || ' ' || %(space)s || ' ')
where exists (select from freed where waited)
"""

# Leases that nobody can want any more.
DROP_LEASES: Final = "delete from lease where expires_at < statement_timestamp() - interval '1 hour'"

# A value too large to travel in a batch, and the data key that seals it now: re-sealing keeps the entry's version.
# No row when the version has been replaced.
VALUE: Final = """
select value, data_key_version from entry
where tenant_id = %(tenant_id)s and space = %(space)s and key = %(key)s and version = %(version)s
"""

# Notes that this version's value does not open, once.
NOTE_UNOPENABLE: Final = """
insert into unopenable_entry (tenant_id, version, at) values (%(tenant_id)s, %(version)s, statement_timestamp())
on conflict do nothing
"""

# Which of a tenant's entries a list, a count or a bulk delete means: keys in [lower, upper), all of the tags.
SELECTED: Final = """
e.tenant_id = %(tenant_id)s and e.space = %(space)s
and e.key >= %(lower)s::text and (%(upper)s::text is null or e.key < %(upper)s::text)
and (%(tags)s::text[] is null or (e.tags <> '{}' and e.tags @> %(tags)s::text[]))
"""

# Up to `most`: a million takes a second or so, and a statement has five.
COUNT: Final = f"""
select count(*) from (
  select from entry e where {SELECTED} and e.expires_at > statement_timestamp() limit %(most)s::int
) counted
"""

# The keys of the next selected entries that stood before `started` (null: now), and when that was. Bounded in number
# and bytes, so that deleting them is a short transaction; read without a lock: a rare tag may take a while to find.
DOOMED: Final = (
    """
select n.key, n.started from (
  select e.key, coalesce(%(started)s::timestamptz, statement_timestamp()) as started,
         sum(e.size) over (order by e.key) - e.size as bytes_before
  from (
    select e.key, e.size from entry e where"""
    + SELECTED
    + """
    and e.key > %(after)s::text
    and e.created_at <= coalesce(%(started)s::timestamptz, statement_timestamp())
    order by e.key limit %(limit)s::int
  ) e
) n
where n.bytes_before < %(bytes)s::bigint order by n.key
"""
)

# Deletes those of `keys` that are still selected and were not written since `started`; how many live ones that were.
DELETE_KEYS: Final = (
    """
with gone as materialized (
  delete from entry e where e.key = any(%(keys)s::text[]) and e.created_at <= %(started)s::timestamptz and"""
    + SELECTED
    + """
  returning e.tenant_id, %(api_key_id)s::bigint as deleted_by, e.expires_at > statement_timestamp() as live, e.version,
            e.api_key_id, e.size, e.tags, e.cost, e.expires_at
),"""
    + _DELETED
    + _booked("%(first_id)s::bigint")
    + "select count(*) from gone where live"
)

# Lets up to `limit` of a tenant's live entries expire now; a row for each.
EXPIRE: Final = """
update entry e set expires_at = statement_timestamp()
from (
  select space, key from entry where tenant_id = %(tenant_id)s and expires_at > statement_timestamp() limit %(limit)s
) l
where e.tenant_id = %(tenant_id)s and e.space = l.space and e.key = l.key
returning 1
"""

# The tenants that have expired entries.
EXPIRED_TENANTS: Final = """
select t.id from tenant t
where exists (select from entry e where e.tenant_id = t.id and e.expires_at <= statement_timestamp()) order by t.id
"""

# Removes up to `limit` expired entries of each of `tenants`, oldest first from `afters` on, and books their storage
# until they expired; under the tenants' locks, as any writer. A row for each that had some: how many, and the expiry of
# the last, from which the next call goes on: it does not step over dead index entries again. Rows that someone is
# sealing anew are skipped; a renewed one no longer qualifies, for FOR UPDATE looks at it again.
PURGE: Final = (
    """
with gone as materialized (
  select e.tenant_id, e.space, e.key, e.version, e.api_key_id, e.size, e.tags, e.cost, e.expires_at
  from unnest(%(tenant_ids)s::bigint[], %(afters)s::timestamptz[]) as t (id, after)
  cross join lateral (
    select * from entry e
    where e.tenant_id = t.id and e.expires_at <= statement_timestamp() and e.expires_at >= t.after
    order by e.expires_at limit %(limit)s for update skip locked
  ) e
),
deleted as (
  delete from entry e using gone g where e.tenant_id = g.tenant_id and e.space = g.space and e.key = g.key
),
event as (
  select tenant_id, api_key_id, expires_at as at, -size as delta, 0 as writes, 0 as duplicates, 0 as deletes from gone
),"""
    + _booked("%(first_id)s::bigint")
    + "select tenant_id, count(*), max(expires_at) from gone group by tenant_id"
)

# The next entries of a tenant that are not sealed with its current data key, behind the place (space, key).
STALE: Final = """
select e.space, e.key, e.data_key_version, e.size, e.content_type, e.version
from entry e join tenant t on t.id = e.tenant_id
where e.tenant_id = %(tenant_id)s and t.id = %(tenant_id)s and e.data_key_version <> t.data_key_version
  and (e.space, e.key) > (%(space)s::smallint, %(key)s::text)
order by e.space, e.key limit %(limit)s
"""

# Puts a re-sealed value in place, unless the entry was written since.
RESEAL: Final = """
update entry set value = %(value)s, data_key_version = %(data_key_version)s
where tenant_id = %(tenant_id)s and space = %(space)s and key = %(key)s and version = %(version)s
  and data_key_version < %(data_key_version)s
returning key
"""

# A tenant's live entries in the order of their keys, for a cursor; without `values` null in the place of each.
EXPORT: Final = """
select e.key, case when %(values)s then e.value end, e.data_key_version, e.size, e.content_type, e.tags, e.cost,
       e.version, e.created_at, e.expires_at
from entry e
where e.tenant_id = %(tenant_id)s and e.space = %(space)s and e.expires_at > statement_timestamp()
order by e.key
"""

SEALED_WITH: Final = """
select exists (select from entry where tenant_id = %(tenant_id)s and data_key_version = %(data_key_version)s)
"""
