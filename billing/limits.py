"""Limits set on a tenant or an API key, in place of its plan's, and a tenant's ttls."""

from typing import Final

from django.db import transaction

from accounts import audit, tokens
from accounts.models import APIKey, Tenant
from accounts.unchanged import UNCHANGED as UNCHANGED
from accounts.unchanged import Unchanged
from billing.models import Account
from billing.plans import plan_of
from billing.rows import django_rows
from cacheservice.entries.requests import MAX_TTL_SECONDS

Limit = int | None | Unchanged  # None: the plan's; for a credit limit none, for a ttl the contract's

# The largest of each.
MOST: Final = {
    "requests_per_minute": 10**6,
    "storage_quota": 10**15,
    "api_key_storage_quota": 10**15,
    "credit_limit": 10**14,
    "default_ttl": MAX_TTL_SECONDS,
    "max_ttl": MAX_TTL_SECONDS,
}
_COUNTED: Final = {
    "requests_per_minute": "requests",
    "storage_quota": "bytes",
    "api_key_storage_quota": "bytes",
    "credit_limit": "units of 0.01 credit",
    "default_ttl": "seconds",
    "max_ttl": "seconds",
}

# What the API key was charged in the running UTC month, rolled up and not. In one statement, so that a receipt that is
# being folded counts once.
OPEN_CREDIT_WINDOW: Final = """
insert into credit_window (tenant_id, api_key_id, month, units)
select %(tenant_id)s, %(api_key_id)s,
       (extract(year from m.day) - 1970) * 12 + extract(month from m.day) - 1,
       coalesce((
         select sum(u.units) from usage_rollup u
         where u.tenant_id = %(tenant_id)s and u.period = 2 and u.api_key_id = %(api_key_id)s and u.start = m.start
       ), 0) + coalesce((
         select sum(r.units) from receipt r
         where r.tenant_id = %(tenant_id)s and r.api_key_id = %(api_key_id)s and not r.folded and r.at >= m.start
       ), 0)
from (
  select date_trunc('month', statement_timestamp(), 'UTC') as start, statement_timestamp() at time zone 'UTC' as day
) as m
on conflict (tenant_id, api_key_id) do update set month = excluded.month, units = excluded.units
"""


@transaction.atomic
def set_tenant_limits(
    tenant: Tenant,
    *,
    requests_per_minute: Limit = UNCHANGED,  # of each API key
    storage_quota: Limit = UNCHANGED,  # bytes
    api_key_storage_quota: Limit = UNCHANGED,  # bytes, of each API key
    actor: str,
) -> Account:
    """The tenant's account, with limits that hold from the commit on. Raises ValueError, naming the limit."""
    limits = _changed(
        requests_per_minute=requests_per_minute,
        storage_quota=storage_quota,
        api_key_storage_quota=api_key_storage_quota,
    )
    account = Account.objects.select_for_update(no_key=True).get(tenant=tenant)
    for name, value in limits.items():
        setattr(account, name, value)
    account.save(update_fields=list(limits))
    audit.record(tenant.id, actor, "tenant.set_limits", tenant.name, **limits)
    return account


@transaction.atomic
def set_ttls(
    tenant: Tenant,
    *,
    default_ttl: Limit = UNCHANGED,  # seconds
    max_ttl: Limit = UNCHANGED,  # seconds
    actor: str,
) -> Account:
    """The tenant's account, with ttls that hold for whatever is written or renewed from the commit on.

    Entries that are there keep the expiry they have. Raises ValueError, naming the ttl.
    """
    ttls = _changed(default_ttl=default_ttl, max_ttl=max_ttl)
    account = Account.objects.select_for_update(no_key=True).get(tenant=tenant)
    for name, value in ttls.items():
        setattr(account, name, value)
    if account.default_ttl is not None and account.max_ttl is not None and account.default_ttl > account.max_ttl:
        raise ValueError(
            f"default_ttl: {account.default_ttl} seconds are above max_ttl, which is {account.max_ttl}; "
            "lower the one or raise the other."
        )
    account.save(update_fields=list(ttls))
    audit.record(tenant.id, actor, "tenant.set_ttls", tenant.name, **ttls)
    return account


@transaction.atomic
def set_api_key_limits(
    api_key: APIKey,
    *,
    requests_per_minute: Limit = UNCHANGED,
    storage_quota: Limit = UNCHANGED,  # bytes
    credit_limit: Limit = UNCHANGED,  # units a UTC month
    actor: str,
    by_tenant: bool = False,  # else by the operator, who may give a key more than its tenant's others have
) -> APIKey:
    """The API key, with limits that hold from the commit on. Raises ValueError, naming the limit.

    A credit limit counts all that the key was charged in the running month: charges wait for the account's row, so
    none comes between adding them up and the limit. Only hits whose statement is under way just then, and so does not
    see the limit yet, may stay uncounted by it.
    """
    limits = _changed(requests_per_minute=requests_per_minute, storage_quota=storage_quota, credit_limit=credit_limit)
    if "credit_limit" in limits:
        _follow_credits(api_key, wanted=limits["credit_limit"] is not None)
    api_key = APIKey.objects.select_for_update(no_key=True).get(tenant_id=api_key.tenant_id, id=api_key.id)
    if by_tenant:
        _check_rate_limit(api_key, limits.get("requests_per_minute"))
    for name, value in limits.items():
        setattr(api_key, name, value)
    api_key.save(update_fields=list(limits))
    audit.record(api_key.tenant_id, actor, "api_key.set_limits", tokens.encode_id(api_key.id), **limits)
    return api_key


def _check_rate_limit(api_key: APIKey, wanted: int | None) -> None:
    """Raises ValueError for more than the tenant's keys have today, unless the operator has given this one as much."""
    if wanted is None:
        return
    account = Account.objects.get(tenant_id=api_key.tenant_id)
    most = account.requests_per_minute or plan_of(account).requests_per_minute
    if most is not None and wanted > max(most, api_key.requests_per_minute or 0):
        raise ValueError(
            f"requests_per_minute: an API key of this tenant may make at most {most} requests a minute, not {wanted}; "
            "ask the operator for more."
        )


def _follow_credits(api_key: APIKey, *, wanted: bool) -> None:
    """Begin to count the API key's charges of the running month. The snapshot must be behind the lock.

    The window outlives the limit, for reads under way that still see the limit; nothing counts in it then.
    """
    Account.objects.select_for_update(no_key=True).get(tenant_id=api_key.tenant_id)
    if wanted:
        django_rows(OPEN_CREDIT_WINDOW, {"tenant_id": api_key.tenant_id, "api_key_id": api_key.id})


def _changed(**limits: Limit) -> dict[str, int | None]:
    """Those that shall change. Raises ValueError where one is out of range, or none shall."""
    changed = {name: value for name, value in limits.items() if not isinstance(value, Unchanged)}
    if not changed:
        raise ValueError(f"no limit is given; choose from {', '.join(limits)}.")
    for name, value in changed.items():
        most, unit = MOST[name], _COUNTED[name]
        if value is not None and (type(value) is not int or not 1 <= value <= most):
            raise ValueError(f"{name}: {value} is not allowed; give 1 to {most} {unit}, or none.")
    return changed
