"""How deeply a JSON value is nested, told by msgspec's own recursion, at the speed of C.

msgspec stops at Python's recursion limit, which counts the frames below it too, so what it takes depends on who calls.
Here it runs on a thread of its own, where the number of frames is always the same, on the value wrapped in as many
arrays as make its limit ours.
"""

from concurrent.futures import ThreadPoolExecutor

import msgspec

MAX_NESTING = 512

_thread = ThreadPoolExecutor(1, "nesting")
_decoder = msgspec.json.Decoder(msgspec.Raw)


def too_deep(value: bytes) -> bool:
    """Whether `value`, which is valid JSON, is nested deeper than MAX_NESTING."""
    if value.count(b"[") + value.count(b"{") <= MAX_NESTING:
        return False
    return not _thread.submit(_decodes, value, _margin()).result()


def _decodes(value: bytes, levels: int) -> bool:
    try:
        _decoder.decode(b"[" * levels + value + b"]" * levels)
    except RecursionError:
        return False
    return True


def _margin() -> int:
    """How many levels the thread has beyond MAX_NESTING, found once."""
    global _levels
    if _levels is None:
        low, high = MAX_NESTING, 1 << 20
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _thread.submit(_decodes, b"0", middle).result() else (low, middle)
        _levels = low - MAX_NESTING
    return _levels


_levels: int | None = None
