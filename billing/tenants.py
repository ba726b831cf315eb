"""Tenants as customers: each has an account with a plan."""

from django.db import transaction

from accounts import audit, keys
from accounts.models import Tenant
from billing import credits, plans
from billing.models import Account, Plan

DEFAULT_PLAN = "free"


@transaction.atomic
def create_tenant(name: str, actor: str, plan: str = DEFAULT_PLAN, *, verified: bool = True) -> Tenant:
    """A tenant with its data key, its account, and, if `verified`, the running month's grant.

    Raises IntegrityError when the name is taken, ValueError for an unknown plan.
    """
    _require_plan(plan)
    tenant = keys.add_tenant(name, actor)
    Account.objects.create(tenant=tenant, plan=plan, balance=0, unverified=not verified)
    credits.grant_month(tenant.id)
    return tenant


@transaction.atomic
def verify_tenant(tenant_id: int) -> bool:
    """Its owner's e-mail address is verified: its plan grants from now on, beginning with the running month.

    False when that was known.
    """
    verified = Account.objects.filter(tenant_id=tenant_id, unverified=True).update(unverified=False)
    if verified:
        credits.grant_month(tenant_id)
    return bool(verified)


@transaction.atomic
def change_plan(tenant: Tenant, plan: str, actor: str) -> None:
    """From the commit on; the running month's grant of the new plan comes with it. Raises ValueError."""
    _require_plan(plan)
    account = Account.objects.select_for_update().get(tenant=tenant)
    former, account.plan = account.plan, plan
    account.save(update_fields=["plan"])
    credits.grant_month(tenant.id)
    audit.record(tenant.id, actor, "tenant.change_plan", plan, former=former)


def _require_plan(code: str) -> None:
    if not Plan.objects.filter(code=code, valid_from__lte=plans.today()).exists():
        known = ", ".join(sorted(set(Plan.objects.values_list("code", flat=True))))
        raise ValueError(f"plan: there is no '{code}'; choose from {known}")
