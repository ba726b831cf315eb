"""Inputs that look nearly right, without a fuzzer."""

import random
from collections.abc import Sequence

# What parsers tend to stumble over.
TOKENS = (
    *(b"\x00", b"\xff", b"\r", b"\n", b"\r\n\r\n", b"\x1e", b"%", b"%00", b"%ff", b"\\u0000", b"\\ud800", b'"', b"\\"),
    *(b"{", b"}", b"[", b"]", b",", b":", b"[" * 600, b'{"a":' * 600, b"null", b"true", b"NaN", b"1e400", b"-1", b"-0"),
    *(b"0", b"9" * 20, b"9" * 5000, b"1.0", b"0.1e-9", b"9223372036854775808", b"\xc2\xb2", b"\xef\xbb\xbf"),
    *(b"\xf0\x9f\x98\x80", b"\xed\xa0\x80", b"data: ", b"event: ", b"data", b"a" * 513, b" ", b"\t", b"=", b"&", b"*"),
)


def mutated(chance: random.Random, seeds: Sequence[bytes]) -> bytes:
    data = bytearray(chance.choice(seeds))
    for _ in range(chance.choice((1, 1, 1, 2, 4, 8))):
        at, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
        kind = chance.randrange(7)
        if kind == 0 and data:
            data[min(at, len(data) - 1)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at:at] = chance.choice(TOKENS)
        elif kind == 2:
            data[at:end] = chance.choice(TOKENS)
        elif kind == 3:
            del data[at:end]
        elif kind == 4:
            data[at:at] = data[at:end]
        elif kind == 5:
            other = chance.choice(seeds)
            data[at:] = other[chance.randint(0, len(other)) :]
        else:
            data[at:at] = chance.randbytes(chance.randrange(1, 9))
    return bytes(data)
