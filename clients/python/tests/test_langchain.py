"""What LangChain's conformance tests do not ask of the cache; `tests/test_python_integrations.py` runs those."""

import asyncio
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("langchain_core")

from conftest import API_KEY
from fake_service import FakeService
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.load import dumps
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.prompts import PromptTemplate
from pydantic import BaseModel

from cacheservice_client import Cache
from cacheservice_client.integrations.langchain import LLMCache

HELLO = [Generation(text="Hello!", generation_info={"finish_reason": "stop"})]


@pytest.fixture
def cache(service: FakeService) -> Iterator[Cache]:
    with Cache(url=service.url, api_key=API_KEY) as cache:
        yield cache


@pytest.fixture
def llm_cache(cache: Cache) -> LLMCache:
    return LLMCache(cache)


def store(service: FakeService, llm_cache: LLMCache, content: Any) -> None:
    """As if somebody else had written it."""
    llm_cache.update("prompt", "llm", HELLO)
    (entry,) = service.entries.values()
    entry.value = json.dumps(content).encode()


def test_a_chat_model_is_asked_once(llm_cache: LLMCache) -> None:
    replies = [AIMessage("first", id="1", usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3})]
    model = GenericFakeChatModel(messages=iter(replies), cache=llm_cache)
    assert model.invoke("Hello?").content == "first"
    assert model.invoke("Hello?").content == "first"
    assert asyncio.run(model.ainvoke("Hello?")).content == "first"
    with pytest.raises((StopIteration, RuntimeError)):
        model.invoke("Another one?")


def test_the_key_is_of_both_texts_and_tells_neither(llm_cache: LLMCache, service: FakeService) -> None:
    for prompt, llm_string in (("a", "bc"), ("ab", "c"), ("a", "b"), ("\ud800", "\0")):
        llm_cache.update(prompt, llm_string, [Generation(text=prompt + "|")])
    assert llm_cache.lookup("a", "bc") == [Generation(text="a|")]
    assert llm_cache.lookup("ab", "c") == [Generation(text="ab|")]
    assert llm_cache.lookup("b", "a") is None
    assert all(len(key) == len("langchain:") + 64 for key in service.entries)


def test_versions_stand_side_by_side(cache: Cache) -> None:
    LLMCache(cache, version="v1").update("prompt", "llm", HELLO)
    assert LLMCache(cache, version="v2").lookup("prompt", "llm") is None
    assert LLMCache(cache, version="v1").lookup("prompt", "llm") == HELLO


def test_both_kinds_of_call_find_what_the_other_stored(llm_cache: LLMCache) -> None:
    async def there_and_back() -> Any:
        await llm_cache.aupdate("asyncio", "llm", HELLO)
        try:
            return await llm_cache.alookup("blocking", "llm")
        finally:
            await llm_cache.aclose()

    llm_cache.update("blocking", "llm", HELLO)
    assert asyncio.run(there_and_back()) == HELLO
    assert llm_cache.lookup("asyncio", "llm") == HELLO


def test_the_asynchronous_calls_take_no_threads(llm_cache: LLMCache, monkeypatch: pytest.MonkeyPatch) -> None:
    async def calls() -> None:
        await llm_cache.aupdate("prompt", "llm", HELLO)
        assert await llm_cache.alookup("prompt", "llm") == HELLO

    monkeypatch.setattr(llm_cache, "_cache", None)
    asyncio.run(calls())


@pytest.mark.parametrize(
    "content",
    [
        {"lc": 1, "type": "constructor", "id": ["langchain_core", "prompts", "prompt", "PromptTemplate"], "kwargs": {}},
        {"lc": 1, "type": "secret", "id": ["PATH"]},
        {"lc": 1, "type": "not_implemented", "id": ["x", "Y"]},
        {"lc": 1, "type": "constructor", "id": ["os", "system"], "kwargs": {}},
        {"lc": 1, "type": "constructor", "id": ["langchain", "schema", "output", "Generation"], "kwargs": {"text": []}},
        {"text": "Hello!"},
        "Hello!",
        None,
    ],
    ids=lambda content: str(content)[:50],
)
def test_what_is_no_generation_is_a_miss(llm_cache: LLMCache, service: FakeService, content: Any) -> None:
    for stored in (content, [content]):
        store(service, llm_cache, stored)
        assert llm_cache.lookup("prompt", "llm") is None


def test_no_other_class_is_even_made(
    llm_cache: LLMCache, service: FakeService, caplog: pytest.LogCaptureFixture
) -> None:
    store(service, llm_cache, [json.loads(dumps(PromptTemplate.from_template("{a}")))])
    assert llm_cache.lookup("prompt", "llm") is None
    assert "not allowed" in caplog.text


def test_what_a_model_says_is_never_taken_for_an_object(llm_cache: LLMCache) -> None:
    injected = {"lc": 1, "type": "secret", "id": ["PATH"]}
    generations = [Generation(text=json.dumps(injected), generation_info={"said": injected})]
    llm_cache.update("prompt", "llm", generations)
    assert llm_cache.lookup("prompt", "llm") == generations


def test_what_would_not_load_is_not_stored(llm_cache: LLMCache, service: FakeService) -> None:
    for info in ({"object": object()}, {"logprob": -math.inf}, {"text": "\ud800"}):
        llm_cache.update("prompt", "llm", [Generation(text="", generation_info=info)])
    assert service.entries == {}


def test_structured_output_comes_back_as_a_dict(llm_cache: LLMCache) -> None:
    class Answer(BaseModel):
        number: int

    message = AIMessage("42", additional_kwargs={"parsed": Answer(number=42)})
    llm_cache.update("prompt", "llm", [ChatGeneration(message=message)])
    found = llm_cache.lookup("prompt", "llm")
    assert isinstance(found, list)
    assert isinstance(found[0], ChatGeneration)
    assert found[0].message.additional_kwargs == {"parsed": {"number": 42}}


def test_a_dead_cache_is_a_miss() -> None:
    dead = LLMCache(Cache(url="http://127.0.0.1:1", api_key=API_KEY, on_error="miss", timeout=1))
    model = GenericFakeChatModel(messages=iter([AIMessage("1"), AIMessage("2")]), cache=dead)
    assert model.invoke("Hello?").content == "1"
    assert asyncio.run(model.ainvoke("Hello?")).content == "2"


def test_the_environment_makes_one_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("CACHE_API_KEY", API_KEY)
    assert LLMCache().lookup("prompt", "llm") is None
