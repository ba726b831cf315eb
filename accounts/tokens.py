"""The text of an API key: `ck_live_<id>_<secret><checksum>`.

The id (63 bits) names the row, the secret has 256 bits, the checksum is a CRC-32 with which scanners of leaked
secrets, and we, tell a key from a look-alike without a database. All parts are base 62, so that a double click
selects the whole. Only the SHA-256 of the whole text is stored; the secret has 256 bits, so no slow hash is needed.
"""

import hashlib
import secrets
import zlib
from collections.abc import Mapping
from typing import NamedTuple

from cacheservice.errors import InvalidAPIKey

PREFIX = "ck_live_"
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
ID_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 11, 43, 6
TOKEN_LENGTH = len(PREFIX) + ID_LENGTH + 1 + SECRET_LENGTH + CHECKSUM_LENGTH
_VALUES = {character: value for value, character in enumerate(ALPHABET)}


class Token(NamedTuple):
    """What a well-formed token says: which API key it claims to be, and the digest that must prove it."""

    api_key_id: int
    digest: bytes


def encode_id(api_key_id: int) -> str:
    """The id as it stands in a token and in the API."""
    return _base62(api_key_id, ID_LENGTH)


def decode_id(text: str) -> int:
    """The id that `encode_id` made. Raises ValueError for anything else."""
    if len(text) != ID_LENGTH or not all(character in _VALUES for character in text):
        raise ValueError(f"an API key's id has {ID_LENGTH} letters and digits")
    number = 0
    for character in text:
        number = number * 62 + _VALUES[character]
    if number >= 1 << 63:
        raise ValueError("no API key has such an id")
    return number


def known_id(text: str) -> int:
    """The id in the database that a client means; 0, which nothing has, for what cannot be one."""
    try:
        return decode_id(text)
    except ValueError:
        return 0


def new_token(api_key_id: int) -> str:
    """A token with a fresh secret. It is shown once and stored nowhere."""
    text = f"{PREFIX}{encode_id(api_key_id)}_{_base62(secrets.randbits(256), SECRET_LENGTH)}"
    return text + _checksum(text)


def parse(token: bytes) -> Token:
    """Raises InvalidAPIKey unless the token is well formed and its checksum right."""
    try:
        text = token.decode("ascii")
        body, checksum = text[:-CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
        well_formed = (
            len(text) == TOKEN_LENGTH
            and text.startswith(PREFIX)
            and text[len(PREFIX) + ID_LENGTH] == "_"
            and checksum == _checksum(body)
        )
        if not well_formed:
            raise InvalidAPIKey
        return Token(decode_id(text[len(PREFIX) :][:ID_LENGTH]), digest(token))
    except ValueError:
        raise InvalidAPIKey from None


def from_headers(headers: Mapping[bytes, bytes]) -> bytes:
    """The token of `Authorization: Bearer …`, or of `x-api-key` as Anthropic's SDK sends it. Raises InvalidAPIKey."""
    authorization = headers.get(b"authorization")
    if authorization is None:
        token = headers.get(b"x-api-key", b"")
    elif authorization[:7].lower() == b"bearer ":
        token = authorization[7:].strip()
    else:
        token = b""
    if not token:
        raise InvalidAPIKey
    return token


def digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def _base62(number: int, length: int) -> str:
    characters = []
    for _ in range(length):
        number, remainder = divmod(number, 62)
        characters.append(ALPHABET[remainder])
    return "".join(reversed(characters))
