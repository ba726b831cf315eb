"""Embeddings are cached by input string: of a request only the strings that are not known go upstream, as one call.

strings ─▶ stored ones ─▶ ones that another request is getting ─▶ one call for the rest ─▶ one answer, in order
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal

import msgspec

from cacheservice import http
from cacheservice.entries.models import Space
from cacheservice.entries.requests import MAX_LEASE_SECONDS, MAX_WAIT_SECONDS, NewEntry
from cacheservice.entries.store import Hit
from cacheservice.errors import InsufficientCredits, TTLTooLong
from cacheservice.http import Send
from gateway import plan as plans
from gateway.delivery import cache_headers, passed_on, saved_by, usd
from gateway.errors import UpstreamFailed
from gateway.exchange import Exchange
from gateway.fingerprint import canonical, fingerprint, significant
from gateway.flights import Place
from gateway.models import CacheStatus, SpendState
from gateway.service import Gateway

AT_ONCE = 256  # look-ups under way for one request
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


async def respond(gateway: Gateway, exchange: Exchange, send: Send) -> None:
    """Answer a request that `splits`. Raises APIError."""
    strings = _strings(exchange)
    keys = {string: _key(exchange, string) for string in dict.fromkeys(strings)}
    known: dict[str, bytes] = {}
    if exchange.cache is CacheStatus.MISS:
        exchange.saved = await _look_up(gateway, exchange, keys, known)
    missing = [string for string in keys if string not in known]
    if not missing:
        exchange.cache = CacheStatus.HIT
        await _send(send, exchange, strings, known, _NO_USAGE, Decimal(0), ())
        gateway.ledger.record(exchange.event(SpendState.SETTLED, 200, None, Decimal(0), exchange.saved))
        return
    call = _Call(gateway, exchange, keys)
    others = await call.get(missing, known)
    if call.failed is not None:
        await http.send_answer(send, call.failed, exchange.request_id)
        return
    if call.sent:
        exchange.reason = f"{len(call.sent)} of {len(keys)} went upstream"
    else:
        exchange.cache = CacheStatus.COALESCED if others else CacheStatus.HIT
        gateway.ledger.record(exchange.event(SpendState.SETTLED, 200, None, Decimal(0), exchange.saved))
    await _send(send, exchange, strings, known, call.usage, call.cost, call.headers)


class _Call:
    """What one request does for the strings that nobody knows yet."""

    def __init__(self, gateway: Gateway, exchange: Exchange, keys: dict[str, str]) -> None:
        self._gateway, self._exchange, self._keys = gateway, exchange, keys
        self.sent: list[str] = []
        self.failed: http.Answer | None = None  # what the upstream says instead of embeddings
        self.usage: object = _NO_USAGE
        self.cost: Decimal | None = Decimal(0)
        self.headers: tuple[http.Header, ...] = ()

    async def get(self, missing: Sequence[str], known: dict[str, bytes]) -> bool:
        """Adds them to `known`; whether others' calls brought some. Raises APIError."""
        under_way = self._gateway.strings
        shared = self._exchange.cache is CacheStatus.MISS
        theirs = {
            string: under_way[self._place(string)] for string in missing if shared and self._place(string) in under_way
        }
        mine = [string for string in missing if string not in theirs]
        futures = {string: asyncio.get_running_loop().create_future() for string in mine}
        if shared:
            under_way.update((self._place(string), future) for string, future in futures.items())
        try:
            if mine:
                known.update(await self._fetch(mine, known))
        finally:
            for string, future in futures.items():
                if shared:
                    del under_way[self._place(string)]
                future.set_result(known.get(string))
        for string, future in theirs.items():
            found = await asyncio.shield(future)
            if found is None:
                raise UpstreamFailed(502, "upstream_failed", "The call that this request waited for failed: try again.")
            known[string] = found
        return bool(theirs)

    async def _fetch(self, mine: Sequence[str], known: dict[str, bytes]) -> dict[str, bytes]:
        """Under the lease of the first string: whoever asks for the same ones elsewhere waits for this call."""
        exchange, store = self._exchange, self._gateway.store
        first, token = self._keys[mine[0]], 0
        if exchange.cache is CacheStatus.MISS:
            most = exchange.upstream.policy.total_seconds
            leased = await store.lease_or_wait(
                exchange.caller,
                first,
                seconds=min(most, MAX_LEASE_SECONDS),
                wait=min(most, MAX_WAIT_SECONDS),
                space=Space.GATEWAY,
            )
            if isinstance(leased, Hit):
                found = {mine[0]: leased.value}
                await _look_up(self._gateway, exchange, {string: self._keys[string] for string in mine[1:]}, found)
                left = [string for string in mine if string not in found]
                return found | (await self._upstream(left, 0) if left else {})
            token = leased or 0
        try:
            fetched = await self._upstream(mine, token)
        except BaseException:
            if token:
                await self._give_back(first, token)
            raise
        if not fetched and token:
            await self._give_back(first, token)
        return fetched

    async def _upstream(self, strings: Sequence[str], token: int) -> dict[str, bytes]:
        exchange = self._exchange
        body = msgspec.json.encode({**exchange.body, "input": list(strings)})
        part = replace(exchange, asked=exchange.asked._replace(body=body), stores=False)
        self.sent = list(strings)
        flight = self._gateway.flights.start(None, lambda flight: self._gateway.fetcher.fetch(flight, part))
        with self._gateway.flights.reading(flight, cancel=exchange.upstream.policy.on_disconnect == "cancel"):
            await flight.whole()
        answer, outcome = flight.answer, flight.outcome
        if answer is None or outcome is None:
            raise UpstreamFailed(502, "upstream_broken", "The provider gave no answer.")
        self.headers, self.cost = passed_on(answer, "application/json"), outcome.cost
        if answer.status != 200:
            headers = (*self.headers, *cache_headers(exchange))
            self.failed = http.Answer(answer.status, headers, answer.body())
            return {}
        found = _embeddings(answer.body(), strings)
        self.usage = outcome.document.get("usage", _NO_USAGE)
        if not outcome.unstored:
            await self._put(found, outcome.cost, token)
        elif token:
            await self._give_back(self._keys[strings[0]], token)
        return found

    async def _put(self, found: dict[str, bytes], cost: Decimal | None, token: int) -> None:
        """Each costs an equal share of the call. What cannot be stored now is not: the client has its answer."""
        exchange = self._exchange
        share = None if cost is None else f"{(cost / len(found)).quantize(Decimal('1e-9')):f}"
        tags = list(exchange.asked.directives.tags)

        async def put(position: int, string: str, embedding: bytes) -> None:
            body = {"input": string}
            wanted: int | None = plans.ttl(exchange.upstream, exchange.api, body, {}, exchange.asked.directives.ttl)
            lease = token if position == 0 else 0
            for ttl in (wanted, None):  # None: the tenant's own, where the policy's is too long for it
                try:
                    entry = NewEntry(embedding, None, ttl, tags, share)
                    await self._gateway.store.put(
                        exchange.caller, self._keys[string], entry, lease=lease, space=Space.GATEWAY
                    )
                except TTLTooLong:
                    continue
                return

        puts = [put(position, *item) for position, item in enumerate(found.items())]
        await asyncio.gather(*puts, return_exceptions=True)

    async def _give_back(self, key: str, token: int) -> None:
        await self._gateway.store.delete(self._exchange.caller, key, lease=token, space=Space.GATEWAY)

    def _place(self, string: str) -> Place:
        return self._exchange.caller.tenant_id, self._keys[string]


async def _look_up(
    gateway: Gateway, exchange: Exchange, keys: dict[str, str], known: dict[str, bytes]
) -> Decimal | None:
    """Adds the stored ones to `known`. What they saved in USD; None: unknown of some."""
    saved: Decimal | None = Decimal(0)

    async def look_up(string: str, key: str) -> Hit | None:
        try:
            return await gateway.store.get(exchange.caller, key, space=Space.GATEWAY)
        except InsufficientCredits:  # it goes upstream instead
            return None

    for some in _slices(list(keys.items())):
        hits = await asyncio.gather(*(look_up(string, key) for string, key in some))
        for (string, _), hit in zip(some, hits, strict=True):
            if hit is not None:
                known[string] = hit.value
                amount = saved_by(hit)
                saved = None if saved is None or amount is None else saved + amount
    return saved


def _slices(items: list[tuple[str, str]]) -> Iterable[list[tuple[str, str]]]:
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))


def _strings(exchange: Exchange) -> list[str]:
    """The request's inputs; empty where they are none, or tokens."""
    given = exchange.body.get("input")
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and all(isinstance(each, str) for each in given):
        return given
    return []


def _key(exchange: Exchange, string: str) -> str:
    content = canonical(exchange.api, exchange.upstream, {**exchange.body, "input": string}, streams=False)
    asked = exchange.asked
    return fingerprint(
        exchange.upstream, asked.own_credential, asked.path, asked.query, significant(asked.headers), content or b""
    ).hex()


def _embeddings(body: bytes, strings: Sequence[str]) -> dict[str, bytes]:
    """Raises UpstreamFailed where it is not one for each string."""
    try:
        items = {item.index: bytes(item.embedding) for item in _decoder.decode(body).data}
    except msgspec.MsgspecError:
        items = {}
    if sorted(items) != list(range(len(strings))):
        raise UpstreamFailed(
            502, "upstream_broken", "The provider's answer does not have one embedding for each input."
        )
    return {string: items[position] for position, string in enumerate(strings)}


async def _send(
    send: Send,
    exchange: Exchange,
    strings: Sequence[str],
    known: dict[str, bytes],
    usage: object,
    cost: Decimal | None,
    headers: tuple[http.Header, ...],
) -> None:
    data = [
        {"object": "embedding", "index": index, "embedding": msgspec.Raw(known[string])}
        for index, string in enumerate(strings)
    ]
    document = {"object": "list", "data": data, "model": exchange.plan.model, "usage": usage}
    money = ((b"x-cache-cost", usd(cost)), (b"x-cache-saved", usd(exchange.saved)))
    answer = http.Answer(
        200, (*(headers or (http.JSON,)), *money, *cache_headers(exchange)), msgspec.json.encode(document)
    )
    await http.send_answer(send, answer, exchange.request_id)
