"""One entry over HTTP: the five item operations of `/api/v1/cache/:key`, from parsed request to whole answer.

The lane, Django REST framework's view and batches all come here; there is no second copy of a rule.
"""

import base64
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache, partial

import msgspec
from django.conf import settings

from billing.units import credits
from cacheservice.entries import requests
from cacheservice.entries.operations import Caller, Updated
from cacheservice.entries.requests import Condition, NewEntry
from cacheservice.entries.store import Hit, Store, Stored
from cacheservice.errors import (
    AddressNeeded,
    APIError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    TTLTooLong,
    Unavailable,
)
from cacheservice.http import JSON, Answer, BodyReader, Receive, disconnected

METHODS = ("GET", "HEAD", "PUT", "PATCH", "DELETE")
SCOPES = {"GET": "read", "HEAD": "read", "PUT": "write", "PATCH": "write", "DELETE": "delete"}
ENVELOPE_BYTES = 64 * 1024  # what ttl, tags and cost may add to a value's bytes
WITH_BODY = ("PUT", "PATCH")

# What a raw value is sent with, should a browser ever open it: it can run nothing and reach nothing.
_RAW_HEADERS = ((b"content-security-policy", b"sandbox; default-src 'none'"),)
_HIT, _MISS = (b"x-cache", b"HIT"), (b"x-cache", b"MISS")

Headers = Mapping[bytes, bytes]


def max_body_bytes() -> int:
    return settings.MAX_VALUE_BYTES + ENVELOPE_BYTES


async def read_body(
    store: Store,
    caller: Caller,
    scope: str | None,
    bodies: BodyReader,
    receive: Receive,
    headers: MutableMapping[bytes, bytes],
) -> bytes:
    """The request's body. A large one is read only for a caller who may send it; so is the error of any."""
    large = bodies.is_large(headers)
    if large:
        # While the database is away, or the caller's address is not known here, nobody can tell: then it is read, for a
        # client that is cut off in the middle of sending never sees what the operation will give.
        with suppress(Unavailable):
            await store.authorise(caller, scope, requests=0)  # the operation itself will count
    try:
        return await bodies.read(receive, headers, max_body_bytes())
    except APIError:
        with suppress(AddressNeeded):
            await store.authorise(caller, scope)
        raise


async def answer(
    store: Store,
    caller: Caller,
    method: str,
    escaped_key: bytes,
    query: bytes,
    headers: Headers,
    body: bytes,
    receive: Receive | None = None,
) -> Answer:
    """The whole answer to one item request. Raises APIError.

    `receive`, where nothing more is to come from it, tells whether the client is still there.
    """
    try:
        key = requests.parse_key(escaped_key)
        if method == "GET":
            return await _get(store, caller, key, query, headers, receive)
        if method == "HEAD":
            return await _head(store, caller, key, query)
        if method == "PUT":
            return await _put(store, caller, key, query, headers, body)
        if method == "PATCH":
            return await _patch(store, caller, key, query, headers, body)
        if method == "DELETE":
            return await _delete(store, caller, key, query, headers)
        raise MethodNotAllowed(method, list(METHODS))
    except APIError as error:
        if error.status in (400, 413, 415) and not isinstance(error, TTLTooLong):
            # No statement has looked at the caller yet: whoever may not ask learns only that.
            await store.authorise(caller, SCOPES[method])
        raise


async def _get(
    store: Store, caller: Caller, key: str, query: bytes, headers: Headers, receive: Receive | None
) -> Answer:
    if not query:
        hit = await store.get(caller, key)
        return miss_answer(key) if hit is None else _hit_answer(key, hit, headers, raw=False)
    parameters = requests.parse_query(query, ("raw", "lease", "wait"))
    raw = requests.parse_flag(parameters, "raw")
    seconds, wait = requests.parse_lease(parameters)
    token: int | None = None
    if seconds:
        gone = None if receive is None else partial(disconnected, receive)
        outcome = await store.get_or_lease(caller, key, seconds=seconds, wait=wait, gone=gone)
        hit, token = (outcome, None) if isinstance(outcome, Hit) else (None, outcome)
    else:
        hit = await store.get(caller, key)
    if hit is not None:
        return _hit_answer(key, hit, headers, raw=raw)
    if raw:
        raise missing(key, token)
    return lease_answer(key, token) if seconds else miss_answer(key)


def _hit_answer(key: str, hit: Hit, headers: Headers, *, raw: bool) -> Answer:
    none_match = headers.get(b"if-none-match")
    if none_match is not None and requests.matches(none_match.decode("latin-1"), hit.version):
        return Answer(304, charged_headers(hit), b"", hit.charge)
    if raw:
        content_type = (hit.content_type or "application/json").encode("latin-1")
        raw_headers = ((b"content-type", content_type), *charged_headers(hit), *_RAW_HEADERS)
        return Answer(200, raw_headers, hit.value, hit.charge)
    return hit_answer(key, hit)


async def _head(store: Store, caller: Caller, key: str, query: bytes) -> Answer:
    requests.parse_flag(requests.parse_query(query, ("raw",)), "raw")
    hit = await store.get(caller, key, wanted=False)
    if hit is None:
        raise missing(key)
    return Answer(200, (JSON, *hit_headers(hit)), b"")


async def _put(store: Store, caller: Caller, key: str, query: bytes, headers: Headers, body: bytes) -> Answer:
    condition = _condition(headers)
    entry = requests.parse_put(headers.get(b"content-type"), query, body, settings.MAX_VALUE_BYTES)
    return await put_answer(store, caller, key, entry, condition, lease=requests.parse_lease_token(headers))


async def _patch(store: Store, caller: Caller, key: str, query: bytes, headers: Headers, body: bytes) -> Answer:
    requests.parse_query(query, ())
    patch = requests.parse_patch(headers.get(b"content-type"), body)
    ttl = None if patch.ttl is msgspec.UNSET else patch.ttl
    tags = None if patch.tags is msgspec.UNSET else patch.tags
    updated = await store.patch(caller, key, ttl, tags, _condition(headers, create=False))
    if updated is None:
        raise missing(key)
    return _stored_answer(200, key, updated)


async def _delete(store: Store, caller: Caller, key: str, query: bytes, headers: Headers) -> Answer:
    requests.parse_query(query, ())
    condition = _condition(headers, create=False)
    return await delete_answer(store, caller, key, condition, lease=requests.parse_lease_token(headers))


async def put_answer(
    store: Store, caller: Caller, key: str, entry: NewEntry, condition: Condition, *, lease: int = 0
) -> Answer:
    stored = await store.put(caller, key, entry, condition, lease=lease)
    return _stored_answer(200 if stored.replaced else 201, key, stored)


async def delete_answer(store: Store, caller: Caller, key: str, condition: Condition, *, lease: int = 0) -> Answer:
    deleted = await store.delete(caller, key, condition, lease=lease)
    return Answer(200, (JSON,), msgspec.json.encode({"key": key, "deleted": deleted}))


def hit_answer(key: str, hit: Hit) -> Answer:
    """A hit with its value in the contract's envelope, byte for byte as it was sent."""
    if hit.content_type is None:
        value, content_type = hit.value, b""
    else:
        value = b'"%s"' % base64.b64encode(hit.value)
        content_type = b'"content_type":%s,' % msgspec.json.encode(hit.content_type)
    body = b'{"key":%s,"value":%s,%s"created_at":"%s","expires_at":"%s","hit":true}' % (
        msgspec.json.encode(key),
        value,
        content_type,
        wire_time(hit.created_at),
        wire_time(hit.expires_at),
    )
    return Answer(200, (JSON, *charged_headers(hit)), body, hit.charge)


def charged_headers(hit: Hit) -> tuple[tuple[bytes, bytes], ...]:
    return (*hit_headers(hit), (b"x-credits-charged", credits_of(hit.charge.units)))


@lru_cache(maxsize=64)
def credits_of(units: int) -> bytes:
    return credits(units).encode()


def hit_headers(hit: Hit) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"etag", requests.etag(hit.version).encode()), (b"age", b"%d" % age(hit)), _HIT)


def age(hit: Hit) -> int:
    """In seconds."""
    return max(0, int(time.time()) - hit.created_at // 1_000_000)


def miss_answer(key: str) -> Answer:
    return Answer(200, (JSON, _MISS), msgspec.json.encode({"key": key, "hit": False}))


def lease_answer(key: str, token: int | None) -> Answer:
    """A miss whose asker got the lease, or did not."""
    lease = None if token is None else requests.lease_text(token)
    body = msgspec.json.encode({"key": key, "hit": False, "lease": lease})
    return Answer(200, (JSON, _MISS, *_lease_headers(token)), body)


def missing(key: str, token: int | None = None) -> NotFound:
    error = NotFound("There is no live entry under this key: it was never written, was deleted, or has expired.")
    error.headers = (_MISS, *_lease_headers(token))
    return error


def _lease_headers(token: int | None) -> tuple[tuple[bytes, bytes], ...]:
    return () if token is None else ((b"x-cache-lease", requests.lease_text(token).encode()),)


def wire_time(microseconds: int) -> bytes:
    """RFC 3339 in UTC, floored to whole seconds."""
    return _wire_seconds(microseconds // 1_000_000)


@lru_cache(maxsize=65536)
def _wire_seconds(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ").encode()


def _stored_answer(status: int, key: str, stored: Stored | Updated) -> Answer:
    body = b'{"key":%s,"created_at":"%s","expires_at":"%s","size_bytes":%d}' % (
        msgspec.json.encode(key),
        wire_time(stored.created_at),
        wire_time(stored.expires_at),
        stored.size,
    )
    return Answer(status, (JSON, (b"etag", requests.etag(stored.version).encode())), body)


def _condition(headers: Headers, *, create: bool = True) -> Condition:
    match, none_match = headers.get(b"if-match"), headers.get(b"if-none-match")
    if match is None and none_match is None:
        return requests.NO_CONDITION
    if none_match is not None and not create:
        raise InvalidRequest("If-None-Match: a PUT takes it, to create only; this request takes If-Match.")
    return requests.parse_conditions(
        None if match is None else match.decode("latin-1"),
        None if none_match is None else none_match.decode("latin-1"),
    )
