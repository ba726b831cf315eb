"""Images, Responses and APIs that nobody knows; what passes through untouched; other providers when the first fails."""

import base64
import gzip
import json
import secrets
from http.server import BaseHTTPRequestHandler
from threading import Event
from typing import Any, Final

import httpx
import pytest

from gateway import budget_settings
from gateway.models import CacheStatus, Kind, SpendState
from gateway.policy import Policy
from tests.cast import ACTOR
from tests.client import NO_TLS
from tests.gateway_cast import Client, client, gateway_server, question, usd
from tests.processes import free_port
from tests.small_servers import say, small_server
from tests.upstreams import upstream

__all__ = ["client", "gateway_server", "upstream"]
IMAGES: Final = "openai/v1/images/generations"
HOUR: Final = 3600


def picture(**members: Any) -> dict[str, Any]:
    return {"model": "gpt-image-1", "prompt": f"A cat {secrets.token_hex(8)}", "quality": "low", **members}


def price(client: Client, model: str, provider: str = "openai", **rates: str) -> None:
    known = {name: usd(rate) for name, rate in rates.items()}
    all_rates = {**dict.fromkeys(budget_settings.RATES), **known}
    budget_settings.put_price(client.tenant.id, provider, model, all_rates, ACTOR)
    Event().wait(1.2)  # until every process knows of it


def told(answer: httpx.Response) -> tuple[str, str | None]:
    return answer.headers["x-cache"], answer.headers.get("x-cache-reason")


def send(client: Client, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {client.key.token}", **options.pop("headers", {})}
    return httpx.request(method, f"{client.url}/{path}", headers=headers, timeout=30, verify=NO_TLS, **options)


# Images


def test_images_without_a_seed_are_made_anew_each_time(client: Client) -> None:
    asked = picture()
    answers = [client.post(asked, IMAGES) for _ in range(2)]
    assert [told(answer) for answer in answers] == [("BYPASS", "BYPASS; no seed")] * 2
    assert base64.b64decode(answers[0].json()["data"][0]["b64_json"]).startswith(b"\x89PNG")
    assert client.upstream.count() == 2
    assert client.entries() == []
    assert all(event.cost for event in client.events(2))


def test_images_with_a_seed_are_cached_for_as_long_as_others(client: Client) -> None:
    asked = picture(seed=7)
    first, second = (client.post(asked, IMAGES) for _ in range(2))
    assert (told(first)[0], told(second)[0]) == ("MISS", "HIT")
    assert first.content == second.content
    [entry] = client.entries(1)
    assert (entry.expires_at - entry.created_at).total_seconds() == 604_800


def test_the_policy_may_cache_images_without_a_seed_and_the_sdk_sees_nothing_of_it(client: Client) -> None:
    client.policy(cache_random=True)
    prompt = secrets.token_hex(8)
    first, second = (client.openai().images.generate(model="gpt-image-1", prompt=prompt) for _ in range(2))
    assert first == second
    assert client.upstream.count() == 1


def test_images_that_are_urls_are_kept_no_longer_than_these_hold(client: Client) -> None:
    asked = picture(model="dall-e-3", seed=1)
    first = client.post(asked, IMAGES)
    assert first.json()["data"][0]["url"].startswith("https://")
    [entry] = client.entries(1)
    assert (entry.expires_at - entry.created_at).total_seconds() < HOUR
    assert client.post(asked, IMAGES, X_Cache_TTL="1209600").headers["x-cache"] == "HIT"


def test_a_price_for_each_image(client: Client) -> None:
    price(client, "own-images", per_image="0.04", per_call="0.01")
    answer = client.post(picture(model="own-images", n=3, response_format="b64_json"), IMAGES)
    assert answer.headers["x-cache-cost"] == "0.13"
    assert [event.cost for event in client.events(1)] == [usd("0.13")]


def test_an_unknown_price_is_shown_as_unknown_and_never_as_nothing(client: Client) -> None:
    asked = question(model="own-model")
    first = client.post(asked)
    assert first.headers["x-cache-cost"] == "unknown"
    second = client.post(asked)
    assert (second.headers["x-cache"], second.headers["x-cache-saved"]) == ("HIT", "unknown")
    miss, hit = client.events(2)
    assert (miss.cost, hit.cost, hit.saved) == (None, 0, None)


def test_a_price_for_each_call(client: Client) -> None:
    price(client, "own-model", per_call="0.002")
    asked = question(model="own-model")
    assert client.post(asked).headers["x-cache-cost"] == "0.002"
    client.entries(1)
    assert client.post(asked).headers["x-cache-saved"] == "0.002"


# Responses, and APIs that nobody knows


@pytest.mark.parametrize("streams", [False, True])
def test_responses_are_cached(client: Client, streams: bool) -> None:
    asked = {"model": "gpt-4o-mini", "input": secrets.token_hex(8), "temperature": 0, "stream": streams}
    first, second = (client.post(asked, "openai/v1/responses") for _ in range(2))
    assert (told(first)[0], told(second)[0]) == ("MISS", "HIT")
    assert first.content == second.content
    miss, hit = client.events(2)
    assert miss.cost is not None
    assert miss.cost > 0
    assert hit.saved == miss.cost


def test_responses_by_the_sdk(client: Client) -> None:
    asked: dict[str, Any] = {"model": "gpt-4o-mini", "input": secrets.token_hex(8), "temperature": 0}
    first, second = (client.openai().responses.create(**asked) for _ in range(2))
    assert first.output_text == second.output_text != ""
    with client.openai().responses.stream(**asked) as stream:
        assert stream.get_final_response().output_text == first.output_text
    assert client.upstream.count() == 2


def test_any_other_json_is_cached_where_nothing_in_it_is_random(client: Client) -> None:
    client.provider("own", Kind.OTHER)
    asked = {"text": secrets.token_hex(8)}
    first, second = (client.post(asked, "own/v1/echo") for _ in range(2))
    assert (told(first)[0], told(second)[0]) == ("MISS", "HIT")
    assert first.content == second.content
    assert told(client.post({"prompt": "x"}, "own/v1/echo")) == ("BYPASS", "BYPASS; temperature absent")
    assert told(client.post({"prompt": "x", "temperature": 0}, "own/v1/echo"))[0] == "MISS"


def test_what_openai_has_and_nobody_knows_is_not_cached(client: Client) -> None:
    answers = [client.post({"text": "x"}, "openai/v1/echo") for _ in range(2)]
    assert [told(answer) for answer in answers] == [("BYPASS", "BYPASS; unknown API")] * 2
    assert answers[0].json()["id"] != answers[1].json()["id"]


# What passes through


def test_uploads_pass_through(client: Client) -> None:
    audio = secrets.token_bytes(100_000)
    answer = client.openai().audio.transcriptions.create(model="whisper-1", file=("a.wav", audio))
    assert answer.text.startswith("You said")
    [call] = client.upstream.calls()
    assert audio in call.body
    raw = send(
        client,
        "POST",
        "openai/v1/audio/transcriptions",
        files={"file": ("a.wav", audio)},
        data={"model": "whisper-1", "response_format": "text"},
    )
    assert told(raw) == ("BYPASS", "BYPASS; not a JSON object")
    assert raw.headers["content-type"] == "text/plain; charset=utf-8"
    assert raw.text.startswith("You said")


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'"x"', b"{", b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_json_objects_are_left_to_the_upstream(client: Client, body: bytes) -> None:
    answer = send(client, "POST", "openai/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert told(answer) == ("BYPASS", "BYPASS; not a JSON object")
    [call] = client.upstream.calls()
    assert call.body == body


def test_other_methods_say_why_they_are_not_cached(client: Client) -> None:
    answer = send(client, "GET", "openai/v1/models")
    assert (answer.status_code, told(answer)) == (200, ("BYPASS", "BYPASS; method GET"))
    assert answer.json()["data"]
    assert send(client, "DELETE", "openai/v1/models/x").status_code == 404
    assert [call.method for call in client.upstream.calls()] == ["GET", "DELETE"]
    assert {event.cache for event in client.events(2)} == {CacheStatus.BYPASS}


def test_heads_have_no_body(client: Client) -> None:
    answer = send(client, "HEAD", "openai/v1/models")
    assert (answer.status_code, answer.content) == (404, b"")
    assert [call.method for call in client.upstream.calls()] == ["HEAD"]


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/a%2Fb",
        "/v1/models/%C3%A9",
        "/v1/models/a%20b?x=%20y&x=2&&z",
        "/v1/models/x?q=a+b%2Bc",
        "/v1/models/x;p=1",
        "/v1/models/x?",
        "//v1/models",
        "/v1/models/gemini:generate",
    ],
)
def test_paths_and_queries_arrive_as_they_were_sent(client: Client, target: str) -> None:
    seen: list[str] = []

    def note(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        seen.append(handler.requestline.split(" ")[1])
        say(handler, b"{}")

    with small_server(note) as url:
        client.provider("own", Kind.OTHER, base_url=url + "/base")
        Event().wait(1.2)
        request = httpx.Request(
            "GET",
            client.server.url,
            headers={"Authorization": f"Bearer {client.key.token}"},
            extensions={"target": f"/gateway/own{target}".encode()},
        )
        with httpx.Client(timeout=30, verify=NO_TLS) as http:
            assert http.send(request).status_code == 200
    # An empty query is none, and http.server itself shortens the slashes at the start.
    assert seen == [f"/base{target}".rstrip("?")]


def test_headers_pass_both_ways_but_for_those_of_the_connection_and_ours(client: Client) -> None:
    seen: list[dict[str, str]] = []

    def answers(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        seen.append({name.lower(): value for name, value in handler.headers.items()})
        body = gzip.compress(b'{"a":1}')
        handler.send_response(200)
        for name, value in (
            ("Content-Type", "application/json; charset=utf-8"),
            ("Content-Encoding", "gzip"),
            ("Content-Length", str(len(body))),
            ("X-Request-Id", "theirs"),
            ("OpenAI-Processing-Ms", "7"),
            ("X-RateLimit-Remaining-Tokens", "9"),
            ("Set-Cookie", "a=b"),
            ("X-Cache", "HIT from far away"),
            ("X-Cache-Cost", "1000"),
            ("Cache-Control", "public"),
            ("Connection", "X-Hop"),
            ("X-Hop", "1"),
            ("Strict-Transport-Security", "max-age=1"),
            ("Access-Control-Allow-Origin", "*"),
        ):
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    with small_server(answers) as url:
        client.provider("own", Kind.OTHER, base_url=url, credential=b"abc")
        Event().wait(1.2)
        sent = {"X-Custom": "1", "User-Agent": "mine/1", "Accept": "application/json", "Idempotency-Key": "k"}
        answer = send(
            client,
            "POST",
            "own/run",
            json={"text": secrets.token_hex(4)},
            headers={**sent, "X-Cache-User": "ann", "Cookie": "s=1", "X-Request-Id": "ours", "Via": "1.1 x"},
        )
    [got] = seen
    assert {name: got.get(name.lower()) for name in sent} == sent
    assert got["authorization"] == "Bearer abc"
    assert not {"cookie", "via", "x-request-id", "x-cache-user"} & got.keys()
    assert answer.json() == {"a": 1}
    names = [name.decode().lower() for name, _ in answer.headers.raw]
    for once in ("content-type", "content-length", "x-request-id", "x-cache", "x-cache-cost", "cache-control"):
        assert names.count(once) == 1, once
    assert answer.headers["x-request-id"] == "ours"
    assert answer.headers["x-upstream-request-id"] == "theirs"
    assert answer.headers["openai-processing-ms"] == "7"
    assert answer.headers["x-ratelimit-remaining-tokens"] == "9"
    assert answer.headers["x-cache"] == "MISS"
    assert answer.headers["x-cache-cost"] == "unknown"
    assert answer.headers["cache-control"] == "private, no-store"
    gone = {"set-cookie", "content-encoding", "x-hop", "strict-transport-security", "access-control-allow-origin"}
    assert not gone & set(names)


def test_every_answer_says_what_the_cache_did(client: Client) -> None:
    asked = question()
    miss, hit = client.post(asked), client.post(asked)
    failed = client.post(question("[[status-400]]"))
    for answer in (miss, hit, failed):
        assert len(answer.headers["x-cache-key"]) == 64
        assert answer.headers["x-request-id"]
        assert answer.headers["cache-control"] == "private, no-store"
    assert "age" not in miss.headers
    assert failed.headers["x-cache-cost"] == "0"


# When a provider fails


def test_the_next_provider_answers_and_the_answer_is_the_firsts(client: Client) -> None:
    with small_server(lambda handler, _: say(handler, b'{"error":{"message":"x"}}', status=500)) as url:
        client.provider("second")
        client.provider("first", base_url=url, fallbacks=("second",), policy=Policy(retries=0))
        Event().wait(1.2)
        asked = question()
        path = "first/v1/chat/completions"
        answers = [client.post(asked, path) for _ in range(2)]
    assert [answer.headers["x-cache"] for answer in answers] == ["MISS", "HIT"]
    assert answers[0].content == answers[1].content
    assert client.upstream.count() == 1
    assert client.post(asked, "second/v1/chat/completions").headers["x-cache"] == "MISS"
    assert [event.provider for event in client.events(3)] == ["second", "first", "second"]


def test_the_next_provider_answers_where_the_first_cannot_be_reached(client: Client) -> None:
    client.provider("second")
    dead = f"http://127.0.0.1:{free_port()}"
    client.provider("first", base_url=dead, fallbacks=("second",), policy=Policy(retries=0))
    Event().wait(1.2)
    answer = client.post(question(stream=True), "first/v1/chat/completions")
    assert answer.status_code == 200
    assert answer.text.endswith("data: [DONE]\n\n")


def test_the_credential_of_one_provider_is_not_sent_to_the_next(client: Client) -> None:
    """Nor the client's own: it was given for the first."""
    seen: list[str | None] = []

    def fails(handler: BaseHTTPRequestHandler, _: bytes) -> None:
        seen.append(handler.headers.get("authorization"))
        say(handler, b"{}", status=500)

    with small_server(fails) as url:
        client.provider("second")
        client.provider("first", base_url=url, fallbacks=("second",), credential=b"first's", policy=Policy(retries=0))
        Event().wait(1.2)
        assert client.post(question(), "first/v1/chat/completions").status_code == 200
        own = {"X_Upstream_Authorization": "Bearer own"}
        assert client.post(question(), "first/v1/chat/completions", **own).status_code == 500
    assert seen == ["Bearer first's", "Bearer own"]
    [call] = client.upstream.calls()
    assert call.headers["authorization"] == f"Bearer {client.upstream.credential}"


def test_mistakes_are_not_tried_elsewhere(client: Client) -> None:
    with small_server(lambda handler, _: say(handler, b'{"error":{"message":"x"}}', status=400)) as url:
        client.provider("second")
        client.provider("first", base_url=url, fallbacks=("second",))
        Event().wait(1.2)
        assert client.post(question(), "first/v1/chat/completions").status_code == 400
    assert client.upstream.count() == 0


@pytest.mark.parametrize(("name", "kind"), [("openai", Kind.OPENAI), ("anthropic", Kind.ANTHROPIC)])
def test_a_provider_that_fails_again_and_again_is_left_alone_and_the_error_says_so(
    client: Client, name: str, kind: str
) -> None:
    client.provider(f"{name}-bad", kind, policy=Policy(retries=0))
    Event().wait(1.2)
    client.upstream.direct("status-500")
    path = f"{name}-bad/v1/chat/completions"
    answers = [client.post(question(), path, anthropic_version="2023-06-01") for _ in range(6)]
    assert client.upstream.count() == 5
    last = answers[-1]
    assert last.status_code == 503
    assert last.headers["x-cache"] == "MISS"
    assert 1 <= int(last.headers["retry-after"]) <= 10
    if kind == Kind.OPENAI:
        assert last.json()["error"]["code"] == "upstream_circuit_open"
    else:
        assert last.json()["error"]["details"]["error_code"] == "upstream_circuit_open"
    assert [event.state for event in client.events(6)] == [SpendState.SETTLED] * 6


def test_retries_are_not_seen(client: Client) -> None:
    answer = client.openai().chat.completions.create(**question(f"[[flaky-2]] {secrets.token_hex(4)}"))
    assert answer.choices[0].message.content
    assert [call.status for call in client.upstream.calls()] == [503, 503, 200]
    assert len(client.events(1)) == 1


def test_the_body_arrives_as_it_was_sent(client: Client) -> None:
    """Numbers and white space too: nothing is written anew that need not be."""
    body = json.dumps(question()).replace('"temperature": 0', '"temperature":  0.0, "top_p": 1.00').encode()
    send(client, "POST", "openai/v1/chat/completions", content=body)
    [call] = client.upstream.calls()
    assert call.body == body
