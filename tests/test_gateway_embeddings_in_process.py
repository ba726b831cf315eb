"""Requests for embeddings within one process: what becomes of those who wait for others, and of what was charged."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from cacheservice import http
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Hit, Store
from cacheservice.errors import APIError, RateLimitExceeded, Unavailable
from gateway import embeddings, requests
from gateway.answers import Answer
from gateway.directory import Tenancy
from gateway.errors import UpstreamFailed
from gateway.exchange import Exchange
from gateway.flights import Flight, Flights, Place
from gateway.ledger import Ledger
from gateway.models import Kind
from gateway.outcomes import outcome_of
from gateway.plan import Asked, Planner
from gateway.policy import Policy
from gateway.providers import Upstream
from gateway.service import Gateway
from tests.meters import balance, discrepancies, prepaid_tenant, used
from tests.store_cast import database_dsn, new_caller, outcomes, run_with_store

GRANTED = 1000  # units
PATIENCE_SECONDS = 10


class Provider:
    """In place of the fetcher: answers each call, but the first with its `trouble`, once `go_on` is set."""

    def __init__(self, trouble: APIError | None = None) -> None:
        self.inputs: list[list[str]] = []
        self.go_on = asyncio.Event()
        self._trouble = trouble

    async def fetch(self, flight: Flight, exchange: Exchange) -> None:
        trouble, self._trouble = self._trouble, None
        given = exchange.body["input"]
        self.inputs.append(given)
        await self.go_on.wait()
        if trouble is not None:
            flight.end(trouble)
            return
        data = [{"index": index, "embedding": [len(text)]} for index, text in enumerate(given)]
        answer = Answer(200, ((b"content-type", b"application/json"),))
        flight.begin(answer)
        answer.add(msgspec.json.encode({"data": data, "usage": {"prompt_tokens": len(given)}}))
        flight.outcome, flight.booked = outcome_of(exchange.api, answer)._replace(cost=Decimal("0.001")), True
        flight.end()

    async def asked(self, count: int) -> None:
        """Waits for so many calls."""
        while len(self.inputs) < count:
            await asyncio.sleep(0.01)


class Asking:
    """A tenant's requests to a gateway that has the store, and nothing else, from the database."""

    def __init__(self, store: Store, caller: Caller, provider: Provider, **policy: Any) -> None:
        self._caller = caller
        self._upstream = Upstream(
            tenant_id=caller.tenant_id,
            name="openai",
            kind=Kind.OPENAI,
            base_url="https://api.openai.com",
            credential=None,
            credential_header="authorization",
            policy=Policy(**policy),
            fallbacks=(),
            revision=1,
        )
        parts: dict[str, Any] = dict.fromkeys(Gateway._fields)
        parts |= {"store": store, "flights": Flights(10**6), "fetcher": provider, "strings": {}}
        parts |= {"planner": Planner(), "ledger": Ledger(database_dsn())}  # not started: it only takes events
        self.gateway = Gateway(**parts)

    def answer_to(self, given: Sequence[str]) -> asyncio.Task[http.Answer]:
        body = msgspec.json.encode({"model": "text-embedding-3-small", "input": given})
        asked = Asked("POST", "/v1/embeddings", "", {}, body, None, requests.PLAIN)
        exchange = Exchange(
            caller=self._caller,
            tenancy=Tenancy({}, {}, ()),
            upstream=self._upstream,
            asked=asked,
            plan=self.gateway.planner.plan(self._upstream, asked),
            sent=[],
            request_id="request-1",
            at=datetime.now(UTC),
        )
        return asyncio.create_task(embeddings.answer_to(self.gateway, exchange))


def lengths(answer: http.Answer) -> list[int]:
    """What `Provider` makes of strings."""
    return [item["embedding"][0] for item in msgspec.json.decode(answer.body)["data"]]


async def stored(asking: Asking, provider: Provider) -> list[str]:
    """Three strings that are."""
    run = secrets.token_hex(4)
    strings = [f"{number} {run}" for number in range(3)]
    provider.go_on.set()
    assert lengths(await asking.answer_to(strings)) == [10, 10, 10]
    return strings


def assert_nothing_charged(caller: Caller) -> None:
    assert (used(caller.tenant_id).hits, balance(caller.tenant_id)) == (0, GRANTED)
    assert discrepancies(caller.tenant_id) == []


@pytest.mark.parametrize("end", ["fails", "is refused", "is given up"])
def test_nobody_waits_for_ever_however_a_call_ends(end: str) -> None:
    """Also where two of its strings are one to the policy."""
    run = secrets.token_hex(4)
    caller, failure = new_caller(), UpstreamFailed(504, "upstream_timeout", "It took too long.")

    async def scenario(store: Store) -> None:
        provider = Provider({"fails": failure, "is refused": Unavailable("Not now.")}.get(end))
        asking = Asking(store, caller, provider, text="normalized")
        first = asking.answer_to([f"Hello {run}", f"hello {run} "])
        await provider.asked(1)
        second = asking.answer_to([f"own {run}", f"HELLO {run}"])
        await provider.asked(2)  # for its own: so it waits for the other
        if end == "is given up":
            first.cancel()
        provider.go_on.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            ended, answer = await outcomes([first, second])
        assert asking.gateway.strings == {}
        if end == "fails":
            assert ended is answer is failure
            return
        assert isinstance(ended, asyncio.CancelledError if end == "is given up" else Unavailable)
        assert lengths(answer) == [12, 14]
        assert provider.inputs == [[f"Hello {run}"], [f"own {run}"], [f"HELLO {run}"]]
        assert msgspec.json.decode(answer.body)["usage"] == {"prompt_tokens": 2}
        assert (b"x-cache-cost", b"0.002") in answer.headers

    run_with_store(scenario)


class GivenUp(dict[Place, asyncio.Future[Any]]):
    """Whatever is asked for, another request was getting it, and has just given it up."""

    def __init__(self) -> None:
        self.count = 0

    def __contains__(self, place: object) -> bool:
        return True

    def __getitem__(self, place: Place) -> asyncio.Future[Any]:
        self.count += 1
        future = asyncio.get_running_loop().create_future()
        future.set_result(None)
        return future


def test_a_request_that_waited_in_vain_again_and_again_asks_itself() -> None:
    caller = new_caller()

    async def scenario(store: Store) -> None:
        provider, given_up = Provider(), GivenUp()
        provider.go_on.set()
        asking = Asking(store, caller, provider)
        asking.gateway = asking.gateway._replace(strings=given_up)
        async with asyncio.timeout(PATIENCE_SECONDS):
            assert lengths(await asking.answer_to(["text"])) == [4]
        assert given_up.count == embeddings.MOST_JOINS

    run_with_store(scenario)


@pytest.mark.parametrize("error", [Unavailable("The database is away."), RateLimitExceeded(1)])
def test_hits_are_refunded_where_another_string_cannot_be_looked_up(
    error: APIError, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = new_caller(prepaid_tenant(GRANTED))
    get = Store.get

    async def scenario(store: Store) -> None:
        provider = Provider()
        asking = Asking(store, caller, provider)
        strings = await stored(asking, provider)
        reads, hits, others_are_read = 0, 0, asyncio.Event()

        async def first_fails(store: Store, *place: Any, **options: Any) -> Hit | None:
            nonlocal reads, hits
            reads += 1
            if reads == 1:
                await others_are_read.wait()
                raise error
            hit = await get(store, *place, **options)
            hits += hit is not None
            if hits == 2:
                others_are_read.set()
            return hit

        monkeypatch.setattr(Store, "get", first_fails)
        with pytest.raises(type(error)):
            await asking.answer_to(strings)
        assert hits == 2

    run_with_store(scenario)
    assert_nothing_charged(caller)


def test_hits_are_refunded_where_the_client_hangs_up_while_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = new_caller(prepaid_tenant(GRANTED))
    get: Callable[..., Awaitable[Hit | None]] = Store.get

    async def scenario(store: Store) -> None:
        provider = Provider()
        asking = Asking(store, caller, provider)
        strings = await stored(asking, provider)
        charged, go_on = asyncio.Semaphore(0), asyncio.Event()

        async def slow(store: Store, *place: Any, **options: Any) -> Hit | None:
            hit = await get(store, *place, **options)
            charged.release()
            await go_on.wait()
            return hit

        monkeypatch.setattr(Store, "get", slow)
        work = asking.answer_to(strings)
        for _ in strings:
            await charged.acquire()
        work.cancel()
        await asyncio.sleep(0)
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await work

    run_with_store(scenario)
    assert_nothing_charged(caller)


def test_an_answer_that_cannot_be_sent_is_refunded() -> None:
    caller = new_caller(prepaid_tenant(GRANTED))

    async def scenario(store: Store) -> None:
        provider = Provider()
        asking = Asking(store, caller, provider)
        answer = await asking.answer_to(await stored(asking, provider))
        assert used(caller.tenant_id).hits == 3
        await embeddings.refund(asking.gateway, answer)

    run_with_store(scenario)
    assert_nothing_charged(caller)
