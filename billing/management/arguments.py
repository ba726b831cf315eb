"""How the commands take credits and limits."""

import re
from argparse import ArgumentTypeError

from billing.units import UNITS

MOST_CREDITS = 10**12
_CREDITS = re.compile(r"(-?)([0-9]{1,13})(?:\.([0-9]{1,2}))?")


def units(text: str) -> int:
    """Credits, a decimal number with up to two places, as units."""
    match = _CREDITS.fullmatch(text)
    if not match:
        raise ArgumentTypeError(f"'{text}' is not a number of credits such as 250 or 0.01")
    sign, whole, places = match.groups()
    amount = int(whole) * UNITS + int((places or "").ljust(2, "0"))
    if amount > MOST_CREDITS * UNITS:
        raise ArgumentTypeError(f"{text} credits are too many; {MOST_CREDITS} is the most")
    return -amount if sign else amount


def units_or_none(text: str) -> int | None:
    return None if text == "none" else units(text)


def number_or_none(text: str) -> int | None:
    """A whole number, or the word none."""
    if text == "none":
        return None
    if not re.fullmatch("[0-9]{1,18}", text):
        raise ArgumentTypeError(f"'{text}' is neither a whole number nor 'none'")
    return int(text)
