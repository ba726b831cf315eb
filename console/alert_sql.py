"""The statements that find what tenants should be told. They only read, all tenants at once.

Each gives what stands over `keep` (0.95: a threshold less five per cent) of its threshold: who is told of it stays told
until it is below that, so that what swings around a threshold tells nobody twice. Deleted tenants have no data key.
"""

from typing import Final

# The terms of today of account `a`'s plan.
_PLAN: Final = """
cross join lateral (
  select * from plan p
  where p.code = a.plan and p.valid_from <= (statement_timestamp() at time zone 'UTC')::date
  order by p.valid_from desc limit 1
) p
"""
_ALIVE: Final = "exists (select from data_key d where d.tenant_id = a.tenant_id)"

# Storage against the quotas, of tenants (API key 0) and of API keys: tenant, API key, its name, bytes, quota, percent.
STORAGE: Final = (
    """
select m.tenant_id, m.api_key_id, k.name, m.bytes, l.quota, t.percent
from storage_meter m
join account a on a.tenant_id = m.tenant_id"""
    + _PLAN
    + """
left join alert_settings s on s.tenant_id = m.tenant_id
left join api_key k on k.tenant_id = m.tenant_id and k.id = m.api_key_id and k.revoked_at is null
cross join lateral (select coalesce(s.storage_percent, %(storage_percent)s) as percent) t
cross join lateral (
  select case when m.api_key_id = 0 then coalesce(a.storage_quota, p.storage_quota)
              when k.id is not null then coalesce(k.storage_quota, a.api_key_storage_quota, p.api_key_storage_quota)
         end as quota
) l
where l.quota is not null and m.bytes > 0 and m.bytes * 100.0 >= l.quota * t.percent * %(keep)s and """
    + _ALIVE
)

# Prepaid balances at or below the threshold (kept until five per cent above it), of tenants that ever had credits:
# tenant, units left, threshold.
BALANCE: Final = (
    """
select a.tenant_id, a.balance, t.threshold
from account a"""
    + _PLAN
    + """
left join alert_settings s on s.tenant_id = a.tenant_id
cross join lateral (
  select case when s.tenant_id is null then %(low_balance)s else s.low_balance end as threshold
) t
where p.prepaid and a.balance * %(keep)s <= t.threshold and """
    + _ALIVE
    + """
  and exists (select from credit_ledger c where c.tenant_id = a.tenant_id and c.units > 0)
"""
)

# Charges of the running UTC month, rolled up and not, against the threshold: tenant, units, threshold, month's day 1.
MONTH: Final = (
    """
select s.tenant_id, c.units, s.month_credits, n.month
from alert_settings s
join account a on a.tenant_id = s.tenant_id
cross join (select date_trunc('month', statement_timestamp(), 'UTC') as month) n
cross join lateral (
  select coalesce(sum(u.units), 0)::bigint as units
  from (
    select units from usage_rollup where tenant_id = s.tenant_id and period = 2 and start = n.month
    union all
    select units from (select * from receipt where tenant_id = s.tenant_id and not folded offset 0) r
    where at >= n.month
  ) u
) c
where s.month_credits is not null and c.units >= s.month_credits * %(keep)s and """
    + _ALIVE
)

# Budgets of the gateway that the running UTC day has used: tenant, budget, API key, its name, model, what was spent,
# the limit, percent to tell at, what a call costs on average today, the day. Calls under way are left out: what they
# have reserved comes back, and would open and close an alert. What was spent only grows until the day is over.
BUDGETS: Final = (
    """
select a.tenant_id, a.id, a.api_key_id, k.name, a.model, s.spent, a.usd_per_day, a.alert_percent, c.mean, n.day
from gateway_budget a
cross join (select (statement_timestamp() at time zone 'UTC')::date as day) n
join gateway_budget_day d on d.tenant_id = a.tenant_id and d.budget_id = a.id and d.day = n.day
left join api_key k on k.tenant_id = a.tenant_id and k.id = a.api_key_id
cross join lateral (
  select d.used - coalesce(sum(e.cost), 0) as spent
  from gateway_spend_event e
  where e.state = 1 and e.tenant_id = a.tenant_id and e.at >= n.day::timestamp at time zone 'UTC'
    and (a.api_key_id is null or e.api_key_id = a.api_key_id) and (a.model = '' or e.model = a.model)
) s
cross join lateral (
  select coalesce(sum(p.cost) / nullif(sum(p.requests - p.unpriced), 0), 0) as mean
  from gateway_spend_day p
  where p.tenant_id = a.tenant_id and p.day = n.day and p.cost > 0
    and (a.api_key_id is null or p.api_key_id = a.api_key_id) and (a.model = '' or p.model = a.model)
) c
where a.usd_per_day > 0 and d.used * 100 >= a.usd_per_day * a.alert_percent * %(keep)s
  and s.spent * 100 >= a.usd_per_day * a.alert_percent * %(keep)s and """
    + _ALIVE
)

# Live entries whose value did not open: tenant, version, key, space, when it was noticed.
UNOPENABLE: Final = """
select u.tenant_id, u.version, e.key, e.space, u.at
from unopenable_entry u
join entry e on e.tenant_id = u.tenant_id and e.version = u.version and e.expires_at > statement_timestamp()
"""

# Versions that did not open and are gone.
FORGET_UNOPENABLE: Final = """
delete from unopenable_entry u
where not exists (select from entry e where e.tenant_id = u.tenant_id and e.version = u.version)
"""

# One evaluation at a time; false while another one runs.
ONLY_ONE: Final = "select pg_try_advisory_xact_lock(hashtext('cacheservice alerts'))"
