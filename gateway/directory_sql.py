"""What the gateway must know of a tenant, in one statement."""

from typing import Final

# JSON of its providers with their sealed credentials, of its own prices, and of its budgets: each a list of arrays, in
# one order, so that the same rows are the same text.
TENANCY: Final = """
select
  (select coalesce(jsonb_agg(jsonb_build_array(
            p.name, p.kind, p.base_url, p.credential_header, p.policy, p.fallbacks,
            (extract(epoch from p.updated_at) * 1000000)::bigint, encode(s.sealed, 'base64'), s.master_key_id
          ) order by p.name), '[]')::text
   from gateway_provider p
   left join tenant_secret s on s.tenant_id = p.tenant_id and s.name = 'gateway:' || p.name
   where p.tenant_id = %(tenant_id)s),
  (select coalesce(jsonb_agg(jsonb_build_array(
            r.provider, r.model, r.input_per_million, r.cached_input_per_million, r.output_per_million,
            r.per_call, r.per_image, r.per_second
          ) order by r.provider, r.model), '[]')::text
   from gateway_price r where r.tenant_id = %(tenant_id)s),
  (select coalesce(jsonb_agg(jsonb_build_array(
            b.tenant_id, b.id, b.api_key_id, b.model, b.usd_per_day, b.alert_percent
          ) order by b.id), '[]')::text
   from gateway_budget b where b.tenant_id = %(tenant_id)s)
"""
