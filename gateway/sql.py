"""The gateway's statements on budgets and spend events. Reports: spend_sql.py."""

from typing import Final

# Sums `counted`, rows of events, into their days. Rows are written in the order of their keys, so that processes wait
# for each other in no circle. A hit that saved nobody knows how much is as unpriced as a miss that cost so.
_SUM: Final = """
insert into gateway_spend_day as d (tenant_id, day, provider, model, "user", api_key_id, cache, requests, unpriced,
                                    input_tokens, cached_tokens, output_tokens, reasoning_tokens, cost, saved)
select tenant_id, (at at time zone 'UTC')::date, provider, model, "user", api_key_id, cache, count(*),
       count(*) filter (where cost is null or saved is null and cache in (1, 4)),
       sum(input_tokens), sum(cached_tokens), sum(output_tokens), sum(reasoning_tokens),
       coalesce(sum(cost), 0), coalesce(sum(saved), 0)
from counted group by 1, 2, 3, 4, 5, 6, 7 order by 1, 2, 3, 4, 5, 6, 7
on conflict (tenant_id, day, provider, model, "user", api_key_id, cache) do update set
  requests = d.requests + excluded.requests,
  unpriced = d.unpriced + excluded.unpriced,
  input_tokens = d.input_tokens + excluded.input_tokens,
  cached_tokens = d.cached_tokens + excluded.cached_tokens,
  output_tokens = d.output_tokens + excluded.output_tokens,
  reasoning_tokens = d.reasoning_tokens + excluded.reasoning_tokens,
  cost = d.cost + excluded.cost,
  saved = d.saved + excluded.saved
"""

# A budget's day begins with what was spent before anybody asked the budget: it may have been set in the middle of it.
BEGIN_DAYS: Final = """
insert into gateway_budget_day (tenant_id, budget_id, day, used)
select b.tenant_id, b.id, b.day, coalesce((
         select sum(s.cost) from gateway_spend_day s
         where s.tenant_id = b.tenant_id and s.day = b.day
           and (b.api_key_id is null or s.api_key_id = b.api_key_id) and (b.model = '' or s.model = b.model)
       ), 0)
from unnest(%(tenant_ids)s::int8[], %(ids)s::int8[], %(days)s::date[], %(api_key_ids)s::int8[], %(models)s::text[])
  as b (tenant_id, id, day, api_key_id, model)
order by 1, 2, 3
on conflict do nothing
"""

# The tenant, budget, day and what is used, locked until the transaction ends.
LOCK_DAYS: Final = """
select d.tenant_id, d.budget_id, d.day, d.used
from gateway_budget_day d
join unnest(%(tenant_ids)s::int8[], %(ids)s::int8[], %(days)s::date[]) as b (tenant_id, id, day)
  on b.tenant_id = d.tenant_id and b.id = d.budget_id and b.day = d.day
order by d.tenant_id, d.budget_id, d.day
for update of d
"""

# What the days have used now, which are locked, and an event under way for each call.
RESERVE: Final = """
with used as (
  update gateway_budget_day d set used = b.used
  from unnest(%(tenant_ids)s::int8[], %(ids)s::int8[], %(days)s::date[], %(used)s::numeric[])
    as b (tenant_id, id, day, used)
  where d.tenant_id = b.tenant_id and d.budget_id = b.id and d.day = b.day
)
insert into gateway_spend_event (tenant_id, id, at, provider, model, "user", api_key_id, cache, state, status,
                                 input_tokens, cached_tokens, output_tokens, reasoning_tokens, cost, fingerprint,
                                 request_id)
select c.tenant_id, c.id, c.at, c.provider, c.model, c."user", c.api_key_id, c.cache, 1, 0, 0, 0, 0, 0, c.worst,
       c.fingerprint, c.request_id
from unnest(%(call_tenant_ids)s::int8[], %(call_ids)s::int8[], %(ats)s::timestamptz[], %(providers)s::text[],
            %(models)s::text[], %(users)s::text[], %(api_key_ids)s::int8[], %(caches)s::int2[], %(worsts)s::numeric[],
            %(fingerprints)s::bytea[], %(request_ids)s::text[])
  as c (tenant_id, id, at, provider, model, "user", api_key_id, cache, worst, fingerprint, request_id)
"""

# Books events: those of reservations over their rows, if these are under way still; the others as new ones, unless they
# are there already. So a batch may be sent again when nobody knows whether it was booked. Both are summed up, and the
# budgets get back what a reservation had more than its event cost.
_BOOKED: Final = """
with given as materialized (
  select tenant_id, id, at, provider, model, "user", api_key_id, cache, state, status, request_id,
         case when cost > 999999999 then 999999999.999999999 else cost end as cost,
         case when saved > 999999999 then 999999999.999999999 else saved end as saved,
         greatest(0, least(input_tokens, 1125899906842624))::int8 as input_tokens,
         greatest(0, least(cached_tokens, 1125899906842624))::int8 as cached_tokens,
         greatest(0, least(output_tokens, 1125899906842624))::int8 as output_tokens,
         greatest(0, least(reasoning_tokens, 1125899906842624))::int8 as reasoning_tokens,
         decode(fingerprint, 'base64') as fingerprint, prompt, id = any(%(settled)s::int8[]) as reserved
  from json_to_recordset(%(events)s::json) as g (
    tenant_id int8, id int8, at timestamptz, provider text, model text, "user" text, api_key_id int8, cache int2,
    state int2, status int2, request_id text, cost numeric, saved numeric, input_tokens numeric,
    cached_tokens numeric, output_tokens numeric, reasoning_tokens numeric, fingerprint text, prompt text
  )
),
settled as (
  update gateway_spend_event e
  set provider = g.provider, "user" = g."user", cache = g.cache, state = g.state, status = g.status, cost = g.cost,
      saved = g.saved, input_tokens = g.input_tokens, cached_tokens = g.cached_tokens,
      output_tokens = g.output_tokens, reasoning_tokens = g.reasoning_tokens, fingerprint = g.fingerprint,
      prompt = g.prompt
  from given g
  where g.reserved and e.tenant_id = g.tenant_id and e.id = g.id and e.state = 1
  returning e.*
),
added as (
  insert into gateway_spend_event as e (tenant_id, id, at, provider, model, "user", api_key_id, cache, state, status,
                                        request_id, cost, saved, input_tokens, cached_tokens, output_tokens,
                                        reasoning_tokens, fingerprint, prompt)
  select tenant_id, id, at, provider, model, "user", api_key_id, cache, state, status, request_id, cost, saved,
         input_tokens, cached_tokens, output_tokens, reasoning_tokens, fingerprint, prompt
  from given where not reserved
  on conflict do nothing
  returning e.tenant_id, e.at, e.provider, e.model, e."user", e.api_key_id, e.cache, e.cost, e.saved, e.input_tokens,
            e.cached_tokens, e.output_tokens, e.reasoning_tokens
),
changed as materialized (
  select r.tenant_id, r.budget_id, r.day, sum(s.cost - r.worst) as cost
  from settled s
  join unnest(%(reserved_tenant_ids)s::int8[], %(reserved_ids)s::int8[], %(budget_ids)s::int8[], %(days)s::date[],
              %(worsts)s::numeric[]) as r (tenant_id, id, budget_id, day, worst)
    on r.tenant_id = s.tenant_id and r.id = s.id
  group by 1, 2, 3
),
locked as materialized (
  select d.tenant_id, d.budget_id, d.day
  from gateway_budget_day d
  join changed c on c.tenant_id = d.tenant_id and c.budget_id = d.budget_id and c.day = d.day
  order by 1, 2, 3
  for update of d
),
given_back as (
  update gateway_budget_day d set used = least(d.used + c.cost, 999999999.999999999)
  from changed c
  join locked l on l.tenant_id = c.tenant_id and l.budget_id = c.budget_id and l.day = c.day
  where d.tenant_id = c.tenant_id and d.budget_id = c.budget_id and d.day = c.day
),
counted as (
  select tenant_id, at, provider, model, "user", api_key_id, cache, cost, saved, input_tokens, cached_tokens,
         output_tokens, reasoning_tokens
  from settled
  union all
  select * from added
)
"""
BOOK: Final = _BOOKED + _SUM

# Events under way since before `until`, whose process is gone: how they ended nobody knows. How many there were.
_ABANDONED: Final = """
with left_behind as materialized (
  select tenant_id, id from gateway_spend_event where state = 1 and at < %(until)s order by at limit %(limit)s
  for update skip locked
),
counted as (
  update gateway_spend_event e set state = 3
  from left_behind l where e.tenant_id = l.tenant_id and e.id = l.id
  returning e.*
),
summed as (
"""
ABANDON: Final = "".join((_ABANDONED, _SUM, ")\nselect count(*) from counted"))

# The next events before `until`, or all of a tenant's; how many there were.
DROP_EVENTS: Final = """
with old as (
  select tenant_id, id from gateway_spend_event
  where tenant_id = %(tenant_id)s and at < %(until)s and state <> 1 limit %(limit)s
),
dropped as (
  delete from gateway_spend_event e using old o where e.tenant_id = o.tenant_id and e.id = o.id returning 1
)
select count(*) from dropped
"""
DROP_BUDGET_DAYS: Final = "delete from gateway_budget_day where day < %(until)s::date"
DROP_TENANTS_EVENTS: Final = """
with old as (
  select tenant_id, id from gateway_spend_event where tenant_id = %(tenant_id)s limit %(limit)s
),
dropped as (
  delete from gateway_spend_event e using old o where e.tenant_id = o.tenant_id and e.id = o.id returning 1
)
select count(*) from dropped
"""
# Those that have events.
EVENT_TENANTS: Final = """
with recursive t as (
  (select tenant_id from gateway_spend_event order by tenant_id limit 1)
  union all
  select (select e.tenant_id from gateway_spend_event e where e.tenant_id > t.tenant_id order by e.tenant_id limit 1)
  from t where t.tenant_id is not null
)
select tenant_id from t where tenant_id is not null
"""
