"""The statements of reports on spend. They only read."""

from typing import Final

# The sums of days by what is asked for; what is not is null. Days first, then what cost most. API keys come with names.
SPEND: Final = """
select s.day, s.provider, s.model, s."user", s.api_key_id, k.name, s.cache, s.requests, s.hits, s.unpriced,
       s.input_tokens, s.cached_tokens, s.output_tokens, s.reasoning_tokens, s.cost, s.saved
from (
  select case when %(by_day)s::bool then day end as day,
         case when %(by_provider)s::bool then provider end as provider,
         case when %(by_model)s::bool then model end as model,
         case when %(by_user)s::bool then "user" end as "user",
         case when %(by_key)s::bool then api_key_id end as api_key_id,
         case when %(by_cache)s::bool then cache end as cache,
         sum(requests)::int8 as requests, coalesce(sum(requests) filter (where cache in (1, 4)), 0)::int8 as hits,
         sum(unpriced)::int8 as unpriced, sum(input_tokens)::int8 as input_tokens,
         sum(cached_tokens)::int8 as cached_tokens, sum(output_tokens)::int8 as output_tokens,
         sum(reasoning_tokens)::int8 as reasoning_tokens, sum(cost) as cost, sum(saved) as saved
  from gateway_spend_day
  where tenant_id = %(tenant_id)s and day >= %(from)s::date and day < %(to)s::date
  group by 1, 2, 3, 4, 5, 6
  order by 1, cost desc, saved desc, requests desc, 2, 3, 4, 5, 6
  limit %(limit)s
) s
left join api_key k on k.tenant_id = %(tenant_id)s and k.id = s.api_key_id
order by s.day, s.cost desc, s.saved desc, s.requests desc, s.provider, s.model, s."user", s.api_key_id, s.cache
"""

# The latest events of the range: how many, how many of them have a fingerprint, and how many different ones; then the
# prompts that cost most, one row each, or one without any.
PROMPTS: Final = """
with looked_at as materialized (
  select fingerprint, at, provider, model, cache, cost, saved, prompt from gateway_spend_event
  where tenant_id = %(tenant_id)s and at >= %(from)s::timestamptz and at < %(to)s::timestamptz and state <> 1
  order by at desc limit %(events)s
),
prompts as materialized (
  select fingerprint, count(*) as requests, count(*) filter (where cache in (1, 4)) as hits, sum(cost) as cost,
         sum(saved) as saved, max(at) as at, max(prompt) as prompt,
         (array_agg(provider order by at desc))[1] as provider, (array_agg(model order by at desc))[1] as model
  from looked_at where length(fingerprint) > 0 group by 1
),
top as (select * from prompts order by cost desc nulls last, requests desc, fingerprint limit %(limit)s)
select (select count(*) from looked_at), (select coalesce(sum(requests), 0)::int8 from prompts),
       (select count(*) from prompts),
       t.fingerprint, t.provider, t.model, t.prompt, t.requests, t.hits, t.cost, t.saved, t.at
from (select) one left join top t on true
order by t.cost desc nulls last, t.requests desc, t.fingerprint
"""
