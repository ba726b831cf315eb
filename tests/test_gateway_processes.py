"""Identical requests to several server processes on one database make one call."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest

from gateway.models import CacheStatus
from tests.conftest import server_environment
from tests.gateway_cast import LOOPBACK, Client, new_client, question
from tests.processes import RunningServer, descendants, running_server, wait_for
from tests.upstreams import RunningUpstream, upstream

__all__ = ["upstream"]
PROCESSES, AT_ONCE = 3, 48


def environment() -> dict[str, str]:
    return {**server_environment(lane="on"), "CACHE_GATEWAY_ALLOW_NETWORKS": LOOPBACK}


@pytest.fixture(scope="module")
def servers(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RunningServer]]:
    logs = [tmp_path_factory.mktemp("process") / "server.log" for _ in range(PROCESSES)]
    with (
        running_server(logs[0], environment()) as first,
        running_server(logs[1], environment()) as second,
        running_server(logs[2], environment()) as third,
    ):
        yield [first, second, third]


@pytest.fixture
def clients(servers: list[RunningServer], upstream: RunningUpstream, committed_db: None) -> Iterator[list[Client]]:
    """One tenant's, of each process."""
    upstream.reset()
    first = new_client(servers[0], upstream)
    yield [replace(first, server=server) for server in servers]
    upstream.reset()


@pytest.mark.parametrize("streams", [False, True])
def test_the_same_request_to_all_of_them_makes_one_call(clients: list[Client], streams: bool) -> None:
    asked, upstream = question(stream=streams), clients[0].upstream
    upstream.hold(after_events=1 if streams else 0)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(clients[number % PROCESSES].post, asked) for number in range(AT_ONCE)]
        upstream.wait_for_calls(1)
        upstream.release()
        answers = [each.result() for each in waiting]
    assert {answer.status_code for answer in answers} == {200}
    assert upstream.count() == 1
    assert len({answer.content for answer in answers}) == 1
    assert [answer.headers["x-cache"] for answer in answers].count("MISS") <= PROCESSES
    events = clients[0].events(AT_ONCE)
    assert len(events) == AT_ONCE
    assert [event.cache for event in events].count(CacheStatus.MISS) == 1
    assert sum(1 for event in events if event.cost) == 1


def test_streams_elsewhere_get_the_replay_at_the_end(clients: list[Client]) -> None:
    asked, (here, there, _) = question(stream=True), clients
    here.upstream.hold(after_events=2)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(here.post, asked)
        here.upstream.wait_for_calls(1)
        follower = pool.submit(there.post, asked)
        here.upstream.release()
        first, second = leader.result(), follower.result()
    assert here.upstream.count() == 1
    assert first.content == second.content
    assert second.headers["content-type"].startswith("text/event-stream")
    assert second.headers["x-cache"] in ("COALESCED", "HIT")


def test_a_document_elsewhere_waits_for_the_stream_here(clients: list[Client]) -> None:
    asked, (here, there, _) = question(), clients
    here.upstream.hold(after_events=1)
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(here.post, {**asked, "stream": True})
        here.upstream.wait_for_calls(1)
        follower = pool.submit(there.post, asked)
        here.upstream.release()
        assert leader.result().status_code == 200
        assert follower.result().json()["choices"][0]["message"]["content"]
    assert here.upstream.count() == 1


def test_embeddings_elsewhere_wait_too(clients: list[Client]) -> None:
    asked = {"model": "text-embedding-3-small", "input": [question()["messages"][0]["content"] for _ in range(3)]}
    upstream = clients[0].upstream
    upstream.hold()
    with ThreadPoolExecutor(PROCESSES) as pool:
        waiting = [pool.submit(each.post, asked, "openai/v1/embeddings") for each in clients]
        upstream.wait_for_calls(1)
        upstream.release()
        answers = [each.result() for each in waiting]
    assert upstream.count() == 1
    assert len({str(answer.json()["data"]) for answer in answers}) == 1


def test_a_failure_here_lets_the_next_one_elsewhere_try(clients: list[Client]) -> None:
    here, there, _ = clients
    here.policy(retries=0)
    asked = question("[[flaky-1-500]]" + question()["messages"][0]["content"])
    here.upstream.hold()
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(here.post, asked)
        here.upstream.wait_for_calls(1)
        follower = pool.submit(there.post, asked)
        here.upstream.release()
        assert leader.result().status_code == 500
        assert follower.result().status_code == 200
    assert here.upstream.count() == 2
    assert there.post(asked).headers["x-cache"] == "HIT"


def test_when_the_holder_is_killed_the_next_one_calls_after_the_lease(
    clients: list[Client], tmp_path_factory: pytest.TempPathFactory
) -> None:
    there = clients[0]
    there.policy(total_seconds=3, retries=0)
    asked = question()
    with running_server(tmp_path_factory.mktemp("killed") / "server.log", environment()) as dying:
        here = replace(there, server=dying)
        there.upstream.hold(after_events=1)
        with ThreadPoolExecutor(2) as pool:
            leader = pool.submit(_leads, here, asked)
            there.upstream.wait_for_calls(1)
            follower = pool.submit(there.post, asked)
            for pid in {dying.process.pid} | descendants(dying.process.pid):
                os.kill(pid, signal.SIGKILL)
            assert leader.result()
            there.upstream.wait_for_calls(2)
            there.upstream.release()
            assert follower.result().status_code == 200
    assert there.upstream.count() == 2
    assert there.post(asked).headers["x-cache"] == "HIT"


def _leads(client: Client, asked: dict[str, object]) -> bool:
    """Whether its connection broke off."""
    try:
        client.post({**asked, "stream": True})
    except httpx.TransportError:
        return True
    return False


def test_no_cache_joins_nobody(clients: list[Client]) -> None:
    asked, upstream = question(), clients[0].upstream
    upstream.hold()
    with ThreadPoolExecutor(PROCESSES) as pool:
        waiting = [pool.submit(_refreshed, each, asked) for each in clients]
        wait_for(lambda: upstream.count() == PROCESSES, 10, "a call of each")
        upstream.release()
        assert [each.result() for each in waiting] == ["REFRESH"] * PROCESSES


def _refreshed(client: Client, asked: dict[str, object]) -> str:
    told: str = client.post(asked, Cache_Control="no-cache").headers["x-cache"]
    return told
