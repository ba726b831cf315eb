"""The API key is in no text that anybody might print, log or send on."""

import logging
import pickle
import traceback
from typing import Any

import pytest
from conftest import API_KEY, NewCache
from fake_service import CUT, Answer, FakeService, error

from cacheservice_client import AsyncCache, Cache, CacheError


def test_no_repr_shows_it() -> None:
    for cache in (Cache(url="http://localhost", api_key=API_KEY), AsyncCache(url="http://localhost", api_key=API_KEY)):
        assert repr(cache) == f"{type(cache).__name__}(url='http://localhost', on_error='raise')"
        assert API_KEY not in repr(vars(cache))


@pytest.mark.parametrize(
    "answer", [CUT, error(401, "invalid_api_key"), Answer(200, b"<html>")], ids=["cut", "401", "200"]
)
def test_no_error_and_no_log_tells_it(
    new_cache: NewCache, service: FakeService, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    service.next_answers += [answer] * 3
    with caplog.at_level(logging.DEBUG), pytest.raises(CacheError) as raised:
        new_cache().get("k")
    assert API_KEY not in caplog.text
    assert API_KEY not in "".join(traceback.format_exception(raised.value))
    assert API_KEY not in repr(raised.value)
    again = pickle.loads(pickle.dumps(raised.value))
    assert (type(again), str(again)) == (type(raised.value), str(raised.value))


@pytest.mark.parametrize("api_key", ["", "ck_live_with\nbreak", "ck_live_with space", "ck_live_ünicode"])
def test_a_malformed_one_is_refused_without_being_told(api_key: str) -> None:
    with pytest.raises(ValueError, match="api_key") as raised:
        Cache(url="http://localhost", api_key=api_key)
    assert "ck_live" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "ftp://a", "http://", "http://user:pass@host", "http://host?a", "http://h#a", "http://h:port"],
)
def test_a_url_that_is_none_or_holds_a_password_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        Cache(url=url, api_key=API_KEY)


@pytest.mark.parametrize("option", [{"timeout": 0}, {"retries": -1}, {"on_error": "ignore"}])
def test_other_options_are_checked(option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(option))):
        Cache(url="http://localhost", api_key=API_KEY, **option)


def test_a_cache_is_not_pickled() -> None:
    with pytest.raises(TypeError, match="API key"):
        pickle.dumps(Cache(url="http://localhost", api_key=API_KEY))


def test_from_env(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CACHE_URL", raising=False)
    monkeypatch.setenv("CACHE_API_KEY", API_KEY)
    with pytest.raises(ValueError, match="CACHE_URL is not set") as raised:
        Cache.from_env()
    assert API_KEY not in str(raised.value)
    monkeypatch.setenv("CACHE_URL", "http://localhost:8000/\n")
    assert repr(Cache.from_env(on_error="miss")) == "Cache(url='http://localhost:8000/', on_error='miss')"
    assert isinstance(AsyncCache.from_env(), AsyncCache)
    monkeypatch.setenv("CACHE_API_KEY", "")
    with pytest.raises(ValueError, match="CACHE_API_KEY is not set"):
        AsyncCache.from_env()
