"""The cachelib backend where the cache fails, and what it stores; `tests/test_python_integrations.py` has the rest."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("cachelib")

from cachelib.serializers import BaseSerializer
from conftest import API_KEY
from fake_service import Answer, FakeService, Received, error

from cacheservice_client import Cache, Forbidden, Unreachable
from cacheservice_client.integrations.cachelib import MOST_ATTEMPTS, CacheServiceCache

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def cache(service: FakeService) -> Iterator[Cache]:
    with Cache(url=service.url, api_key=API_KEY) as cache:
        yield cache


def test_values_are_json_or_bytes_under_hashed_keys(cache: Cache, service: FakeService) -> None:
    backend = CacheServiceCache(cache, key_prefix="shop")
    assert backend.set("view//a\n" * 100, {"a": [1, None]})
    assert backend.set("b", b"\0\xff")
    assert backend.get("view//a\n" * 100) == {"a": [1, None]}
    assert backend.get("b") == b"\0\xff"
    first, second = service.entries.items()
    assert json.loads(first[1].value) == {"a": [1, None]}
    assert second[1].value == b"\0\xff"
    assert all(key.startswith("shop:") and len(key) == len("shop:") + 64 for key in service.entries)


@pytest.mark.parametrize("value", [(1, 2), [{"a": (1,)}], {1: 2}, dt.date(2026, 1, 1), {1}, float("inf")], ids=str)
def test_what_json_would_change_is_refused(cache: Cache, service: FakeService, value: Any) -> None:
    backend = CacheServiceCache(cache)
    for store in (backend.set, backend.add, lambda key, value: backend.set_many({key: value})):
        with pytest.raises((TypeError, ValueError)):
            store("k", value)
    assert service.entries == {}


def test_a_serializer_takes_what_json_does_not(cache: Cache) -> None:
    backend = CacheServiceCache(cache, serializer=BaseSerializer())
    assert backend.set_many({"a": (1, 2), "b": dt.date(2026, 1, 1)}) == ["a", "b"]
    assert backend.get_many("a", "b", "c") == [(1, 2), dt.date(2026, 1, 1), None]
    assert CacheServiceCache(cache).set("json", 1)
    assert backend.get("json") is None


@pytest.mark.parametrize(
    ("timeout", "ttl"),
    [(None, 300), (0, 31_536_000), (10**9, 31_536_000), (5, 5), (dt.timedelta(milliseconds=1200), 2)],
)
def test_timeouts(cache: Cache, service: FakeService, timeout: Any, ttl: int) -> None:
    CacheServiceCache(cache).set("k", 1, timeout)
    assert json.loads(service.received[-1].body)["ttl"] == ttl


def test_a_dead_cache_is_empty_and_takes_nothing() -> None:
    backend = CacheServiceCache(Cache(url=NOBODY, api_key=API_KEY, on_error="miss", timeout=1))
    assert backend.get("k") is None
    assert backend.get_many("a", "b") == [None, None]
    assert backend.get_dict("a", "b") == {"a": None, "b": None}
    assert backend.has("k") is False
    assert backend.set("k", 1) is False
    assert backend.add("k", 1) is False
    assert backend.set_many({"a": 1, "b": b"2"}) == []
    assert backend.delete("k") is False
    assert backend.delete_many("a", "b") == ["a", "b"]
    assert backend.clear() is False
    assert backend.inc("k") is None
    assert backend.dec("k") is None


class Refusing:
    """A service that answers requests of one method with an error, and takes all else."""

    def __init__(self, service: FakeService, method: str, answer: Answer) -> None:
        self._usual, self._method, self._answer = service.answer, method, answer

    def __call__(self, received: Received) -> Answer:
        answer = self._usual(received)
        return self._answer if received.method == self._method else answer


@pytest.mark.parametrize("refusal", [error(402, "insufficient_credits"), error(403, "forbidden")], ids=["402", "403"])
def test_what_may_not_be_read_is_not_incremented(
    service: FakeService, monkeypatch: pytest.MonkeyPatch, refusal: Answer
) -> None:
    """A read that is refused is no miss, after which the value would be taken to begin."""
    with Cache(url=service.url, api_key=API_KEY, on_error="miss") as cache:
        backend = CacheServiceCache(cache)
        backend.set("k", 5)
        monkeypatch.setattr(service, "answer", Refusing(service, "GET", refusal))
        for change in (backend.inc, backend.dec):
            assert change("k") is None
            assert change("another") is None
    assert service.count("PUT") == 1
    assert [entry.value for entry in service.entries.values()] == [b"5"]


def test_a_strict_cache_tells_why_it_does_not_increment(cache: Cache, service: FakeService) -> None:
    service.next_answers.append(error(403, "forbidden"))
    with pytest.raises(Forbidden):
        CacheServiceCache(cache).inc("k")


def test_an_increment_that_always_comes_too_late_ends(
    cache: Cache, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "answer", Refusing(service, "PUT", error(412, "precondition_failed")))
    assert CacheServiceCache(cache).inc("k") is None
    assert service.count("PUT") == MOST_ATTEMPTS


def test_a_strict_cache_raises() -> None:
    backend = CacheServiceCache(Cache(url=NOBODY, api_key=API_KEY, retries=0))
    for call in (lambda: backend.get("k"), lambda: backend.set("k", 1), lambda: backend.has("k"), backend.clear):
        with pytest.raises(Unreachable):
            call()
