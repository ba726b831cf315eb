"""`get_or_create`: one caller of all makes a value, in one process and in several."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from conftest import API_KEY, NewCache
from fake_service import LOST, Answer, FakeService, error

from cacheservice_client import AsyncCache, InvalidRequest, Unavailable


class Maker:
    """Makes a value slowly, counts how often, and tells when it has begun."""

    def __init__(self, value: Any = "made", seconds: float = 0.0, fails: int = 0) -> None:
        self.calls = 0
        self.begun = threading.Event()
        self._value, self._seconds, self._fails = value, seconds, fails
        self._lock = threading.Lock()

    def __call__(self) -> Any:
        with self._lock:
            self.calls += 1
            fails = self.calls <= self._fails
        self.begun.set()
        time.sleep(self._seconds)
        if fails:
            raise RuntimeError("the model is out")
        return self._value


def in_threads(*calls: Callable[[], Any]) -> list[Any]:
    """What each gives or raises."""

    def outcome(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as raised:
            return raised

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(outcome, calls))


def test_it_makes_and_stores_what_is_missing(cache: Any, service: FakeService) -> None:
    make = Maker({"a": 1})
    assert cache.get_or_create("k", make, ttl=60, tags=["t"], cost="0.04") == {"a": 1}
    assert cache.get_or_create("k", make) == {"a": 1}
    assert make.calls == 1
    put = next(received for received in service.received if received.method == "PUT")
    assert put.body == b'{"value":{"a":1},"ttl":60,"tags":["t"],"cost":"0.04"}'
    assert not service.leases


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
def test_what_is_false_is_a_value_like_another(cache: Any, value: Any) -> None:
    make = Maker(value)
    assert cache.get_or_create("k", make) == value
    assert cache.get_or_create("k", make) == value
    assert make.calls == 1


def test_bytes_are_made_and_stored_with_their_type(cache: Any, service: FakeService) -> None:
    assert cache.get_or_create("k", Maker(b"\x89PNG"), content_type="image/png", ttl=5) == b"\x89PNG"
    assert service.entries["k"].content_type == "image/png"
    assert cache.get_or_create("k", Maker()) == b"\x89PNG"


def test_callers_in_a_process_make_one_request(cache: Any, service: FakeService) -> None:
    make = Maker(seconds=0.3)
    assert in_threads(*[lambda: cache.get_or_create("k", make)] * 30) == ["made"] * 30
    assert make.calls == 1
    assert [received.method for received in service.received] == ["GET", "PUT"]


def test_callers_in_several_processes_make_one_value(new_cache: NewCache, service: FakeService) -> None:
    """Caches of their own know nothing of each other, as those of processes do."""
    make = Maker(seconds=0.3)
    caches = [new_cache() for _ in range(4)]
    calls = [lambda cache=cache: cache.get_or_create("k", make) for cache in caches * 5]
    assert in_threads(*calls) == ["made"] * 20
    assert make.calls == 1
    assert service.count("GET") <= 2 * len(caches)


def test_no_caller_can_change_the_value_of_another(cache: Any) -> None:
    make = Maker({"list": [1]}, seconds=0.2)
    values = in_threads(*[lambda: cache.get_or_create("k", make)] * 3)
    values[0]["list"].append(2)
    assert sorted(map(str, values)) == ["{'list': [1, 2]}", "{'list': [1]}", "{'list': [1]}"]


def test_an_error_of_make_goes_to_its_caller_and_another_one_tries(cache: Any, service: FakeService) -> None:
    make = Maker(seconds=0.1, fails=1)
    outcomes = in_threads(*[lambda: cache.get_or_create("k", make)] * 5)
    assert sorted(map(str, outcomes)) == ["made"] * 4 + ["the model is out"]
    assert make.calls == 2
    assert not service.leases


def test_an_error_of_make_gives_the_lease_to_another_process(new_cache: NewCache, service: FakeService) -> None:
    make = Maker(seconds=0.1, fails=1)
    caches = [new_cache(), new_cache()]
    began = time.monotonic()
    outcomes = in_threads(*[lambda cache=cache: cache.get_or_create("k", make, lease=30) for cache in caches])
    assert sorted(map(str, outcomes)) == ["made", "the model is out"]
    assert time.monotonic() - began < 3
    assert service.entries["k"].value == b'"made"'


def test_a_dead_holder_is_followed_when_its_lease_ends(cache: Any, service: FakeService) -> None:
    assert cache.get("k", lease=1).lease  # and is never heard of again
    began = time.monotonic()
    assert cache.get_or_create("k", Maker()) == "made"
    assert 0.8 < time.monotonic() - began < 2
    assert service.entries["k"].value == b'"made"'


def test_a_value_whose_lease_was_lost_is_given_but_not_stored(
    cache: Any, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    def make() -> str:
        service.leases.clear()  # a DELETE came
        return "stale"

    with caplog.at_level(logging.WARNING, "cacheservice_client"):
        assert cache.get_or_create("k", make) == "stale"
    assert "k" not in service.entries
    assert "its lease was lost" in caplog.text


def test_patience_ends_with_a_value_of_ones_own_that_is_not_stored(cache: Any, service: FakeService) -> None:
    assert cache.get("k", lease=30).lease
    began = time.monotonic()
    assert cache.get_or_create("k", Maker(), wait=1) == "made"
    assert 0.8 < time.monotonic() - began < 3
    assert "k" not in service.entries


def test_without_patience_nobody_waits(new_cache: NewCache) -> None:
    cache, other = new_cache(), new_cache()
    slow, quick = Maker("slow", seconds=2), Maker("quick")
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(cache.get_or_create, "k", slow)
        slow.begun.wait()
        for impatient in (cache, other):
            began = time.monotonic()
            assert impatient.get_or_create("k", quick, wait=0) == "quick"
            assert time.monotonic() - began < 1.5
        assert first.result() == "slow"


def test_an_error_of_the_cache_goes_to_all_callers(new_cache: NewCache, service: FakeService) -> None:
    cache = new_cache(retries=0)
    answer = error(503, "unavailable")
    service.next_answers.append(type(answer)(answer.status, answer.body, after_seconds=0.3))
    make = Maker()
    outcomes = in_threads(*[lambda: cache.get_or_create("k", make)] * 5)
    assert {type(outcome) for outcome in outcomes} == {Unavailable}
    assert make.calls == 0
    assert len(service.received) == 1


@pytest.mark.parametrize("on_error", ["raise", "miss"])
@pytest.mark.parametrize(
    "refusal",
    [
        error(402, "storage_quota_exceeded"),
        error(403, "forbidden"),
        error(413, "value_too_large"),
        error(503, "unavailable"),
    ],
    ids=lambda answer: str(answer.status),
)
def test_a_value_that_is_refused_goes_to_all_callers(
    new_cache: NewCache, service: FakeService, caplog: pytest.LogCaptureFixture, on_error: str, refusal: Answer
) -> None:
    """It was paid for: what made it would lose more than the cache."""
    cache = new_cache(on_error=on_error, retries=0)

    def make() -> str:
        time.sleep(0.3)
        service.next_answers.append(refusal)
        return "made"

    with caplog.at_level(logging.WARNING, "cacheservice_client"):
        assert in_threads(*[lambda: cache.get_or_create("k", make)] * 3) == ["made"] * 3
    (warning,) = [record.getMessage() for record in caplog.records]
    assert "the cache did not confirm it as stored" in warning
    assert str(refusal.status) in warning
    assert "k" not in service.entries


@pytest.mark.parametrize("on_error", ["raise", "miss"])
def test_a_mistake_at_the_fill_is_raised(new_cache: NewCache, service: FakeService, on_error: str) -> None:
    """Else a program with a ttl of 0 would never cache anything, and never be told."""

    def make() -> str:
        service.next_answers.append(error(400, "invalid_request"))
        return "made"

    with pytest.raises(InvalidRequest):
        new_cache(on_error=on_error).get_or_create("k", make)
    assert not service.leases


def test_a_fill_whose_answer_is_lost_may_be_stored(
    cache: Any, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    """The second attempt finds the lease used, most likely by the first."""

    def make() -> str:
        service.next_answers.append(LOST)
        return "made"

    with caplog.at_level(logging.WARNING, "cacheservice_client"):
        assert cache.get_or_create("k", make) == "made"
    assert service.entries["k"].value == b'"made"'
    assert service.count("PUT") == 2
    assert "A value may be stored" in caplog.text
    assert "not stored" not in caplog.text


def test_a_fill_that_failed_is_tried_again(cache: Any, service: FakeService) -> None:
    def make() -> str:
        service.next_answers.append(error(503, "unavailable"))
        return "made"

    assert cache.get_or_create("k", make) == "made"
    assert service.entries["k"].value == b'"made"'


def test_errors_are_each_callers_own(cache: Any, service: FakeService) -> None:
    """One that many raise would be given the traceback of each."""
    answer = error(403, "forbidden")
    service.next_answers.append(type(answer)(answer.status, answer.body, after_seconds=0.3))
    outcomes = in_threads(*[lambda: cache.get_or_create("k", Maker())] * 5)
    assert {str(outcome) for outcome in outcomes} == {"403 forbidden: forbidden it is. (request request-1)"}
    assert len({id(outcome) for outcome in outcomes}) == 5


@pytest.mark.parametrize("on_error", ["raise", "miss"])
def test_a_refused_fill_gives_the_lease_back(new_cache: NewCache, service: FakeService, on_error: str) -> None:
    """Else all who want the key would wait for the lease's end: of a value over the quota, each in turn."""

    def make() -> str:
        service.next_answers.append(error(402, "storage_quota_exceeded"))
        return "made"

    assert new_cache(on_error=on_error).get_or_create("k", make) == "made"
    assert not service.leases
    began = time.monotonic()
    assert new_cache().get_or_create("k", Maker()) == "made"
    assert time.monotonic() - began < 2


def test_a_fill_that_is_cancelled_gives_the_lease_back(service: FakeService) -> None:
    async def make() -> str:
        service.next_answers.append(Answer(503, b"", after_seconds=5))
        return "made"

    async def main() -> None:
        async with AsyncCache(url=service.url, api_key=API_KEY) as cache:
            call = asyncio.create_task(cache.get_or_create("k", make))
            while not service.count("PUT"):
                await asyncio.sleep(0.01)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(main())
    assert not service.leases


def test_options_that_cannot_be_sent_give_the_lease_back(cache: Any, service: FakeService) -> None:
    with pytest.raises(TypeError, match="cost"):
        cache.get_or_create("k", Maker(), cost=0.04)
    assert not service.leases


def test_patience_may_be_without_end(new_cache: NewCache, service: FakeService) -> None:
    make = Maker(seconds=0.5)
    caches = [new_cache(), new_cache()]
    calls = [lambda cache=cache: cache.get_or_create("k", make, wait=math.inf) for cache in caches * 2]
    assert in_threads(*calls) == ["made"] * 4
    assert make.calls == 1


def test_what_is_not_json_is_an_error_and_gives_the_lease_back(cache: Any, service: FakeService) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        cache.get_or_create("k", object)
    assert not service.leases
    assert cache.get_or_create("k", Maker()) == "made"


def test_the_lease_protocol_by_hand(cache: Any, service: FakeService) -> None:
    miss = cache.get("k", lease=30)
    assert not miss
    assert miss.lease
    assert cache.get("k", lease=30).lease is None
    cache.release("k", miss.lease)
    again = cache.get("k", lease=30)
    assert again.lease not in (None, miss.lease)
    assert cache.put("k", 1, lease=again.lease).key == "k"
    assert cache.get("k", lease=30).value == 1
    with pytest.raises(ValueError, match="wait"):
        cache.get("k", wait=3)
