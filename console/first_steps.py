"""How far a new tenant has come."""

from typing import NamedTuple

from django.db.models import Exists

from accounts.models import Tenant
from billing.models import Account, Receipt, UsageRollup


class Steps(NamedTuple):
    """What was done once, and whether the tenant still waits for its owner's e-mail address to be verified."""

    verified: bool
    written: bool
    hit: bool

    @property
    def done(self) -> int:
        return sum(self)

    @property
    def all_done(self) -> bool:
        return all(self)


def of(tenant: Tenant) -> Steps:
    """In one query: receipts that are not folded yet are few, and an API key has one rollup a month."""
    written, hit = _any(tenant, "writes"), _any(tenant, "hits")
    found = (
        Account.objects.filter(tenant=tenant)
        .annotate(written=written, hit=hit)
        .values_list("unverified", "written", "hit")
        .get()
    )
    return Steps(not found[0], found[1], found[2])


def _any(tenant: Tenant, count: str) -> Exists:
    some = {"tenant_id": tenant.id, f"{count}__gt": 0}
    months = UsageRollup.objects.filter(period=UsageRollup.Period.MONTH, **some)
    fresh = Receipt.objects.filter(folded=False, **some)
    return Exists(months) | Exists(fresh)  # type: ignore[return-value]  # a combined expression
