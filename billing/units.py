"""Money as the wire has it. Credits are integers: 1 unit is 0.01 credit."""

from decimal import Decimal

UNITS = 100  # a credit


def credits(units: int) -> str:
    """Units as the wire has credits: a decimal number with two places."""
    return str(Decimal(units).scaleb(-2))


def usd(amount: Decimal) -> str:
    """US dollars, exactly, with two decimals or more."""
    whole, _, decimals = f"{amount:f}".partition(".")
    return f"{whole}.{decimals.rstrip('0'):0<2}"
