"""What somebody with an API key of the tenant must not be able to do through the gateway."""

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any, Final

import httpx
import pytest

from cacheservice.entries.models import Entry, Space
from gateway.models import Budget, Kind, SpendState
from gateway.policy import Policy
from tests.cast import new_key
from tests.client import NO_TLS, exchange, request_bytes
from tests.gateway_cast import Client, client, gateway_server, question, usd
from tests.small_servers import say, small_server
from tests.upstreams import upstream

__all__ = ["client", "gateway_server", "upstream"]

CHAT: Final = b"/gateway/openai/v1/chat/completions"


def raw(client: Client, body: bytes, *headers: tuple[bytes, bytes], method: str = "POST", path: bytes = CHAT) -> Any:
    """One request as it stands on the wire."""
    named = [(b"Authorization", b"Bearer " + client.key.token.encode()), (b"Content-Type", b"application/json")]
    sent = request_bytes(method, path, [*named, *headers, (b"Connection", b"close")], body)
    return exchange(client.server.url, sent)


def budget(client: Client, amount: str = "0.000001", **whose: Any) -> Budget:
    made: Budget = Budget.objects.create(tenant_id=client.tenant.id, usd_per_day=usd(amount), **whose)
    Event().wait(1.2)  # until every process knows of it
    return made


def encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


def test_a_method_in_small_letters_does_not_pass_the_budget(client: Client) -> None:
    budget(client)
    assert raw(client, encoded(question())).status == 402
    answer = raw(client, encoded(question()), method="post")
    assert client.upstream.count() == 0, (answer.status, client.upstream.calls())


def test_other_methods_with_a_body_do_not_pass_the_budget(client: Client) -> None:
    """Some upstreams take any method for the same, or heed X-HTTP-Method-Override."""
    budget(client)
    asked = encoded(question())
    assert raw(client, asked, method="PUT").status == 402
    assert raw(client, asked, (b"X-HTTP-Method-Override", b"POST"), method="GET").status == 402
    assert client.upstream.count() == 0


def test_several_choices_without_max_tokens_are_reserved_each(client: Client) -> None:
    """gpt-4o-mini: 128,000 tokens of context at $0.60 a million are $0.0768 for each choice."""
    client.policy(max_output_tokens=100_000)
    budget(client, "0.30")
    assert client.post(question(n=2)).status_code == 200
    answer = client.post(question(n=100))
    assert answer.status_code == 402, client.upstream.count()


@pytest.mark.parametrize("count", ["100", 100.0])
def test_a_number_of_choices_in_another_spelling_is_not_taken_for_one(client: Client, count: Any) -> None:
    client.policy(max_output_tokens=100_000)
    budget(client, "0.30")
    client.post(question(n=count))
    assert client.upstream.count() == 0


def test_members_that_come_twice_cannot_plant_an_answer(client: Client) -> None:
    """Some upstreams read the first of them, and the fingerprint is of the last."""
    theirs, mine = question(), question("Say something evil")
    body = encoded(theirs).replace(b'"messages"', b'"messages": ' + encoded(mine["messages"]) + b', "messages"')
    answer = raw(client, body)
    calls = client.upstream.calls()
    sent_once = calls and calls[0].body.count(b'"messages"') == 1
    assert sent_once or answer.status == 400 or answer.header("x-cache") == "BYPASS"


@pytest.mark.parametrize("name", [b"anthropic-beta", b"OpenAI-Organization"])
def test_a_header_that_comes_twice_cannot_plant_an_answer(client: Client, name: bytes) -> None:
    asked = question()
    raw(client, encoded(asked), (name, b"evil"), (name, b"good"))
    assert client.post(asked, **{name.decode(): "good"}).headers["x-cache"] == "MISS"


def test_no_store_counts_also_where_cache_control_comes_twice(client: Client) -> None:
    answer = raw(client, encoded(question()), (b"Cache-Control", b"no-store"), (b"Cache-Control", b"max-age=60"))
    assert answer.header("x-cache") == "BYPASS"
    client.events(1)
    assert client.entries() == []


def test_answers_to_a_credential_in_a_header_of_its_own_are_given_to_nobody_else(client: Client) -> None:
    """A provider without a credential, to whom clients bring theirs as they always did."""

    def answers(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        known = handler.headers.get("api-key") == "secret"
        say(handler, encoded({"echo": "for its owner"} if known else {"error": "no"}), status=200 if known else 401)

    with small_server(answers) as url:
        client.provider("own", Kind.OTHER, base_url=url, credential=b"", credential_header="api-key")
        Event().wait(1.2)
        asked = {"temperature": 0, "prompt": secrets.token_hex(8)}
        assert client.post(asked, "own/run", api_key="secret").status_code == 200
        other = client.post(asked, "own/run")
        assert (other.status_code, other.headers["x-cache"]) == (401, "MISS")


def test_a_budget_of_the_one_who_asked_first_refuses_nobody_else(client: Client) -> None:
    """Two API keys, one without a cent left: whoever joins its flight must not be refused for it."""
    poor, rich = client.key, new_key(client.tenant, ["gateway"])
    budget(client, api_key_id=poor.row.id)
    other = Client(client.server, client.upstream, client.tenant, rich)
    for _ in range(10):
        asked = question()
        with ThreadPoolExecutor(16) as pool:
            told = [pool.submit((client, other)[number % 2].post, asked) for number in range(16)]
            statuses = [each.result().status_code for each in told]
        assert statuses[1::2] == [200] * 8


def test_a_json_array_is_an_answer(client: Client) -> None:
    with small_server(lambda handler, _: say(handler, b'[{"label":"good","score":0.9}]')) as url:
        client.provider("own", Kind.OTHER, base_url=url)
        Event().wait(1.2)
        answer = client.post({"inputs": "x", "temperature": 0}, "own/models/x")
        assert (answer.status_code, answer.text) == (200, '[{"label":"good","score":0.9}]')


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("DELETE", 204), ("DELETE", 200), ("GET", 200)])
def test_answers_without_a_body_pass(client: Client, method: str, status: int) -> None:
    with small_server(lambda handler, _: say(handler, b"", status=status)) as url:
        client.provider("own", Kind.OTHER, base_url=url)
        Event().wait(1.2)
        headers = {"Authorization": f"Bearer {client.key.token}"}
        answer = httpx.request(method, f"{client.url}/own/files/1", headers=headers, timeout=10, verify=NO_TLS)
        assert answer.status_code == status


def test_headers_in_utf_8_arrive_as_they_were_sent(client: Client) -> None:
    raw(client, encoded(question()), (b"X-Title", "Café".encode()))
    [call] = client.upstream.calls()
    assert call.headers["x-title"].encode("latin-1") == "Café".encode()


def test_max_age_bounds_embeddings_too(client: Client) -> None:
    asked = {"model": "text-embedding-3-small", "input": [secrets.token_hex(8)]}
    client.post(asked, "openai/v1/embeddings")
    client.entries(1)
    Entry.objects.filter(tenant_id=client.tenant.id, space=Space.GATEWAY).update(created_at="2026-01-01T00:00:00Z")
    answer = client.post(asked, "openai/v1/embeddings", Cache_Control="max-age=60")
    assert answer.headers["x-cache"] != "HIT"


def test_an_embedding_that_does_not_open_is_asked_for_again(client: Client) -> None:
    asked = {"model": "text-embedding-3-small", "input": [secrets.token_hex(8)]}
    client.post(asked, "openai/v1/embeddings")
    client.entries(1)
    Entry.objects.filter(tenant_id=client.tenant.id, space=Space.GATEWAY).update(value=b"\x00" * 100)
    assert client.post(asked, "openai/v1/embeddings").status_code == 200


def test_refused_embeddings_leave_an_event_like_refused_chats(client: Client) -> None:
    budget(client)
    assert client.post(question()).status_code == 402
    assert (
        client.post({"model": "text-embedding-3-small", "input": "x" * 9000}, "openai/v1/embeddings").status_code == 402
    )
    assert [event.status for event in client.events(2)] == [402, 402]


def test_those_who_wait_for_embeddings_get_the_error_that_came(client: Client) -> None:
    client.policy(retries=0)
    asked = {"model": "text-embedding-3-small", "input": ["[[status-429]]" + secrets.token_hex(4)]}
    client.upstream.hold()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(client.post, asked, "openai/v1/embeddings") for _ in range(4)]
        client.upstream.wait_for_calls(1)
        Event().wait(0.3)
        client.upstream.release()
        assert {each.result().status_code for each in waiting} == {429}
    assert len(client.events(4)) == 4


def test_what_a_first_provider_may_have_cost_counts_when_the_next_one_answers(client: Client) -> None:
    """It took the request and fell silent: nobody knows what it wants for that."""
    stop = Event()

    def falls_silent(_: BaseHTTPRequestHandler, __: bytes) -> None:
        stop.wait(20)

    with small_server(falls_silent) as url:
        client.provider("second")
        client.provider("first", base_url=url, fallbacks=("second",), policy=Policy(first_byte_seconds=1, retries=0))
        budget(client, "100")
        assert client.post(question(), "first/v1/chat/completions").status_code == 200
        stop.set()
    [event] = client.events(1)
    assert event.state == SpendState.UNKNOWN


def test_an_escaped_slash_does_not_lead_out_of_the_base_url(client: Client) -> None:
    client.provider("own", Kind.OTHER, base_url=f"{client.upstream.url}/v1")
    Event().wait(1.2)
    for path in ("own/..%2freadyz", "own/..%5creadyz", "own/x/..%2F..%2Freadyz"):
        assert raw(client, b"{}", path=b"/gateway/" + path.encode()).status in (400, 404, 502)
    assert client.upstream.calls() == []
