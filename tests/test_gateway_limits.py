"""Budgets through real servers: what goes upstream never costs more than they allow."""

import gzip
import json
import secrets
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from typing import Any

import anthropic
import httpx
import openai
import pytest
from django.db.models import Sum

from accounts import tokens
from gateway import budget_settings
from gateway.models import Budget, BudgetDay, Kind, SpendEvent, SpendState
from tests.cast import ACTOR
from tests.client import NO_TLS
from tests.conftest import server_environment
from tests.gateway_cast import LOOPBACK, Client, client, gateway_server, question, usd
from tests.processes import RunningServer, running_server, wait_for
from tests.small_servers import say, small_server
from tests.upstreams import upstream

__all__ = ["client", "gateway_server", "upstream"]
FREE = dict.fromkeys(budget_settings.RATES)


@pytest.fixture(scope="module")
def second_server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    environment = {**server_environment(lane="on"), "CACHE_GATEWAY_ALLOW_NETWORKS": LOOPBACK}
    with running_server(tmp_path_factory.mktemp("second") / "server.log", environment) as running:
        yield running


def limit(client: Client, amount: str, *, own: bool = False, model: str = "") -> Budget:
    """Makes a budget, of the client's API key or of all, and waits until its server goes by it."""
    budget = budget_settings.create_budget(
        client.tenant.id,
        api_key_id=client.key.row.id if own else None,
        model=model,
        usd_per_day=usd(amount),
        alert_percent=80,
        actor=ACTOR,
    )
    _known_everywhere()
    return budget


def price(client: Client, model: str, provider: str = "openai", **rates: str) -> None:
    known = {name: usd(rate) for name, rate in rates.items()}
    budget_settings.put_price(client.tenant.id, provider, model, {**FREE, **known}, ACTOR)
    _known_everywhere()


def _known_everywhere() -> None:
    """A change holds within a second."""
    until = datetime.now(UTC) + timedelta(seconds=1.2)
    wait_for(lambda: datetime.now(UTC) >= until, 5, "a second has passed")


def balanced(client: Client, budget: Budget) -> Decimal:
    """What the budget has used, once no call is under way: exactly what the events of its calls say."""
    events = SpendEvent.objects.filter(tenant_id=client.tenant.id)
    reserved = events.filter(state=SpendState.RESERVED)
    wait_for(lambda: not reserved.exists(), 15, "every call is settled")
    used: Decimal = BudgetDay.objects.get(tenant_id=client.tenant.id, budget_id=budget.id).used
    assert used == events.aggregate(sum=Sum("cost"))["sum"]
    return used


def test_of_200_calls_at_once_to_two_processes_exactly_the_10_that_the_budget_has_room_for_go_upstream(
    client: Client, second_server: RunningServer
) -> None:
    price(client, "own-model", per_call="0.5")
    budget = limit(client, "5")
    both = [client, replace(client, server=second_server)]
    client.upstream.hold()
    with ThreadPoolExecutor(200) as pool:
        asked = [question(model="own-model") for _ in range(200)]
        waiting = [pool.submit(both[number % 2].post, body) for number, body in enumerate(asked)]
        wait_for(lambda: sum(each.done() for each in waiting) == 190, 60, "190 are refused")
        client.upstream.release()
        answers = [each.result() for each in waiting]
    assert client.upstream.count() == 10
    statuses = Counter(answer.status_code for answer in answers)
    # On a machine with too much to do, one or the other may be told to come back: it goes upstream no more than these.
    assert statuses[200] == 10 and statuses[402] + statuses[503] == 190 and statuses[503] < 10, statuses
    refused = [answer for answer in answers if answer.status_code == 402]
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT00:00:00Z")
    for answer in refused:
        error = answer.json()["error"]
        assert (error["code"], error["type"]) == ("budget_exceeded", "insufficient_quota")
        assert tomorrow in error["message"]
        assert 0 < int(answer.headers["retry-after"]) <= 86_400
    assert balanced(client, budget) == usd("5")
    events = client.events(200 - statuses[503])
    assert [event.status for event in events].count(402) == statuses[402]
    assert {event.cost for event in events if event.status == 402} == {Decimal(0)}


def test_the_sdks_raise_their_exceptions_when_a_budget_is_used_up(client: Client) -> None:
    limit(client, "0.000001")
    with pytest.raises(openai.APIStatusError) as raised:
        client.openai().chat.completions.create(**question())
    assert (raised.value.status_code, raised.value.code) == (402, "budget_exceeded")
    assert "resets at" in str(raised.value)
    with pytest.raises(anthropic.APIStatusError) as told:
        client.anthropic().messages.create(
            model="claude-sonnet-4-6", max_tokens=10, messages=[{"role": "user", "content": secrets.token_hex(8)}]
        )
    assert (told.value.status_code, told.value.type) == (402, "billing_error")
    assert "resets at" in str(told.value)
    with pytest.raises(openai.APIStatusError):
        client.openai().embeddings.create(model="text-embedding-3-small", input="word " * 1000)
    with pytest.raises(openai.APIStatusError):
        client.openai().chat.completions.create(**question(), stream=True)
    assert client.upstream.count() == 0


def test_hits_need_no_budget(client: Client) -> None:
    asked = question()
    client.post(asked)
    client.entries(1)
    limit(client, "0.000001")
    assert client.post(asked).headers["x-cache"] == "HIT"
    assert client.post(asked, Cache_Control="no-cache").status_code == 402
    assert client.post(asked, Cache_Control="no-store").status_code == 402
    assert client.post({**asked, "temperature": 1}).status_code == 402


def test_the_price_to_set_is_named_where_a_budget_binds_a_call_that_nobody_can_price(client: Client) -> None:
    budget = limit(client, "1")
    answer = client.post(question(model="own-model"))
    assert answer.status_code == 402
    error = answer.json()["error"]
    assert error["code"] == "price_unknown"
    assert "/api/v1/prices/openai/own-model" in error["message"]
    assert client.upstream.count() == 0
    price(client, "own-model", input_per_million="1", output_per_million="2")
    assert client.post(question(model="own-model", max_tokens=100)).status_code == 200
    assert balanced(client, budget) > 0


def test_requests_without_a_model_have_a_price_that_can_be_set(client: Client) -> None:
    """Azure's deployments and Google's models stand in the path, an upload's in its form: the error must not name a
    path that is none."""
    limit(client, "1")
    answer = client.post({"temperature": 0, "prompt": "x"}, "openai/deployments/own/run")
    assert answer.status_code == 402
    assert "/api/v1/prices/openai/)" not in answer.json()["error"]["message"]


# What the gateway does not read, and some upstream does.
ASKED = '{"model": "gpt-4o-mini", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]%s}'
UNREAD = {
    "byte order mark": b"\xef\xbb\xbf" + (ASKED % "").encode(),
    "UTF-16": (ASKED % "").encode("utf-16"),
    "NaN": (ASKED % ', "top_p": NaN').encode(),
    "beyond floats": (ASKED % ', "top_p": 1e400').encode(),
    "half a surrogate pair": (ASKED % ', "user": "\\ud800"').encode(),
    "nesting": (ASKED % f', "metadata": {"[" * 600}{"]" * 600}').encode(),
    "gzip": gzip.compress((ASKED % "").encode()),
    "array": f"[{ASKED % ''}]".encode(),
}


def send(client: Client, body: bytes, content_type: str = "application/json", method: str = "POST") -> httpx.Response:
    headers = {"Authorization": f"Bearer {client.key.token}", "Content-Type": content_type}
    return httpx.request(
        method, f"{client.url}/openai/v1/chat/completions", content=body, headers=headers, timeout=30, verify=NO_TLS
    )


def upload(client: Client) -> httpx.Response:
    return httpx.post(
        f"{client.url}/openai/v1/audio/transcriptions",
        data={"model": "gpt-4o-mini"},
        files={"file": ("a.wav", b"RIFF")},
        headers={"Authorization": f"Bearer {client.key.token}"},
        timeout=30,
        verify=NO_TLS,
    )


def test_a_budget_of_a_model_cannot_be_passed_by_bodies_that_are_not_read_here(client: Client) -> None:
    price(client, "-", per_call="0.01")  # which must not make a dear model cheap
    budget = limit(client, "100", model="gpt-4o-mini")
    for what, body in UNREAD.items():
        for content_type in ("application/json", "multipart/form-data; boundary=x"):
            answer = send(client, body, content_type)
            assert answer.status_code == 402, what
            error = answer.json()["error"]
            assert error["code"] == "price_unknown"
            assert tokens.encode_id(budget.id) in error["message"]
    assert send(client, UNREAD["gzip"], method="PUT").status_code == 402
    assert client.upstream.count() == 0
    assert {event.cost for event in client.events(2 * len(UNREAD) + 1)} == {Decimal(0)}
    assert send(client, (ASKED % "").encode()).status_code == 200


def test_bodies_that_are_not_read_here_have_a_price_beside_budgets_of_all_models(client: Client) -> None:
    limit(client, "1")
    body = UNREAD["array"]
    assert send(client, body).json()["error"]["code"] == "price_unknown"
    price(client, "-", input_per_million="1", output_per_million="1")  # of how many tokens, nobody knows
    client.policy(max_output_tokens=10)
    _known_everywhere()
    assert send(client, body).json()["error"]["code"] == "price_unknown"
    assert client.upstream.count() == 0
    price(client, "-", per_call="0.5")
    send(client, body)
    assert client.upstream.count() == 1
    price(client, "-", per_call="2")
    assert send(client, body).json()["error"]["code"] == "budget_exceeded"


def test_uploads_cost_what_calls_that_name_no_model_do(client: Client) -> None:
    limit(client, "0.000001", model="gpt-4o-mini")
    assert upload(client).status_code == 200
    budget = limit(client, "1")
    price(client, "-", per_call="0.25")
    assert upload(client).status_code == 200
    assert balanced(client, budget) == usd("0.25")


@pytest.mark.parametrize("status", [201, 202])
def test_all_good_statuses_are_priced_alike(client: Client, status: int) -> None:
    price(client, "by-call", per_call="0.5")
    price(client, "by-token", output_per_million="1000")
    budget = limit(client, "10")
    text = f"{secrets.token_hex(4)} [[status-{status}]]"
    by_call = client.post(question(text, model="by-call", max_tokens=1000))
    assert (by_call.status_code, by_call.headers["x-cache-cost"]) == (status, "0.5")
    assert by_call.headers["x-cache-reason"] == f"MISS; not stored; status {status}"
    assert balanced(client, budget) == usd("0.5")
    by_token = client.post(question(text, model="by-token", max_tokens=1000))
    assert (by_token.status_code, by_token.headers["x-cache-cost"]) == (status, "unknown")
    assert balanced(client, budget) == usd("1.5")  # as nobody knows, all that was reserved
    assert client.entries() == []


@pytest.mark.parametrize("direction", ["status-400", "status-500", "status-429"])
def test_failures_release_what_was_reserved(client: Client, direction: str) -> None:
    client.policy(retries=0)
    budget = limit(client, "1")
    for _ in range(3):
        assert client.post(question(f"{secrets.token_hex(4)} [[{direction}]]", max_tokens=10)).status_code >= 400
    assert balanced(client, budget) == 0


@pytest.mark.parametrize("direction", ["truncated", "drop", "badjson", "no-usage"])
def test_what_nobody_knows_counts_as_spent(client: Client, direction: str) -> None:
    client.policy(retries=0)
    budget = limit(client, "1")
    client.post(question(f"{secrets.token_hex(4)} [[{direction}]]", max_tokens=1000))
    assert balanced(client, budget) >= usd("0.0006")  # 1,000 tokens of gpt-4o-mini's output
    assert [event.state for event in client.events(1)] == [SpendState.UNKNOWN]


def test_retried_failures_count_once(client: Client) -> None:
    budget = limit(client, "1")
    answer = client.post(question(f"{secrets.token_hex(4)} [[flaky-1]]", max_tokens=10))
    assert client.upstream.count() == 2
    assert usd(answer.headers["x-cache-cost"]) == balanced(client, budget) > 0


def test_several_choices_are_reserved_each(client: Client) -> None:
    price(client, "own-model", output_per_million="1000")
    budget = limit(client, "1")
    asked = question(model="own-model", max_tokens=100)
    assert client.post({**asked, "n": 11}).status_code == 402
    assert client.upstream.count() == 0
    assert client.post({**asked, "n": 10}).status_code == 200
    assert balanced(client, budget) < 1


def test_streams_settle_to_what_their_usage_event_says(client: Client) -> None:
    price(client, "own-model", input_per_million="1000", output_per_million="2000")
    budget = limit(client, "100")
    asked: list[dict[str, Any]] = [
        {},
        {"stream_options": {"include_usage": True}},
        {"stream_options": {"include_usage": False}},
    ]
    for options in asked:
        client.post(question(model="own-model", max_tokens=100, stream=True, **options))
    total = balanced(client, budget)
    for event in client.events(3):
        assert event.cost == (event.input_tokens * 1000 + event.output_tokens * 2000) / Decimal(1_000_000) > 0
    assert total == sum(event.cost or 0 for event in client.events(3))


def test_budgets_of_api_keys_and_models_bind_only_these(client: Client) -> None:
    limit(client, "0.000001", own=True, model="gpt-4o")
    assert client.post(question(model="gpt-4o")).status_code == 402
    assert client.post(question()).status_code == 200


def test_speed_is_reserved_as_asked_and_paid_as_told(client: Client) -> None:
    """1,000 tokens of claude-opus-4-8's output at $25 a million, or twice that."""

    def respond(handler: BaseHTTPRequestHandler, body: bytes) -> None:
        asked = json.loads(body)
        usage = {"input_tokens": 0, "output_tokens": 1000, "speed": asked.get("speed", "standard")}
        say(handler, json.dumps({"type": "message", "content": [], "stop_reason": "end_turn", "usage": usage}).encode())

    def ask(**members: Any) -> httpx.Response:
        asked = {"model": "claude-opus-4-8", "temperature": 0, "max_tokens": 1000, "messages": [], **members}
        return client.post(asked, "own/v1/messages")

    with small_server(respond) as url:
        client.provider("own", Kind.ANTHROPIC, base_url=url)
        _known_everywhere()
        assert (ask().headers["x-cache-cost"], ask(speed="fast").headers["x-cache-cost"]) == ("0.025", "0.05")
        limit(client, "0.115")
        assert ask(speed="fast", temperature=1).status_code == 402
        assert ask(temperature=1).status_code == 200


def test_the_budget_that_refuses_is_named(client: Client) -> None:
    limit(client, "100")
    small = limit(client, "0.000001", model="gpt-4o")
    message = client.post(question(model="gpt-4o")).json()["error"]["message"]
    assert tokens.encode_id(small.id) in message


def test_embeddings_reserve_for_what_goes_upstream_and_refreshes_for_all(client: Client) -> None:
    price(client, "own-model", input_per_million="1000")
    texts = [secrets.token_hex(20) for _ in range(4)]
    asked: dict[str, Any] = {"model": "own-model", "input": texts}
    budget = limit(client, "0.4")
    assert client.post(asked, "openai/v1/embeddings").status_code == 200
    client.entries(4)
    assert client.post(asked, "openai/v1/embeddings").headers["x-cache"] == "HIT"
    balanced(client, budget)
    Budget.objects.filter(id=budget.id).update(usd_per_day=usd("0.000001"))
    _known_everywhere()
    assert client.post(asked, "openai/v1/embeddings").headers["x-cache"] == "HIT"
    assert client.post(asked, "openai/v1/embeddings", Cache_Control="no-cache").status_code == 402
    assert client.upstream.count() == 1


def test_the_dearest_of_the_fallbacks_is_reserved_for(client: Client) -> None:
    client.provider("dear")
    client.provider("cheap", fallbacks=("dear",))
    price(client, "own-model", "cheap", per_call="0.001")
    price(client, "own-model", "dear", per_call="10")
    limit(client, "1")
    assert client.post(question(model="own-model"), "cheap/v1/chat/completions").status_code == 402
    assert client.upstream.count() == 0


def test_lists_of_models_pass_beside_a_budget(client: Client) -> None:
    budget = limit(client, "1")
    assert httpx.get(
        f"{client.url}/openai/v1/models", headers={"Authorization": f"Bearer {client.key.token}"}, timeout=30
    ).is_success
    assert balanced(client, budget) == 0


@pytest.mark.parametrize(
    "member", [{"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"prompt": {"id": "p"}}]
)
def test_input_that_the_provider_keeps_is_reserved_for_too(client: Client, member: dict[str, Any]) -> None:
    """It counts as input and is not in the body: up to the model's context, 128,000 tokens at $0.15 a million."""
    limit(client, "0.01")
    asked = {"model": "gpt-4o-mini", "input": "x", "max_output_tokens": 16, **member}
    assert client.post(asked, "openai/v1/responses").status_code == 402
