"""What dogpile's own tests do not ask of the backend; `tests/test_python_integrations.py` runs those."""

import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("dogpile.cache")

from conftest import API_KEY
from dogpile.cache import CacheRegion, make_region
from dogpile.cache.api import NO_VALUE
from fake_service import FakeService, error

from cacheservice_client import Cache, Unreachable
from cacheservice_client.integrations.dogpile import CacheServiceBackend

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def cache(service: FakeService) -> Iterator[Cache]:
    with Cache(url=service.url, api_key=API_KEY) as cache:
        yield cache


def new_region(cache: Cache, region: dict[str, Any] | None = None, **arguments: Any) -> CacheRegion:
    return make_region(**region or {}).configure(
        "cacheservice", expiration_time=60, arguments={"cache": cache, **arguments}
    )


def test_values_are_json_under_hashed_keys(cache: Cache, service: FakeService) -> None:
    region = new_region(cache, prefix="shop")
    region.set("a key of\nany length" * 100, {"a": [1, None, "ü"]})
    assert region.get("a key of\nany length" * 100) == {"a": [1, None, "ü"]}
    ((key, entry),) = service.entries.items()
    assert key.startswith("shop:")
    assert len(key) == len("shop:") + 64
    assert entry.value.partition(b"|")[2] == '{"a":[1,null,"ü"]}'.encode()


@pytest.mark.parametrize("value", [(1, 2), [{"a": (1,)}], {1: 2}, {1}, float("nan")], ids=str)
def test_what_json_would_change_is_refused(cache: Cache, service: FakeService, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        new_region(cache).set("k", value)
    assert service.entries == {}


def test_a_region_may_have_a_serializer_of_its_own(cache: Cache) -> None:
    region = new_region(cache, {"serializer": pickle.dumps, "deserializer": pickle.loads})
    region.set("k", (1, 2))
    assert region.get("k") == (1, 2)


def test_what_is_not_of_the_region_is_no_value(cache: Cache) -> None:
    region = new_region(cache, {"key_mangler": str})
    cache.put("k", {"a": 1})
    assert region.get("k") is NO_VALUE
    cache.put("k", b'{"ct": 1e12, "v": 2}|{')
    assert region.get("k") is NO_VALUE


def test_threads_of_two_regions_make_a_value_once(cache: Cache, service: FakeService) -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        time.sleep(0.2)
        return 42

    with Cache(url=service.url, api_key=API_KEY) as other, ThreadPoolExecutor(20) as pool:
        regions = [new_region(cache), new_region(other)]
        calls = [pool.submit(regions[number % 2].get_or_create, "k", make) for number in range(20)]
    assert [call.result() for call in calls] == [42] * 20
    assert made == [1]


def test_the_threads_of_a_region_wait_for_each_other_without_requests(cache: Cache, service: FakeService) -> None:
    region = new_region(cache)
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: region.get_or_create("k", lambda: time.sleep(0.1)), range(20)))
    waiting = [received for received in service.received if "wait=" in received.target]
    assert waiting == []


def test_a_lock_passes_on_when_its_time_is_over(cache: Cache) -> None:
    first, second = (CacheServiceBackend({"cache": cache, "lock_timeout": 1}).get_mutex("k") for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.acquire()
    assert not second.acquire(False)
    began = time.monotonic()
    assert second.acquire()
    assert time.monotonic() - began < 3
    first.release()  # late: it takes nothing from the second
    assert second.locked()
    second.release()
    assert not second.locked()


def test_a_lock_may_be_released_by_another_thread(cache: Cache) -> None:
    mutex = CacheServiceBackend({"cache": cache}).get_mutex("k")
    assert mutex is not None
    mutex.acquire()
    thread = threading.Thread(target=mutex.release)
    thread.start()
    thread.join()
    assert not mutex.locked()


def test_without_a_distributed_lock_there_is_none(cache: Cache) -> None:
    assert CacheServiceBackend({"cache": cache, "distributed_lock": False}).get_mutex("k") is None


def test_a_dead_cache_costs_no_more_than_the_values() -> None:
    region = new_region(Cache(url=NOBODY, api_key=API_KEY, on_error="miss", timeout=1))
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    assert [region.get_or_create("k", make) for _ in range(3)] == [1, 2, 3]
    assert region.get_or_create_multi(["a", "b"], lambda *keys: list(keys)) == ["a", "b"]
    region.set("k", 1)
    region.set_multi({"a": 1, "b": 2})
    region.delete("k")
    region.delete_multi(["a", "b"])
    assert region.get("k") is NO_VALUE
    found = region.get_multi(["a", "b"])  # type: ignore[no-untyped-call]
    assert found == [NO_VALUE, NO_VALUE]
    assert not region.key_is_locked("k")


def test_in_an_outage_the_threads_of_a_process_still_exclude_each_other() -> None:
    mutex = CacheServiceBackend({"cache": Cache(url=NOBODY, api_key=API_KEY, on_error="miss")}).get_mutex("k")
    assert mutex is not None
    assert mutex.acquire()
    assert not mutex.acquire(False)
    mutex.release()
    assert mutex.acquire(False)


def test_a_rate_limit_ends_the_wait_for_a_lock(service: FakeService) -> None:
    service.next_answers.append(error(429, "rate_limit_exceeded", retry_after="60"))
    with Cache(url=service.url, api_key=API_KEY, on_error="miss", retries=0) as tolerant:
        mutex = CacheServiceBackend({"cache": tolerant}).get_mutex("k")
        assert mutex is not None
        assert mutex.acquire()


def test_a_strict_cache_raises_and_leaves_no_lock_behind() -> None:
    mutex = CacheServiceBackend({"cache": Cache(url=NOBODY, api_key=API_KEY, retries=0)}).get_mutex("k")
    assert mutex is not None
    for _ in range(2):
        with pytest.raises(Unreachable):
            mutex.acquire()
