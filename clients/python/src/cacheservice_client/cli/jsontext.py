"""Where the values stand in a JSON text, so that they can be passed on byte for byte.

Python's `json` checks the syntax and says where a value ends; its numbers would lose digits, so none is made.
"""

import json
import re
from collections.abc import Callable
from typing import NoReturn

_space = re.compile(r"[ \t\n\r]*").match


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_decoder = json.JSONDecoder(parse_float=str, parse_int=str, parse_constant=_refuse)


def check(text: str) -> None:
    """Raises ValueError for what is not one JSON value."""
    if _after(text, _end(text, _after(text, 0))) != len(text):
        raise ValueError("there is more behind the JSON value")


def members(text: str) -> dict[str, str]:
    """The members of the object that the text is, each with its value's text. Raises ValueError."""
    found: dict[str, str] = {}

    def member(at: int) -> int:
        name, end = _decoded(text, at)
        if not isinstance(name, str) or text[at] != '"':
            raise ValueError(f"expected a name at character {at + 1}")
        colon = _after(text, end)
        if text[colon : colon + 1] != ":":
            raise ValueError(f"expected a colon at character {colon + 1}")
        start = _after(text, colon + 1)
        end = _end(text, start)
        if name in found:
            raise ValueError(f"{name} is there twice")
        found[name] = text[start:end]
        return end

    _walk(text, "{", "}", member)
    return found


def items(text: str) -> list[str]:
    """The texts of the values of the array that the text is. Raises ValueError."""
    found: list[str] = []

    def item(at: int) -> int:
        end = _end(text, at)
        found.append(text[at:end])
        return end

    _walk(text, "[", "]", item)
    return found


def _walk(text: str, opening: str, closing: str, part: Callable[[int], int]) -> None:
    """Calls `part`, which says where it ends, for where each member or item begins, and checks what stands between."""
    at = _after(text, 0)
    if text[at : at + 1] != opening:
        raise ValueError(f"expected {opening} at character {at + 1}")
    at = _after(text, at + 1)
    while text[at : at + 1] != closing:
        at = _after(text, part(at))
        if text[at : at + 1] == closing:
            break
        if text[at : at + 1] != ",":
            raise ValueError(f"expected a comma or {closing} at character {at + 1}")
        at = _after(text, at + 1)
        if text[at : at + 1] == closing:
            raise ValueError(f"expected no comma before character {at + 1}")
    if _after(text, at + 1) != len(text):
        raise ValueError(f"there is more behind character {at + 1}")


def _after(text: str, at: int) -> int:
    match = _space(text, at)
    assert match is not None  # noqa: S101  it matches nothing too
    return match.end()


def _end(text: str, at: int) -> int:
    return _decoded(text, at)[1]


def _decoded(text: str, at: int) -> tuple[object, int]:
    try:
        return _decoder.raw_decode(text, at)
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg} at character {error.pos + 1}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
