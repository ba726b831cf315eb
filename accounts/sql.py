"""The statements that the async store runs on keys; everything else on accounts goes through Django's ORM."""

from typing import Final

# One data key of a tenant: the named version, or its current one.
DATA_KEY: Final = """
select d.version, d.wrapped, d.master_key_id
from data_key d join tenant t on t.id = d.tenant_id
where d.tenant_id = %(tenant_id)s and t.id = %(tenant_id)s
  and d.version = coalesce(%(version)s::int, t.data_key_version)
"""

# How often each data key has sealed since the last time, by server process. Locked in one order by all of them.
COUNT_USES: Final = """
with counted as materialized (
  select d.tenant_id, d.version, u.uses
  from unnest(%(tenant_ids)s::bigint[], %(versions)s::int[], %(uses)s::bigint[]) as u (tenant_id, version, uses)
  join data_key d on d.tenant_id = u.tenant_id and d.version = u.version
  order by d.tenant_id, d.version for no key update of d
)
update data_key d set uses = d.uses + c.uses from counted c
where d.tenant_id = c.tenant_id and d.version = c.version
"""

# When each API key was last used, to the minute: one statement a minute and process, not a write a request.
# Skips rows that another process is writing, so that two of them cannot wait for each other in a circle.
LAST_USED: Final = """
update api_key k set last_used_at = greatest(k.last_used_at, to_timestamp(u.at))
from unnest(%(tenant_ids)s::bigint[], %(ids)s::bigint[], %(at)s::float8[]) as u (tenant_id, id, at)
join lateral (select from api_key l where l.tenant_id = u.tenant_id
              and l.id = u.id for no key update skip locked) as locked on true
where k.tenant_id = u.tenant_id and k.id = u.id
"""
