"""What tests read of what was metered, by statements of their own, and what must hold at any instant."""

import secrets
from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import psycopg

from accounts.models import Tenant
from billing import credits
from billing.models import Account, LedgerEntry, Plan
from tests.store_cast import database_dsn, new_tenant, query


class Used(NamedTuple):
    """Counts of receipts, added up; `stored` is the change of the bytes stored."""

    hits: int = 0
    misses: int = 0
    writes: int = 0
    duplicates: int = 0
    deletes: int = 0
    units: int = 0
    stored: int = 0
    saved: Decimal = Decimal(0)


class Receipt(NamedTuple):
    at: datetime
    used: Used
    versions: list[int]


_WHOLE = "hits", "misses", "writes", "duplicates", "deletes", "units", "storage_delta"
_COUNTS = ", ".join((*_WHOLE, "saved"))
_SUMS = ", ".join([*(f"coalesce(sum({name}), 0)::bigint" for name in _WHOLE), "coalesce(sum(saved), 0)"])


def receipts(api_key_id: int) -> list[Receipt]:
    """Those of an API key in order of time, refunds behind what they refund; those that count nothing are left out."""
    rows = query(
        f"select at, versions, {_COUNTS} from receipt where api_key_id = %s order by at, hits < 0", [api_key_id]
    )
    found = [Receipt(at.astimezone(UTC), Used(*counts), versions or []) for at, versions, *counts in rows]
    return [receipt for receipt in found if any(receipt.used)]


def used(tenant_id: int, api_key_id: int | None = None, *, dsn: str = "") -> Used:
    """What a tenant, or one API key of it, used so far: rolled up and not."""
    [row] = query(
        f"""
        select {_SUMS} from (
          select api_key_id, {_COUNTS} from usage_rollup where tenant_id = %s and period = 2
          union all select api_key_id, {_COUNTS} from receipt where tenant_id = %s and not folded
        ) as everything where %s::bigint is null or api_key_id = %s""",
        [tenant_id, tenant_id, api_key_id, api_key_id],
        dsn=dsn,
    )
    return Used(*row)


def hits(tenant_id: int, *, dsn: str = "") -> Counter[int]:
    """By version: how often it was charged and not refunded."""
    statement = """
        select version, sum(case when hits < 0 then -1 else 1 end)
        from receipt cross join lateral unnest(versions) as version where tenant_id = %s group by version"""
    return Counter({version: int(count) for version, count in query(statement, [tenant_id], dsn=dsn)})


def balance(tenant_id: int) -> int:
    """In units."""
    [(units,)] = query("select balance from account where tenant_id = %s", [tenant_id])
    return int(units)


def stored(tenant_id: int, api_key_id: int = 0) -> int:
    """The meter's bytes, of the tenant (0) or of an API key."""
    return _meter(tenant_id, api_key_id)[0]


def integral(tenant_id: int, api_key_id: int, until: int) -> int:
    """The meter's byte-microseconds until then (microseconds since 1970), of the tenant (0) or of an API key."""
    size, moment = _meter(tenant_id, api_key_id)
    return size * until - moment


def _meter(tenant_id: int, api_key_id: int) -> tuple[int, int]:
    statement = "select bytes, moment from storage_meter where tenant_id = %s and api_key_id = %s"
    rows = query(statement, [tenant_id, api_key_id])
    return (int(rows[0][0]), int(rows[0][1])) if rows else (0, 0)


# Each finds what does not add up, of some tenants or with null of all: tenant, API key (0: the tenant's), two numbers.
INVARIANTS = {
    "balance = Σ ledger - Σ rolled up - Σ receipts not rolled up": """
        select tenant_id, 0, balance, due from account a cross join lateral (
          select coalesce((select sum(units) from credit_ledger where tenant_id = a.tenant_id), 0)
               - coalesce((select sum(units) from usage_rollup where tenant_id = a.tenant_id and period = 2), 0)
               - coalesce((select sum(units) from receipt where tenant_id = a.tenant_id and not folded), 0) as due
        ) d where balance <> due and (%(tenants)s::bigint[] is null or tenant_id = any(%(tenants)s))""",
    "an API key's metered bytes = Σ sizes of its entries": """
        select tenant_id, api_key_id, coalesce(bytes, 0), coalesce(sizes, 0)
        from (select * from storage_meter where api_key_id <> 0) m
        full join (select tenant_id, api_key_id, sum(size) as sizes from entry group by tenant_id, api_key_id) e
          using (tenant_id, api_key_id)
        where coalesce(bytes, 0) <> coalesce(sizes, 0)
          and (%(tenants)s::bigint[] is null or tenant_id = any(%(tenants)s))""",
    "an API key's meter = Σ its storage events": """
        select tenant_id, api_key_id, m.moment, r.moment
        from (select * from storage_meter where api_key_id <> 0) m
        full join (
          select tenant_id, api_key_id, sum(storage_delta) as bytes, sum(storage_moment) as moment from (
            select tenant_id, api_key_id, storage_delta, storage_moment from usage_rollup where period = 2
            union all
            select tenant_id, api_key_id, storage_delta, storage_moment from receipt where not folded
          ) as everything group by tenant_id, api_key_id
        ) r using (tenant_id, api_key_id)
        where (coalesce(m.bytes, 0) <> coalesce(r.bytes, 0) or coalesce(m.moment, 0) <> coalesce(r.moment, 0))
          and (%(tenants)s::bigint[] is null or tenant_id = any(%(tenants)s))""",
    "a tenant's meter = Σ meters of its API keys": """
        select tenant_id, 0, sum(moment) filter (where api_key_id = 0), sum(moment) filter (where api_key_id <> 0)
        from storage_meter where %(tenants)s::bigint[] is null or tenant_id = any(%(tenants)s)
        group by tenant_id
        having sum(case api_key_id when 0 then bytes else -bytes end) <> 0
            or sum(case api_key_id when 0 then moment else -moment end) <> 0""",
    "a prepaid balance is not below zero": """
        select tenant_id, 0, balance, 0 from account a
        where balance < 0 and (%(tenants)s::bigint[] is null or tenant_id = any(%(tenants)s)) and (
          select prepaid from plan p where p.code = a.plan and p.valid_from <= now() order by p.valid_from desc limit 1
        )""",
}


def discrepancies(*tenant_ids: int, dsn: str = "") -> list[str]:
    """What does not add up at this instant, whatever is going on meanwhile; of these tenants, or of all."""
    found = []
    with psycopg.connect(dsn or database_dsn()) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for name, statement in INVARIANTS.items():
            rows = connection.execute(statement.encode(), {"tenants": list(tenant_ids) or None}).fetchall()
            found += [f"not {name}, of tenant {row[0]}, API key {row[1]}: {row[2]} and {row[3]}" for row in rows]
    return found


def new_plan(**terms: Any) -> str:
    """The code of a new plan: postpaid and without limits, but for `terms`. It stays, as its tenants do."""
    code = f"test {secrets.token_hex(4)}"
    plan: dict[str, Any] = {"prepaid": False, "monthly_grant": 0, "free_storage": 0, **terms}
    Plan.objects.create(code=code, valid_from=date(2020, 1, 1), **plan)
    return code


def prepaid_tenant(units: int) -> Tenant:
    """With so much to spend, and no other limit."""
    tenant = new_tenant(new_plan(prepaid=True))
    grant(tenant, units)
    return tenant


def grant(tenant: Tenant, units: int) -> None:
    if units:
        key = secrets.token_hex(8)
        assert credits.grant(tenant.id, LedgerEntry.Kind.PURCHASE, units, idempotency_key=key, actor="tests")


def change_plan(tenant: Tenant, plan: str) -> None:
    assert Account.objects.filter(tenant=tenant).update(plan=plan) == 1


def tamper(tenant_id: int, key: str) -> None:
    """Change a byte of the sealed value behind the service's back: it does not open any more."""
    query(
        "update entry set value = set_byte(value, 20, get_byte(value, 20) # 1) where tenant_id = %s and key = %s",
        [tenant_id, key],
    )
