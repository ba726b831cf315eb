"""`timeout` is what a call takes at most, whatever the server does; and what that costs in connections."""

import itertools
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import httpcore2
import pytest
from conftest import API_KEY, NewCache
from fake_service import Answer, FakeService

from cacheservice_client import Cache, Miss, TimedOut

TIMEOUT = 1.0
NOISE_SECONDS = 1.0  # of a machine that has other work
LONG = Answer(200, b" " * 100, drips="body")


@pytest.mark.parametrize("part", ["head", "body"])
def test_a_server_that_drips_is_too_late(
    new_cache: NewCache, service: FakeService, part: Literal["head", "body"]
) -> None:
    service.next_answers.append(Answer(200, b" " * 100, drips=part))
    began = time.monotonic()
    with pytest.raises(TimedOut, match="No answer from http://127") as raised:
        new_cache(timeout=TIMEOUT).get("k")
    assert TIMEOUT - 0.1 < time.monotonic() - began < TIMEOUT + NOISE_SECONDS
    assert raised.value.sent


def test_retries_share_the_time(new_cache: NewCache, service: FakeService) -> None:
    service.next_answers += [Answer(503, b"{}", after_seconds=0.6), LONG]
    began = time.monotonic()
    with pytest.raises(TimedOut):
        new_cache(timeout=TIMEOUT).get("k")
    assert time.monotonic() - began < TIMEOUT + NOISE_SECONDS


def test_a_connection_is_used_again_after_a_whole_answer_and_closed_after_a_late_one(
    new_cache: NewCache, service: FakeService
) -> None:
    cache = new_cache(timeout=TIMEOUT)
    for _ in range(3):
        cache.get("k")
    service.next_answers.append(LONG)
    with pytest.raises(TimedOut):
        cache.get("k")
    for _ in range(3):
        assert cache.get("k") == Miss()
    ports = [received.port for received in service.received]
    assert [len(list(group)) for _, group in itertools.groupby(ports)] == [4, 3]


def test_a_body_that_comes_in_many_pieces_in_time_is_whole(new_cache: NewCache, service: FakeService) -> None:
    value = "x" * 3_000_000
    cache = new_cache()
    cache.put("k", value)
    assert cache.get("k").value == value
    service.next_answers.append(Answer(200, b'{"hit":0}', drips="body"))
    assert cache.get("k") == Miss()


@contextmanager
def slow_reader(bytes_per_second: int) -> Iterator[str]:
    """A server that takes its time to read what it is sent, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def read() -> None:
            connection, _ = listener.accept()
            with connection:
                while connection.recv(bytes_per_second // 10):
                    time.sleep(0.1)

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_server_that_reads_slowly_is_too_late(new_cache: NewCache) -> None:
    with slow_reader(bytes_per_second=5_000_000) as url:
        began = time.monotonic()
        with pytest.raises(TimedOut):
            new_cache(url=url, timeout=TIMEOUT).put("k", "x" * 30_000_000)
        assert time.monotonic() - began < TIMEOUT + NOISE_SECONDS


@pytest.mark.parametrize("answering", [True, False])
def test_addresses_that_keep_silent_share_the_time(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, answering: bool
) -> None:
    """One leaves time for the next, and all together take no more than the call may."""
    lookup, connect = socket.getaddrinfo, httpcore2.SyncBackend.connect_tcp
    port = int(service.url.rpartition(":")[2])
    addresses = ["192.0.2.1", "127.0.0.1" if answering else "192.0.2.2"]  # RFC 5737 gives the others to nobody

    def getaddrinfo(host: str, *arguments: Any, **options: Any) -> Any:
        if host != "cache.example.com":
            return lookup(host, *arguments, **options)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port)) for address in addresses]

    def connect_tcp(self: Any, host: str, _: int, timeout: float, *rest: Any) -> Any:
        if host == "127.0.0.1":
            return connect(self, host, port, timeout, *rest)
        time.sleep(timeout)
        raise httpcore2.ConnectTimeout

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(httpcore2.SyncBackend, "connect_tcp", connect_tcp)
    began = time.monotonic()
    with Cache(url="http://cache.example.com", api_key=API_KEY, timeout=TIMEOUT) as cache:
        if answering:
            assert cache.get("k") == Miss()
        else:
            with pytest.raises(TimedOut) as raised:
                cache.get("k")
            assert not raised.value.sent
    assert time.monotonic() - began < TIMEOUT + NOISE_SECONDS
