"""Canonical JSON after RFC 8785: one text for all that mean the same, so that its digest can be a key.

No white space; members sorted by the UTF-16 code units of their names; strings with the fewest escapes; numbers as
ECMAScript writes the double that they are.
"""

import json
import math
from typing import Any

MAX_SAFE_INTEGER = 2**53 - 1


def canonical_json(value: Any, *, any_number: bool = False) -> bytes:
    """The canonical text of what JSON can hold: dict with str keys, list, tuple, str, int, float, bool, None.

    Raises TypeError for anything else, and ValueError for what has no one meaning in every language: a number that is
    not finite, a lone surrogate, and a number beyond 2^53 - 1, where doubles, which are all that many languages have,
    cannot tell an integer from the next. `any_number` lets those pass, integers with all their digits.
    """
    parts: list[str] = []
    try:
        _write(value, parts, any_number)
        return "".join(parts).encode()
    except UnicodeEncodeError:
        raise ValueError("a string has a lone surrogate, which is no character") from None
    except RecursionError:
        raise ValueError("it is nested too deeply, or contains itself") from None


def _write(value: Any, parts: list[str], any_number: bool) -> None:
    if value is None or value is True or value is False:
        parts.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, str):
        parts.append(_string(value))
    elif isinstance(value, int):
        _check_size(value, any_number)
        parts.append(int.__repr__(value))
    elif isinstance(value, float):
        _check_size(value, any_number)
        parts.append(number(value))
    elif isinstance(value, dict):
        _write_object(value, parts, any_number)
    elif isinstance(value, (list, tuple)):
        for index, element in enumerate(value):
            parts.append("," if index else "[")
            _write(element, parts, any_number)
        parts.append("]" if value else "[]")
    else:
        raise TypeError(f"{type(value).__name__} is not JSON: give dict, list, str, int, float, bool or None")


def _write_object(value: dict[Any, Any], parts: list[str], any_number: bool) -> None:
    for name in value:
        if not isinstance(name, str):
            raise TypeError(f"the name of an object's member is {type(name).__name__}: give str")
    for index, name in enumerate(sorted(value, key=_utf_16)):
        parts += ["," if index else "{", _string(name), ":"]
        _write(value[name], parts, any_number)
    parts.append("}" if value else "{}")


def _check_size(value: float, any_number: bool) -> None:
    if MAX_SAFE_INTEGER < abs(value) < math.inf and not any_number:
        raise ValueError("a number is beyond 2^53 - 1: give it as a string")


def _utf_16(name: str) -> bytes:
    """Big-endian, so that bytes compare as code units do."""
    return name.encode("utf-16-be")


def _string(text: str) -> str:
    """Python's encoder escapes what RFC 8785, 3.2.2.2 names, the same way, and nothing else."""
    return json.dumps(text, ensure_ascii=False)


def number(value: float) -> str:
    """A double as ECMAScript's Number::toString writes it (ECMA-262, 6.1.6.1.20).

    `repr` finds the same digits, the fewest that mean this double and the nearest to it, but places them differently.
    Raises ValueError for NaN and infinities.
    """
    if not math.isfinite(value):
        raise ValueError(f"{value} is not JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent = float.__repr__(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(digits) - len(fraction) + int(exponent or 0)  # how many digits stand before the decimal point
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    rest = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{rest}e{'+' if point > 0 else '-'}{abs(point - 1)}"
