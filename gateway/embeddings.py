"""Embeddings are cached by input string: of a request only the strings that are not known go upstream, as one call.

strings ─▶ stored ones ─▶ ones that another request is getting ─▶ one call for the rest ─▶ one answer, in order
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, NamedTuple

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
MOST_JOINS = 3  # times that others' calls are waited for in vain, before one is made that nobody shares
_TOO_MANY = 429
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


def record(gateway: Gateway, exchange: Exchange, work: "asyncio.Future[http.Answer]", status: int) -> None:
    """Book a request that needed no call, once `answer_to` has ended as `work` and the client got this `status`; 0: it
    left before. What failed, and what was called for, is booked already."""
    if work.cancelled() or work.exception() is not None or work.result().status != 200:
        return
    if exchange.cache in (CacheStatus.HIT, CacheStatus.COALESCED):
        saved = exchange.saved if status == 200 else Decimal(0)
        gateway.ledger.record(exchange.event(SpendState.SETTLED, status, None, Decimal(0), saved))


async def refund(gateway: Gateway, answer: http.Answer) -> None:
    """What was charged for the known strings of an answer of `answer_to` that could not be sent."""
    for charge in answer.charge or ():
        await gateway.store.refund(charge)


@dataclass
class _Known:
    """The embeddings that are there, by their entries' keys, and what came of looking for them."""

    gateway: Gateway
    exchange: Exchange
    embeddings: dict[str, bytes] = field(default_factory=dict)
    saved: Decimal | None = Decimal(0)  # USD; None: unknown of some
    charges: list[Charge] = field(default_factory=list)
    replaces: bool = False  # an entry that is there: it is too old, or does not open
    booked: bool = False  # the call's spend event is this request's

    async def look_up(self, keys: Sequence[str]) -> None:
        """Adds the stored ones. Raises APIError; what was charged until then is noted, to be refunded."""
        for start in range(0, len(keys), AT_ONCE):
            reads = asyncio.gather(*map(self._add_stored, keys[start : start + AT_ONCE]), return_exceptions=True)
            try:
                failures = await asyncio.shield(reads)
            except asyncio.CancelledError:  # those under way are charged all the same
                await reads
                raise
            failure = next(filter(None, failures), None)
            if failure is not None:
                raise failure

    def add(self, key: str, hit: Hit) -> None:
        amount = saved_by(hit)
        self.embeddings[key] = hit.value
        self.saved = None if self.saved is None or amount is None else self.saved + amount
        self.charges.append(hit.charge)

    async def refund(self) -> None:
        for charge in self.charges:
            await self.gateway.store.refund(charge)

    async def _add_stored(self, key: str) -> None:
        hit = await self._hit(key)
        if hit is not None:
            self.add(key, hit)

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
    texts: dict[str, str] = {}  # by key: of strings that are one to the policy, the first goes upstream for all
    for string, key in keys.items():
        texts.setdefault(key, string)
    if exchange.cache is CacheStatus.MISS:
        await known.look_up(list(texts))
    exchange.saved = known.saved
    call = _Call(gateway, exchange, texts, known)
    await call.get([key for key in texts if key not in known.embeddings])
    exchange.saved = known.saved
    if call.refusal is not None:
        await known.refund()
        refused = call.refusal.answer
        if not known.booked:
            gateway.ledger.record(exchange.event(SpendState.SETTLED, refused.status, None, Decimal(0)))
        return refused._replace(headers=(*refused.headers, *cache_headers(exchange)))
    if call.sent:
        exchange.reason = f"{len(call.sent)} of {len(texts)} went upstream"
    else:
        exchange.cache = CacheStatus.COALESCED if call.joined else CacheStatus.HIT
    data = [
        {"object": "embedding", "index": index, "embedding": msgspec.Raw(known.embeddings[keys[string]])}
        for index, string in enumerate(strings)
    ]
    document = {"object": "list", "data": data, "model": exchange.plan.model, "usage": call.usage or _NO_USAGE}
    money = (
        (b"x-cache-cost", usd(call.cost)),
        (b"x-cache-saved", usd(exchange.saved)),
        (b"x-credits-charged", credits(sum(charge.units for charge in known.charges)).encode()),
    )
    headers = (*(call.headers or (http.JSON,)), *money, *cache_headers(exchange))
    return http.Answer(200, headers, msgspec.json.encode(document), known.charges)


class _Refusal(NamedTuple):
    """What the upstream says instead of embeddings, and of which strings."""

    answer: http.Answer
    strings: list[str]

    def concerns(self, strings: list[str]) -> bool:
        """Whether it would say so of these too. That there is too much just now, or that something is broken, it says
        of any."""
        about_the_input = 400 <= self.answer.status < 500 and self.answer.status != _TOO_MANY
        return not about_the_input or strings == self.strings


class _Call:
    """What one request does for the strings that nobody knows yet, which go by their entries' keys."""

    def __init__(self, gateway: Gateway, exchange: Exchange, texts: dict[str, str], known: _Known) -> None:
        """`texts`: the string of each key."""
        self._gateway, self._exchange, self._texts, self._known = gateway, exchange, texts, known
        self.sent: list[str] = []
        self.joined = False  # others' calls brought some
        self.refusal: _Refusal | None = None
        self.usage: dict[str, Any] = {}
        self.cost: Decimal | None = Decimal(0)
        self.headers: tuple[http.Header, ...] = ()

    async def get(self, missing: Sequence[str]) -> None:
        """Makes them known, or says in `refusal` why the upstream did not. Raises APIError."""
        joins = MOST_JOINS if self._exchange.cache is CacheStatus.MISS else 0
        while missing and self.refusal is None:
            missing = await self._get(missing, self._gateway.strings if joins > 0 else {})
            joins -= 1

    async def _get(self, missing: Sequence[str], under_way: dict[Place, asyncio.Future[Any]]) -> list[str]:
        """Those that other requests were getting, and did not for reasons of their own. Raises APIError."""
        theirs = {key: under_way[place] for key in missing if (place := self._place(key)) in under_way}
        mine = [key for key in missing if key not in theirs]
        under_way.update({self._place(key): asyncio.get_running_loop().create_future() for key in mine})
        outcome: _Refusal | UpstreamFailed | None = None
        try:
            if mine:
                await self._fetch(mine)
            outcome = self.refusal
        except UpstreamFailed as error:
            outcome = error
            raise
        finally:
            for key in mine:
                under_way.pop(self._place(key)).set_result(self._known.embeddings.get(key) or outcome)
        given_up, strings = [], [self._texts[key] for key in theirs]
        for key, future in theirs.items():
            if self.refusal is None and not self._take(key, await asyncio.shield(future), strings):
                given_up.append(key)
        return given_up

    def _take(self, key: str, found: bytes | _Refusal | UpstreamFailed | None, strings: list[str]) -> bool:
        """What another request's call brought; `strings`: all that this one would ask for in its place. False: that one
        was refused, or given up, which says nothing of this."""
        if isinstance(found, bytes):
            self._known.embeddings[key], self.joined = found, True
        elif isinstance(found, _Refusal):
            if not found.concerns(strings):
                return False
            self._exchange.cache, self.refusal = CacheStatus.COALESCED, found
        elif found is not None:
            raise found
        return found is not None

    async def _fetch(self, mine: Sequence[str]) -> None:
        """Under the lease of the first string: whoever asks for the same ones elsewhere waits for this call."""
        store, first, token = self._gateway.store, mine[0], 0
        if self._exchange.cache is CacheStatus.MISS and not self._known.replaces:
            try:
                leased = await lease_or_wait(store, self._exchange, first)
            except InsufficientCredits:
                leased = None
            if isinstance(leased, Hit):  # another process has made the call
                self._known.add(first, leased)
                mine = await self._not_put(mine)
            else:
                token = leased or 0
        stored = False
        try:
            stored = bool(mine) and await self._upstream(mine, token)
        finally:
            if token and not stored:
                await give_back(store, self._exchange, first, token)

    async def _not_put(self, keys: Sequence[str]) -> Sequence[str]:
        """Those of them that the call elsewhere, which brought the first, did not bring."""
        for pause in PUTS_TAKE:
            keys = [key for key in keys if key not in self._known.embeddings]
            if not keys:
                break
            await asyncio.sleep(pause)
            await self._known.look_up(keys)
        return [key for key in keys if key not in self._known.embeddings]

    async def _upstream(self, keys: Sequence[str], token: int) -> bool:
        """Whether the first of them was stored, which ends the lease."""
        exchange = self._exchange
        strings = [self._texts[key] for key in keys]
        body = msgspec.json.encode({**exchange.body, "input": strings})
        saved = Decimal(0) if self.sent else self._known.saved  # the event of an earlier call tells it already
        part = replace(exchange, asked=exchange.asked._replace(body=body), stores=False, saved=saved)
        self.sent += keys
        flight = self._gateway.flights.start(None, lambda flight: self._gateway.fetcher.fetch(flight, part))
        try:
            with self._gateway.flights.reading(flight, cancel=True):  # who goes on without a client cancels nothing
                await flight.whole()
                answer, outcome = flight.answer, flight.outcome
                document = b"" if answer is None else answer.body()  # which it has only while it is read
        finally:
            self._known.booked |= flight.booked
        if answer is None or outcome is None:
            raise UpstreamFailed(502, "upstream_broken", "The provider gave no answer.")
        self.headers = passed_on(answer, "application/json")
        self.cost = None if self.cost is None or outcome.cost is None else self.cost + outcome.cost
        if answer.status != 200:
            self.refusal = _Refusal(http.Answer(answer.status, self.headers, document), strings)
            return False
        found = _embeddings(document, keys)
        self._known.embeddings |= found
        self.usage = _total(self.usage, outcome.document.get("usage"))
        return not outcome.unstored and await self._put(found, outcome, token)

    async def _put(self, found: dict[str, bytes], outcome: Outcome, token: int) -> bool:
        """Each costs an equal share of the call. Whether the first was stored; the client has its answer anyway."""
        exchange, directives = self._exchange, self._exchange.asked.directives
        share = None if outcome.cost is None else f"{(outcome.cost / len(found)).quantize(Decimal('1e-9')):f}"

        async def put_one(key: str, embedding: bytes, lease: int) -> None:
            ttl = plans.ttl(exchange.upstream, exchange.api, {"input": self._texts[key]}, {}, directives.ttl)
            entry = NewEntry(embedding, None, ttl, list(directives.tags), share)
            await put(self._gateway.store, exchange, key, entry, lease)

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

    def _place(self, key: str) -> Place:
        return self._exchange.caller.tenant_id, key


def _strings(exchange: Exchange) -> list[str]:
    """The request's inputs; empty where they are none, or tokens."""
    given = exchange.body.get("input")
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and len(given) <= MOST_STRINGS and all(isinstance(each, str) for each in given):
        return given
    return []


def _keys(exchange: Exchange, strings: Sequence[str]) -> dict[str, str]:
    """Of the entry of each string: one for those that the policy does not tell apart. What the strings share is written
    out once."""
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


def _total(usage: dict[str, Any], more: object) -> dict[str, Any]:
    """What several calls used, in the provider's own terms: their counts are added up."""
    total = dict(usage)
    for name, count in (more if isinstance(more, dict) else {}).items():
        before = total.get(name)
        adds_up = isinstance(before, int | float) and isinstance(count, int | float)
        total[name] = before + count if adds_up else count
    return total


def _embeddings(body: bytes, keys: Sequence[str]) -> dict[str, bytes]:
    """By key, of an answer that has them in this order. Raises UpstreamFailed where it is not one for each."""
    try:
        items_ = {item.index: bytes(item.embedding) for item in _decoder.decode(body).data}
    except (msgspec.MsgspecError, RecursionError):
        items_ = {}
    if sorted(items_) != list(range(len(keys))):
        raise UpstreamFailed(
            502, "upstream_broken", "The provider's answer does not have one embedding for each input."
        )
    return {key: items_[position] for position, key in enumerate(keys)}
