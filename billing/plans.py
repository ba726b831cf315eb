"""Plans and prices: rows with the UTC day from which they hold, changed without a deploy."""

from datetime import UTC, date, datetime
from decimal import Decimal

from billing.models import Account, Plan, Price


def today() -> date:
    return datetime.now(UTC).date()


def plan_of(account: Account, day: date | None = None) -> Plan:
    """The terms of the account's plan on a UTC day, today by default. Raises Plan.DoesNotExist."""
    return plan(account.plan, day)


def plan(code: str, day: date | None = None) -> Plan:
    """The plan's terms on a UTC day, today by default. Raises Plan.DoesNotExist."""
    return Plan.objects.filter(code=code, valid_from__lte=day or today()).latest("valid_from")


def price(code: str, day: date | None = None) -> Decimal:
    """The price on a UTC day, today by default. Raises Price.DoesNotExist."""
    return Price.objects.filter(code=code, valid_from__lte=day or today()).latest("valid_from").amount
