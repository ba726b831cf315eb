"""The credit ledger: credits given or taken otherwise than by use. 1 unit is 0.01 credit."""

import structlog
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts import audit
from billing.models import Account, LedgerEntry, Plan
from billing.plans import plan_of
from billing.units import credits

log = structlog.get_logger(__name__)
OWN_KINDS = (LedgerEntry.Kind.MONTHLY, LedgerEntry.Kind.INVOICE)  # come by themselves
_OWN_KEYS = tuple(f"{kind.value} " for kind in OWN_KINDS)  # and the month, 2026-11


@transaction.atomic
def grant(tenant_id: int, kind: str, units: int, *, idempotency_key: str, actor: str, note: str = "") -> bool:
    """Book units to the tenant's balance; below zero takes them. False when this was booked before.

    The key makes it happen once, however often it is asked for. Raises ValueError when the same key booked something
    else, when it begins as a kind that comes by itself, or when a prepaid balance would fall below zero.
    """
    if kind not in OWN_KINDS and idempotency_key.startswith(_OWN_KEYS):
        raise ValueError(
            f"idempotency key '{idempotency_key}': that is how the service names its own bookings; choose another key."
        )
    account = Account.objects.select_for_update().get(tenant_id=tenant_id)
    booked = LedgerEntry.objects.filter(tenant_id=tenant_id, idempotency_key=idempotency_key).first()
    if booked is not None:
        if (booked.kind, booked.units) != (kind, units):
            was = f"{booked.kind} of {credits(booked.units)} credits"
            raise ValueError(f"idempotency key '{idempotency_key}': it booked a {was}; choose another key.")
        return False
    if units < 0 and account.balance + units < 0 and plan_of(account).prepaid:
        raise ValueError(f"units: the balance is {credits(account.balance)} credits; no more can be taken.")
    LedgerEntry.objects.create(
        tenant_id=tenant_id, kind=kind, units=units, idempotency_key=idempotency_key, actor=actor, note=note
    )
    Account.objects.filter(tenant_id=tenant_id).update(balance=F("balance") + units)
    if kind not in OWN_KINDS:
        audit.record(tenant_id, actor, "credits.grant", kind, credits=credits(units), note=note)
    return True


def grant_monthly() -> int:
    """Give every account what its plan grants for the running UTC month, once; returns to how many it was new."""
    granted = 0
    kept = Account.objects.filter(tenant__data_keys__isnull=False)  # a deleted tenant's has none
    for tenant_id in kept.values_list("tenant_id", flat=True).distinct():
        try:
            granted += grant_month(tenant_id)
        except Plan.DoesNotExist:
            log.critical("account_without_plan", tenant_id=tenant_id)
    return granted


@transaction.atomic
def grant_month(tenant_id: int) -> bool:
    """Give one tenant what its plan grants for the running UTC month.

    False when it has it, when the plan grants none, or while the tenant is unverified.
    """
    account = Account.objects.select_for_update().get(tenant_id=tenant_id)
    units = plan_of(account).monthly_grant
    key = f"monthly {timezone.now():%Y-%m}"
    if (
        units == 0
        or account.unverified
        or LedgerEntry.objects.filter(tenant_id=tenant_id, idempotency_key=key).exists()
    ):
        return False  # whatever another plan would have granted
    return grant(tenant_id, LedgerEntry.Kind.MONTHLY, units, idempotency_key=key, actor="service")
