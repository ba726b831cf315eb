"""The Python client against the real service; its own tests, in `clients/python/tests`, have one that can fail."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from cacheservice_client import (
    AsyncCache,
    Cache,
    Delete,
    Forbidden,
    Get,
    Hit,
    InvalidAPIKey,
    InvalidRequest,
    Miss,
    PreconditionFailed,
    Put,
    Stored,
    UnsupportedMediaType,
    ValueTooLarge,
)

from tests.cast import Cast, cast_fixture, new_caller
from tests.processes import RunningServer

cast = cast_fixture


@pytest.fixture
def api_key() -> str:
    return new_caller().token


@pytest.fixture
def cache(server: RunningServer, api_key: str) -> Iterator[Cache]:
    with Cache(url=server.url, api_key=api_key) as cache:
        yield cache


VALUES: list[Any] = [None, False, 0, "", [], {}, 1.5, 10**30, "ünïcödé 😀", {"b": [1, {"a": None}], "a": "x" * 10_000}]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value)[:20])
def test_json_comes_back(cache: Cache, value: Any) -> None:
    stored = cache.put("k", value, ttl=60)
    assert stored is not None
    assert stored.expires_at - stored.created_at == timedelta(seconds=60)
    assert stored.size_bytes == len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    hit = cache.get("k")
    assert isinstance(hit, Hit)
    assert (hit.key, hit.value, hit.content_type, hit.etag) == ("k", value, None, stored.etag)
    assert (hit.created_at, hit.expires_at) == (stored.created_at, stored.expires_at)
    assert hit.age is not None
    assert 0 <= hit.age <= 5
    assert abs(hit.created_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_bytes_come_back_with_their_type(cache: Cache) -> None:
    content = bytes(range(256))
    cache.put("k", content, ttl=60, tags=["a b", "ü"], cost="0.04")
    assert cache.get("k").value == content  # type: ignore[union-attr]
    cache.put("k", bytearray(b"\x89PNG"), content_type="image/png")
    hit = cache.get("k")
    assert isinstance(hit, Hit)
    assert (hit.value, hit.content_type) == (b"\x89PNG", "image/png")
    cache.put("k", "plain ü", content_type="text/plain; charset=utf-8")
    assert cache.get("k").value == "plain ü".encode()  # type: ignore[union-attr]
    cache.put("k", b'{"ready": 1.50}', content_type="application/json")
    assert cache.get("k").value == {"ready": 1.5}  # type: ignore[union-attr]
    with pytest.raises(UnsupportedMediaType):
        cache.put("k", b"a=b", content_type="application/x-www-form-urlencoded")
    with pytest.raises(TypeError):
        cache.put("k", {"a": 1}, content_type="text/plain")


def test_decimals_can_be_kept(server: RunningServer, api_key: str) -> None:
    with Cache(url=server.url, api_key=api_key, loads=partial(json.loads, parse_float=Decimal)) as cache:
        cache.put("k", b"[1.10, 1e400]", content_type="application/json")
        assert cache.get("k").value == [Decimal("1.10"), Decimal("1e400")]  # type: ignore[union-attr]
        (hit,) = cache.batch([Get("k")])
        assert isinstance(hit, Hit)
        assert hit.value == [Decimal("1.10"), Decimal("1e400")]


KEYS = [".", "..", "...", "a/../b", "/", "//", "a b", "a%2Fb", "%", "?", "#", "ü😀", "a:b", "&=+", "x" * 512, "\\", '"']


@pytest.mark.parametrize("key", KEYS)
def test_keys_go_out_as_they_are(cache: Cache, key: str) -> None:
    assert cache.get(key) == Miss()
    assert cache.put(key, key)
    assert cache.get(key).value == key  # type: ignore[union-attr]
    assert [entry.key for entry in cache.list()] == [key]
    assert cache.touch(key, ttl=5)
    assert cache.delete(key) is True
    assert cache.delete(key) is False


@pytest.mark.parametrize("key", ["", "x" * 513, "a\nb"])
def test_keys_that_are_none(cache: Cache, key: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        cache.put(key, 1)
    assert (raised.value.status, raised.value.code) == (400, "invalid_request")
    assert raised.value.request_id


def test_conditions(cache: Cache) -> None:
    first = cache.put("k", 1, if_absent=True)
    assert first is not None
    for call in (
        lambda: cache.put("k", 2, if_absent=True),
        lambda: cache.put("k", 2, if_match='"0123456789abcdef"'),
        lambda: cache.touch("k", ttl=5, if_match='"0123456789abcdef"'),
        lambda: cache.delete("k", if_match='"0123456789abcdef"'),
    ):
        with pytest.raises(PreconditionFailed):
            call()
    second = cache.put("k", 2, if_match=first.etag)
    assert second is not None
    assert second.etag != first.etag
    assert cache.delete("k", if_match=second.etag)
    with pytest.raises(ValueError, match="printable"):
        cache.put("k", 1, if_match="a\r\nb: c")


def test_touch_renews_and_retags(cache: Cache) -> None:
    stored = cache.put("k", 1, ttl=60, tags=["a"])
    touched = cache.touch("k", ttl=3600, tags=["b", "c"])
    assert stored is not None
    assert touched is not None
    assert touched.etag == stored.etag
    assert touched.expires_at > stored.expires_at
    assert [entry.tags for entry in cache.list()] == [("b", "c")]
    assert cache.touch("k", tags=[])
    assert [entry.tags for entry in cache.list()] == [()]
    assert cache.touch("missing", ttl=5) is None
    with pytest.raises(InvalidRequest):
        cache.touch("k")


def test_list_and_clear(cache: Cache) -> None:
    cache.batch(Put(f"chat-{number:03}", number, tags=["even"] if number % 2 == 0 else []) for number in range(25))
    cache.put("other", b"12345", tags=["even", "b&c"])
    assert [entry.key for entry in cache.list(prefix="chat-", page_size=10)] == [f"chat-{n:03}" for n in range(25)]
    assert len(list(cache.list(tag="even"))) == 14
    (other,) = cache.list(tag=["even", "b&c"])
    assert (other.key, other.size_bytes, other.tags, other.hits) == ("other", 5, ("even", "b&c"), None)
    (other,) = cache.list(prefix="other", stats=True)
    assert (other.hits, other.last_hit_at, other.saved_usd) == (0, None, Decimal(0))
    assert cache.clear(tag="even", prefix="chat-") == 13
    assert cache.clear(prefix="chat-") == 12
    mistaken: list[dict[str, Any]] = [{}, {"all": True, "tag": "a"}, {"prefix": ""}, {"tag": []}]
    for selection in mistaken:
        with pytest.raises(ValueError, match="clear"):
            cache.clear(**selection)
    with pytest.raises(InvalidRequest):
        cache.clear(tag="")
    assert cache.clear(all=True) == 1


def test_a_batch_of_any_length(cache: Cache) -> None:
    operations = [
        operation for number in range(200) for operation in (Put(f"{number}", number, ttl=9), Get(f"{number}"))
    ]
    results = cache.batch([*operations, Delete("0"), Get("0"), Delete("0"), Get(""), Put("k", 1, ttl=-1)])
    assert len(results) == 405
    assert all(isinstance(result, Stored) for result in results[:400:2])
    assert [result.value for result in results[1:400:2] if isinstance(result, Hit)] == list(range(200))
    assert results[400:403] == [True, Miss(), False]
    assert [type(result) for result in results[403:]] == [InvalidRequest, InvalidRequest]
    assert cache.batch([]) == []
    with pytest.raises(TypeError, match="bytes"):
        cache.batch([Put("k", b"bytes")])


def test_a_batch_of_many_bytes(cache: Cache) -> None:
    large = "x" * 3_000_000
    results = cache.batch([Put(f"{number}", large) for number in range(5)])
    assert [type(result) for result in results] == [Stored] * 5
    cache.put("picture", b"\x89PNG", content_type="image/png")
    (hit,) = cache.batch([Get("picture")])
    assert isinstance(hit, Hit)
    assert (hit.value, hit.content_type, hit.etag, hit.age) == (b"\x89PNG", "image/png", None, None)


def test_what_is_too_large(cache: Cache) -> None:
    with pytest.raises(ValueTooLarge):
        cache.put("k", bytes(10 * 1024 * 1024 + 1))


@pytest.mark.parametrize("cost", ["0.04", Decimal("1E-9"), Decimal("0.040"), 2])
def test_costs(cache: Cache, cost: Any) -> None:
    assert cache.put("k", 1, cost=cost)
    assert cache.put("k", b"1", cost=cost)
    with pytest.raises(TypeError, match="float"):
        cache.put("k", 1, cost=0.04)  # type: ignore[arg-type]


def test_usage(cache: Cache) -> None:
    now = datetime.now(UTC)
    start = now.replace(minute=0, second=0, microsecond=0)
    report = cache.usage(start=start, end=start + timedelta(hours=1), group_by="hour", by="api_key")
    assert (report["group_by"], report["by"]) == ("hour", "api_key")
    assert report["from"] == start.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert report["total"]["hits"] == 0
    assert cache.usage(start=now.date(), group_by="day", by="tag")["usage"] == []
    assert cache.usage()["total"]["saved_usd"] is not None
    with pytest.raises(ValueError, match="time zone"):
        cache.usage(start=datetime(2026, 1, 1))  # noqa: DTZ001


def test_refusals(server: RunningServer, cast: Cast) -> None:
    with Cache(url=server.url, api_key=cast.outsider) as outsider, pytest.raises(InvalidAPIKey):
        outsider.get("k")
    with Cache(url=server.url, api_key=cast.without["write"].token) as reader, pytest.raises(Forbidden, match="write"):
        reader.put("k", 1)
    with Cache(url=server.url, api_key=cast.revoked.token, on_error="miss") as revoked:
        assert revoked.get("k") == Miss()


def test_the_asynchronous_client(server: RunningServer, api_key: str) -> None:
    async def use() -> None:
        async with AsyncCache(url=server.url, api_key=api_key) as cache:
            assert await cache.get("k") == Miss()
            assert await cache.put("k", {"a": 1}, tags=["t"])
            hits = await asyncio.gather(*(cache.get("k") for _ in range(200)))
            assert [hit.value for hit in hits if isinstance(hit, Hit)] == [{"a": 1}] * 200
            assert await cache.touch("k", ttl=60)
            assert [entry.key async for entry in cache.list(tag="t")] == ["k"]
            stored, hit, deleted = await cache.batch([Put("b", 1), Get("b"), Delete("b")])
            assert (type(stored), type(hit), deleted) == (Stored, Hit, True)
            assert (await cache.usage())["group_by"] == "day"
            assert await cache.delete("k")
            assert await cache.clear(all=True) == 0

    asyncio.run(use())
