"""What costs nothing is not reserved; what costs something has its model's price and budget, wherever that is named;
and no call is made, waited for or charged for longer than it should be."""

import asyncio
import json
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from threading import Event
from types import SimpleNamespace
from typing import Any, Final, cast

import httpx
import msgspec
import pytest

from cacheservice.entries.models import Space
from cacheservice.entries.refunds import Charge, Named
from cacheservice.entries.store import Hit, Store
from gateway import requests
from gateway.apis import api_for
from gateway.exchange import Exchange
from gateway.fetch import Fetcher, lease_or_wait
from gateway.flights import Flights
from gateway.ledger import Ledger
from gateway.models import Budget, CacheStatus, Kind, ModelPrice, SpendState
from gateway.plan import Asked, Plan, Planner
from gateway.policy import Policy
from gateway.requests import MAX_MODEL_BYTES
from gateway.retention import LOST_AFTER
from gateway.upstreams import Upstreams
from tests.client import NO_TLS
from tests.gateway_cast import Client, client, gateway_server, question, usd
from tests.small_servers import say, small_server
from tests.test_gateway_plans import provider
from tests.upstreams import upstream

__all__ = ["client", "gateway_server", "upstream"]

MESSAGES: Final = [{"role": "user", "content": "Count these tokens."}]


@contextmanager
def answering(client: Client, kind: str) -> Iterator[list[str]]:
    """The provider `own`, which answers counts and tells its usage; the paths that it was asked for. It holds in every
    process then, and so does whatever was changed before."""
    paths: list[str] = []

    def answer(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        paths.append(handler.path)
        said: Any = {"usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 500}}
        if any(word in handler.path for word in ("count", "input_tokens")):
            said = {"input_tokens": 7}
        elif handler.path.endswith("/chat/completions"):
            said = {"choices": [{"finish_reason": "stop"}], "usage": {"prompt_tokens": 1000, "completion_tokens": 500}}
        say(handler, json.dumps(said).encode())

    with small_server(answer) as url:
        client.provider("own", kind, base_url=url)
        Event().wait(1.2)
        yield paths


def budget(client: Client, amount: str, **whose: Any) -> None:
    Budget.objects.create(tenant_id=client.tenant.id, usd_per_day=usd(amount), **whose)


COUNTED: Final[tuple[tuple[str, str, dict[str, Any]], ...]] = (
    (Kind.ANTHROPIC, "/v1/messages/count_tokens", {"model": "claude-opus-4-1", "messages": MESSAGES}),
    (Kind.OPENAI, "/v1/responses/input_tokens", {"model": "gpt-5", "input": "Count these tokens."}),
    (Kind.OTHER, "/v1beta/models/gemini-2.5-pro:countTokens", {"contents": [{"parts": [{"text": "Count."}]}]}),
    (Kind.OTHER, "/model/anthropic.claude-sonnet-4-20250514-v1%3A0/count-tokens", {"input": {"converse": {}}}),
)


@pytest.mark.parametrize(("kind", "path", "body"), COUNTED)
def test_counting_tokens_is_free(client: Client, kind: str, path: str, body: dict[str, Any]) -> None:
    budget(client, "0.000001")
    with answering(client, kind) as paths:
        answer = client.post(body, f"own{path}")
    assert (answer.status_code, paths) == (200, [path])
    assert (answer.headers["x-cache"], answer.headers["x-cache-cost"]) == ("MISS", "0")
    [event] = client.events(1)
    assert (event.state, event.cost) == (SpendState.SETTLED, 0)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/responses", "/v1/input_tokens", "/tokenize", "/moderations"])
def test_whatever_else_is_not_free(path: str) -> None:
    assert not api_for(Kind.OTHER, path).free


def test_lists_of_models_cost_nothing(client: Client) -> None:
    answer = httpx.get(
        f"{client.url}/openai/v1/models", headers={"Authorization": f"Bearer {client.key.token}"}, verify=NO_TLS
    )
    assert (answer.status_code, answer.headers["x-cache-cost"]) == (200, "0")
    [event] = client.events(1)
    assert (event.state, event.cost) == (SpendState.SETTLED, 0)


def unsaid(most: int = 1000) -> dict[str, Any]:
    """A request to generate, whose body names no model; another one each time."""
    return {
        "contents": [{"parts": [{"text": f"What is {secrets.token_hex(8)}?"}]}],
        "generationConfig": {"temperature": 0, "maxOutputTokens": most},
        "max_tokens": most,
    }


# 1,000 tokens in, 500 out.
NAMED: Final = (
    ("/v1beta/models/gemini-2.5-flash:generateContent", "gemini-2.5-flash", "0.00155"),
    ("/v1beta/models/gemini-2.5-flash%3AgenerateContent", "gemini-2.5-flash", "0.00155"),
    ("/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-flash:rawPredict", "gemini-2.5-flash", "0.00155"),
    ("/openai/deployments/gpt%2D4o/chat/completions", "gpt-4o", "0.0075"),
    ("/model/claude-3-haiku-20240307/invoke", "claude-3-haiku-20240307", "0.000875"),
)


@pytest.mark.parametrize(("path", "model", "cost"), NAMED)
def test_a_model_in_the_path_has_its_price_and_its_budget(client: Client, path: str, model: str, cost: str) -> None:
    budget(client, "0.05", model=model)
    with answering(client, Kind.OTHER) as paths:
        answer = client.post(unsaid(), f"own{path}")
        refused = client.post(unsaid(100_000), f"own{path}")
    assert (answer.status_code, answer.headers["x-cache-cost"], paths) == (200, cost, [path])
    assert refused.status_code == 402
    assert f"for the model {model}:" in refused.text
    [first, *_] = client.events(2)
    assert (first.model, first.state, first.cost) == (model, SpendState.SETTLED, usd(cost))


def test_an_own_price_holds_for_a_model_in_the_path(client: Client) -> None:
    arn = "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.own-v1:0"
    ModelPrice.objects.create(tenant_id=client.tenant.id, provider="own", model=arn, per_call=usd("0.25"))
    with answering(client, Kind.OTHER):
        path = arn.replace(":", "%3A").replace("/", "%2F")
        answer = client.post(unsaid(), f"own/model/{path}/converse")
    assert answer.headers["x-cache-cost"] == "0.25"
    assert client.events(1)[0].model == arn


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("/v1/chat/completions", ""),
        ("/v1/models", ""),
        ("/v1/models/gpt-4o", ""),
        ("/models/o/m/predictions", ""),
        ("/v1beta/tunedModels/mine:streamGenerateContent", "mine"),
        ("/model/anthropic.claude-v1%3A0/invoke-with-response-stream", "anthropic.claude-v1:0"),
        ("/openai//Deployments//gpt-4o/embeddings", "gpt-4o"),
        ("/deployments/%00%ff" + "m" * 1000 + "/embeddings", "\ufffd" + "m" * (MAX_MODEL_BYTES - 3)),
    ],
)
def test_models_in_paths(path: str, model: str) -> None:
    assert planned(path, b"{}").model == model
    assert planned(path, b'{"model": "said"}').model == "said"
    assert planned(path, b"no JSON").model == model


def test_a_model_in_the_base_url_is_one_in_the_path() -> None:
    plan = planned("/chat/completions", b"{}", base_url="https://x.openai.azure.com/openai/deployments/gpt-4o")
    assert plan.model == "gpt-4o"


def planned(path: str, body: bytes, **changes: Any) -> Plan:
    return Planner().plan(provider(**changes), Asked("POST", path, "", {}, body, None, requests.PLAIN))


def test_fallbacks_get_what_is_left_of_the_time(client: Client) -> None:
    """`total_seconds` of the provider that was asked first are for all of them together."""
    stop = Event()

    def falls_silent(_: BaseHTTPRequestHandler, __: bytes) -> None:
        stop.wait(20)

    with small_server(falls_silent) as url:
        client.provider("second", base_url=url, policy=Policy(total_seconds=8, retries=0))
        policy = Policy(first_byte_seconds=1, total_seconds=2, retries=0)
        client.provider("first", base_url=url, policy=policy, fallbacks=("second",))
        Event().wait(1.2)
        began = time.monotonic()
        answer = client.post(question(), "first/v1/chat/completions")
        took = time.monotonic() - began
        stop.set()
    assert answer.status_code == 504
    assert "'second' took more than the 2 s" in answer.text
    assert took < 4


def test_another_provider_is_asked_where_cloudflare_reaches_none(client: Client) -> None:
    with small_server(lambda handler, _: say(handler, b"error code: 522", "text/plain", 522)) as url:
        client.provider("second")
        client.provider("first", base_url=url, policy=Policy(retries=0), fallbacks=("second",))
        Event().wait(1.2)
        assert client.post(question(), "first/v1/chat/completions").status_code == 200


def test_no_call_outlives_the_time_after_which_it_counts_as_lost() -> None:
    longest = msgspec.json.schema(Policy)["$defs"]["Policy"]["properties"]["total_seconds"]["maximum"]
    assert timedelta(seconds=longest) < LOST_AFTER


def test_who_asks_in_another_process_waits_as_long_as_the_call_may_take() -> None:
    """The bounds of the API's own leases and waits are not the gateway's."""
    store = Elsewhere()
    asyncio.run(lease_or_wait(cast(Store, store), missed(total_seconds=3600), "k"))
    assert store.asked == {"seconds": 3600, "wait": 3600, "space": Space.GATEWAY}


@pytest.mark.parametrize("stays", [True, False])
def test_a_hit_from_another_process_is_charged_to_who_is_still_there(stays: bool) -> None:
    store = Elsewhere()

    async def scenario() -> None:
        flights = Flights(1)
        fetcher = Fetcher(cast(Store, store), cast(Upstreams, None), cast(Ledger, None), flights)
        flight = flights.start(None, lambda flight: fetcher.fetch(flight, missed()))
        with flights.reading(flight, cancel=False) if stays else nullcontext():
            await flight.landed
        assert flight.filled == store.hit
        await flights.close(1)

    asyncio.run(scenario())
    assert store.refunded == ([] if stays else [store.hit.charge])


class Elsewhere:
    """A store in which another process has just put the answer."""

    def __init__(self) -> None:
        self.hit = Hit(1, 2, 0, 1, None, b"{}", Charge(Named(1, 9000, 1), 10_000, None, 1))
        self.asked: dict[str, Any] = {}
        self.refunded: list[Charge] = []

    async def lease_or_wait(self, *_: Any, **options: Any) -> Hit:
        self.asked = options
        return self.hit

    async def refund(self, charge: Charge) -> None:
        self.refunded.append(charge)


def missed(**policy: Any) -> Exchange:
    whole: dict[str, Any] = {"upstream": provider(policy=Policy(**policy)), "caller": None, "request_id": "1"}
    told = {"cache": CacheStatus.MISS, "stores": True, "plan": SimpleNamespace(key="k")}
    return cast(Exchange, SimpleNamespace(**whole, **told))
