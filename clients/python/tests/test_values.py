"""What is refused before anything is sent."""

from typing import Any

import pytest
from conftest import API_KEY, NewCache
from fake_service import FakeService

from cacheservice_client import AsyncCache, Cache


@pytest.mark.parametrize("text", [b"", b"{", b'1,"ttl":60', b"1}", b'"\xff"', b"\xff\xfe1\x00", b"\xef\xbb\xbf1"])
def test_bytes_of_the_type_json_are_json(cache: Any, service: FakeService, text: bytes) -> None:
    """They go between the other fields of a request, which they must not add to."""
    with pytest.raises(ValueError, match="not JSON"):
        cache.put("k", text, content_type="application/json")
    assert not service.received


def test_json_as_bytes_is_sent_as_it_is(new_cache: NewCache, service: FakeService) -> None:
    text = b'{ "a": 1.50, "n": 123456789012345678901234567890 }'
    new_cache().put("k", text, content_type="application/json; charset=utf-8")
    assert service.received[0].body == b'{"value":%s}' % text


@pytest.mark.parametrize("kind", [Cache, AsyncCache])
@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf")])
def test_a_timeout_that_no_clock_can_hold_is_refused(kind: type[Cache] | type[AsyncCache], timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        kind(url="http://localhost", api_key=API_KEY, timeout=timeout)
