"""What the integrations have in common."""

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from cacheservice_client.batches import Get
from cacheservice_client.cache import Cache
from cacheservice_client.errors import APIError, ValueTooLarge
from cacheservice_client.keys import Version, digest_key
from cacheservice_client.results import Hit, Miss


def from_environment() -> Cache:
    """What an integration uses when it is given no cache: one whose outages are misses."""
    return Cache.from_env(on_error="miss")


def hashed_key(kind: str, *parts: str, version: Version = None) -> str:
    """Any texts as a key. Hashed, since keys are stored readable and have a length; so no text is refused."""
    return digest_key(kind, version, sha256(json.dumps(parts).encode()).hexdigest())


def get_many(cache: Cache, keys: Sequence[str]) -> list[Hit | Miss]:
    """The entries in the keys' order, by as few requests as it takes."""
    return [_found(cache, key, result) for key, result in zip(keys, cache.batch(map(Get, keys)), strict=True)]


def failed(cache: Cache, result: object) -> bool:
    """Whether this result of a batch is an error that on_error="miss" hides; raises one that it does not."""
    if isinstance(result, APIError) and not cache._engine.tolerates(result):
        raise result
    return isinstance(result, APIError)


def _found(cache: Cache, key: str, result: object) -> Hit | Miss:
    if isinstance(result, ValueTooLarge):  # for one answer, together with those before it
        return cache.get(key)
    if failed(cache, result) or not isinstance(result, Hit):
        return Miss()
    return result


def as_json(value: Any) -> Any:
    """The value. Raises TypeError for what JSON would quietly bring back as something else; what it does not know at
    all, it refuses itself."""
    if isinstance(value, tuple):
        raise TypeError("a tuple would come back from JSON as a list; use a list, or another serializer")
    if isinstance(value, dict):
        if not all(isinstance(name, str) for name in value):
            raise TypeError("a dict's keys would come back from JSON as str; use str, or another serializer")
        for member in value.values():
            as_json(member)
    elif isinstance(value, list):
        for member in value:
            as_json(member)
    return value
