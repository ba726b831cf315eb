"""The statements of the gateway's page. They only read, each a bounded number of rows of one tenant."""

from typing import Final

# The sums of the UTC days from `from` up to, not including, `to`, read once for two groupings: a row for each day (its
# part null), and one for each of the `limit` parts that cost most (its day null), with how many parts there are.
# Requests that cost nobody knows how much are told apart from hits that saved nobody knows how much.
FIGURES: Final = """
with sums as materialized (
  select s.day, s.part, sum(s.requests)::int8 as requests,
         coalesce(sum(s.requests) filter (where s.hit), 0)::int8 as hits,
         coalesce(sum(s.unpriced) filter (where not s.hit), 0)::int8 as cost_unknown,
         coalesce(sum(s.unpriced) filter (where s.hit), 0)::int8 as saved_unknown,
         sum(s.input_tokens)::int8 as input_tokens, sum(s.output_tokens)::int8 as output_tokens,
         sum(s.cost) as cost, sum(s.saved) as saved
  from (
    select day, cache in (1, 4) as hit, requests, unpriced, input_tokens, output_tokens, cost, saved,
           case %(by)s::text when 'model' then model when 'user' then "user" when 'provider' then provider
                else api_key_id::text end as part
    from gateway_spend_day
    where tenant_id = %(tenant_id)s and day >= %(from)s::date and day < %(to)s::date
  ) s
  group by grouping sets ((s.day), (s.part))
),
parts as (
  select s.*, count(*) over () as parts from sums s where day is null
  order by cost desc, saved desc, requests desc, part limit %(limit)s
)
select s.*, null as name, null::int8 as parts from sums s where day is not null
union all
select p.day, p.part, p.requests, p.hits, p.cost_unknown, p.saved_unknown, p.input_tokens, p.output_tokens, p.cost,
       p.saved, k.name, p.parts
from parts p
left join api_key k on k.tenant_id = %(tenant_id)s and %(by)s::text = 'key' and k.id::text = p.part
"""

# The tenant's budgets, the oldest first: id, API key, its name, model, limit, percent to alert at, and what the UTC day
# has used. A budget that was not asked yet has used what was spent before.
BUDGETS: Final = """
select b.id, b.api_key_id, k.name, b.model, b.usd_per_day, b.alert_percent,
       coalesce(d.used, (
         select sum(s.cost) from gateway_spend_day s
         where s.tenant_id = b.tenant_id and s.day = %(day)s::date
           and (b.api_key_id is null or s.api_key_id = b.api_key_id) and (b.model = '' or s.model = b.model)
       ), 0)
from gateway_budget b
left join gateway_budget_day d on d.tenant_id = b.tenant_id and d.budget_id = b.id and d.day = %(day)s::date
left join api_key k on k.tenant_id = b.tenant_id and k.id = b.api_key_id
where b.tenant_id = %(tenant_id)s
order by b.created_at, b.id
limit %(limit)s
"""

# Whether there ever was a request.
USED: Final = "select exists (select from gateway_spend_day where tenant_id = %(tenant_id)s)"
