"""What a client asks of the gateway: the upstream's request line and headers, and what it says of caching.

Raises InvalidRequest naming the header, the limit and what to send instead.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from cacheservice.entries.requests import MAX_KEY_BYTES, MAX_TAG_BYTES, check_tags, shown
from cacheservice.errors import InvalidRequest, NotFound
from cacheservice.http import Scope
from gateway import loops
from gateway.policy import MAX_TTL_SECONDS
from gateway.providers import NAME

PREFIX = b"/gateway/"
MAX_USER_BYTES = MAX_TAG_BYTES
MAX_MODEL_BYTES = 256

# The client's headers that stay here: they are about this connection, this service, or who asks it.
_KEPT_BACK = frozenset(
    {
        b"accept-encoding",
        b"authorization",
        b"baggage",
        b"cache-control",
        b"connection",
        b"content-length",
        b"cookie",
        b"expect",
        b"forwarded",
        b"host",
        b"keep-alive",
        b"origin",
        b"pragma",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"referer",
        b"te",
        b"traceparent",
        b"tracestate",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"via",
        b"x-api-key",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-real-ip",
        b"x-request-id",
        b"x-upstream-authorization",
    }
)
SHORT_LINE = 512  # bytes of a path and query that are kept with what they mean
_KEPT_BACK_PREFIXES = (b"x-cache-", b"x-forwarded-", b"sec-", b":")
# In capitals, as they are told apart here: clients of HTTP write others so on their way upstream.
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_PROVIDER = re.compile(NAME.encode())
_PRINTABLE = re.compile(r"[\x20-\x7e\x80-\U0010ffff]+")
_DIGITS = re.compile(r"[0-9]{1,9}")


class Directives(NamedTuple):
    """What the request says of caching."""

    read: bool = True  # whether a stored answer will do
    store: bool = True  # whether the answer may be stored
    max_age: int | None = None  # seconds that a stored answer may be old
    ttl: int | None = None
    tags: tuple[str, ...] = ()
    user: str = ""  # whom the spend is attributed to
    key: str = ""  # instead of the fingerprint


PLAIN = Directives()
_LOOP = loops.HEADER.encode()
_DIRECTIVES = frozenset(  # the headers that say it
    {b"cache-control", _LOOP, b"x-cache-key", b"x-cache-tags", b"x-cache-ttl", b"x-cache-user"}
)


def joined(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """By name; the values of one that comes more than once are one list, with commas (RFC 9110, 5.3)."""
    found = dict(headers)
    if len(found) < len(headers):
        found = {}
        for name, value in headers:
            found[name] = found[name] + b", " + value if name in found else value
    return found


def route(scope: Scope) -> tuple[str, str, str]:
    """The provider's name, the path below its base URL as the client escaped it, the query.

    Raises NotFound, and InvalidRequest for what no upstream is asked."""
    line = scope["method"], scope["raw_path"], scope["query_string"]
    return _route(*line) if len(line[1]) + len(line[2]) > SHORT_LINE else _kept_route(*line)


def _route(method: str, raw_path: bytes, query: bytes) -> tuple[str, str, str]:
    if method not in _METHODS:
        raise InvalidRequest(
            f"method: '{shown(method)}' is not passed on; send one of {', '.join(sorted(_METHODS))}, in capitals."
        )
    name, slash, rest = raw_path[len(PREFIX) :].partition(b"/")
    if not _PROVIDER.fullmatch(name) or not slash:
        raise NotFound("There is nothing here: the gateway's paths are /gateway/<provider>/<path of its API>.")
    try:
        return name.decode(), "/" + rest.decode("ascii"), query.decode("ascii")
    except UnicodeDecodeError:
        raise InvalidRequest("path: escape what is not ASCII in it as %XX.") from None


_kept_route = lru_cache(maxsize=4096)(_route)


def directives(headers: Mapping[bytes, bytes]) -> Directives:
    """Raises LoopDetected, and InvalidRequest, also for headers that cannot be passed on: before anybody waits for the
    answer."""
    if not (b"".join(headers).isascii() and b"".join(headers.values()).isascii()):
        _check_encoding(headers)
    if _DIRECTIVES.isdisjoint(headers):
        return PLAIN
    loops.check(headers.get(_LOOP, b""))
    control = headers.get(b"cache-control")
    read, store, max_age = (True, True, None) if control is None else _cache_control(control.decode("latin-1"))
    ttl, tags = headers.get(b"x-cache-ttl"), headers.get(b"x-cache-tags")
    return Directives(
        read,
        store,
        max_age,
        None if ttl is None else _ttl(ttl.decode("latin-1")),
        () if tags is None else _tags(_text(headers, b"x-cache-tags")),
        _text(headers, b"x-cache-user", MAX_USER_BYTES),
        _text(headers, b"x-cache-key", MAX_KEY_BYTES),
    )


def goes_upstream(name: bytes) -> bool:
    """Whether the client's header of that name does."""
    return name not in _KEPT_BACK and not name.startswith(_KEPT_BACK_PREFIXES)


def for_upstream(headers: list[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """The headers that go upstream, which are written as UTF-8 there: the bytes that came. Of repeated ones what the
    fingerprint is of. Raises InvalidRequest."""
    return tuple(
        (_utf_8(name, name), _utf_8(name, value)) for name, value in joined(headers).items() if goes_upstream(name)
    )


def _check_encoding(headers: Mapping[bytes, bytes]) -> None:
    """Raises InvalidRequest for one that goes upstream and is not UTF-8."""
    for name, value in headers.items():
        if goes_upstream(name) or name == b"x-upstream-authorization":
            _utf_8(name, name)
            _utf_8(name, value)


def _utf_8(name: bytes, text: bytes) -> str:
    """A part of the header of that name. Raises InvalidRequest."""
    try:
        return text.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"{_title(name)}: it is not UTF-8; send it in UTF-8.") from None


def _title(name: bytes) -> str:
    """A header's name as people write it."""
    return "-".join(part.capitalize() for part in shown(name.decode("ascii", "replace")).split("-"))


def _cache_control(text: str) -> tuple[bool, bool, int | None]:
    """Whether a stored answer will do, whether to store, and how old it may be. Other directives say nothing here."""
    read = store = True
    max_age: int | None = None
    for part in text.lower().split(","):
        name, _, value = (piece.strip() for piece in part.partition("="))
        if name == "no-cache":
            read = False
        elif name == "no-store":
            read = store = False
        elif name == "max-age":
            if not _DIGITS.fullmatch(value):
                raise InvalidRequest("Cache-Control: send max-age as whole seconds, such as 'max-age=60'.")
            max_age = int(value)
    return read, store, max_age


def _ttl(text: str) -> int:
    if not _DIGITS.fullmatch(text) or not 1 <= int(text) <= MAX_TTL_SECONDS:
        raise InvalidRequest(
            f"X-Cache-TTL: '{shown(text)}' is not allowed; send 1 to {MAX_TTL_SECONDS} seconds, or leave it out."
        )
    return int(text)


def _tags(text: str) -> tuple[str, ...]:
    try:
        return tuple(check_tags([tag for part in text.split(",") if (tag := part.strip())]))
    except InvalidRequest as error:
        raise InvalidRequest("X-Cache-Tags" + error.message.removeprefix("tags")) from None


def _text(headers: Mapping[bytes, bytes], name: bytes, most: int | None = None) -> str:
    """The header as UTF-8 text; empty without it."""
    value = headers.get(name)
    if value is None:
        return ""
    text = _utf_8(name, value)
    if not _PRINTABLE.fullmatch(text) or (most is not None and len(value) > most):
        limit = "" if most is None else f" and at most {most} bytes"
        raise InvalidRequest(f"{_title(name)}: send printable text{limit}, or leave it out.")
    return text
