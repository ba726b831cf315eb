"""A cache of LangChain's language models.

    from langchain_core.globals import set_llm_cache
    from cacheservice_client.integrations.langchain import LLMCache

    set_llm_cache(LLMCache())

Results are stored as LangChain's own JSON. That names classes, and loading makes objects of them: whoever may write to
the cache could have others run a class's constructor. So nothing is loaded but generations and messages, which take no
endpoints, secrets or templates, as LangChain advises for untrusted input:
https://reference.langchain.com/python/langchain-core/load/load
"""

import json
import logging
from collections.abc import Callable, Sequence
from typing import Any, cast

from langchain_core.caches import BaseCache
from langchain_core.load import dumps, load
from langchain_core.messages import AIMessage, AIMessageChunk, ChatMessage, ChatMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, Generation, GenerationChunk

from cacheservice_client.async_cache import AsyncCache
from cacheservice_client.cache import Cache
from cacheservice_client.integrations.entries import from_environment, hashed_key
from cacheservice_client.keys import Version, digest_key
from cacheservice_client.operations import Cost, Tags
from cacheservice_client.results import Hit, Miss
from cacheservice_client.values import JSON

logger = logging.getLogger("cacheservice_client")

KIND = "langchain"
LOADABLE = [
    *(Generation, GenerationChunk, ChatGeneration, ChatGenerationChunk),
    *(AIMessage, AIMessageChunk, ChatMessage, ChatMessageChunk, HumanMessage),
]
_load: Callable[..., Any] = getattr(
    load, "__wrapped__", load
)  # without the warning that it is beta, which an application cannot heed


class LLMCache(BaseCache):
    """Keys are `langchain:[<version>:]<SHA-256 of the prompt and the model's settings>`.

    `cache` serves the blocking calls; the asynchronous ones have an AsyncCache with the same settings. When none is
    given, it is of the environment, and an outage is a miss. `cost`: what one call of the model costs, in US dollars.
    """

    def __init__(
        self,
        cache: Cache | None = None,
        *,
        ttl: int | None = None,
        tags: Tags = (),
        cost: Cost | None = None,
        version: Version = None,
    ) -> None:
        self._cache = cache or from_environment()
        self._async_cache = AsyncCache(**vars(self._cache._settings))
        self._options: dict[str, Any] = {"ttl": ttl, "tags": tags, "cost": cost, "content_type": JSON}
        self._version = version
        self._prefix = digest_key(KIND, version, "")

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        return _generations(self._cache.get(self._key(prompt, llm_string)))

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        text = _text(return_val)
        if text is not None:
            self._cache.put(self._key(prompt, llm_string), text, **self._options)

    def clear(self, **kwargs: Any) -> None:
        """Delete what this version stored; without a version, what any stored. Raises CacheError, outage or not."""
        self._cache.clear(prefix=self._prefix)

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        return _generations(await self._async_cache.get(self._key(prompt, llm_string)))

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        text = _text(return_val)
        if text is not None:
            await self._async_cache.put(self._key(prompt, llm_string), text, **self._options)

    async def aclear(self, **kwargs: Any) -> None:
        """The same as `clear`."""
        await self._async_cache.clear(prefix=self._prefix)

    def close(self) -> None:
        self._cache.close()

    async def aclose(self) -> None:
        """Close the asynchronous connections, those of the running event loop."""
        await self._async_cache.aclose()

    def _key(self, prompt: str, llm_string: str) -> str:
        return hashed_key(KIND, prompt, llm_string, version=self._version)


def _text(generations: Sequence[Generation]) -> bytes | None:
    """JSON; None for what has none that would be loaded again, such as a parsed object of the application's."""
    try:
        # One by one: of a list, `dumps` leaves the objects that structured output was parsed to as they are.
        texts = [dumps(generation, ensure_ascii=False, allow_nan=False) for generation in generations]
        text = f"[{','.join(texts)}]".encode()
        _load(json.loads(text), allowed_objects=LOADABLE)
    except Exception as error:  # whatever the classes' own code raises
        logger.warning("A model's result is not cached, since it cannot be stored as JSON: %r", error)
        return None
    return text


def _generations(found: Hit | Miss) -> list[Generation] | None:
    if not isinstance(found, Hit) or not isinstance(found.value, list):
        return None
    try:
        generations = _load(found.value, allowed_objects=LOADABLE)
    except Exception as error:  # whatever the classes' own code raises
        logger.warning("A cached model's result does not load, and counts as a miss: %r", error)
        return None
    good = all(isinstance(generation, Generation) for generation in generations)
    return cast("list[Generation]", generations) if good else None
