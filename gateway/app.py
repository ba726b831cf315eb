"""The gateway's ASGI application: `/gateway/<provider>/<path of its API>`, beside the lane.

    request ─▶ caller, provider, plan ─┬─ stored answer ─────────────────────────▶ HIT
                                       ├─ flight under way for the same key ─────▶ COALESCED
                                       └─ new flight (fetch.py) ─────────────────▶ MISS, REFRESH, BYPASS

Every request leaves one spend event: hits and joined flights here, calls where they are settled.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import TypeVar

import structlog

from cacheservice import http, logs, metrics
from cacheservice.entries import items
from cacheservice.entries.callers import caller_of
from cacheservice.entries.models import Space
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Hit
from cacheservice.errors import AddressNeeded, APIError, InsufficientCredits, InternalError, InvalidAPIKey
from cacheservice.http import BodyReader, Receive, Scope, Send
from gateway import embeddings, requests, service
from gateway.delivery import (
    BrokenOff,
    cache_headers,
    deliver,
    failure_answer,
    saved_by,
    send_whole,
    stored_answer,
)
from gateway.errors import ProviderUnknown, UpstreamFailed
from gateway.exchange import Exchange
from gateway.flights import Flight
from gateway.models import CacheStatus, Kind, SpendState
from gateway.plan import Asked
from gateway.service import Gateway

log = structlog.get_logger(__name__)
SCOPE = "gateway"
_OUTCOMES = {status: status.label.lower() for status in CacheStatus}  # as the metric has them
_MAX_AGE, _UNREADABLE = "max-age", "unreadable"
_SHARED_REFRESHES = frozenset({_MAX_AGE, _UNREADABLE})  # they want a new answer, and not one each
T = TypeVar("T")


class _TooOld(Exception):
    """What another process's call brought is older than the request that joined its flight allows."""


def takes(scope: Scope) -> bool:
    raw_path: bytes = scope["raw_path"]
    return raw_path.startswith(requests.PREFIX)


async def respond(scope: Scope, receive: Receive, send: http.Sending, bodies: BodyReader) -> None:
    """Answer one request."""
    headers = requests.joined(scope["headers"])
    request_id = http.request_id(headers.get(b"x-request-id"))
    logs.request_id.set(request_id)
    caller: Caller | None = None
    kind: str = Kind.ANTHROPIC if b"anthropic-version" in headers else Kind.OPENAI  # until its provider is known
    extra: tuple[http.Header, ...] = ()
    body = b""
    exchange: Exchange | None = None
    admitted = False
    try:
        gateway = service.current()
        caller = await caller_of(gateway.store, scope, headers)
        gateway.directory.expect(caller.tenant_id)
        body = await items.read_body(gateway.store, caller, SCOPE, bodies, receive, headers)
        try:
            exchange = await _exchange(gateway, caller, scope, headers, body, request_id)
            kind = exchange.upstream.kind
            hit = await _look_up(gateway, exchange)
        except AddressNeeded:
            caller = await caller_of(gateway.store, scope, headers)
            exchange = await _exchange(gateway, caller, scope, headers, body, request_id)
            kind = exchange.upstream.kind
            hit = await _look_up(gateway, exchange)
        admitted = True
        if exchange.plan.streams:
            metrics.STREAMS_OPEN.change(1)
        await _answer(gateway, exchange, hit, receive, send)
        return
    except BrokenOff:
        raise
    except APIError as error:
        failure = error
        if error.status >= 500 and not isinstance(error, UpstreamFailed):
            log.error("request_failed", request_id=request_id, status=error.status, code=error.code)
    except Exception:
        log.exception("request_failed", request_id=request_id, status=500)
        failure = InternalError("Something went wrong here; the operator has been told.")
    finally:
        outcome = "refused"
        if exchange is not None and admitted:
            outcome = _OUTCOMES[exchange.cache]
            if exchange.plan.streams:
                metrics.STREAMS_OPEN.change(-1)
        metrics.GATEWAY_CALLS.add(1, outcome, kind)
        if exchange is None or exchange.work is None:
            bodies.release(body)
        else:
            exchange.work.add_done_callback(lambda _: bodies.release(body))
    if send.status:  # the head is out: all that is left is to hang up
        raise BrokenOff
    if exchange is not None:
        extra = cache_headers(exchange)
    elif caller is not None and not isinstance(failure, InvalidAPIKey):
        extra = http.rate_headers(caller.rate)
    answer = failure_answer(kind, failure, request_id, extra)
    await http.send_answer(send, answer, request_id, head=scope["method"] == "HEAD")


async def _exchange(
    gateway: Gateway, caller: Caller, scope: Scope, headers: dict[bytes, bytes], body: bytes, request_id: str
) -> Exchange:
    """Raises APIError."""
    try:
        name, path, query = requests.route(scope)
        directives = requests.directives(headers)
        tenancy = gateway.directory.known(caller.tenant_id) or await gateway.directory.get(caller.tenant_id)
        upstream = tenancy.providers.get(name)
        if upstream is None:
            raise ProviderUnknown(name)
        own = headers.get(b"x-upstream-authorization")
        asked = Asked(scope["method"], path, query, headers, body, own, directives)
        plan = gateway.planner.known(upstream, asked) or await gateway.planner.make(upstream, asked)
    except APIError:
        await gateway.store.authorise(caller, SCOPE)  # whoever may not ask learns only that
        raise
    return Exchange(
        caller=caller,
        tenancy=tenancy,
        upstream=upstream,
        asked=asked,
        plan=plan,
        sent=scope["headers"],
        request_id=request_id,
        at=datetime.now(UTC),
    )


async def _answer(gateway: Gateway, exchange: Exchange, hit: Hit | None, receive: Receive, send: Send) -> None:
    if hit is not None:
        await _send_hit(gateway, exchange, hit, send)
        return
    gone = asyncio.ensure_future(http.disconnected(receive))
    try:
        await (_embed if embeddings.splits(exchange) else _fly)(gateway, exchange, gone, send)
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await gone


async def _look_up(gateway: Gateway, exchange: Exchange) -> Hit | None:
    """The stored answer, if one will do; else the exchange says what kind of call it becomes. Raises APIError."""
    directives = exchange.asked.directives
    if exchange.plan.bypass:
        exchange.bypass(exchange.plan.bypass)
    elif not directives.store:
        exchange.bypass("no-store")
    elif not directives.read:
        exchange.cache, exchange.reason = CacheStatus.REFRESH, "no-cache"
    if exchange.cache is not CacheStatus.MISS or embeddings.splits(exchange):
        await gateway.store.authorise(exchange.caller, SCOPE)
        return None
    try:
        before = gateway.flights.under_way(exchange.place)
        hit = await _find(gateway, exchange, counted=1)
        if hit is None:
            hit = await _landing(gateway, exchange, before or gateway.flights.under_way(exchange.place))
        if hit is not None:
            exchange.cache = CacheStatus.HIT
        return hit
    except InsufficientCredits:
        exchange.bypass(InsufficientCredits.code)
    return None


async def _find(gateway: Gateway, exchange: Exchange, *, counted: int) -> Hit | None:
    """The entry, if it will do; where it is there and will not, the exchange says why it becomes a REFRESH. `counted`:
    how many this is for the rate limit. Raises APIError."""
    store, caller, key = gateway.store, exchange.caller, exchange.plan.key
    exchange.cache, exchange.reason = CacheStatus.MISS, ""
    try:
        if exchange.asked.directives.max_age is not None:
            known = await store.get(caller, key, wanted=False, space=Space.GATEWAY, requests=counted)
            if known is None:
                return None
            if _too_old(exchange, known):
                exchange.cache, exchange.reason = CacheStatus.REFRESH, _MAX_AGE
                return None
            counted = 0  # that look has counted it
        return await store.get(caller, key, space=Space.GATEWAY, requests=counted)
    except InternalError:  # it does not open: another answer takes its place
        exchange.cache, exchange.reason = CacheStatus.REFRESH, _UNREADABLE
    return None


def _too_old(exchange: Exchange, hit: Hit) -> bool:
    oldest = exchange.asked.directives.max_age
    return oldest is not None and items.age(hit) > oldest


async def _landing(gateway: Gateway, exchange: Exchange, flight: Flight | None) -> Hit | None:
    """The entry that the flight has put since the look that found none that would do, or is putting just now."""
    while flight is not None and flight.ended:
        await asyncio.shield(flight.landed)
        if flight.outcome is None or flight.outcome.unstored:
            return None
        hit = await _find(gateway, exchange, counted=0)
        if hit is not None:
            return hit
        flight = gateway.flights.under_way(exchange.place)
    return None


async def _send_hit(gateway: Gateway, exchange: Exchange, hit: Hit, send: Send) -> None:
    status = InternalError.status
    try:
        status = await _send_stored(gateway, exchange, hit, send)
    finally:
        usage, saved = (gateway.usages.of(exchange, hit), saved_by(hit)) if status == 200 else (None, Decimal(0))
        gateway.ledger.record(exchange.event(SpendState.SETTLED, status, usage, Decimal(0), saved))


async def _send_stored(gateway: Gateway, exchange: Exchange, hit: Hit, send: Send, *, charged: bool = True) -> int:
    """The status that the client got: 200, or 503 where too many large answers are under way. What it did not get and
    was `charged` for is refunded. Raises InternalError where the answer cannot be shown."""
    try:
        answer = stored_answer(exchange, hit if charged else hit._replace(charge=hit.charge._replace(units=0)))
        status = await send_whole(send, exchange, answer)
        if status == answer.status:
            return status
        failure = None
    except ValueError:
        failure = InternalError("The stored answer cannot be shown: send the request with 'Cache-Control: no-cache'.")
    if charged:
        await gateway.store.refund(hit.charge)
    if failure is not None:
        raise failure
    return status


async def _fly(gateway: Gateway, exchange: Exchange, gone: asyncio.Future[None], send: Send) -> None:
    """Join the flight for the same key, or start one."""
    shared = exchange.cache is CacheStatus.MISS or exchange.reason in _SHARED_REFRESHES
    own = exchange.cache, exchange.reason
    while shared and (other := gateway.flights.under_way(exchange.place)) is not None:
        exchange.cache, exchange.reason = CacheStatus.COALESCED, ""
        try:
            if await _read(gateway, exchange, other, gone, send):
                return
        except _TooOld:
            own = CacheStatus.REFRESH, _MAX_AGE
        exchange.cache, exchange.reason = own
        await asyncio.shield(other.landed)  # until then it is the one to join
    flight = gateway.flights.start(
        exchange.place if shared else None, lambda flight: gateway.fetcher.fetch(flight, exchange)
    )
    exchange.work = flight.landed
    await _read(gateway, exchange, flight, gone, send)


async def _read(gateway: Gateway, exchange: Exchange, flight: Flight, gone: asyncio.Future[None], send: Send) -> bool:
    """Give the client the flight's answer. False: who began it was refused one, which says nothing of this client.
    Raises _TooOld."""
    joined, told, status = exchange.cache is CacheStatus.COALESCED, True, 0
    try:
        with gateway.flights.reading(flight, cancel=exchange.upstream.policy.on_disconnect == "cancel"):
            status = await _while_connected(gone, _deliver(gateway, send, exchange, flight, joined=joined)) or 0
    except _TooOld:
        told = False
        raise
    except APIError as error:
        if joined and error.status < 500 and not isinstance(error, UpstreamFailed):
            told = False
            return False
        status = error.status
        raise
    finally:
        if not joined:  # its event is the call's, if there is one
            flight.landed.add_done_callback(
                lambda _: None if flight.booked else _record_free_of_cost(gateway, exchange, flight, status)
            )
        elif told:
            _record_free_of_cost(gateway, exchange, flight, status)
    return True


def _record_free_of_cost(gateway: Gateway, exchange: Exchange, flight: Flight, status: int) -> None:
    """The event of a request that another one's call answers, or that none was made for."""
    saved, usage = None, None
    if flight.filled is not None:
        exchange.cache, saved = CacheStatus.COALESCED, saved_by(flight.filled)
    elif flight.outcome is not None and exchange.cache is CacheStatus.COALESCED:
        saved, usage = flight.outcome.cost, flight.outcome.usage
    if exchange.cache is CacheStatus.COALESCED and (status >= 400 or not status):  # or the client left before
        saved, usage = Decimal(0), None
    gateway.ledger.record(exchange.event(SpendState.SETTLED, status, usage, Decimal(0), saved))


async def _embed(gateway: Gateway, exchange: Exchange, gone: asyncio.Future[None], send: Send) -> None:
    exchange.work = work = gateway.flights.keep(embeddings.answer_to(gateway, exchange))
    status = 0
    try:
        answer = await _while_connected(gone, asyncio.shield(work))
        if answer is not None:
            status = await send_whole(send, exchange, answer)
            if status != answer.status:
                await embeddings.refund(gateway, answer)
        elif exchange.upstream.policy.on_disconnect == "cancel":
            work.cancel()
    finally:
        work.add_done_callback(lambda done: embeddings.record(gateway, exchange, done, status))


async def _while_connected(gone: asyncio.Future[None], work: Awaitable[T]) -> T | None:
    """What comes of it; None, and it is cancelled, when the client hangs up before."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        task.cancel()


async def _deliver(gateway: Gateway, send: Send, exchange: Exchange, flight: Flight, *, joined: bool) -> int:
    """The status that the client got. Raises _TooOld."""
    begun = await flight.begun()
    if isinstance(begun, Hit):  # another process made the call
        if joined and _too_old(exchange, begun):
            raise _TooOld
        exchange.cache = CacheStatus.COALESCED
        return await _send_stored(gateway, exchange, begun, send, charged=not joined)  # who began the flight was
    return (await deliver(send, exchange, flight)).status
