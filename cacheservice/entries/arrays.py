"""PostgreSQL's binary format of the arrays that the gathered statements take as parameters.

A one-dimensional array is five int32 (dimensions = 1, has nulls, element type, length, lower bound = 1), then for each
element its length (-1 for null) and its bytes: src/backend/utils/adt/arrayfuncs.c, array_recv.
"""

import struct
from collections.abc import Sequence
from functools import lru_cache

BOOL, BYTEA, INT8, INT2, INT4, TEXT = 16, 17, 20, 21, 23, 25
_HEADER = struct.Struct("!iiiii")
_LENGTH = struct.Struct("!i")
_NULL = _LENGTH.pack(-1)


def int8s(numbers: Sequence[int]) -> bytes:
    return _fixed(INT8, "iq", 8, numbers)


def int4s(numbers: Sequence[int]) -> bytes:
    return _fixed(INT4, "ii", 4, numbers)


def int2s(numbers: Sequence[int]) -> bytes:
    return _fixed(INT2, "ih", 2, numbers)


def bools(values: Sequence[bool]) -> bytes:
    return _fixed(BOOL, "i?", 1, values)


def byteas(values: Sequence[bytes]) -> bytes:
    return _variable(BYTEA, values)


def texts(values: Sequence[str | None]) -> bytes:
    return _variable(TEXT, [None if value is None else value.encode() for value in values])


def _fixed(oid: int, layout: str, size: int, values: Sequence[int]) -> bytes:
    count = len(values)
    fields = [size] * (2 * count)
    fields[1::2] = values
    return _HEADER.pack(1, 0, oid, count, 1) + _elements(layout, count).pack(*fields)


@lru_cache(maxsize=4096)
def _elements(layout: str, count: int) -> struct.Struct:
    return struct.Struct("!" + layout * count)


def _variable(oid: int, values: Sequence[bytes | None]) -> bytes:
    parts = [_HEADER.pack(1, None in values, oid, len(values), 1)]
    for value in values:
        if value is None:
            parts.append(_NULL)
        else:
            parts.append(_LENGTH.pack(len(value)))
            parts.append(value)
    return b"".join(parts)
