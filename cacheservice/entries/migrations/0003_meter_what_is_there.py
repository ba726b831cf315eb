from django.db import migrations

EXPIRED = "delete from entry where expires_at <= now()"

# Entries from before there were meters begin to count now, each API key's with a receipt.
METER = """
with event as materialized (
  select tenant_id, api_key_id, sum(size)::bigint as bytes, now() as at,
         sum(size) * (extract(epoch from now()) * 1000000) as moment
  from entry group by tenant_id, api_key_id
),
metered as (
  insert into storage_meter (tenant_id, api_key_id, bytes, moment)
  select tenant_id, api_key_id, bytes, moment from event
  union all
  select tenant_id, 0, sum(bytes), sum(moment) from event group by tenant_id
)
insert into receipt (tenant_id, id, api_key_id, at, storage_delta, storage_moment)
select tenant_id, row_number() over (order by tenant_id, api_key_id), api_key_id, at, bytes, moment from event
"""


class Migration(migrations.Migration):
    dependencies = [("entries", "0002_stats"), ("billing", "0002_plans_and_prices")]

    operations = [
        migrations.RunSQL(EXPIRED, migrations.RunSQL.noop),
        migrations.RunSQL(METER, migrations.RunSQL.noop),
    ]
