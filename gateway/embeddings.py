"""Embeddings are cached by input string: of a request only the strings that are not known go upstream, as one call.

strings ─▶ stored ones ─▶ ones that another request is getting ─▶ one call for the rest ─▶ one answer, in order
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import msgspec
import structlog

from billing.units import credits
from cacheservice import http
from cacheservice.entries import items
from cacheservice.entries.models import Space
from cacheservice.entries.refunds import Charge
from cacheservice.entries.requests import NewEntry
from cacheservice.entries.store import Hit
from cacheservice.errors import APIError, InsufficientCredits, InternalError
from gateway import plan as plans
from gateway.delivery import cache_headers, passed_on, saved_by, usd
from gateway.errors import UpstreamFailed
from gateway.exchange import Exchange
from gateway.fetch import give_back, lease_or_wait, put
from gateway.fingerprint import canonical, fingerprint, significant, whose
from gateway.flights import Place
from gateway.models import CacheStatus, SpendState
from gateway.outcomes import Outcome
from gateway.service import Gateway

log = structlog.get_logger(__name__)

MOST_STRINGS = 2048  # OpenAI's own limit; what has more is cached as a whole
AT_ONCE = 256  # look-ups under way for one request
PUTS_TAKE = (0, 0.2)  # seconds, at most, from the first string of a call to the others of it, as others see it
_NO_USAGE = {"prompt_tokens": 0, "total_tokens": 0}


class _Item(msgspec.Struct):
    embedding: msgspec.Raw
    index: int


class _List(msgspec.Struct):
    data: list[_Item]


_decoder = msgspec.json.Decoder(_List)


def splits(exchange: Exchange) -> bool:
    """Whether the request is one for embeddings of strings that may be cached one by one."""
    if exchange.api.name != "embeddings" or exchange.cache is CacheStatus.BYPASS or exchange.asked.directives.key:
        return False
    return bool(_strings(exchange))


async def answer_to(gateway: Gateway, exchange: Exchange) -> http.Answer:
    """Of a request that `splits`. Raises APIError; what was charged for strings is refunded then."""
    known = _Known(gateway, exchange)
    try:
        return await _answer(gateway, exchange, known)
    except BaseException as error:
        await known.refund()
        if not known.booked:
            status = error.status if isinstance(error, APIError) else 0
            gateway.ledger.record(exchange.event(SpendState.SETTLED, status, None, Decimal(0)))
        raise


@dataclass
class _Known:
    """The embeddings that are there, by string, and what came of looking for them."""

    gateway: Gateway
    exchange: Exchange
    embeddings: dict[str, bytes] = field(default_factory=dict)
    saved: Decimal | None = Decimal(0)  # USD; None: unknown of some
    charges: list[Charge] = field(default_factory=list)
    replaces: bool = False  # an entry that is there: it is too old, or does not open
    booked: bool = False  # the call's spend event is this request's

    async def look_up(self, keys: dict[str, str]) -> None:
        """Adds the stored ones of these strings, whose entries have these keys."""
        items_ = list(keys.items())
        for start in range(0, len(items_), AT_ONCE):
            some = items_[start : start + AT_ONCE]
            hits = await asyncio.gather(*(self._hit(key) for _, key in some))
            for (string, _), hit in zip(some, hits, strict=True):
                if hit is not None:
                    self.add(string, hit)

    def add(self, string: str, hit: Hit) -> None:
        amount = saved_by(hit)
        self.embeddings[string] = hit.value
        self.saved = None if self.saved is None or amount is None else self.saved + amount
        self.charges.append(hit.charge)

    async def refund(self) -> None:
        for charge in self.charges:
            await self.gateway.store.refund(charge)

    async def _hit(self, key: str) -> Hit | None:
        """The request has been counted already."""
        store, caller, oldest = self.gateway.store, self.exchange.caller, self.exchange.asked.directives.max_age
        try:
            if oldest is not None:
                there = await store.get(caller, key, wanted=False, space=Space.GATEWAY, requests=0)
                if there is None or items.age(there) > oldest:
                    self.replaces = self.replaces or there is not None
                    return None
            return await store.get(caller, key, space=Space.GATEWAY, requests=0)
        except InsufficientCredits:  # it goes upstream instead
            return None
        except InternalError:
            self.replaces = True
            return None


async def _answer(gateway: Gateway, exchange: Exchange, known: _Known) -> http.Answer:
    strings = _strings(exchange)
    keys = _keys(exchange, strings)
    if exchange.cache is CacheStatus.MISS:
        await known.look_up(keys)
    missing = [string for string in keys if string not in known.embeddings]
    exchange.saved = known.saved
    call = _Call(gateway, exchange, keys, known)
    others = await call.get(missing) if missing else False
    exchange.saved = known.saved
    if call.failed is not None:
        await known.refund()
        if not known.booked:
            gateway.ledger.record(exchange.event(SpendState.SETTLED, call.failed.status, None, Decimal(0)))
        return call.failed._replace(headers=(*call.failed.headers, *cache_headers(exchange)))
    if call.sent:
        exchange.reason = f"{len(call.sent)} of {len(keys)} went upstream"
    else:
        exchange.cache = CacheStatus.COALESCED if others else CacheStatus.HIT
        gateway.ledger.record(exchange.event(SpendState.SETTLED, 200, None, Decimal(0)))
    data = [
        {"object": "embedding", "index": index, "embedding": msgspec.Raw(known.embeddings[string])}
        for index, string in enumerate(strings)
    ]
    document = {"object": "list", "data": data, "model": exchange.plan.model, "usage": call.usage}
    money = (
        (b"x-cache-cost", usd(call.cost)),
        (b"x-cache-saved", usd(exchange.saved)),
        (b"x-credits-charged", credits(sum(charge.units for charge in known.charges)).encode()),
    )
    headers = (*(call.headers or (http.JSON,)), *money, *cache_headers(exchange))
    return http.Answer(200, headers, msgspec.json.encode(document))


class _Call:
    """What one request does for the strings that nobody knows yet."""

    def __init__(self, gateway: Gateway, exchange: Exchange, keys: dict[str, str], known: _Known) -> None:
        self._gateway, self._exchange, self._keys, self._known = gateway, exchange, keys, known
        self.sent: list[str] = []
        self.failed: http.Answer | None = None  # what the upstream says instead of embeddings
        self.usage: object = _NO_USAGE
        self.cost: Decimal | None = Decimal(0)
        self.headers: tuple[http.Header, ...] = ()

    async def get(self, missing: Sequence[str]) -> bool:
        """Makes them known; whether others' calls brought some. Raises APIError."""
        under_way = self._gateway.strings if self._exchange.cache is CacheStatus.MISS else {}
        theirs = {string: under_way[place] for string in missing if (place := self._place(string)) in under_way}
        mine = [string for string in missing if string not in theirs]
        futures = {self._place(string): asyncio.get_running_loop().create_future() for string in mine}
        under_way.update(futures)
        outcome: http.Answer | APIError | None = None
        try:
            if mine:
                await self._fetch(mine)
            outcome = self.failed
        except APIError as error:
            outcome = error
            raise
        finally:
            for string in mine:
                under_way.pop(self._place(string)).set_result(self._known.embeddings.get(string) or outcome)
        for string, future in theirs.items():
            if self.failed is None:
                self._take(string, await asyncio.shield(future))
        return bool(theirs)

    def _take(self, string: str, found: bytes | http.Answer | APIError | None) -> None:
        """What another request's call brought."""
        if isinstance(found, bytes):
            self._known.embeddings[string] = found
        elif isinstance(found, http.Answer):
            self._exchange.cache, self.failed = CacheStatus.COALESCED, found
        elif isinstance(found, UpstreamFailed):
            raise found
        else:  # it was refused, or given up, for reasons of its own
            raise UpstreamFailed(
                503, "upstream_failed", "The call that this request waited for was given up: try again."
            )

    async def _fetch(self, mine: Sequence[str]) -> None:
        """Under the lease of the first string: whoever asks for the same ones elsewhere waits for this call."""
        store, first, token = self._gateway.store, self._keys[mine[0]], 0
        if self._exchange.cache is CacheStatus.MISS and not self._known.replaces:
            try:
                leased = await lease_or_wait(store, self._exchange, first)
            except InsufficientCredits:
                leased = None
            if isinstance(leased, Hit):  # another process has made the call
                self._known.add(mine[0], leased)
                mine = await self._not_put(mine)
            else:
                token = leased or 0
        stored = False
        try:
            stored = bool(mine) and await self._upstream(mine, token)
        finally:
            if token and not stored:
                await give_back(store, self._exchange, first, token)

    async def _not_put(self, strings: Sequence[str]) -> Sequence[str]:
        """Those of them that the call elsewhere, which brought the first, did not bring."""
        for pause in PUTS_TAKE:
            strings = [string for string in strings if string not in self._known.embeddings]
            if not strings:
                break
            await asyncio.sleep(pause)
            await self._known.look_up({string: self._keys[string] for string in strings})
        return [string for string in strings if string not in self._known.embeddings]

    async def _upstream(self, strings: Sequence[str], token: int) -> bool:
        """Whether the first of them was stored, which ends the lease."""
        exchange = self._exchange
        body = msgspec.json.encode({**exchange.body, "input": list(strings)})
        part = replace(exchange, asked=exchange.asked._replace(body=body), stores=False, saved=self._known.saved)
        self.sent = list(strings)
        flight = self._gateway.flights.start(None, lambda flight: self._gateway.fetcher.fetch(flight, part))
        try:
            with self._gateway.flights.reading(flight, cancel=True):  # who goes on without a client cancels nothing
                await flight.whole()
                answer, outcome = flight.answer, flight.outcome
                document = b"" if answer is None else answer.body()  # which it has only while it is read
        finally:
            self._known.booked = flight.booked
        if answer is None or outcome is None:
            raise UpstreamFailed(502, "upstream_broken", "The provider gave no answer.")
        self.headers, self.cost = passed_on(answer, "application/json"), outcome.cost
        if answer.status != 200:
            self.failed = http.Answer(answer.status, self.headers, document)
            return False
        found = _embeddings(document, strings)
        self._known.embeddings |= found
        self.usage = outcome.document.get("usage", _NO_USAGE)
        return not outcome.unstored and await self._put(found, outcome, token)

    async def _put(self, found: dict[str, bytes], outcome: Outcome, token: int) -> bool:
        """Each costs an equal share of the call. Whether the first was stored; the client has its answer anyway."""
        exchange, directives = self._exchange, self._exchange.asked.directives
        share = None if outcome.cost is None else f"{(outcome.cost / len(found)).quantize(Decimal('1e-9')):f}"

        async def put_one(string: str, embedding: bytes, lease: int) -> None:
            ttl = plans.ttl(exchange.upstream, exchange.api, {"input": string}, {}, directives.ttl)
            entry = NewEntry(embedding, None, ttl, list(directives.tags), share)
            await put(self._gateway.store, exchange, self._keys[string], entry, lease)

        (first, embedding), *others = found.items()
        try:  # alone, if under a lease: where that was voided by a deletion, nothing of this is stored
            await put_one(first, embedding, token)
        except APIError as error:
            log.info("answer_not_stored", request_id=exchange.request_id, code=error.code)
            return False
        results: list[Any] = await asyncio.gather(*(put_one(*item, 0) for item in others), return_exceptions=True)
        for failure in results:
            if failure is not None and not isinstance(failure, APIError):
                raise failure
        return True

    def _place(self, string: str) -> Place:
        return self._exchange.caller.tenant_id, self._keys[string]


def _strings(exchange: Exchange) -> list[str]:
    """The request's inputs; empty where they are none, or tokens."""
    given = exchange.body.get("input")
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and len(given) <= MOST_STRINGS and all(isinstance(each, str) for each in given):
        return given
    return []


def _keys(exchange: Exchange, strings: Sequence[str]) -> dict[str, str]:
    """Of the entry of each string. What the strings share is written out once."""
    api, upstream, asked = exchange.api, exchange.upstream, exchange.asked
    shared = {name: value for name, value in exchange.body.items() if name != "input"}
    rest = canonical(api, upstream, shared, streams=False) or b""
    credential = whose(upstream, asked.own_credential, asked.headers)
    normalized = upstream.policy.text == "normalized"
    keys = {}
    for string in dict.fromkeys(strings):
        text = api.normalized({"input": string})["input"] if normalized else string
        content = rest + b"\ninput " + text.encode()
        keys[string] = fingerprint(
            upstream, credential, asked.path, asked.query, significant(asked.headers), content
        ).hex()
    return keys


def _embeddings(body: bytes, strings: Sequence[str]) -> dict[str, bytes]:
    """Raises UpstreamFailed where it is not one for each string."""
    try:
        items_ = {item.index: bytes(item.embedding) for item in _decoder.decode(body).data}
    except (msgspec.MsgspecError, RecursionError):
        items_ = {}
    if sorted(items_) != list(range(len(strings))):
        raise UpstreamFailed(
            502, "upstream_broken", "The provider's answer does not have one embedding for each input."
        )
    return {string: items_[position] for position, string in enumerate(strings)}
