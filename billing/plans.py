"""Plans and prices: rows with the UTC day from which they hold, changed without a deploy."""

from datetime import UTC, date, datetime

from billing.models import Account, Plan


def today() -> date:
    return datetime.now(UTC).date()


def plan_of(account: Account) -> Plan:
    """Today's terms of the account's plan. Raises Plan.DoesNotExist."""
    return Plan.objects.filter(code=account.plan, valid_from__lte=today()).latest("valid_from")
