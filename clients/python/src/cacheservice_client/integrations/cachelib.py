"""A cachelib cache, and so one of Flask-Caching:

    app.config["CACHE_TYPE"] = "cacheservice_client.integrations.cachelib.CacheServiceCache"
    app.config["CACHE_OPTIONS"] = {"key_prefix": "shop"}

Values are JSON, and bytes as they are. cachelib's own default, pickle, would run the code of whoever may write to the
cache. What JSON does not bring back as it was, such as a tuple, a date or a Response, is a TypeError.
"""

import datetime as dt
import math
import random
import time
from collections.abc import Mapping
from typing import Any

from cachelib.base import BaseCache
from cachelib.serializers import BaseSerializer

from cacheservice_client.batches import Delete, Put
from cacheservice_client.cache import Cache
from cacheservice_client.errors import CacheError, PreconditionFailed
from cacheservice_client.integrations.entries import as_json, failed, from_environment, get_many, hashed_key
from cacheservice_client.keys import digest_key
from cacheservice_client.messages import Request, Response
from cacheservice_client.operations import Operation, Tags, check, item
from cacheservice_client.results import Hit, Miss, Stored
from cacheservice_client.transport import run

LONGEST_SECONDS = 31_536_000  # the service's: a year
MOST_ATTEMPTS = 100  # at an increment: of as many callers at once, the slowest needs no more
PAUSE_SECONDS = 0.02  # at most, after a lost race


class CacheServiceCache(BaseCache):
    """Keys are `<key_prefix>:<SHA-256 of the key>`. A timeout of 0, "never", is a year.

    - `cache`: a `Cache`; else one of the environment, whose outages are misses.
    - Without a serializer, values are JSON, where a dict's names are texts: one with others, such as `{1: "a"}`, is a
      TypeError.
    - `serializer`: one of cachelib's (Flask-Caching: CACHE_SERIALIZER) for what is not JSON. BaseSerializer is pickle:
      use it where everyone who has an API key of the tenant may run code in the application.
    """

    def __init__(
        self,
        cache: Cache | None = None,
        default_timeout: int | dt.timedelta = 300,
        *,
        key_prefix: str = "cachelib",
        tags: Tags = (),
        serializer: BaseSerializer | None = None,
        ignore_delete_many_errors: bool = True,
    ) -> None:
        super().__init__(_seconds(default_timeout))
        self.ignore_delete_many_errors = ignore_delete_many_errors
        self.serializer = serializer
        self._cache = cache or from_environment()
        self._prefix = key_prefix
        self._tags = tags

    def get(self, key: str) -> Any:
        """None when it is missing."""
        return self._loaded(self._cache.get(self._key(key)))

    def get_many(self, *keys: str) -> list[Any]:
        return [self._loaded(found) for found in get_many(self._cache, list(map(self._key, keys)))]

    def has(self, key: str) -> bool:
        """Without loading the value, and free of charge."""
        head = Operation(Request("HEAD", item(self._key(key))), _exists, lambda: False)
        return run(self._cache._engine.perform(head))

    def set(self, key: str, value: Any, timeout: int | dt.timedelta | None = None) -> bool:
        """False when the cache is out. Raises TypeError and ValueError for what cannot be serialized."""
        ttl = self._ttl(timeout)
        return self._cache.put(self._key(key), self._dumped(value), ttl=ttl, tags=self._tags) is not None

    def add(self, key: str, value: Any, timeout: int | dt.timedelta | None = None) -> bool:
        """The same, but False where there is a value."""
        try:
            ttl, content = self._ttl(timeout), self._dumped(value)
            return self._cache.put(self._key(key), content, ttl=ttl, tags=self._tags, if_absent=True) is not None
        except PreconditionFailed:
            return False

    def set_many(self, mapping: Mapping[str, Any], timeout: int | dt.timedelta | None = None) -> list[str]:
        """The keys that were set. Bytes, and so all that a serializer makes, go with a request each."""
        ttl = self._ttl(timeout)
        contents = {key: self._dumped(value) for key, value in mapping.items()}
        alone = [key for key, content in contents.items() if isinstance(content, bytes)]
        puts = {
            key: Put(self._key(key), content, ttl=ttl, tags=self._tags)
            for key, content in contents.items()
            if key not in alone
        }
        results = dict(zip(puts, self._cache.batch(puts.values()), strict=True))
        for result in results.values():
            failed(self._cache, result)
        done = {key for key, result in results.items() if isinstance(result, Stored)}
        done.update(
            key for key in alone if self._cache.put(self._key(key), contents[key], ttl=ttl, tags=self._tags) is not None
        )
        return [key for key in mapping if key in done]

    def delete(self, key: str) -> bool:
        """Whether there was a value."""
        return self._cache.delete(self._key(key))

    def delete_many(self, *keys: str) -> list[str]:
        """The keys that have no value any more; those of an outage too, which has no values."""
        results = dict(zip(keys, self._cache.batch(Delete(self._key(key)) for key in keys), strict=True))
        errors = [key for key, result in results.items() if failed(self._cache, result)]
        if errors and not self.ignore_delete_many_errors:
            raise RuntimeError(f"not deleted: {errors}")
        return [key for key in keys if key not in errors]

    def clear(self) -> bool:
        """Delete what has this prefix; False when the cache is out."""
        try:
            self._cache.clear(prefix=digest_key(self._prefix, None, ""))
        except CacheError as error:
            if not self._cache._engine.tolerates(error):
                raise
            return False
        return True

    def inc(self, key: str, delta: int = 1) -> int | None:
        """Atomic: no increment is lost. The value expires when it would have.

        None when it was not done: the cache is out or may not be read, or others were faster MOST_ATTEMPTS times.
        """
        for _ in range(MOST_ATTEMPTS):
            found = self._found(key)
            if found is None:
                return None
            value: int = (self._loaded(found) or 0) + delta
            content = self._dumped(value)
            try:
                if isinstance(found, Hit):
                    ttl, if_match = _seconds_left(found), found.etag
                    stored = self._cache.put(self._key(key), content, ttl=ttl, tags=self._tags, if_match=if_match)
                else:
                    ttl = self._ttl(None)
                    stored = self._cache.put(self._key(key), content, ttl=ttl, tags=self._tags, if_absent=True)
                return None if stored is None else value
            except PreconditionFailed:  # another one was faster
                time.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311  no secret
        return None

    def dec(self, key: str, delta: int = 1) -> int | None:
        return self.inc(key, -delta)

    def _found(self, key: str) -> Hit | Miss | None:
        """None when on_error="miss" hides why it cannot be read, which `Cache.get` gives as a miss."""
        try:
            return run(self._cache._engine.attempt(self._cache._operations.get(self._key(key))))
        except CacheError as error:
            if not self._cache._engine.tolerates(error):
                raise
            return None

    def _key(self, key: str) -> str:
        return hashed_key(self._prefix, key)

    def _ttl(self, timeout: int | dt.timedelta | None) -> int:
        seconds = self.default_timeout if timeout is None else _seconds(timeout)
        return min(seconds or LONGEST_SECONDS, LONGEST_SECONDS)

    def _dumped(self, value: Any) -> Any:
        """What is stored: bytes, or what JSON can have."""
        if self.serializer is None:
            return value if isinstance(value, bytes) else as_json(value)
        content = self.serializer.dumps(value)
        if content is None:  # BaseSerializer logs why
            raise TypeError(f"{type(self.serializer).__name__} cannot serialize a {type(value).__name__}")
        return content

    def _loaded(self, found: Hit | Miss) -> Any:
        if not isinstance(found, Hit):
            return None
        if self.serializer is None:
            return found.value
        return self.serializer.loads(found.value) if isinstance(found.value, bytes) else None


def _exists(response: Response) -> bool:
    if response.status == 404 and response.headers.get("x-cache") == "MISS":
        return False
    check(response)
    return True


def _seconds(timeout: int | dt.timedelta) -> int:
    return math.ceil(timeout.total_seconds() if isinstance(timeout, dt.timedelta) else timeout)


def _seconds_left(hit: Hit) -> int:
    """Told by the service's clock alone."""
    return max(1, math.ceil((hit.expires_at - hit.created_at).total_seconds()) - (hit.age or 0))
