"""Every statement that touches entries. No other module has SQL on them but `billing/sql.py`, which adds up sizes.

The gathered statements (READ, WRITE, UPDATE, DELETE) take the callers of a batch as three arrays and its requests as
further ones, and answer a row for each request by its ordinal `n`. A request whose caller's API key does not hold
(unknown, revoked, expired) gets no row: revocation, expiry and scopes hold at once in every process.

Rows are looked up by `lateral (… limit 1)`: that can only be planned as one index look-up a row, whatever the planner
believes about tables that were empty when the plan was made.

Writers run as one pipelined round trip `BEGIN; LOCK; statement; COMMIT`. The lock serialises a tenant's writers, and
the statement's snapshot is taken after it: what it reads of the old entry is what it replaces. Time is
`statement_timestamp()`, the moment the statement itself starts (`now()` would be before the wait for the lock).
"""

from typing import Final

BEGIN: Final = b"begin"
COMMIT: Final = b"commit"

# $1 tenants. One order for all writers, so that they cannot wait for each other in a circle.
LOCK: Final = b"""
select from tenant where id = any($1::bigint[]) order by id for no key update
"""

# $1 tenants, $2 API keys, $3 digests of the presented tokens: the callers that hold, with their scopes.
_CALLER: Final = b"""
with caller as materialized (
  select c.n, c.tenant_id, c.api_key_id, k.scopes
  from unnest($1::bigint[], $2::bigint[], $3::bytea[]) with ordinality as c (tenant_id, api_key_id, digest, n)
  cross join lateral (
    select k.scopes from api_key k
    where k.tenant_id = c.tenant_id and k.id = c.api_key_id and k.revoked_at is null
      and (k.expires_at is null or k.expires_at > statement_timestamp())
      and (k.digest = c.digest or (k.previous_digest = c.digest and k.previous_expires_at > statement_timestamp()))
    limit 1
  ) k
)"""

# ... $4 the request's caller (ordinal).
AUTHORISE: Final = (
    _CALLER
    + b"""
select q.n::int4, c.scopes from unnest($4::int4[]) with ordinality as q (caller, n) join caller c on c.n = q.caller
"""
)

# ... $4 the request's caller (ordinal), $5 space, $6 key, $7 whether the value is wanted, $8 largest value to give
# inline: a larger one is null here and fetched apart with VALUE.
READ: Final = (
    _CALLER
    + b"""
select q.n::int4, c.scopes, e.version, e.data_key_version, e.size, e.created_at, e.expires_at, e.content_type,
       case when q.wanted and octet_length(e.value) <= $8::int4 then e.value end
from unnest($4::int4[], $5::int2[], $6::text[], $7::bool[]) with ordinality as q (caller, space, key, wanted, n)
join caller c on c.n = q.caller
left join lateral (
  select * from entry e
  where e.tenant_id = c.tenant_id and e.space = q.space and e.key = q.key and e.expires_at > statement_timestamp()
  limit 1
) e on true
"""
)

# A write's caller `c`, and the entry `e` that is there before it, live or not.
_WITH_OLD: Final = b"""
  join caller c on c.n = q.caller
  left join lateral (
    select e.version, e.expires_at from entry e
    where e.tenant_id = c.tenant_id and e.space = q.space and e.key = q.key
    limit 1
  ) e on true"""

# The condition of a write on what is there (`condition`, `if_version`): see requests.Condition.
_MET: Final = b"""
(q.condition = 0 or (q.condition = 1 and not q.live) or (q.condition = 2 and q.live and q.version = q.if_version)
 or (q.condition = 3 and q.live))"""

# ... $4 caller, $5 space, $6 key, $7 condition, $8 if_version, $9 sealed value, $10 data-key version, $11 size,
# $12 content type, $13 ttl in seconds, $14 tags joined by U+001F, $15 cost, $16 new version; $17 the scope bit needed.
# A request sealed with a data key that has been replaced is not written (`current` is false): seal again.
WRITE: Final = (
    _CALLER
    + b""",
request as materialized (
  select q.*, c.tenant_id, c.api_key_id, c.scopes, coalesce(e.expires_at > statement_timestamp(), false) as live,
         e.version, t.data_key_version = q.data_key_version as current
  from unnest($4::int4[], $5::int2[], $6::text[], $7::int2[], $8::bigint[], $9::bytea[], $10::int4[], $11::int4[],
              $12::text[], $13::int4[], $14::text[], $15::text[], $16::bigint[]) with ordinality
    as q (caller, space, key, condition, if_version, value, data_key_version, size,
          content_type, ttl, tags, cost, new_version, n)
"""
    + _WITH_OLD
    + b"""
  cross join lateral (select t.data_key_version from tenant t where t.id = c.tenant_id limit 1) t
),
written as (
  insert into entry (tenant_id, space, key, value, data_key_version, size, content_type, tags, cost, version,
                     api_key_id, created_at, expires_at)
  select q.tenant_id, q.space, q.key, q.value, q.data_key_version, q.size, q.content_type,
         coalesce(string_to_array(q.tags, e'\\x1f'), '{}'), q.cost::numeric, q.new_version,
         q.api_key_id, statement_timestamp(), statement_timestamp() + q.ttl * interval '1 second'
  from request q
  where q.scopes & $17::int2 <> 0 and q.current and """
    + _MET
    + b"""
  order by q.tenant_id, q.space, q.key
  on conflict (tenant_id, space, key) do update set
    value = excluded.value, data_key_version = excluded.data_key_version, size = excluded.size,
    content_type = excluded.content_type, tags = excluded.tags, cost = excluded.cost, version = excluded.version,
    api_key_id = excluded.api_key_id, created_at = excluded.created_at, expires_at = excluded.expires_at
  returning version, created_at, expires_at
)
select q.n::int4, q.scopes, q.current, q.live, w.created_at, w.expires_at
from request q left join written w on w.version = q.new_version
"""
)

# ... $4 caller, $5 space, $6 key, $7 condition, $8 if_version, $9 ttl in seconds or 0 to keep it, $10 tags joined by
# U+001F or null to keep them; $11 the scope bit needed.
UPDATE: Final = (
    _CALLER
    + b""",
request as materialized (
  select q.*, c.tenant_id, c.scopes, coalesce(e.expires_at > statement_timestamp(), false) as live, e.version
  from unnest($4::int4[], $5::int2[], $6::text[], $7::int2[], $8::bigint[], $9::int4[], $10::text[]) with ordinality
    as q (caller, space, key, condition, if_version, ttl, tags, n)"""
    + _WITH_OLD
    + b"""
),
updated as (
  update entry e set
    expires_at = case when q.ttl > 0 then statement_timestamp() + q.ttl * interval '1 second' else e.expires_at end,
    tags = case when q.tags is null then e.tags else string_to_array(q.tags, e'\\x1f') end
  from request q
  where e.tenant_id = q.tenant_id and e.space = q.space and e.key = q.key
    and e.expires_at > statement_timestamp() and q.scopes & $11::int2 <> 0 and """
    + _MET
    + b"""
  returning q.n, e.version, e.size, e.created_at, e.expires_at
)
select q.n::int4, q.scopes, q.live, u.version, u.size, u.created_at, u.expires_at
from request q left join updated u on u.n = q.n
"""
)

# ... $4 caller, $5 space, $6 key, $7 condition, $8 if_version; $9 the scope bit needed.
DELETE: Final = (
    _CALLER
    + b""",
request as materialized (
  select q.*, c.tenant_id, c.scopes, coalesce(e.expires_at > statement_timestamp(), false) as live, e.version
  from unnest($4::int4[], $5::int2[], $6::text[], $7::int2[], $8::bigint[]) with ordinality
    as q (caller, space, key, condition, if_version, n)"""
    + _WITH_OLD
    + b"""
),
deleted as (
  delete from entry e using request q
  where e.tenant_id = q.tenant_id and e.space = q.space and e.key = q.key
    and q.scopes & $9::int2 <> 0 and """
    + _MET
    + b"""
  returning q.n
)
select q.n::int4, q.scopes, q.live, d.n is not null
from request q left join deleted d on d.n = q.n
"""
)

# $1 ids that tokens name (63 random bits: at most one row each, whatever the tenant).
LOOK_UP: Final = b"""
select id, tenant_id, digest, previous_digest from api_key where id = any($1::bigint[])
"""

# Below: not gathered; run one by one on the side pool.

# LOCK for the side pool.
LOCK_TENANT: Final = b"select from tenant where id = %(tenant_id)s for no key update"

# A value too large to travel in a batch, and the data key that seals it now: re-sealing keeps the entry's version.
# No row when the version has been replaced.
VALUE: Final = """
select value, data_key_version from entry
where tenant_id = %(tenant_id)s and space = %(space)s and key = %(key)s and version = %(version)s
"""

# Which of a tenant's entries a list, a count or a bulk delete means: keys in [lower, upper), all of the tags.
_SELECTED: Final = """
e.tenant_id = %(tenant_id)s and e.space = %(space)s
and e.key >= %(lower)s::text and (%(upper)s::text is null or e.key < %(upper)s::text)
and (%(tags)s::text[] is null or (e.tags <> '{}' and e.tags @> %(tags)s::text[]))
"""

# A page of live entries behind the key `after`, one more than `limit` to tell whether there is a next page.
PAGE: Final = (
    "select e.key, e.created_at, e.expires_at, e.size, e.tags from entry e where"
    + _SELECTED
    + """
and e.expires_at > statement_timestamp() and (%(after)s::text is null or e.key > %(after)s::text)
order by e.key limit %(limit)s::int + 1
"""
)

COUNT: Final = "select count(*) from entry e where" + _SELECTED + "and e.expires_at > statement_timestamp()"

# The keys of the next selected entries that stood before `started` (null: now), and when that was. Bounded in number
# and bytes, so that deleting them is a short transaction; read without a lock: a rare tag may take a while to find.
DOOMED: Final = (
    """
select n.key, n.started from (
  select e.key, coalesce(%(started)s::timestamptz, statement_timestamp()) as started,
         sum(e.size) over (order by e.key) - e.size as bytes_before
  from (
    select e.key, e.size from entry e where"""
    + _SELECTED
    + """
    and e.key > %(after)s::text
    and e.created_at <= coalesce(%(started)s::timestamptz, statement_timestamp())
    order by e.key limit %(limit)s::int
  ) e
) n
where n.bytes_before < %(bytes)s::bigint order by n.key
"""
)

# Deletes those of `keys` that are still selected and were not written since `started`; a row for each: was it live?
DELETE_KEYS: Final = (
    "delete from entry e where e.key = any(%(keys)s::text[]) and e.created_at <= %(started)s::timestamptz and"
    + _SELECTED
    + "returning e.expires_at > statement_timestamp()"
)

COMMIT_WITHOUT_FLUSH: Final = "set local synchronous_commit = off"

# Removes up to `limit` entries that expired by now, oldest first from `after` on; answers how many, and the expiry of
# the last, from which the next call goes on: it does not step over dead index entries again. Rows that someone is
# writing are skipped; a renewed one no longer qualifies when its lock is free, for FOR UPDATE looks at it again.
PURGE: Final = """
with doomed as materialized (
  select tenant_id, space, key, expires_at from entry
  where expires_at <= statement_timestamp() and expires_at >= %(after)s::timestamptz
  order by expires_at limit %(limit)s
  for update skip locked
),
gone as (
  delete from entry e using doomed d
  where e.tenant_id = d.tenant_id and e.space = d.space and e.key = d.key
)
select count(*), max(expires_at) from doomed
"""

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

SEALED_WITH: Final = """
select exists (select from entry where tenant_id = %(tenant_id)s and data_key_version = %(data_key_version)s)
"""
