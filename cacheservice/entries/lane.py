"""The lane: a fast transport for the item operations, beside Django.

It parses the request line and headers, has the store authenticate, and writes bytes; it holds no rule of its own.
"""

from collections.abc import Awaitable
from time import perf_counter

import structlog
from django.conf import settings

from cacheservice import http, logs, metrics
from cacheservice.entries import items, store
from cacheservice.entries.callers import caller_of
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Store
from cacheservice.errors import AddressNeeded, APIError, InternalError, InvalidAPIKey, Unavailable
from cacheservice.http import BodyReader, Receive, Scope, Send

PREFIX = b"/api/v1/cache/"
ACCESS_LOG: bool = settings.ACCESS_LOG  # looked up once, as asgi.LANE
log = structlog.get_logger(__name__)


def takes(scope: Scope) -> bool:
    """Whether this is an item operation; anything else is Django's."""
    return scope["method"] in items.METHODS and scope["raw_path"].startswith(PREFIX)


async def respond(scope: Scope, receive: Receive, send: Send, bodies: BodyReader) -> None:
    """Answer one item request."""
    began = perf_counter()
    headers = dict(scope["headers"])
    request_id = http.request_id(headers.get(b"x-request-id"))
    logs.request_id.set(request_id)
    entries: Store | None = None
    caller: Caller | None = None
    try:
        entries = store.current()
        caller = await caller_of(entries, scope, headers)
        method: str = scope["method"]
        body = b""
        if method in items.WITH_BODY:
            body = await items.read_body(entries, caller, items.SCOPES[method], bodies, receive, headers)
        try:
            answer = await _answer(entries, caller, scope, headers, body, receive)
        except AddressNeeded:
            caller = await caller_of(entries, scope, headers)
            answer = await _answer(entries, caller, scope, headers, body, receive)
        finally:
            bodies.release(body)
    except APIError as error:
        answer = http.error_answer(error, request_id)
        if error.status >= 500:
            log.error("request_failed", request_id=request_id, status=error.status, code=error.code)
    except Exception:
        log.exception("request_failed", request_id=request_id, status=500)
        answer = http.error_answer(InternalError("Something went wrong here; the operator has been told."), request_id)
    if ACCESS_LOG:
        log.info("request", request_id=request_id, method=scope["method"], status=answer.status)
    if caller is not None and caller.rate is not None and answer.status != InvalidAPIKey.status:
        answer = answer._replace(headers=(*answer.headers, *http.rate_headers(caller.rate)))
    sent = await http.send_answer(send, answer, request_id, head=scope["method"] == "HEAD")
    metrics.count_request("lane", "item", scope["method"], answer.status if sent else Unavailable.status, began)
    if not sent and entries is not None and answer.charge is not None:
        await entries.refund(answer.charge)


def _answer(
    entries: Store, caller: Caller, scope: Scope, headers: dict[bytes, bytes], body: bytes, receive: Receive
) -> Awaitable[http.Answer]:
    method, escaped_key, query = scope["method"], scope["raw_path"][len(PREFIX) :], scope["query_string"]
    return items.answer(entries, caller, method, escaped_key, query, headers, body, receive)
