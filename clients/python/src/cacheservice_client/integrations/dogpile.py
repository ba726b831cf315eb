"""A backend of dogpile.cache, whose mutex holds across processes and machines.

    from dogpile.cache import make_region

    region = make_region().configure("cacheservice", expiration_time=3600, arguments={"ttl": 86_400})

Values are JSON unless the region is given a serializer and a deserializer. dogpile's own default, pickle, would run the
code of whoever may write to the cache.
"""

import json
import random
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from dogpile.cache import register_backend
from dogpile.cache.api import NO_VALUE, BytesBackend, CacheMutex, CantDeserializeException, SerializedReturnType

from cacheservice_client import values
from cacheservice_client.batches import Delete
from cacheservice_client.cache import Cache
from cacheservice_client.errors import CacheError
from cacheservice_client.filling import LEASE_SECONDS, LONGEST_REQUEST_SECONDS, PAUSE_SECONDS
from cacheservice_client.integrations.entries import as_json, failed, from_environment, get_many, hashed_key
from cacheservice_client.results import Hit, Miss
from cacheservice_client.transport import run


class CacheServiceBackend(BytesBackend):
    """Its arguments, none of which is needed:

    - `cache`: a `Cache`; else one of the environment, whose outages are misses.
    - `ttl`: the seconds after which the service forgets a value, a week by default. Let it be longer than the region's
      `expiration_time`: dogpile gives callers the old value while one makes the new one.
    - `tags`: of all entries.
    - `prefix`: of all keys, `dogpile` by default. Behind it is the SHA-256 of the region's key, unless the region has a
      `key_mangler` of its own.
    - `distributed_lock`: False leaves the mutex to dogpile, one for each process.
    - `lock_timeout`: the seconds, 60 by default and at most 300, after which a mutex passes to another.
    """

    def __init__(self, arguments: Mapping[str, Any]) -> None:
        self._cache: Cache = arguments.get("cache") or from_environment()
        self._options = {"ttl": arguments.get("ttl"), "tags": arguments.get("tags", ())}
        self._prefix: str = arguments.get("prefix", "dogpile")
        self._distributed_lock: bool = arguments.get("distributed_lock", True)
        self._lock_seconds: int = arguments.get("lock_timeout", LEASE_SECONDS)

    @staticmethod
    def serializer(value: Any) -> bytes:
        return values.dumps(as_json(value)).encode()

    @staticmethod
    def deserializer(text: bytes) -> Any:
        try:
            return json.loads(text)
        except ValueError as error:
            raise CantDeserializeException from error

    def key_mangler(self, key: str) -> str:
        return hashed_key(self._prefix, key)

    def has_lock_timeout(self) -> bool:
        return self._distributed_lock

    def get_mutex(self, key: str) -> CacheMutex | None:
        return LeaseMutex(self._cache, key, self._lock_seconds) if self._distributed_lock else None

    def get_serialized(self, key: str) -> SerializedReturnType:
        return _content(self._cache.get(key))

    def get_serialized_multi(self, keys: Iterable[str]) -> Sequence[SerializedReturnType]:
        return [_content(found) for found in get_many(self._cache, list(keys))]

    def set_serialized(self, key: str, value: bytes) -> None:
        self._cache.put(key, value, **self._options)

    def set_serialized_multi(self, mapping: Mapping[str, bytes]) -> None:
        """With one request for each: a batch takes no bytes."""
        for key, value in mapping.items():
            self.set_serialized(key, value)

    def delete(self, key: str) -> None:
        self._cache.delete(key)

    def delete_multi(self, keys: Iterable[str]) -> None:
        for result in self._cache.batch(map(Delete, keys)):
            failed(self._cache, result)


class LeaseMutex(CacheMutex):
    """A lock on the lease of an entry that is never filled, `lock:<SHA-256 of the key>`, and so on no value.

    - Threads that share the object exclude each other in any case. Other objects, processes and machines are excluded
      while the lease lasts: for `seconds`. Then another caller gets the lock, whether its holder died or is late. It
      saves work; what would be harmed by two at once needs more than that.
    - Who waits is told by the service, within a second of the lock being free. The order is not that of arrival.
    - While the cache is out and on_error="miss", and after a bulk delete of all keys, only the threads that share the
      object exclude each other.
    - Nothing is charged. The API key needs the scopes `read` and `write`.
    """

    def __init__(self, cache: Cache, key: str, seconds: int) -> None:
        self._cache = cache
        self._key = hashed_key("lock", key)
        self._seconds = seconds
        self._threads = threading.Lock()
        self._lease: str | None = None

    def acquire(self, wait: bool = True) -> bool:
        """Whether the lock is the caller's. Raises CacheError, unless on_error="miss"."""
        if not self._threads.acquire(wait):
            return False
        try:
            acquired = self._acquire_lease(wait)
        except BaseException:
            self._threads.release()
            raise
        if not acquired:
            self._threads.release()
        return acquired

    def release(self) -> None:
        """From any thread. A release that fails is made up for by the lease's end."""
        lease, self._lease = self._lease, None
        try:
            if lease is not None:
                with suppress(CacheError):
                    self._cache.release(self._key, lease)
        finally:
            self._threads.release()  # last, so that the next thread finds the lease free

    def locked(self) -> bool:
        """Whether anybody has the lock. Asking takes it for a moment, in which another `acquire(False)` fails."""
        if self.acquire(False):
            self.release()
            return False
        return True

    def _acquire_lease(self, wait: bool) -> bool:
        found = self._ask(0)
        while found == Miss() and wait:
            found = self._ask(LONGEST_REQUEST_SECONDS)
            if found == Miss():
                time.sleep(random.uniform(0, PAUSE_SECONDS))  # noqa: S311  no secret
        if found == Miss():
            return False
        self._lease = found.lease if isinstance(found, Miss) else None
        return True

    def _ask(self, wait: int) -> Hit | Miss | None:
        """A miss, with the lease or without when another one has it. Else there is no lease to be had of anybody:
        None while the cache is out, and a hit of what someone stored at this key."""
        try:
            return run(self._cache._engine.attempt(self._cache._operations.get(self._key, self._seconds, wait)))
        except CacheError as error:
            if not self._cache._engine.tolerates(error):
                raise
            return None


def _content(found: Hit | Miss) -> SerializedReturnType:
    if isinstance(found, Hit) and isinstance(found.value, bytes):
        return found.value
    return NO_VALUE


register_backend("cacheservice", __name__, CacheServiceBackend.__name__)  # type: ignore[no-untyped-call]
