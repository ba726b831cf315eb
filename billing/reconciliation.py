"""Proving the numbers that people pay by: what is kept in two ways must be equal.

The checks read everything and lock nothing; each is one statement over all tenants. They hold at any instant, but only
within one snapshot: run them in `snapshot()`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Final, NamedTuple

from django.db import transaction

from billing.rows import django_rows


class Difference(NamedTuple):
    """`what` is `actual`, and should be `expected`. Units, bytes, byte-microseconds or a count, by what it is."""

    tenant_id: int
    api_key_id: int | None  # None: the whole tenant's
    what: str
    expected: Decimal
    actual: Decimal


class Checked(NamedTuple):
    """How many there are to check."""

    tenants: int
    accounts: int
    api_keys: int


# A difference for each row that a check returns. `tenant_id` null: of all tenants. What is missing counts as zero.

# balance = Σ ledger − Σ charges.
BALANCES: Final = """
select tenant_id, null::bigint, 'balance', sum(expected), sum(actual)
from (
  select tenant_id, 0 as expected, balance as actual from account
  union all select tenant_id, units, 0 from credit_ledger
  union all select tenant_id, -units, 0 from usage_rollup where period = 2
  union all select tenant_id, -units, 0 from receipt where not folded
) as x
where %(tenant_id)s::bigint is null or tenant_id = %(tenant_id)s
group by tenant_id having sum(expected) <> sum(actual)
order by tenant_id
"""

# An API key's storage meter = Σ the storage events of its receipts.
METERS: Final = """
select tenant_id, api_key_id, c.what, c.expected, c.actual
from (
  select tenant_id, api_key_id, sum(delta) as delta, sum(bytes) as bytes, sum(events) as events, sum(moment) as moment
  from (
    select tenant_id, api_key_id, 0 as delta, bytes, 0 as events, moment from storage_meter where api_key_id <> 0
    union all
    select tenant_id, api_key_id, storage_delta, 0, storage_moment, 0 from usage_rollup where period = 2
    union all
    select tenant_id, api_key_id, storage_delta, 0, storage_moment, 0 from receipt where not folded
  ) as x
  where %(tenant_id)s::bigint is null or tenant_id = %(tenant_id)s
  group by tenant_id, api_key_id
) as m
cross join lateral (
  values ('metered bytes', delta, bytes), ('metered moment', events, moment)
) as c (what, expected, actual)
where c.expected <> c.actual
order by tenant_id, api_key_id
"""

# A tenant's storage meter = Σ those of its API keys.
TENANT_METERS: Final = """
select tenant_id, null::bigint, c.what, c.expected, c.actual
from (
  select tenant_id,
         coalesce(sum(bytes) filter (where api_key_id <> 0), 0) as keys_bytes,
         coalesce(sum(bytes) filter (where api_key_id = 0), 0) as bytes,
         coalesce(sum(moment) filter (where api_key_id <> 0), 0) as keys_moment,
         coalesce(sum(moment) filter (where api_key_id = 0), 0) as moment
  from storage_meter
  where %(tenant_id)s::bigint is null or tenant_id = %(tenant_id)s
  group by tenant_id
) as m
cross join lateral (
  values ('metered bytes', keys_bytes, bytes), ('metered moment', keys_moment, moment)
) as c (what, expected, actual)
where c.expected <> c.actual
order by tenant_id
"""

# The rollup of a day, or a month = Σ those of its hours.
ROLLUPS: Final = """
select tenant_id, api_key_id,
       c.what || case period when 1 then to_char(start at time zone 'UTC', '" of day "YYYY-MM-DD')
                             else to_char(start at time zone 'UTC', '" of month "YYYY-MM') end,
       coalesce(c.expected, 0), coalesce(c.actual, 0)
from (
  select h.tenant_id, p.period, h.api_key_id, date_trunc(p.name, h.start, 'UTC') as start,
         sum(hits) as hits, sum(misses) as misses, sum(writes) as writes, sum(duplicates) as duplicates,
         sum(deletes) as deletes, sum(units) as units, sum(saved) as saved,
         sum(storage_delta) as storage_delta, sum(storage_moment) as storage_moment
  from usage_rollup h cross join (values (1::smallint, 'day'), (2::smallint, 'month')) as p (period, name)
  where h.period = 0 and (%(tenant_id)s::bigint is null or tenant_id = %(tenant_id)s)
  group by 1, 2, 3, 4
) as e
full join (
  select * from usage_rollup where period <> 0 and (%(tenant_id)s::bigint is null or tenant_id = %(tenant_id)s)
) as a using (tenant_id, period, api_key_id, start)
cross join lateral (
  values ('hits', e.hits, a.hits), ('misses', e.misses, a.misses), ('writes', e.writes, a.writes),
         ('duplicates', e.duplicates, a.duplicates), ('deletes', e.deletes, a.deletes), ('units', e.units, a.units),
         ('saved', e.saved, a.saved), ('storage delta', e.storage_delta, a.storage_delta),
         ('storage moment', e.storage_moment, a.storage_moment)
) as c (what, expected, actual)
where coalesce(c.expected, 0) <> coalesce(c.actual, 0)
order by tenant_id, period, api_key_id, start
"""

COUNTS: Final = """
select (select count(*) from tenant where %(tenant_id)s::bigint is null or id = %(tenant_id)s),
       (select count(*) from account where %(tenant_id)s::bigint is null or tenant_id = %(tenant_id)s),
       (select count(*) from api_key where %(tenant_id)s::bigint is null or tenant_id = %(tenant_id)s)
"""


@contextmanager
def snapshot() -> Iterator[None]:
    """A transaction that reads one instant of the whole database and cannot write."""
    with transaction.atomic(durable=True):
        django_rows("set transaction isolation level repeatable read, read only", {})
        yield


def differences(tenant_id: int | None = None) -> list[Difference]:
    """What does not add up, in the current snapshot; of one tenant, or of all."""
    checks = (BALANCES, METERS, TENANT_METERS, ROLLUPS)
    return [found for check in checks for found in differences_by(check, tenant_id)]


def differences_by(check: str, tenant_id: int | None) -> list[Difference]:
    """Of one statement such as those above."""
    rows = django_rows(check, {"tenant_id": tenant_id})
    return [
        Difference(tenant, api_key, what, Decimal(expected), Decimal(actual))
        for tenant, api_key, what, expected, actual in rows
    ]


def counts(tenant_id: int | None = None) -> Checked:
    """How many tenants, accounts and API keys the current snapshot has; of one tenant, or of all."""
    return Checked(*django_rows(COUNTS, {"tenant_id": tenant_id})[0])
