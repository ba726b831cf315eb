"""The statements on what tenants use that the server runs itself, beside those of `entries/sql.py`."""

from typing import Final

# An API key's live storage in bytes, in all spaces; of API key 0 the whole tenant's, which its quota counts. The
# meter's, less what has expired and is not booked yet.
STORAGE_USED: Final = """
select coalesce((
    select bytes from storage_meter where tenant_id = %(tenant_id)s and api_key_id = %(api_key_id)s::bigint
  ), 0) - coalesce((
    select sum(size) from entry
    where tenant_id = %(tenant_id)s and expires_at <= statement_timestamp()
      and %(api_key_id)s::bigint in (0, api_key_id)
  ), 0)::bigint
"""

# A receipt is named by its tenant, day and id.

# Keeps a round trip that was lost from committing later: its receipt's id is taken. No row where it has committed;
# waits for it where it is just about to.
CANCEL: Final = """
insert into receipt (tenant_id, id_day, id, api_key_id, at, folded)
values (%(tenant_id)s, %(day)s, %(receipt_id)s, 0, statement_timestamp(), true)
on conflict do nothing returning id
"""

# From `given`, the refund's receipt: to the account and the credit window, in the order in which reads lock those.
_GIVEN: Final = """
on conflict do nothing returning tenant_id, api_key_id, at, units
),
paid as (
  update account a set balance = a.balance - g.units from given g where a.tenant_id = g.tenant_id
  returning g.tenant_id, g.api_key_id, g.units,
            (extract(year from g.at at time zone 'UTC') - 1970) * 12 + extract(month from g.at at time zone 'UTC') - 1
              as month
)
update credit_window w set units = w.units + p.units from paid p
where w.tenant_id = p.tenant_id and w.api_key_id = p.api_key_id and w.month = p.month
"""

# A refund counts when its charge did, so that no hour counts below zero; but never in a month that may be closed.
_AT: Final = "greatest(r.at, statement_timestamp() - interval '1 hour')"

# One hit of a receipt.
REFUND_HIT: Final = (
    """
with given as (
  insert into receipt (tenant_id, id_day, id, api_key_id, at, hits, units, saved, versions)
  select r.tenant_id, r.id_day, %(id)s, r.api_key_id, """
    + _AT
    + """, -1, -%(units)s::bigint, -%(saved)s::numeric,
         array[%(version)s::bigint]
  from receipt r where r.tenant_id = %(tenant_id)s and r.id_day = %(day)s and r.id = %(receipt_id)s
"""
    + _GIVEN
)

# A whole receipt of reads. The refund's id is the receipt's, below zero; its day the same, so that it happens once.
REFUND_RECEIPT: Final = (
    """
with given as (
  insert into receipt (tenant_id, id_day, id, api_key_id, at, hits, misses, units, saved, versions)
  select r.tenant_id, r.id_day, -r.id, r.api_key_id, """
    + _AT
    + """, -r.hits, -r.misses, -r.units, -r.saved, r.versions
  from receipt r
  where r.tenant_id = %(tenant_id)s and r.id_day = %(day)s and r.id = %(receipt_id)s and (r.hits > 0 or r.misses > 0)
"""
    + _GIVEN
)
