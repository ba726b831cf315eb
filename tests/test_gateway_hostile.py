"""Upstreams that break off, lie, flood or never end, and clients that leave: line 17 of the faults.

`CACHE_TEST_SCALE=full` sends the full counts.
"""

import json
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest
from django.db.models import Sum

from gateway.models import Budget, BudgetDay, SpendEvent, SpendState
from tests.client import NO_TLS
from tests.conftest import server_environment
from tests.gateway_cast import LOOPBACK, Client, client, gateway_server, new_client
from tests.processes import RunningServer, descendants, running_server, wait_for
from tests.upstreams import RunningUpstream, upstream

__all__ = ["client", "gateway_server", "upstream"]

FULL = os.environ.get("CACHE_TEST_SCALE") == "full"
LEAVERS = 1000 if FULL else 40
FLOODS = 100 if FULL else 3
MOST_GROWTH = 64 * 1024 * 1024  # bytes
HELD_SECONDS = 3600  # longer than streams are held here


@dataclass(frozen=True)
class Trouble:
    """What the upstream does, and what the client is told: before the answer's head, and in a stream after it."""

    directions: str
    code: str
    status: int
    policy: tuple[tuple[str, Any], ...] = ()
    in_stream: bool = True  # whether the head of a stream is out by then

    def __str__(self) -> str:
        return self.directions


TROUBLES = [
    Trouble("truncated", "upstream_broken", 502),
    Trouble("unfinished", "upstream_broken", 502),
    Trouble("badjson", "upstream_broken", 502),
    Trouble("huge", "upstream_too_large", 502),
    Trouble("stall", "upstream_timeout", 504, (("idle_seconds", 1),)),
    Trouble("drip-50ms+words-100", "upstream_timeout", 504, (("total_seconds", 1),)),
    Trouble("hang", "upstream_timeout", 504, (("first_byte_seconds", 1),), in_stream=False),
    Trouble("drop", "upstream_unreachable", 502, (("retries", 0),), in_stream=False),
    Trouble("wrongtype", "upstream_broken", 502, in_stream=False),
    Trouble("redirect-http://127.0.0.1:9/v1", "upstream_refused_address", 502, in_stream=False),
]


def asked(provider: str, directions: str, *, stream: bool = False) -> dict[str, Any]:
    """A request that may be cached."""
    bracketed = " ".join(f"[[{direction}]]" for direction in directions.split("+"))
    messages = [{"role": "user", "content": f"{secrets.token_hex(8)} {bracketed}"}]
    models = {"openai": "gpt-4o-mini", "anthropic": "claude-sonnet-4-6"}
    return {"model": models[provider], "temperature": 0, "max_tokens": 500, "stream": stream, "messages": messages}


def post(client: Client, provider: str, body: dict[str, Any]) -> httpx.Response:
    path = {"openai": "openai/v1/chat/completions", "anthropic": "anthropic/v1/messages"}[provider]
    return client.post(body, path, Anthropic_Version="2023-06-01")


def code_of(provider: str, error: dict[str, Any]) -> str:
    """From the JSON of an error, which must have the provider's shape."""
    told = error["error"]
    if provider == "openai":
        assert set(told) == {"message", "type", "param", "code"} and set(error) == {"error"}
        return str(told["code"])
    assert set(error) == {"type", "error", "request_id"} and error["type"] == "error"
    assert told["type"] and told["message"]
    return str(told["details"]["error_code"])


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_a_broken_answer_is_told_and_not_stored(client: Client, provider: str, trouble: Trouble) -> None:
    client.policy(**dict(trouble.policy))
    body = asked(provider, trouble.directions)
    for calls in (1, 2):  # the second is neither answered from the cache nor kept waiting
        answer = post(client, provider, body)
        assert answer.status_code == trouble.status, answer.text[:500]
        assert code_of(provider, answer.json()) == trouble.code
        assert client.upstream.credential not in answer.text
        assert client.upstream.count() == calls
    client.events(2)
    assert client.entries() == []


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("trouble", TROUBLES, ids=str)
def test_a_broken_stream_is_told_and_not_stored(client: Client, provider: str, trouble: Trouble) -> None:
    client.policy(**dict(trouble.policy))
    answer = post(client, provider, asked(provider, trouble.directions, stream=True))
    if trouble.in_stream:
        assert answer.status_code == 200
        last = answer.text.strip().rpartition("\n\n")[2]
        assert last.startswith("event: error\n") is (provider == "anthropic")
        told = json.loads(last.removeprefix("event: error\n").removeprefix("data: "))
    else:
        assert answer.status_code == trouble.status
        told = answer.json()
    assert code_of(provider, told) == trouble.code
    client.events(1)
    assert client.entries() == []


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_event_without_end_is_told(client: Client, provider: str, stream: bool) -> None:
    answer = post(client, provider, asked(provider, "huge-event", stream=stream))
    assert '"upstream_broken"' in answer.text or '"upstream_too_large"' in answer.text
    client.events(1)
    assert client.entries() == []


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_errors_of_the_upstream_pass_as_they_are(client: Client, provider: str, status: int) -> None:
    client.policy(retries=0)
    answer = post(client, provider, asked(provider, f"status-{status}-7s"))
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == f"The upstream was told to answer {status}."
    assert answer.headers.get("retry-after") == ("7" if status in (429, 503) else None)
    client.events(1)
    assert client.entries() == []


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_within_a_good_answer_is_not_stored(client: Client, provider: str, stream: bool) -> None:
    answer = post(client, provider, asked(provider, "error-in-stream", stream=stream))
    assert answer.status_code == 200
    assert answer.text.count('"error":') == 1  # the upstream's own, and none of ours after it
    client.events(1)
    assert client.entries() == []


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_dripping_answer_that_ends_is_whole_and_stored(client: Client, provider: str) -> None:
    for stream in (False, True):
        body = asked(provider, "drip-1ms", stream=stream)
        first, second = post(client, provider, body), post(client, provider, body)
        assert (first.headers["x-cache"], second.headers["x-cache"]) == ("MISS", "HIT")
        assert first.content == second.content


def test_the_sdks_raise_their_own_errors(client: Client) -> None:
    broken = asked("openai", "truncated")
    with pytest.raises(openai.InternalServerError) as failed:
        client.openai().chat.completions.create(**broken)
    assert failed.value.code == "upstream_broken"
    with pytest.raises(openai.APIError, match="broke off"):
        list(client.openai().chat.completions.create(**{**broken, "stream": True}))

    broken = asked("anthropic", "truncated")
    broken["extra_body"] = {"temperature": broken.pop("temperature")}  # the SDK has no argument for it
    with pytest.raises(anthropic.InternalServerError, match="upstream_broken"):
        client.anthropic().messages.create(**broken)
    with pytest.raises(anthropic.APIStatusError, match="broke off"):
        list(client.anthropic().messages.create(**{**broken, "stream": True}))


@pytest.mark.parametrize("when_gone", ["finish", "cancel"])
def test_clients_that_leave_midway_leave_no_reservation(client: Client, when_gone: str) -> None:
    """The budget has what the events say, exactly, and no call is under way for ever."""
    budget = Budget.objects.create(tenant_id=client.tenant.id, usd_per_day=Decimal(1000))
    client.policy(on_disconnect=when_gone, idle_seconds=HELD_SECONDS, total_seconds=HELD_SECONDS)
    client.upstream.hold(after_events=2)
    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda number: _leave(client, stream=number % 4 > 0), range(LEAVERS)))
    assert set(statuses) <= {200, 0}
    client.upstream.release()

    under_way = SpendEvent.objects.filter(tenant_id=client.tenant.id, state=SpendState.RESERVED)
    events = SpendEvent.objects.filter(tenant_id=client.tenant.id)
    wait_for(lambda: events.count() >= LEAVERS and not under_way.exists(), 60, "every call is settled")
    assert events.count() == LEAVERS
    spent = events.aggregate(sum=Sum("cost"))["sum"]
    used = BudgetDay.objects.filter(tenant_id=client.tenant.id, budget_id=budget.id).aggregate(sum=Sum("used"))["sum"]
    assert used == spent > 0
    if when_gone == "finish":
        assert set(events.values_list("state", flat=True)) == {SpendState.SETTLED}
        wait_for(lambda: len(client.entries()) == LEAVERS, 10, "every answer is stored")


def _leave(client: Client, *, stream: bool) -> int:
    """Hang up: on a stream after its first piece, else while waiting for the answer. 0: there was no answer yet."""
    body = asked("openai", "words-20" if stream else "slow-300ms", stream=stream)
    headers = {"Authorization": f"Bearer {client.key.token}"}
    url = f"{client.url}/openai/v1/chat/completions"
    with httpx.Client(timeout=httpx.Timeout(30, read=30 if stream else 0.15), verify=NO_TLS) as http:
        try:
            with http.stream("POST", url, json=body, headers=headers) as answer:
                next(answer.iter_raw())
                return answer.status_code
        except httpx.ReadTimeout:
            return 0


@pytest.fixture
def lonely(upstream: RunningUpstream, committed_db: None, tmp_path: Path) -> Iterator[Client]:
    """A server of one's own, of which the memory is measured."""
    upstream.reset()
    environment = {**server_environment(lane="on"), "CACHE_GATEWAY_ALLOW_NETWORKS": LOOPBACK}
    with running_server(tmp_path / "server.log", environment) as running:
        yield new_client(running, upstream)
    upstream.reset()


@pytest.mark.parametrize("stream", [False, True])
def test_floods_take_little_memory(lonely: Client, stream: bool) -> None:
    """10 GB each, one after the other: the peak over what it was before the first."""
    post(lonely, "openai", asked("openai", "words-2000", stream=stream))  # what the first request loads once
    before = _start_peaks(lonely.server)
    for _ in range(FLOODS):
        for directions in ("huge", "huge-event"):
            answer = post(lonely, "openai", asked("openai", directions, stream=stream))
            assert "upstream_" in answer.text[-500:]
    growth = {pid: _memory(pid, "VmHWM") - before[pid] for pid in before}
    assert max(growth.values()) <= MOST_GROWTH
    assert lonely.entries() == []


def _start_peaks(server: RunningServer) -> dict[int, int]:
    """The processes' memory in bytes, from which their peaks are counted anew."""
    pids = {server.process.pid} | descendants(server.process.pid)
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    return {pid: _memory(pid, "VmRSS") for pid in pids}


def _memory(pid: int, name: str) -> int:
    """Bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
