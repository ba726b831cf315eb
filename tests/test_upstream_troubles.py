"""The upstream of the gateway's tests misbehaves as it is told to, and tells what it saw."""

import http.client
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.processes import HOST, alive, wait_for
from tests.upstreams import RunningUpstream, running_upstream, upstream

__all__ = ["upstream"]

CHAT = "/v1/chat/completions"


@pytest.fixture(autouse=True)
def fresh(upstream: RunningUpstream) -> None:
    upstream.reset()


@pytest.fixture
def client(upstream: RunningUpstream) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {upstream.credential}"}
    with httpx.Client(base_url=upstream.url, headers=headers, timeout=10) as client:
        yield client


def body(prompt: str = "Hi", *, model: str = "gpt-4o-mini", stream: bool = False) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream}


def test_calls_tell_what_came(client: httpx.Client, upstream: RunningUpstream) -> None:
    client.post(f"{CHAT}?a=b", json=body("Grüße"), headers=[(b"X-Own", "ü".encode("latin-1"))])

    [call] = upstream.calls()
    assert (call.method, call.path, call.query, call.status) == ("POST", CHAT, "a=b", 200)
    assert call.json == body("Grüße")
    assert call.headers["x-own"] == "ü"
    assert call.headers["authorization"] == f"Bearer {upstream.credential}"
    assert upstream.credential not in repr(upstream)
    upstream.reset()
    assert upstream.calls() == [] and upstream.count() == 0


def test_benchmarks_count_calls_only() -> None:
    with running_upstream("sk-other", record=False) as other:
        answer = httpx.post(f"{other.url}{CHAT}", json=body(), headers={"Authorization": "Bearer sk-other"})
        assert answer.status_code == 200
        assert (other.count(), other.calls()) == (1, [])
    assert not alive(other.process.pid)


def test_held_answers_wait_for_the_release(client: httpx.Client, upstream: RunningUpstream) -> None:
    upstream.hold()
    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(client.post, CHAT, json=body(str(number))) for number in range(8)]
        upstream.wait_for_calls(8)
        assert not any(answer.done() for answer in answers)
        upstream.release()
        assert {answer.result().status_code for answer in answers} == {200}


def test_a_held_stream_goes_on_after_the_release(client: httpx.Client, upstream: RunningUpstream) -> None:
    upstream.hold(after_events=2)
    with client.stream("POST", CHAT, json=body(stream=True)) as answer:
        pieces = answer.iter_text()
        told = ""
        while told.count("\n\n") < 2:
            told += next(pieces)
        assert told.count("\n\n") == 2
        upstream.release()
        assert "".join(pieces).endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["hang", "stall"])
def test_a_client_that_leaves_is_noticed(
    client: httpx.Client, upstream: RunningUpstream, model: str, stream: bool
) -> None:
    with pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=body(model=model, stream=stream), timeout=0.3)
    wait_for(lambda: upstream.calls()[0].disconnected, 10, "the upstream saw its client go")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["drop", "truncated", "slow-1ms+truncated"])
def test_connections_are_cut(client: httpx.Client, upstream: RunningUpstream, model: str, stream: bool) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(CHAT, json=body(model=model, stream=stream))
    wait_for(lambda: upstream.calls()[0].status == 0, 10, "the upstream cut the connection")
    assert client.post(CHAT, json=body()).status_code == 200


def test_answers_that_are_none(client: httpx.Client) -> None:
    for model in ("badjson", "unfinished", "wrongtype"):
        with pytest.raises(json.JSONDecodeError):
            client.post(CHAT, json=body(model=model)).json()
    assert client.post(CHAT, json=body(model="wrongtype")).headers["content-type"].startswith("text/html")
    assert "[DONE]" not in client.post(CHAT, json=body(model="unfinished", stream=True)).text
    assert "{" in (bad := client.post(CHAT, json=body(model="badjson", stream=True)).text) and "nothing" in bad


@pytest.mark.parametrize(
    "model, stream", [("huge-30mb", False), ("huge-30mb", True), ("huge-event-30mb", True), ("huge-event-30mb", False)]
)
def test_huge_answers(client: httpx.Client, model: str, stream: bool) -> None:
    with client.stream("POST", CHAT, json=body(model=model, stream=stream)) as answer:
        assert 30_000_000 <= sum(map(len, answer.iter_raw())) < 31_000_000
        assert answer.headers["transfer-encoding"] == "chunked"


def test_dripped_and_packed_answers_are_whole(client: httpx.Client) -> None:
    for model in ("drip-0ms", "drip-1ms", "gzip", "slow-1ms"):
        whole = client.post(CHAT, json=body(model=model))
        assert whole.json()["choices"][0]["message"]["content"] == "You said: Hi"
        assert client.post(CHAT, json=body(model=model, stream=True)).text.endswith("data: [DONE]\n\n")


def test_errors_in_the_answer(client: httpx.Client) -> None:
    assert "error" in client.post(CHAT, json=body(model="error-in-stream")).json()
    *_, last, nothing = client.post(CHAT, json=body(model="error-in-stream", stream=True)).text.split("\n\n")
    assert "error" in json.loads(last.removeprefix("data: ")) and not nothing


def test_flaky_calls_work_in_the_end(client: httpx.Client) -> None:
    assert [client.post(CHAT, json=body(model="flaky-2")).status_code for _ in range(3)] == [503, 503, 200]
    assert [client.post(CHAT, json=body("other [[flaky-1-429]]")).status_code for _ in range(2)] == [429, 200]
    with pytest.raises(httpx.RemoteProtocolError):
        client.post(CHAT, json=body(model="flaky-1-drop"))
    assert client.post(CHAT, json=body(model="flaky-1-drop")).status_code == 200


def test_redirects_go_where_they_are_told(client: httpx.Client) -> None:
    answer = client.post(CHAT, json=body(model="redirect-http://169.254.169.254/latest"))
    assert (answer.status_code, answer.headers["location"]) == (307, "http://169.254.169.254/latest")


def test_directions_by_header_and_for_all(client: httpx.Client, upstream: RunningUpstream) -> None:
    assert client.post(CHAT, json=body(), headers={"X-Upstream-Directions": "status-418"}).status_code == 418
    assert client.post(CHAT, json=body("[[nonsense]]")).json()["error"]["message"] == "no direction: nonsense"
    upstream.direct("status-503")
    assert client.post(CHAT, json=body()).status_code == 503
    upstream.direct("")
    assert client.post(CHAT, json=body()).status_code == 200


def test_no_usage_and_long_answers(client: httpx.Client) -> None:
    answer = client.post(CHAT, json=body("Hi [[no-usage]] [[words-500]]")).json()
    assert "usage" not in answer
    assert len(answer["choices"][0]["message"]["content"].split()) == 500


def test_a_broken_request_is_refused(upstream: RunningUpstream) -> None:
    connection = http.client.HTTPConnection(HOST, int(upstream.url.rpartition(":")[2]), timeout=10)
    headers = {"Authorization": f"Bearer {upstream.credential}"}
    connection.request("POST", CHAT, b'{"model": ' + os.urandom(3), headers)
    answer = connection.getresponse()
    assert answer.status == 400 and "error" in json.loads(answer.read())
    connection.close()
