"""What a client gets: a stored answer, or a flight's as it comes, in the form that it asked for."""

import asyncio
from decimal import Decimal
from functools import lru_cache
from typing import NamedTuple

from django.conf import settings

from cacheservice import http
from cacheservice.entries.items import age, credits_of
from cacheservice.entries.store import Hit
from cacheservice.errors import APIError, Unavailable
from cacheservice.http import Header, Send
from gateway.answers import Answer, Form, content_type_shown, events_of, shown, stored_form
from gateway.apis.base import Event, Usage
from gateway.errors import UpstreamFailed, error_body, error_event
from gateway.exchange import Exchange
from gateway.flights import Flight
from gateway.models import CacheStatus, Kind
from gateway.outcomes import WITH_OTHERS, merged, objects_of

UNKNOWN = "unknown"
KEPT_USAGES = 10_000
_DONE: dict[CacheStatus, tuple[Header, ...]] = {
    status: ((b"x-cache", status.label.encode()),) for status in CacheStatus
}
# The upstream's own of these would contradict ours.
_REPLACED = frozenset({b"age", b"cache-control", b"content-type", b"etag", b"x-content-type-options"})


class Delivered(NamedTuple):
    """What the client was sent."""

    status: int
    whole: bool  # else the client hung up, or the answer broke off


def stored_answer(exchange: Exchange, hit: Hit) -> http.Answer:
    """A hit as its answer. Raises ValueError where it cannot be shown as the client asked for it."""
    api, streams = exchange.api, exchange.plan.streams
    form, content_type = stored_form(hit)
    body = (
        shown(api, exchange.body, form, hit.value, streams=streams) if form is not Form.JSON or streams else hit.value
    )
    headers = (
        (b"content-type", content_type_shown(api, form, content_type, streams=streams).encode("latin-1")),
        (b"age", b"%d" % age(hit)),
        (b"x-cache-cost", b"0"),
        (b"x-cache-saved", _saved(hit.charge.cost)),
        (b"x-credits-charged", credits_of(hit.charge.units)),
        *request_id_headers(exchange.upstream.kind, exchange.request_id),
        *cache_headers(exchange),
    )
    return http.Answer(200, headers, body, hit.charge)


def saved_by(hit: Hit) -> Decimal | None:
    """USD that the miss took; None: unknown."""
    return None if hit.charge.cost is None else Decimal(hit.charge.cost)


class Usages:
    """What stored answers say that their misses used: read once a version, for a hit must cost little."""

    def __init__(self) -> None:
        self._known: dict[int, Usage | None] = {}

    def of(self, exchange: Exchange, hit: Hit) -> Usage | None:
        if hit.version not in self._known:
            if len(self._known) >= KEPT_USAGES:
                del self._known[next(iter(self._known))]
            self._known[hit.version] = _usage(exchange, hit)
        return self._known[hit.version]


def _usage(exchange: Exchange, hit: Hit) -> Usage | None:
    form, _ = stored_form(hit)
    if form is Form.BYTES:
        return None
    api = exchange.api
    objects = [api.assemble(events_of(hit.value))] if form is Form.EVENTS else objects_of(api, hit.value)
    return None if objects is None else api.usage(merged(objects))


async def deliver(send: Send, exchange: Exchange, flight: Flight) -> Delivered:
    """The flight's answer. Raises APIError as long as nothing was sent; later the client is told in the stream."""
    found = await flight.begun()
    if isinstance(found, Hit):
        raise AssertionError("a filled flight is delivered as the hit that it is")
    answer = found
    streams = exchange.plan.streams
    if answer.form is Form.BYTES:
        if answer.status == 200 and exchange.asked.method == "POST" and exchange.api.name not in WITH_OTHERS:
            raise UpstreamFailed(502, "upstream_broken", "The provider's answer is neither JSON nor a stream.")
        return await _pass_on(send, exchange, answer, flight)
    if answer.form is Form.EVENTS and (streams or not exchange.api.converts):
        return await _pass_on(send, exchange, answer, flight)
    await flight.whole()
    outcome = flight.outcome
    status, body = answer.status, answer.body()
    content_type = answer.content_type
    if status == 200 and exchange.api.converts and (answer.form is Form.EVENTS) is not streams:
        if outcome is None or outcome.broken:
            raise UpstreamFailed(502, "upstream_broken", "The provider's answer broke off or cannot be read.")
        body = shown(exchange.api, exchange.body, answer.form, body, streams=streams)
        content_type = content_type_shown(exchange.api, answer.form, content_type, streams=streams)
    elif status == 200 and exchange.asked.method == "POST" and outcome is not None and outcome.broken:
        raise UpstreamFailed(502, "upstream_broken", "The provider's answer is not JSON, though it says so.")
    cost = None if outcome is None else outcome.cost
    if exchange.cache is CacheStatus.COALESCED:
        money = ((b"x-cache-cost", b"0"), (b"x-cache-saved", usd(cost)))
    else:
        money = ((b"x-cache-cost", usd(cost)), (b"x-cache-saved", b"0"))
    unstored = "" if outcome is None or exchange.reason else outcome.unstored
    named = request_id_headers(exchange.upstream.kind, exchange.request_id)
    headers = (*passed_on(answer, content_type), *named, *money, *cache_headers(exchange, unstored))
    head = exchange.asked.method == "HEAD"
    sent = await send_whole(send, exchange, http.Answer(status, headers, body), head=head)
    return Delivered(sent, sent == status)


async def send_whole(send: Send, exchange: Exchange, answer: http.Answer, *, head: bool = False) -> int:
    """The status that the client got: the answer's, or 503 where too many large ones are under way."""

    def refusal(error: APIError, request_id: str) -> http.Answer:
        return failure_answer(exchange.upstream.kind, error, request_id, cache_headers(exchange))

    if await http.send_answer(send, answer, exchange.request_id, head=head, refusal=refusal):
        return answer.status
    return Unavailable.status


def failure_answer(kind: str, error: APIError, request_id: str, extra: tuple[Header, ...]) -> http.Answer:
    """The error as a provider of this kind would have answered it, with `extra` headers."""
    headers = (http.JSON, *error.headers, *request_id_headers(kind, request_id), *extra)
    return http.Answer(error.status, headers, error_body(kind, error, request_id))


def cache_headers(exchange: Exchange, unstored: str = "") -> tuple[Header, ...]:
    """What the cache did, and why; `unstored` is why the answer is not kept."""
    headers = _DONE[exchange.cache]
    if reason := exchange.reason or (f"not stored; {unstored}" if unstored else ""):
        told = f"{exchange.cache.label}; {reason}"
        headers += ((b"x-cache-reason", told.encode("ascii", "replace")),)
    key = exchange.asked.directives.key or exchange.plan.key
    if key:
        headers += ((b"x-cache-key", key.encode()),)
    return (*headers, *http.rate_headers(exchange.caller.rate))


def request_id_headers(kind: str, request_id: str) -> tuple[Header, ...]:
    """Beside `x-request-id`: where Anthropic's clients look."""
    return ((b"request-id", request_id.encode()),) if kind == Kind.ANTHROPIC else ()


async def _pass_on(send: Send, exchange: Exchange, answer: Answer, flight: Flight) -> Delivered:
    """Piece by piece, as they come."""
    headers = [
        *passed_on(answer, answer.content_type),
        *(((b"x-cache-cost", b"0"),) if exchange.cache is CacheStatus.COALESCED else ()),  # else nobody knows it yet
        *request_id_headers(exchange.upstream.kind, exchange.request_id),
        *cache_headers(exchange),
        *http.COMMON_HEADERS,
        (b"x-request-id", exchange.request_id.encode()),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    whole = True
    async with _Reader(send) as reader:
        try:
            if answer.form is Form.EVENTS:
                await _send_events(reader, exchange, answer, flight)
            else:
                await _send_pieces(reader, answer, flight)
        except UpstreamFailed as error:
            whole = False
            if answer.form is not Form.EVENTS:
                raise BrokenOff from None
            await reader.send(error_event(exchange.upstream.kind, error, exchange.request_id))
    await send({"type": "http.response.body", "body": b"", "more_body": False})
    return Delivered(answer.status, whole)


class BrokenOff(Exception):
    """The answer ended early after its head was sent: the connection must not look as if it was whole."""


class _Reader:
    """Sends pieces to a client, and gives up one that takes nothing: with one timer a stream, not one a piece."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._since: float | None = None  # when a piece was sent that the client has not taken yet
        self.slow = False

    async def __aenter__(self) -> "_Reader":
        self._task, self._loop = asyncio.current_task(), asyncio.get_running_loop()
        self._look()
        return self

    async def __aexit__(self, *failure: object) -> None:
        self._timer.cancel()
        if self.slow and self._task is not None:
            self._task.uncancel()
            raise BrokenOff from None

    async def send(self, piece: bytes) -> None:
        self._since = self._loop.time()
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._since = None

    def _look(self) -> None:
        if self._since is not None and self._loop.time() - self._since >= settings.ANSWER_TIMEOUT_SECONDS:
            self.slow = True
            if self._task is not None:
                self._task.cancel()
        else:
            self._timer = self._loop.call_later(settings.ANSWER_TIMEOUT_SECONDS / 4, self._look)


async def _send_pieces(reader: _Reader, answer: Answer, flight: Flight) -> None:
    position = 0
    while some := await flight.more(answer.pieces, position):
        position += len(some)
        await reader.send(b"".join(some))


async def _send_events(reader: _Reader, exchange: Exchange, answer: Answer, flight: Flight) -> None:
    """Raises UpstreamFailed where the stream broke off, and did not say so itself."""
    api, body, position = exchange.api, exchange.body, 0
    while some := await flight.more(answer.events, position):
        position += len(some)
        if piece := b"".join([api.client_events(event, body) for event in some]):
            await reader.send(piece)
    broken = flight.outcome is not None and flight.outcome.broken and api.has_terminal_event()
    if broken and not (answer.events and _tells_error(answer.events[-1])):
        raise UpstreamFailed(502, "upstream_broken", "The provider's stream broke off before its end.")


def _tells_error(event: Event) -> bool:
    """Whether the upstream itself has told the client that something went wrong."""
    return event.name == "error" or b'"error"' in event.data


def passed_on(answer: Answer, content_type: str) -> tuple[Header, ...]:
    """The upstream's headers, its request id by another name."""
    kept = []
    for name, value in answer.headers:
        if name in (b"request-id", b"x-request-id"):
            kept.append((b"x-upstream-request-id", value))
        elif name not in _REPLACED:
            kept.append((name, value))
    return (*kept, (b"content-type", content_type.encode("latin-1")))


@lru_cache(maxsize=4096)
def _saved(cost: str | None) -> bytes:
    return usd(None if cost is None else Decimal(cost))


def usd(amount: Decimal | None) -> bytes:
    """Without an exponent and needless zeros."""
    if amount is None:
        return UNKNOWN.encode()
    text = f"{amount:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).encode()
