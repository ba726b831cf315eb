"""Times to live as people write them."""

import re

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"([0-9]{1,9})([smhdw])")


def seconds(text: str) -> int:
    """`3600`, `90s`, `15m`, `12h`, `1d`, `2w` or several of them, `1d12h`. Raises ValueError.

    Whether the service takes that many is for the service to say.
    """
    if re.fullmatch("[0-9]{1,12}", text):
        return int(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("give seconds, or a number with s, m, h, d or w, such as 3600, 90m, 1d or 1d12h")
    return sum(int(number) * _SECONDS[unit] for number, unit in parts)
