"""A tenant's plan, balance and storage, as of now."""

from dataclasses import dataclass
from datetime import UTC, datetime

from accounts.models import Tenant
from billing import usage
from billing.account import storage_used
from billing.models import Account, Plan
from billing.plans import plan_of, today
from billing.rows import Rows

WARN, BAD = 80, 95  # percent of a quota


@dataclass(frozen=True)
class Summary:
    """Credits are in units of 0.01, storage in bytes."""

    account: Account
    plan: Plan  # today's terms
    coming: list[Plan]  # terms of the same plan from later days on
    charged: int  # in the running UTC month
    stored: int

    @property
    def storage_quota(self) -> int | None:
        return self.account.storage_quota or self.plan.storage_quota

    @property
    def api_key_storage_quota(self) -> int | None:
        return self.account.api_key_storage_quota or self.plan.api_key_storage_quota

    @property
    def requests_per_minute(self) -> int | None:
        return self.account.requests_per_minute or self.plan.requests_per_minute

    @property
    def storage_level(self) -> str:
        """How the meter is coloured: "", "warn" or "bad"."""
        share = 100 * self.stored // self.storage_quota if self.storage_quota else 0
        return "bad" if share >= BAD else "warn" if share >= WARN else ""


def read(rows: Rows, tenant: Tenant) -> Summary:
    account = Account.objects.get(tenant=tenant)
    month = usage.start_of(datetime.now(UTC), "month")
    running = usage.Range(month, usage.shifted(month, "month", 1), "month")
    return Summary(
        account=account,
        plan=plan_of(account),
        coming=list(Plan.objects.filter(code=account.plan, valid_from__gt=today()).order_by("valid_from")),
        charged=usage.total(usage.read(rows, tenant.id, running).rows).units,
        stored=storage_used(rows, tenant.id),
    )
