"""A flight's course: lease, reservation, upstream, settlement, store.

    lease ─▶ reserve ─▶ upstream (or the next provider) ─▶ pieces to the readers ─▶ settle ─▶ put

Whatever happens on the way, the reservation is settled and the lease ended.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from decimal import Decimal

import msgspec
import structlog
from django.conf import settings
from msgspec.structs import replace

from cacheservice.entries.models import Space
from cacheservice.entries.requests import NewEntry
from cacheservice.entries.store import Hit, Store
from cacheservice.errors import APIError, InsufficientCredits, TTLTooLong, Unavailable
from gateway import plan as plans
from gateway import pricing, upstreams
from gateway.answers import Answer, stored_content_type
from gateway.apis.reading import member
from gateway.budgets import ModelUnknown, matching
from gateway.errors import UpstreamFailed
from gateway.exchange import Exchange
from gateway.fingerprint import whose
from gateway.flights import Flight, Flights
from gateway.ledger import Ledger, Reservation
from gateway.models import CacheStatus, SpendState
from gateway.outcomes import Outcome, outcome_of
from gateway.providers import Upstream
from gateway.requests import for_upstream
from gateway.upstreams import Deadline, UpstreamError, Upstreams

log = structlog.get_logger(__name__)

_TRY_ANOTHER = upstreams.RETRIED_STATUSES  # what another provider may do better
PUT_PAUSES = (0.5, 2.0)  # seconds before a store that was too busy is asked again


class Fetcher:
    """Flies flights."""

    def __init__(self, store: Store, upstreams: Upstreams, ledger: Ledger, flights: Flights) -> None:
        self._store, self._upstreams, self._ledger, self._flights = store, upstreams, ledger, flights

    async def fetch(self, flight: Flight, exchange: Exchange) -> None:
        """The answer to the exchange, for all who read the flight; stored if it may be."""
        token: int | None = None
        try:
            if exchange.cache is CacheStatus.MISS and exchange.stores:
                token = await self._lease(flight, exchange)
                if flight.filled is not None:
                    if not flight.readers:  # who waited for it has gone
                        self._flights.keep(self._store.refund(flight.filled.charge))
                    flight.end()
                    return
            outcome = await self._call(flight, exchange)
            if await self._stored(flight, exchange, outcome, token or 0):
                token = None
        except APIError as error:
            flight.end(error)
        except asyncio.CancelledError:
            flight.end()
            raise
        except Exception:
            log.exception("fetch_failed", request_id=exchange.request_id)
            flight.end(UpstreamFailed(500, "internal_error", "Something went wrong here; the operator has been told."))
        finally:
            if token:
                await give_back(self._store, exchange, exchange.plan.key, token)

    async def _lease(self, flight: Flight, exchange: Exchange) -> int | None:
        """A token, or the answer that another process got meanwhile, as the flight's; or neither, after a long wait."""
        try:
            found = await lease_or_wait(self._store, exchange, exchange.plan.key)
        except InsufficientCredits as error:  # the answer is there, and cannot be paid
            exchange.bypass(error.code)
            return None
        if isinstance(found, Hit):
            flight.filled = found
            return None
        return found

    async def _call(self, flight: Flight, exchange: Exchange) -> Outcome:
        """Raises APIError, where there is no whole answer."""
        reservation = await self._reserve(flight, exchange)
        started, deadline = time.monotonic(), Deadline.after(exchange.upstream.policy.total_seconds)
        unknown = True  # what it cost, until something says so
        answer: Answer | None = None
        outcome: Outcome | None = None
        upstream = exchange.upstream
        try:
            upstream, response, uncertain = await self._send(exchange, deadline)
            try:
                answer = Answer(response.status, response.headers)
                flight.begin(answer)
                async for piece in response.chunks():
                    self._flights.take(flight, len(piece))
                    answer.add(piece)
                    flight.wake()
            finally:
                await response.close()
            answer.finish()
            outcome = outcome_of(exchange.api, answer)
            unknown = outcome.broken or uncertain
        except UpstreamError as error:
            unknown = error.began
            raise _failed(error) from None
        except ValueError as error:
            raise UpstreamFailed(502, "upstream_broken", f"The provider's answer cannot be read: {error}.") from None
        finally:
            seconds = Decimal(round((time.monotonic() - started) * 1000)) / 1000
            outcome = self._settle(exchange, reservation, upstream, answer, outcome, seconds, unknown=unknown)
            flight.outcome = outcome
        flight.end()
        return outcome

    async def _reserve(self, flight: Flight, exchange: Exchange) -> Reservation:
        """Raises APIError; then no event is booked here."""
        if exchange.upstream.unusable and exchange.asked.own_credential is None:
            raise UpstreamFailed(503, "credential_unusable", exchange.upstream.unusable)
        model = None if exchange.unread else exchange.plan.model
        budgets = matching(exchange.tenancy.budgets, exchange.caller.api_key_id, model)
        if model is None and (of_model := next((budget for budget in budgets if budget.model), None)) is not None:
            raise ModelUnknown(of_model)
        if not budgets:  # at once, without a turn of the loop
            reservation = await self._ledger.reserve(exchange.call(), (), None)
            flight.booked = True
            return reservation
        worst = _worst_case(exchange)
        asking = asyncio.ensure_future(self._ledger.reserve(exchange.call(), budgets, worst))
        try:
            reservation = await asyncio.shield(asking)
        except asyncio.CancelledError:  # it is under way in a batch: what comes of it is given back
            self._ledger.settle(await asking, exchange.event(SpendState.SETTLED, 0, None, Decimal(0)))
            flight.booked = True
            raise
        flight.booked = True
        return reservation

    async def _send(self, exchange: Exchange, deadline: Deadline) -> tuple[Upstream, upstreams.Answer, bool]:
        """The answer of the first provider that gives a good one, else of the last that there was time for; and whether
        an earlier try may have cost something. Raises UpstreamError."""
        asked, body = exchange.asked, exchange.asked.body
        if exchange.plan.streams:
            wanted = exchange.api.upstream_body(exchange.body)
            body = body if wanted is exchange.body else msgspec.json.encode(wanted)
        request = upstreams.Request(asked.method, asked.path, asked.query, for_upstream(exchange.sent), body)
        candidates = _candidates(exchange)
        began = False
        for upstream in candidates:
            last = upstream is candidates[-1]
            try:
                response = await self._upstreams.send(upstream, request, asked.own_credential, deadline)
            except UpstreamError as error:
                began = error.began = began or error.began
                if last or deadline.over:
                    raise
                continue
            began = began or response.lost > 0
            if last or deadline.over or response.status not in _TRY_ANOTHER:
                return upstream, response, began
            await response.close()
        raise AssertionError("there is a last candidate")

    def _settle(
        self,
        exchange: Exchange,
        reservation: Reservation,
        upstream: Upstream,
        answer: Answer | None,
        outcome: Outcome | None,
        seconds: Decimal,
        *,
        unknown: bool,
    ) -> Outcome:
        """Book what the call cost: nothing where the upstream did not do it, the worst case where nobody knows."""
        if outcome is None:
            outcome = Outcome({}, None, "interrupted", broken=True)
        free = _is_free(exchange)
        unknown = unknown and not free
        cost: Decimal | None = Decimal(0)
        if outcome.broken and unknown:
            cost = None
        elif answer is not None and 200 <= answer.status < 300 and not exchange.api.free:
            rates = exchange.tenancy.prices.get((upstream.name, exchange.plan.model))
            cost = pricing.price(
                upstream.kind,
                exchange.plan.model,
                outcome.usage if outcome.document else None,  # of other statuses than 200 the answer is not read
                rates,
                seconds,
                tier=_text(outcome.document.get("service_tier")),
                speed=_text(member(outcome.document.get("usage"), "speed")),
                base_url=upstream.base_url,
            )
        if cost is None and free:
            cost = Decimal(0)
        outcome = outcome._replace(cost=cost)
        state = SpendState.UNKNOWN if unknown else SpendState.SETTLED
        status = 0 if answer is None else answer.status
        event = exchange.event(state, status, outcome.usage, cost)
        self._ledger.settle(reservation, replace(event, provider=upstream.name))
        return outcome

    async def _stored(self, flight: Flight, exchange: Exchange, outcome: Outcome, token: int) -> bool:
        """Whether the answer was put, which ends the lease."""
        answer = flight.answer
        if answer is None or outcome.unstored or not exchange.stores or exchange.cache is CacheStatus.BYPASS:
            return False
        value = answer.body()
        if len(value) > settings.MAX_VALUE_BYTES:
            return False
        wanted = exchange.asked.directives.ttl
        ttl = plans.ttl(exchange.upstream, exchange.api, exchange.body, outcome.document, wanted)
        content_type = stored_content_type(answer.form, answer.content_type)
        cost = None if outcome.cost is None else f"{outcome.cost:f}"
        entry = NewEntry(value, content_type, ttl, list(exchange.asked.directives.tags), cost)
        try:
            await put(self._store, exchange, exchange.plan.key, entry, token)
        except APIError as error:  # the client has its answer
            log.info("answer_not_stored", request_id=exchange.request_id, code=error.code)
            return False
        return True


def _failed(error: UpstreamError) -> UpstreamFailed:
    failed = UpstreamFailed(error.status, error.code, error.message)
    if error.retry_after is not None:
        failed.headers = ((b"retry-after", b"%d" % math.ceil(error.retry_after)),)
    return failed


async def lease_or_wait(store: Store, exchange: Exchange, key: str) -> Hit | int | None:
    """As the store's, for as long as a call of this provider may take: more than the API lets its clients ask for.

    Who waits for a process that was killed waits for all of it, rather than that every process makes a long call."""
    most = exchange.upstream.policy.total_seconds
    return await store.lease_or_wait(exchange.caller, key, seconds=most, wait=most, space=Space.GATEWAY)


async def put(store: Store, exchange: Exchange, key: str, entry: NewEntry, lease: int) -> None:
    """Store an answer; not for longer than the tenant lets entries live. It is paid for: while the database is busy it
    is tried again. Raises APIError."""
    for pause in (*PUT_PAUSES, None):
        try:
            await store.put(exchange.caller, key, entry, lease=lease, space=Space.GATEWAY)
        except TTLTooLong as error:
            entry = entry._replace(ttl=error.most)
        except Unavailable:
            if pause is None:
                raise
            await asyncio.sleep(pause)
        else:
            return


async def give_back(store: Store, exchange: Exchange, key: str, token: int) -> None:
    """The lease, to whoever waits for it."""
    try:
        await store.delete(exchange.caller, key, lease=token, space=Space.GATEWAY)
    except APIError as error:  # then it runs out
        log.info("lease_not_given_back", request_id=exchange.request_id, code=error.code)


def _candidates(exchange: Exchange) -> list[Upstream]:
    """The provider, and those to fall back on; a credential that the client brought is for the first alone."""
    providers: Mapping[str, Upstream] = exchange.tenancy.providers
    if whose(exchange.upstream, exchange.asked.own_credential, exchange.asked.headers) is not None:
        return [exchange.upstream]
    others = [providers[name] for name in exchange.upstream.fallbacks if name in providers]
    return [exchange.upstream, *(upstream for upstream in others if not upstream.unusable)]


def _text(value: object) -> str | None:
    """What a member says, if it is text."""
    return value if isinstance(value, str) else None


def _is_free(exchange: Exchange) -> bool:
    """Whether providers charge nothing for it: counts of tokens, and lists of models and the like. The latter may have
    a price of the tenant's own all the same."""
    return exchange.api.free or (exchange.asked.method != "POST" and not exchange.asked.body)


def _worst_case(exchange: Exchange) -> Decimal | None:
    """In USD, of the dearest of the providers that may be asked; None: unknown."""
    if _is_free(exchange):
        return Decimal(0)
    api, body, unread = exchange.api, exchange.body, exchange.unread
    worst = [
        pricing.worst_case(
            upstream.kind,
            exchange.plan.model,
            len(exchange.asked.body),
            None if unread else api.worst_output(body),
            None if unread else api.images(body),
            exchange.tenancy.prices.get((upstream.name, exchange.plan.model)),
            upstream.policy.max_output_tokens,
            image_parts=pricing.count_image_parts(body),
            seconds=exchange.upstream.policy.total_seconds,
            choices=None if unread else api.choices(body),
            hidden_input=unread or api.hidden_input(body),
            tier=_text(body.get("service_tier")),
            speed=_text(body.get("speed")),
            base_url=upstream.base_url,
        )
        for upstream in _candidates(exchange)
    ]
    known = [amount for amount in worst if amount is not None]
    return max(known) if len(known) == len(worst) else None
