"""The data keys that this process has unwrapped, and how often it sealed with them.

What is unwrapped stays so: a key service that is down stops only what it has yet to unwrap, with a 503.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.exceptions import ImproperlyConfigured

from accounts import keyring
from cacheservice.errors import InternalError

log = structlog.get_logger(__name__)

CACHED_KEYS = 10_000

FetchDataKey = Callable[[int, int | None], Awaitable[tuple[int, bytes, str] | None]]


Key = TypeVar("Key")
Value = TypeVar("Value")


class DataKey(NamedTuple):
    version: int
    cipher: AESGCM
    wrapped: bytes  # what it was unwrapped from


class NoDataKey(Exception):
    """The tenant has none: it was deleted."""


class DataKeys:
    """Data keys by tenant and version. `fetch` reads a wrapped one: (tenant, version or None for the current)."""

    def __init__(self, fetch: FetchDataKey) -> None:
        self._fetch = fetch
        self._keys: OrderedDict[tuple[int, int], DataKey] = OrderedDict()
        self._current: OrderedDict[int, DataKey] = OrderedDict()
        self._loading: dict[tuple[int, int | None], asyncio.Future[DataKey]] = {}
        self._master_keys = keyring.load()
        self._uses: Counter[tuple[int, int]] = Counter()

    async def sealing(self, tenant_id: int) -> DataKey:
        """The tenant's current data key, as far as this process knows: the write itself checks that it still is.

        Raises NoDataKey, and MasterKeyUnavailable.
        """
        key = self._current.get(tenant_id)
        if key is None:
            key = await self._load(tenant_id, None)
            _remember(self._current, tenant_id, key)
        self._uses[tenant_id, key.version] += 1
        return key

    async def opening(self, tenant_id: int, version: int) -> AESGCM:
        """The data key that sealed a value of this tenant, current or not. Raises MasterKeyUnavailable."""
        key = self._keys.get((tenant_id, version))
        return (key if key is not None else await self._load(tenant_id, version)).cipher

    def replaced(self, tenant_id: int) -> None:
        """A write found the data key replaced: load the current one next time."""
        self._current.pop(tenant_id, None)

    def take_uses(self) -> Counter[tuple[int, int]]:
        """How often each (tenant, version) sealed since the last call."""
        uses, self._uses = self._uses, Counter()
        return uses

    def give_back_uses(self, uses: Counter[tuple[int, int]]) -> None:
        self._uses.update(uses)

    async def _load(self, tenant_id: int, version: int | None) -> DataKey:
        """The key from the database, asked for once by all who want it at the same time."""
        place = (tenant_id, version)
        if place not in self._loading:
            task = self._loading[place] = asyncio.ensure_future(self._fetch_and_unwrap(tenant_id, version))
            task.add_done_callback(lambda _: self._loading.pop(place))
        return await asyncio.shield(self._loading[place])

    async def _fetch_and_unwrap(self, tenant_id: int, version: int | None) -> DataKey:
        row = await self._fetch(tenant_id, version)
        if row is None and version is None:
            raise NoDataKey
        if row is None:
            log.critical("data_key_missing", tenant_id=tenant_id, version=version)
            raise InternalError("The key that sealed this entry is gone; the operator has been told.")
        found, wrapped, master_key_id = row
        known = self._keys.get((tenant_id, found))
        # It opened a value before it was to seal one. Other bytes are the same key under another master key, or another
        # key: a failover may lose the commit of a rotation, and the next one gives the version again.
        if known is not None and known.wrapped == wrapped:
            return known
        try:
            plain = await keyring.in_thread(self._unwrap, keyring.WrappedKey(wrapped, master_key_id), tenant_id, found)
        except (keyring.CannotUnwrap, ImproperlyConfigured) as error:
            log.critical("data_key_does_not_unwrap", tenant_id=tenant_id, version=found, reason=str(error))
            raise InternalError("The key of this entry cannot be opened; the operator has been told.") from error
        key = DataKey(found, AESGCM(plain), wrapped)
        _remember(self._keys, (tenant_id, found), key)
        return key

    def _unwrap(self, key: keyring.WrappedKey, tenant_id: int, version: int) -> bytes:
        if key.master_key_id not in self._master_keys:
            self._master_keys = keyring.load()  # rotated while this process ran
        return self._master_keys.unwrap(key, tenant_id, version)


def _remember(cache: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    cache[key] = value
    if len(cache) > CACHED_KEYS:
        cache.popitem(last=False)
