"""The store: the one way to entries, for the lane, Django REST framework, batches and the gateway.

One instance a server process, bound to its event loop. Item operations are gathered (`gather.py`); what may take long
(large values, lists, bulk deletes, data keys) runs on a small pool of its own, so that it delays no hit.
"""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import structlog
from django.conf import settings

from accounts import sql as accounts_sql
from accounts import tokens
from cacheservice import metrics
from cacheservice.entries import browsing, collection, crypto, pooler, purge, sql
from cacheservice.entries.browsing import Viewed
from cacheservice.entries.collection import Selection
from cacheservice.entries.datakeys import DataKey, DataKeys, NoDataKey
from cacheservice.entries.gather import Gatherer
from cacheservice.entries.leases import Fate, Place, Spot, Waiting
from cacheservice.entries.models import Space
from cacheservice.entries.operations import (
    Authorise,
    Caller,
    DataKeyReplaced,
    Delete,
    Found,
    Lease,
    LeaseState,
    Limited,
    LimitedRead,
    LookUp,
    Operation,
    QuotaUncertain,
    Read,
    Update,
    Updated,
    Write,
    Written,
)
from cacheservice.entries.refunds import Charge, Named, Refunds
from cacheservice.entries.replica import Reading, Replica
from cacheservice.entries.requests import NO_CONDITION, Condition, NewEntry
from cacheservice.entries.side import SidePool
from cacheservice.errors import (
    AddressRefused,
    APIError,
    InternalError,
    InvalidAPIKey,
    Unavailable,
    ValueTooLarge,
)

log = structlog.get_logger(__name__)

CACHED_CALLERS = 10_000
NOTED_UNOPENABLE = 10_000  # versions that a process remembers to have noted
FLUSH_SECONDS = 60
THREAD_FROM_BYTES = 256 * 1024  # sealing more than this would hold the loop for over a millisecond
ATTEMPTS = 3
_SPACES = {int(space): space.name.lower() for space in Space}  # in metrics


class Hit(NamedTuple):
    """A live entry as a reader gets it. Times are microseconds since 1970. Without a value nothing was charged."""

    version: int
    size: int
    created_at: int
    expires_at: int
    content_type: str | None
    value: bytes  # empty where it was not wanted
    charge: Charge


class Stored(NamedTuple):
    """What a write answers."""

    version: int
    size: int
    created_at: int
    expires_at: int
    replaced: bool


class Allowance:
    """How many bytes of values one request may still be given."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size

    def take(self, size: int) -> None:
        """Raises ValueTooLarge when `size` is more than is left."""
        if size > self._left:
            raise ValueTooLarge(f"The values of this request have more than {self._size} bytes: get this one alone.")
        self._left -= size

    def give_back(self, size: int) -> None:
        self._left += size


class Store:
    """See the module. Every method raises APIError only; Unavailable in bounded time when PostgreSQL is away, and
    AddressNeeded, with nothing done, when a caller without an address turns out to need one (`caller_at`)."""

    def __init__(self, conninfo: str) -> None:
        self._gatherer = Gatherer(
            conninfo,
            [Read, LimitedRead, Write, Update, Delete, Lease, Authorise, LookUp],
            connections=settings.DATABASE_CONNECTIONS,
            queue_limit=settings.QUEUE_LIMIT,
            queue_timeout=settings.QUEUE_TIMEOUT_SECONDS,
            statement_timeout=settings.STATEMENT_TIMEOUT_SECONDS,
            in_doubt=self._reads_in_doubt,
        )
        self._side = SidePool(conninfo, "side")  # large values and data keys
        self._scans = SidePool(conninfo, "scans")  # lists and bulk deletes: no hit waits for those
        self._replica = Replica(settings.REPLICA_URL, self._side) if settings.REPLICA_URL else None
        self._refunds = Refunds(self._side)
        self._waiting = Waiting(conninfo, self._look)
        self._data_keys = DataKeys(self._fetch_data_key)
        self._callers: dict[bytes | tuple[bytes, str], Caller] = {}  # by digest, or digest and address
        self._last_used: dict[Caller, float] = {}
        self._unopenable: set[tuple[int, int]] = set()  # versions that are noted

    async def start(self) -> None:
        await self._side.open()
        await self._scans.open()
        if self._replica is not None:
            await self._replica.start()
        await self._gatherer.start()
        self._refunds.start()
        self._waiting.start()
        self._flusher = asyncio.create_task(self._flush_regularly())

    async def close(self) -> None:
        self._flusher.cancel()
        await self._waiting.close()
        await self._flush()
        await self._gatherer.close()
        await self._refunds.close()
        await self._side.close()
        await self._scans.close()
        if self._replica is not None:
            await self._replica.close()

    @property
    def connected(self) -> bool:
        return self._gatherer.connected

    def measure(self) -> None:
        """Sets the gauges of what it holds."""
        for each in (self._gatherer, self._side, self._scans, self._waiting):
            each.measure()
        if self._replica is not None:
            lag = self._replica.lag
            metrics.REPLICA_USED.set(lag is not None)
            metrics.REPLICA_LAG.set(lag or 0)

    # Who asks

    async def caller(self, token: bytes) -> Caller:
        """The API key that a token names and proves. Raises InvalidAPIKey. Whether it still holds, each statement
        decides; this only remembers which row to look at."""
        caller = self._callers.get(tokens.digest(token))
        if caller is None:
            caller = await self._gatherer.submit(LookUp(tokens.parse(token)))
            self._remember(caller.digest, caller)
        return caller

    def caller_at(self, caller: Caller, address: str) -> Caller:
        """The same caller, as one who asks from there: where its API key has an allow-list, nothing works without."""
        place = (caller.digest, address)
        placed = self._callers.get(place)
        if placed is None:
            placed = Caller(caller.tenant_id, caller.api_key_id, caller.digest, address)
            self._remember(place, placed)
        return placed

    async def authorise(self, caller: Caller, scope: str | None, *, requests: int = 1) -> None:
        """Raises InvalidAPIKey when the caller no longer holds, Forbidden when it lacks the scope (None: any does) or
        asks from a wrong address, RateLimitExceeded. `requests`: how many this is for the rate limit; 0 where an
        operation follows that counts.
        """
        await self._run(Authorise(caller, scope, requests))

    # One entry

    async def get(
        self,
        caller: Caller,
        key: str,
        *,
        wanted: bool = True,
        allowance: "Allowance | None" = None,
        space: int = Space.TENANT,
        requests: int = 1,
    ) -> Hit | None:
        """The live entry, or None. Without `wanted` its value is neither read nor opened, and nothing is charged.
        `requests`: how many this is for the rate limit.

        Raises InsufficientCredits, and ValueTooLarge when the value goes beyond what `allowance` has left. What was
        charged for a value that is then not given is refunded before this ends.
        """
        for _ in range(ATTEMPTS):
            read: Read = (
                LimitedRead(caller, space, key, wanted, requests)
                if caller.limited
                else Read(caller, space, key, wanted)
            )
            found: Found | None
            try:
                found = await self._run(read)
            except Limited:
                read = LimitedRead(caller, space, key, wanted, requests)
                found = await self._run(read)
            if found is None:
                metrics.MISSES.add(wanted, _SPACES[space])
                return None
            receipt = Named(caller.tenant_id, read.receipt_day, read.receipt_id)
            charge = Charge(receipt, found.units, found.cost, found.version)
            value: bytes | None = b""
            if wanted:
                try:
                    value = await self._value(caller.tenant_id, space, key, found, allowance)
                except APIError:
                    await self.refund(charge)
                    raise
                if value is None:  # replaced since the statement: read what is there now
                    await self.refund(charge)
                    continue
                metrics.HITS.add(1, _SPACES[space])
            return Hit(
                found.version, found.size, found.created_at, found.expires_at, found.content_type, value or b"", charge
            )
        raise Unavailable("The entry is being replaced faster than it can be read: try again.")

    async def get_or_lease(
        self,
        caller: Caller,
        key: str,
        *,
        seconds: int,
        wait: float,
        space: int = Space.TENANT,
        gone: Callable[[], Awaitable[None]] | None = None,
    ) -> Hit | int | None:
        """The live entry; or a token, for which the caller shall fill it within `seconds`; or None: someone else holds
        the lease, and has not filled the entry within `wait` seconds.

        `gone` returns when the client has left: then it waits no more, and a lease goes to those who are still there.
        Who waits counts as a miss, and as a hit once the entry is filled, but once against the rate limit. Raises as
        `get`, and Forbidden.
        """
        hit = await self.get(caller, key, space=space)
        return hit or await self.lease_or_wait(caller, key, seconds=seconds, wait=wait, space=space, gone=gone)

    async def lease_or_wait(
        self,
        caller: Caller,
        key: str,
        *,
        seconds: int,
        wait: float,
        space: int = Space.TENANT,
        gone: Callable[[], Awaitable[None]] | None = None,
    ) -> Hit | int | None:
        """`get_or_lease` after a `get` that missed."""
        deadline = self._waiting.now() + wait
        leaving: asyncio.Future[None] | None = None
        try:
            with self._waiting.spot((caller.tenant_id, space, key)) as spot:
                while True:
                    changes = spot.changes
                    outcome = await self._ask_for_lease(caller, space, key, seconds, spot, waits=wait > 0)
                    if isinstance(outcome, int):
                        if leaving is None or not leaving.done():
                            return outcome
                        self._hand_back(caller, space, key, outcome)
                        return None
                    if outcome is LeaseState.HELD and spot.changes == changes:  # else its end came before the answer
                        left = deadline - self._waiting.now()
                        if left <= 0:
                            return None
                        if leaving is None and gone is not None:
                            leaving = asyncio.ensure_future(gone())
                        fate = await spot.wait(left, leaving)
                        if fate is Fate.OVER:
                            return None
                        if fate is Fate.FREE:
                            continue
                    hit = await self.get(caller, key, space=space, requests=0)
                    if hit is not None:
                        return hit
        finally:
            if leaving is not None:
                leaving.cancel()

    async def refund(self, charge: Charge) -> None:
        """Take back what was charged for a hit whose value was not given. Booked at once, or as soon as it can be."""
        await self._refunds.give_back(charge)

    async def put(
        self,
        caller: Caller,
        key: str,
        entry: NewEntry,
        condition: Condition = NO_CONDITION,
        *,
        lease: int = 0,
        space: int = Space.TENANT,
    ) -> Stored:
        """Ends the lease on the key. Raises PreconditionFailed when `condition` is not met, StorageQuotaExceeded, and
        LeaseLost when `lease`, a token, is not the one that is held."""
        alone = False
        refusal: APIError = Unavailable("The tenant's data key is being rotated: try again.")
        for _ in range(ATTEMPTS):
            data_key = await self._sealing_key(caller)
            version = secrets.randbits(64) - (1 << 63)
            identity = crypto.Identity(caller.tenant_id, space, key, data_key.version, version, entry.content_type)
            size = len(entry.value)
            if size < THREAD_FROM_BYTES:
                sealed = crypto.seal(data_key.cipher, identity, entry.value)
            else:
                sealed = await asyncio.to_thread(crypto.seal, data_key.cipher, identity, entry.value)
            write = Write(
                caller,
                space,
                key,
                condition,
                sealed=sealed,
                data_key_version=data_key.version,
                size=size,
                content_type=entry.content_type,
                ttl=entry.ttl,
                tags=entry.tags,
                cost=entry.cost,
                version=version,
                lease=lease,
            )
            write.alone = alone
            try:
                written: Written = await self._run(write)
            except DataKeyReplaced:
                self._data_keys.replaced(caller.tenant_id)
                continue
            except QuotaUncertain as error:
                await self.book_expired(caller.tenant_id)
                alone, refusal = True, error.refusal
                continue
            metrics.WRITES.add(1, _SPACES[space])
            return Stored(version, size, written.created_at, written.expires_at, written.replaced)
        raise refusal

    async def patch(
        self,
        caller: Caller,
        key: str,
        ttl: int | None,
        tags: list[str] | None,
        condition: Condition = NO_CONDITION,
        *,
        space: int = Space.TENANT,
    ) -> Updated | None:
        """Renews or retags; None for what is not given leaves it. None where there is no live entry."""
        updated: Updated | None = await self._run(Update(caller, space, key, condition, ttl, tags))
        return updated

    async def delete(
        self,
        caller: Caller,
        key: str,
        condition: Condition = NO_CONDITION,
        *,
        lease: int = 0,
        space: int = Space.TENANT,
    ) -> bool:
        """Whether a live entry was deleted; a lease on the key is void then. With `lease`, a token, nothing is deleted:
        the lease is given back, to whoever waits for it."""
        deleted: bool = await self._run(Delete(caller, space, key, condition, lease))
        metrics.DELETES.add(deleted, _SPACES[space])
        return deleted

    async def open(self, tenant_id: int, key: str) -> tuple[Viewed, bytes] | None:
        """The tenant's live entry with its value, for a member to look at in the console: free, and no hit. Raises
        InternalError where it does not open."""
        for _ in range(ATTEMPTS):
            seen = await browsing.view(self, tenant_id, key)
            if seen is None:
                return None
            fetched = await self._fetch_value(tenant_id, Space.TENANT, key, seen.version)
            if fetched is not None:  # else replaced since it was seen
                sealed, data_key = fetched
                identity = crypto.Identity(tenant_id, Space.TENANT, key, data_key, seen.version, seen.content_type)
                return seen, await self._open(identity, sealed, seen.size)
        raise Unavailable("The entry is being replaced faster than it can be read: try again.")

    # Many entries

    async def delete_selected(self, caller: Caller, selection: Selection) -> int:
        deleted = await collection.delete(self._scans, caller, selection)
        metrics.DELETES.add(deleted, _SPACES[Space.TENANT])
        return deleted

    async def book_expired(self, tenant_id: int) -> None:
        """Remove the tenant's expired entries and book their storage."""
        count = purge.BOOKED
        while count == purge.BOOKED:
            parameters = purge.purge_parameters({tenant_id: purge.NEVER}, purge.BOOKED)
            rows = await self._scans.rows(sql.PURGE, parameters, lock_tenant=tenant_id)
            count = sum(count for _, count, _ in rows)

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The rows of a report, which may take long."""
        return await self._scans.rows(statement, parameters)

    def reading(self, *, fresh: bool = False) -> Reading:
        """For lists and reports that may be some seconds behind (`replica.py`), unless they are to be `fresh`."""
        return Reading(self._scans, None if fresh else self._replica)

    # Inside

    async def _run(self, operation: Operation) -> Any:
        try:
            outcome = await self._gatherer.submit(operation)
        except (InvalidAPIKey, AddressRefused) as error:
            self._forget(operation.caller, everywhere=isinstance(error, InvalidAPIKey))
            raise
        self._last_used[operation.caller] = time.time()
        return outcome

    def _remember(self, place: bytes | tuple[bytes, str], caller: Caller) -> None:
        if len(self._callers) >= CACHED_CALLERS:
            del self._callers[next(iter(self._callers))]
        self._callers[place] = caller

    def _forget(self, caller: Caller, *, everywhere: bool) -> None:
        """Whoever is refused takes nobody's room."""
        if caller.address is not None:
            self._callers.pop((caller.digest, caller.address), None)
        if everywhere:
            self._callers.pop(caller.digest, None)

    async def _ask_for_lease(
        self, caller: Caller, space: int, key: str, seconds: int, spot: Spot, *, waits: bool
    ) -> LeaseState | int:
        """The token, or why there is none. Requests of one process ask one after the other, and once one of them is
        told that the lease is held, not again until something happens."""
        async with spot.asking:
            if spot.known_held:
                return LeaseState.HELD
            lease = Lease(caller, space, key, seconds, waits=waits)
            changes = spot.changes
            try:
                state: LeaseState = await self._run(lease)
            except asyncio.CancelledError:  # it may be taken all the same
                self._hand_back(caller, space, key, lease.token)
                raise
            spot.known_held = waits and state is LeaseState.HELD and spot.changes == changes
            return lease.token if state is LeaseState.TAKEN else state

    def _hand_back(self, caller: Caller, space: int, key: str, token: int) -> None:
        """The lease, which nobody will use, behind whatever is under way for the key. Where that fails, it runs out."""
        given_back = self._gatherer.submit(Delete(caller, space, key, NO_CONDITION, token))
        given_back.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    async def _look(self, places: list[Place]) -> list[tuple[bool, bool]]:
        tenant_ids, spaces, keys = (list(column) for column in zip(*places, strict=True))
        rows = await self._side.rows(sql.LOOK, {"tenant_ids": tenant_ids, "spaces": spaces, "keys": keys})
        return [(filled, held) for filled, held in rows]

    async def _sealing_key(self, caller: Caller) -> DataKey:
        """A tenant that was deleted has none, and its API keys hold no more: then this is InvalidAPIKey."""
        try:
            return await self._data_keys.sealing(caller.tenant_id)
        except NoDataKey as error:
            await self.authorise(caller, None, requests=0)
            log.critical("data_key_missing", tenant_id=caller.tenant_id)
            raise InternalError("The key to seal this entry with is gone; the operator has been told.") from error

    async def _value(
        self, tenant_id: int, space: int, key: str, found: Found, allowance: "Allowance | None"
    ) -> bytes | None:
        """None when the entry has been replaced since it was found."""
        if allowance is not None:
            allowance.take(found.size)
        sealed = found.sealed
        if sealed is None:
            fetched = await self._fetch_value(tenant_id, space, key, found.version)
            if fetched is None:
                if allowance is not None:
                    allowance.give_back(found.size)
                return None
            sealed, data_key_version = fetched
            found = found._replace(data_key_version=data_key_version)
        identity = crypto.Identity(tenant_id, space, key, found.data_key_version, found.version, found.content_type)
        return await self._open(identity, sealed, found.size)

    def _reads_in_doubt(self, batch: list[Any]) -> None:
        """What they may have been charged is looked up, and refunded: nobody got a value for it."""
        self._refunds.look_up(
            {Named(one.caller.tenant_id, one.receipt_day, one.receipt_id) for one in batch if isinstance(one, Read)}
        )

    async def _open(self, identity: crypto.Identity, sealed: bytes, size: int) -> bytes:
        cipher = await self._data_keys.opening(identity.tenant_id, identity.data_key_version)
        try:
            if size < THREAD_FROM_BYTES:
                return crypto.open_sealed(cipher, identity, sealed, size)
            return await asyncio.to_thread(crypto.open_sealed, cipher, identity, sealed, size)
        except crypto.CannotOpen as error:
            log.critical(
                "entry_does_not_open", tenant_id=identity.tenant_id, version=identity.version, reason=str(error)
            )
            await self._note_unopenable(identity.tenant_id, identity.version)
            raise InternalError("This entry cannot be opened; write it again. The operator has been told.") from error

    async def _note_unopenable(self, tenant_id: int, version: int) -> None:
        """For the tenant's alerts. Once a process; where it cannot be booked now, the next read tries again."""
        if (tenant_id, version) in self._unopenable:
            return
        with suppress(APIError):
            await self._side.rows(sql.NOTE_UNOPENABLE, {"tenant_id": tenant_id, "version": version})
            if len(self._unopenable) < NOTED_UNOPENABLE:
                self._unopenable.add((tenant_id, version))

    async def _fetch_value(self, tenant_id: int, space: int, key: str, version: int) -> tuple[bytes, int] | None:
        parameters = {"tenant_id": tenant_id, "space": space, "key": key, "version": version}
        rows = await self._side.rows(sql.VALUE, parameters)
        return (rows[0][0], rows[0][1]) if rows else None

    async def _fetch_data_key(self, tenant_id: int, version: int | None) -> tuple[int, bytes, str] | None:
        rows = await self._side.rows(accounts_sql.DATA_KEY, {"tenant_id": tenant_id, "version": version})
        return (rows[0][0], rows[0][1], rows[0][2]) if rows else None

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._flush()

    async def _flush(self) -> None:
        """Book what is counted in this process: when API keys were last used, how often data keys sealed.

        What could not be booked stays for the next time; a killed process loses at most a minute of it.
        """
        used, self._last_used = self._last_used, {}
        uses = self._data_keys.take_uses()
        try:
            if uses:
                await self._side.rows(
                    accounts_sql.COUNT_USES,
                    {
                        "tenant_ids": [tenant_id for tenant_id, _ in uses],
                        "versions": [version for _, version in uses],
                        "uses": list(uses.values()),
                    },
                )
                uses.clear()
            if used:
                await self._side.rows(
                    accounts_sql.LAST_USED,
                    {
                        "tenant_ids": [caller.tenant_id for caller in used],
                        "ids": [caller.api_key_id for caller in used],
                        "at": list(used.values()),
                    },
                )
        except APIError as error:
            log.warning("usage_not_booked", reason=error.message)
            self._data_keys.give_back_uses(uses)
            self._last_used = {**used, **self._last_used}


_current: Store | None = None


def current() -> Store:
    """This process's store. Raises Unavailable before the server has started it."""
    if _current is None:
        raise Unavailable("The store is not running: this process is not the server, or it is still starting.")
    return _current


def measure() -> None:
    """Sets the gauges of this process's store, if it has one."""
    if _current is not None:
        _current.measure()


async def start() -> None:
    """Make and start this process's store on the running loop. Raises ImproperlyConfigured."""
    global _current
    await pooler.refuse(settings.DATABASE_DSN)
    _current = Store(settings.DATABASE_DSN)
    await _current.start()


async def stop() -> None:
    global _current
    store, _current = _current, None
    if store is not None:
        await store.close()
