"""The gathered operations: what each asks PostgreSQL for, and how its answer reads.

A request class holds one operation; `encode` turns a batch of them into the arrays of its statement in `sql.py`, and
`decode` gives each its outcome. A caller whose API key does not hold gets InvalidAPIKey, one without the scope
Forbidden, one from an address that is not on its API key's allow-list AddressRefused, one over its rate limit
RateLimitExceeded; all are decided by the statement itself, so that they hold at once in every process. AddressNeeded:
the API key has got an allow-list that this process did not know of.
"""

import hmac
import struct
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import Enum, IntEnum
from typing import Any, ClassVar, NamedTuple

from accounts.models import SCOPE_BITS, random_id
from accounts.tokens import Token
from cacheservice.entries import sql
from cacheservice.entries.arrays import bools, byteas, int2s, int4s, int8s, texts
from cacheservice.entries.connection import Results, Step
from cacheservice.entries.gather import Request
from cacheservice.entries.models import Space
from cacheservice.entries.requests import NO_CONDITION, Condition
from cacheservice.errors import (
    AddressNeeded,
    AddressRefused,
    Forbidden,
    InsufficientCredits,
    InvalidAPIKey,
    LeaseLost,
    RateLimitExceeded,
    StorageQuotaExceeded,
    TTLTooLong,
)

INLINE_BYTES = 64 * 1024  # a larger value is fetched apart from the batch, so that it delays nobody else
POSTGRES_EPOCH_MICROSECONDS = 946_684_800_000_000  # 2000-01-01, from which PostgreSQL counts
POSTGRES_EPOCH_DAYS = 10_957
TAG_SEPARATOR = "\x1f"  # tags hold no control characters


class Caller:
    """Who asks: an API key of a tenant and the digest of the token presented, and from which address where the key has
    an allow-list. A process keeps one a digest, and one more for each address that a list lets in."""

    __slots__ = ("address", "api_key_id", "digest", "limited", "listed", "rate", "tenant_id")

    def __init__(self, tenant_id: int, api_key_id: int, digest: bytes, address: str | None = None) -> None:
        self.tenant_id, self.api_key_id, self.digest, self.address = tenant_id, api_key_id, digest, address
        self.listed = False  # whether the API key had an allow-list when it was looked at: then the address matters
        self.rate: tuple[int, int] | None = None  # requests a minute, and used; as the latest statement saw them
        self.limited = False  # whether the latest Read was left to LimitedRead


class Outcome(IntEnum):
    """What a statement says of a request, in the second column of its row."""

    DONE = 0
    NO_SCOPE = 1
    OVER_RATE = 2
    NO_CREDITS = 3  # the prepaid balance cannot pay
    OVER_CREDIT_LIMIT = 4  # of the API key
    NOT_MET = 5  # the condition
    DATA_KEY_REPLACED = 6
    OVER_TENANT_QUOTA = 7
    OVER_API_KEY_QUOTA = 8
    LEASE_LOST = 9
    LIMITED = 10  # for LimitedRead to decide
    ADDRESS_REFUSED = 11  # by the API key's allow-list
    ADDRESS_NEEDED = 12  # which the API key has, to the caller's surprise
    TTL_TOO_LONG = 13  # for the tenant


class LeaseState(Enum):
    """What came of asking for a lease."""

    TAKEN = "taken"
    HELD = "held"  # by someone else
    FILLED = "filled"  # the entry is there


class Found(NamedTuple):
    """A live entry. Times are microseconds since 1970."""

    version: int
    data_key_version: int
    size: int
    created_at: int
    expires_at: int
    content_type: str | None
    sealed: bytes | None  # None: not wanted, or larger than INLINE_BYTES
    units: int  # charged for it
    cost: str | None  # USD that producing it took


class Written(NamedTuple):
    replaced: bool  # whether a live entry was there before
    created_at: int
    expires_at: int


class Updated(NamedTuple):
    version: int
    size: int
    created_at: int
    expires_at: int


class DataKeyReplaced(Exception):
    """The value was sealed with a data key that has been replaced since: seal it again and repeat."""


class Limited(Exception):
    """The caller's reads are limited or held to an allow-list, or cannot be paid together: LimitedRead decides, and
    nothing was done yet."""


class QuotaUncertain(Exception):
    """Over a storage quota together with others' writes, or with expired entries: book those, and repeat it alone."""

    def __init__(self, refusal: StorageQuotaExceeded) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal  # where that does not help


class Operation(Request):
    """An operation of a caller on one key."""

    __slots__ = ("caller", "key", "space")
    name: ClassVar[bytes]
    scope: ClassVar[str]
    requests: int = 1  # how much it counts against the caller's rate limit

    def __init__(self, caller: Caller, space: int, key: str) -> None:
        super().__init__()
        self.caller, self.space, self.key = caller, space, key

    @classmethod
    def decode(cls, batch: list[Any], results: Results) -> None:
        """Hand each row to its request. A request without a row has a caller that does not hold."""
        result = results[0]
        value = result.get_value
        for row in range(result.ntuples):
            operation = batch[int.from_bytes(value(row, 0) or b"", "big") - 1]
            outcome = int.from_bytes(value(row, 1) or b"", "big")
            rate_limit = value(row, 2)
            operation.caller.rate = None if rate_limit is None else (_number(rate_limit), _number(value(row, 3)))
            if outcome == Outcome.DONE:
                operation.read_row(value, row)
            else:
                operation.refuse(outcome, value, row)
        if result.ntuples < len(batch):
            for operation in batch:
                operation.fail(InvalidAPIKey())  # those that have an outcome keep it

    def read_row(self, value: Any, row: int) -> None:
        raise NotImplementedError

    def refuse(self, outcome: int, value: Any, row: int) -> None:
        if outcome == Outcome.NO_SCOPE:
            self.fail(Forbidden.missing_scope(self.scope if self.space == Space.TENANT else "gateway"))
        elif outcome == Outcome.OVER_RATE:
            self.fail(RateLimitExceeded(_number(value(row, 2))))
        elif outcome == Outcome.ADDRESS_REFUSED:
            self.fail(AddressRefused(self.caller.address))
        elif outcome == Outcome.ADDRESS_NEEDED:
            self.caller.listed = True
            self.fail(AddressNeeded())
        else:
            raise AssertionError(f"{type(self).__name__} has no outcome {outcome}")


class Read(Operation):
    """Outcome: Found, or None for a miss. A wanted hit is charged, with the receipt `receipt_id` of `receipt_day`,
    which is counted from 2000-01-01. Raises Limited."""

    __slots__ = ("receipt_day", "receipt_id", "wanted")
    name, scope = b"read", "read"
    locks = "account"
    statements = {b"read": sql.READ}

    def __init__(self, caller: Caller, space: int, key: str, wanted: bool) -> None:
        super().__init__(caller, space, key)
        self.wanted = wanted
        self.receipt_id = self.receipt_day = 0

    @classmethod
    def encode(cls, batch: list[Any]) -> list[Step]:
        """Nothing is counted, for nobody is limited."""
        ordinals = _ordinals(batch)
        places = [ordinals[read.caller] for read in batch]
        callers = (*_identities(ordinals), _NOTHING, _addresses(ordinals))
        return cls._step(batch, callers, places, (int4s(places), _NOTHING, *_keys(batch)))

    @classmethod
    def _step(
        cls, batch: list[Any], callers: tuple[bytes, ...], ordinals: list[int], places: tuple[bytes, ...]
    ) -> list[Step]:
        first_id, day = random_id(), int(time.time()) // 86_400 - POSTGRES_EPOCH_DAYS
        for read, ordinal in zip(batch, ordinals, strict=True):
            read.receipt_id, read.receipt_day = first_id + ordinal, day
        wanted = bools([read.wanted for read in batch])
        return [(cls.name, (*callers, *places, wanted, _READ_BIT, _INLINE, _INT8.pack(first_id), _DATE.pack(day)))]

    def read_row(self, value: Any, row: int) -> None:
        version = value(row, 6)
        if version is None:
            self.answer(None)
            return
        content_type, cost = value(row, 11), value(row, 14)
        self.answer(
            Found(
                _int8(version),
                int.from_bytes(value(row, 7), "big"),
                int.from_bytes(value(row, 8), "big"),
                int.from_bytes(value(row, 9), "big") + POSTGRES_EPOCH_MICROSECONDS,
                int.from_bytes(value(row, 10), "big") + POSTGRES_EPOCH_MICROSECONDS,
                content_type if content_type is None else content_type.decode(),
                value(row, 12),
                int.from_bytes(value(row, 13), "big"),
                cost if cost is None else cost.decode(),
            )
        )

    def refuse(self, outcome: int, value: Any, row: int) -> None:
        if outcome == Outcome.LIMITED:
            self.caller.limited = True
            self.fail(Limited())
        else:
            super().refuse(outcome, value, row)


class LimitedRead(Read):
    """As Read, for every caller. Raises InsufficientCredits."""

    __slots__ = ("requests",)
    name = b"limited_read"
    statements = {b"limited_read": sql.LIMITED_READ}

    def __init__(self, caller: Caller, space: int, key: str, wanted: bool, requests: int = 1) -> None:
        super().__init__(caller, space, key, wanted)
        self.requests = requests

    @classmethod
    def encode(cls, batch: list[Any]) -> list[Step]:
        return cls._step(batch, *_callers(batch))

    def read_row(self, value: Any, row: int) -> None:
        self.caller.limited = value(row, 15) == b"\x01"
        super().read_row(value, row)

    def refuse(self, outcome: int, value: Any, row: int) -> None:
        if outcome == Outcome.NO_CREDITS:
            self.fail(InsufficientCredits.of_balance(_int8(value(row, 4)), _number(value(row, 13))))
        elif outcome == Outcome.OVER_CREDIT_LIMIT:
            self.fail(InsufficientCredits.of_limit(_int8(value(row, 4)), _number(value(row, 5))))
        else:
            super().refuse(outcome, value, row)


class Change(Operation):
    """A write: it takes the tenant's lock, and meets its condition or fails with PreconditionFailed."""

    __slots__ = ("condition", "writes")
    locks = "tenant"

    def __init__(self, caller: Caller, space: int, key: str, condition: Condition) -> None:
        super().__init__(caller, space, key)
        self.condition = condition
        self.writes = (caller.tenant_id, space, key)

    @classmethod
    def encode(cls, batch: list[Any]) -> list[Step]:
        callers, _, places = _callers(batch)
        conditions = (
            int2s([change.condition.kind for change in batch]),
            int8s([change.condition.version for change in batch]),
        )
        parameters = (*callers, *places, *conditions, _scope_bit(cls), *cls.columns(batch))
        return [(b"begin", ()), (b"lock", callers[:1]), (cls.name, parameters), (b"commit", ())]

    @classmethod
    def columns(cls, batch: list[Any]) -> Sequence[bytes]:
        """The parameters that only this kind of change has."""
        return ()

    @classmethod
    def decode(cls, batch: list[Any], results: Results) -> None:
        super().decode(batch, results[1:])  # the first is the lock's

    def refuse(self, outcome: int, value: Any, row: int) -> None:
        if outcome == Outcome.NOT_MET:
            self.fail(self.condition.failed())
        else:
            super().refuse(outcome, value, row)


class Write(Change):
    """Outcome: Written. Raises DataKeyReplaced, QuotaUncertain, LeaseLost, TTLTooLong."""

    __slots__ = (
        "content_type",
        "cost",
        "data_key_version",
        "lease",
        "requests",
        "sealed",
        "size",
        "tags",
        "ttl",
        "version",
        "weight",
    )
    name, scope = b"write", "write"
    statements = {b"begin": sql.BEGIN, b"lock": sql.LOCK, b"write": sql.WRITE, b"commit": sql.COMMIT}

    def __init__(
        self,
        caller: Caller,
        space: int,
        key: str,
        condition: Condition,
        *,
        sealed: bytes,
        data_key_version: int,
        size: int,
        content_type: str | None,
        ttl: int | None,
        tags: list[str],
        cost: str | None,
        version: int,
        lease: int,
    ) -> None:
        super().__init__(caller, space, key, condition)
        self.requests = int(space == Space.TENANT)  # what the gateway writes, the read that missed has counted
        self.lease = lease
        self.sealed, self.data_key_version, self.version = sealed, data_key_version, version
        self.size, self.content_type, self.ttl, self.cost = size, content_type, ttl or 0, cost
        self.tags = TAG_SEPARATOR.join(tags)
        self.weight = len(sealed)

    @classmethod
    def columns(cls, batch: list[Any]) -> Sequence[bytes]:
        return (
            _INT8.pack(random_id()),
            byteas([write.sealed for write in batch]),
            int4s([write.data_key_version for write in batch]),
            int4s([write.size for write in batch]),
            texts([write.content_type for write in batch]),
            int4s([write.ttl for write in batch]),
            texts([write.tags for write in batch]),
            texts([write.cost for write in batch]),
            int8s([write.version for write in batch]),
            int8s([write.lease for write in batch]),
        )

    def read_row(self, value: Any, row: int) -> None:
        self.answer(Written(value(row, 7) == b"\x01", _time(value(row, 8)), _time(value(row, 9))))

    def refuse(self, outcome: int, value: Any, row: int) -> None:
        if outcome == Outcome.DATA_KEY_REPLACED:
            self.fail(DataKeyReplaced())
        elif outcome == Outcome.LEASE_LOST:
            self.fail(LeaseLost())
        elif outcome == Outcome.TTL_TOO_LONG:
            self.fail(TTLTooLong(self.ttl, _number(value(row, 5))))
        elif outcome in (Outcome.OVER_TENANT_QUOTA, Outcome.OVER_API_KEY_QUOTA):
            whose = "tenant" if outcome == Outcome.OVER_TENANT_QUOTA else "API key"
            refusal = StorageQuotaExceeded(whose, self.size, _int8(value(row, 4)), _number(value(row, 5)))
            self.fail(QuotaUncertain(refusal) if value(row, 6) == b"\x01" else refusal)
        else:
            super().refuse(outcome, value, row)


class Update(Change):
    """Outcome: Updated, or None where there is no live entry. Raises TTLTooLong."""

    __slots__ = ("tags", "ttl")
    name, scope = b"update", "write"
    statements = {b"begin": sql.BEGIN, b"lock": sql.LOCK, b"update": sql.UPDATE, b"commit": sql.COMMIT}

    def __init__(
        self, caller: Caller, space: int, key: str, condition: Condition, ttl: int | None, tags: list[str] | None
    ) -> None:
        super().__init__(caller, space, key, condition)
        self.ttl = ttl or 0
        self.tags = None if tags is None else TAG_SEPARATOR.join(tags)

    @classmethod
    def columns(cls, batch: list[Any]) -> Sequence[bytes]:
        return int4s([update.ttl for update in batch]), texts([update.tags for update in batch])

    def read_row(self, value: Any, row: int) -> None:
        version = value(row, 5)
        if version is not None:
            size = int.from_bytes(value(row, 6), "big")
            self.answer(Updated(_int8(version), size, _time(value(row, 7)), _time(value(row, 8))))
        elif self.condition.kind and (value(row, 4) == b"\x01" or self.condition.needs_entry):
            self.fail(self.condition.failed())
        else:
            self.answer(None)

    def refuse(self, outcome: int, value: Any, row: int) -> None:
        if outcome == Outcome.TTL_TOO_LONG:
            self.fail(TTLTooLong(self.ttl, _number(value(row, 9))))
        else:
            super().refuse(outcome, value, row)


class Delete(Change):
    """Outcome: whether a live entry was deleted. With a lease it only gives that back."""

    __slots__ = ("lease",)
    name, scope = b"delete", "delete"
    statements = {b"begin": sql.BEGIN, b"lock": sql.LOCK, b"delete": sql.DELETE, b"commit": sql.COMMIT}

    def __init__(self, caller: Caller, space: int, key: str, condition: Condition, lease: int = 0) -> None:
        super().__init__(caller, space, key, condition)
        self.lease = lease

    @classmethod
    def columns(cls, batch: list[Any]) -> Sequence[bytes]:
        leases = int8s([delete.lease for delete in batch])
        return _INT8.pack(random_id()), leases, struct.pack("!h", SCOPE_BITS[Write.scope])

    def refuse(self, outcome: int, value: Any, row: int) -> None:
        if outcome == Outcome.NO_SCOPE and self.lease and self.space == Space.TENANT:
            self.fail(Forbidden.missing_scope(Write.scope))  # who may fill may also not fill
        else:
            super().refuse(outcome, value, row)

    def read_row(self, value: Any, row: int) -> None:
        live, deleted = value(row, 4) == b"\x01", value(row, 5) == b"\x01"
        if self.condition.kind and not deleted:
            self.fail(self.condition.failed())
        else:
            self.answer(live and deleted)


class Lease(Change):
    """Takes the lease on a missing entry. Outcome: LeaseState. Waits for no flush: the table is unlogged anyway, and if
    the tenant's lock is lost, that harms nobody."""

    __slots__ = ("seconds", "token", "waits")
    name, scope = b"lease", "write"
    requests = 0  # the read that missed has counted
    statements = {
        b"begin": sql.BEGIN,
        b"unflushed": sql.UNFLUSHED,
        b"lock": sql.LOCK,
        b"lease": sql.LEASE,
        b"commit": sql.COMMIT,
    }

    def __init__(self, caller: Caller, space: int, key: str, seconds: int, *, waits: bool) -> None:
        super().__init__(caller, space, key, NO_CONDITION)
        self.seconds, self.waits = seconds, waits
        self.token = random_id() | 1  # never 0, which is none

    @classmethod
    def encode(cls, batch: list[Any]) -> list[Step]:
        callers, _, places = _callers(batch)
        parameters = (
            *callers,
            *places,
            struct.pack("!h", SCOPE_BITS["read"] | SCOPE_BITS["write"]),
            int4s([lease.seconds for lease in batch]),
            int8s([lease.token for lease in batch]),
            bools([lease.waits for lease in batch]),
        )
        lock = (b"lock", callers[:1])
        return [(b"begin", ()), (b"unflushed", ()), lock, (b"lease", parameters), (b"commit", ())]

    def read_row(self, value: Any, row: int) -> None:
        if value(row, 5) == b"\x01":
            self.answer(LeaseState.TAKEN)
        else:
            self.answer(LeaseState.FILLED if value(row, 4) == b"\x01" else LeaseState.HELD)


class Authorise(Operation):
    """Whether the caller holds and has the scope (None: any will do), for work that is not gathered. Outcome: None."""

    __slots__ = ("needed", "requests")
    statements = {b"authorise": sql.AUTHORISE}

    def __init__(self, caller: Caller, needed: str | None, requests: int) -> None:
        super().__init__(caller, 0, "")
        self.needed, self.requests = needed, requests

    @classmethod
    def encode(cls, batch: list[Any]) -> list[Step]:
        callers, _, places = _callers(batch)
        needed = int2s([SCOPE_BITS.get(authorise.needed, 0) for authorise in batch])
        return [(b"authorise", (*callers, *places[:2], needed))]

    def read_row(self, value: Any, row: int) -> None:
        self.answer(None)

    def refuse(self, outcome: int, value: Any, row: int) -> None:
        if outcome == Outcome.NO_SCOPE and self.needed is not None:
            self.fail(Forbidden.missing_scope(self.needed))
        else:
            super().refuse(outcome, value, row)


class LookUp(Request):
    """Which API key a token is. Outcome: Caller. Whether the key still holds, each statement decides for itself."""

    __slots__ = ("token",)
    statements = {b"look_up": sql.LOOK_UP}

    def __init__(self, token: Token) -> None:
        super().__init__()
        self.token = token

    @classmethod
    def encode(cls, batch: list[Any]) -> list[Step]:
        return [(b"look_up", (int8s([look_up.token.api_key_id for look_up in batch]),))]

    @classmethod
    def decode(cls, batch: list[Any], results: Results) -> None:
        value = results[0].get_value
        rows = {_number(value(row, 0)): row for row in range(results[0].ntuples)}
        for look_up in batch:
            api_key_id, digest = look_up.token
            row = rows.get(api_key_id, -1)
            known = [] if row < 0 else [value(row, 2) or b"", value(row, 3) or b""]
            # A sum and no `any`: both are compared, whichever matches.
            if sum(hmac.compare_digest(digest, stored) for stored in known):
                caller = Caller(_number(value(row, 1)), api_key_id, digest)
                caller.listed = value(row, 4) == b"\x01"
                look_up.answer(caller)
            else:
                look_up.fail(InvalidAPIKey())


_INLINE = struct.pack("!i", INLINE_BYTES)
_READ_BIT = struct.pack("!h", SCOPE_BITS["read"])
_NOTHING, _NO_TEXTS = int4s([]), texts([])
_INT8, _DATE = struct.Struct("!q"), struct.Struct("!i")


def _callers(batch: list[Any]) -> tuple[tuple[bytes, ...], list[int], tuple[bytes, ...]]:
    """The batch's callers, each once: tenants, API keys, digests, requests counted, addresses; the requests' callers by
    ordinal; and the requests' places: caller's ordinal, how many of its API key's requests come later, space, key."""
    ordinals = _ordinals(batch)
    places = [ordinals[operation.caller] for operation in batch]
    counted = dict.fromkeys(ordinals, 0)
    later = [0] * len(batch)
    of_key: Counter[int] = Counter()  # two callers may be one API key, while its secret is being rotated
    for position in range(len(batch) - 1, -1, -1):
        caller, requests = batch[position].caller, batch[position].requests
        later[position] = of_key[caller.api_key_id]
        of_key[caller.api_key_id] += requests
        counted[caller] += requests
    callers = (*_identities(ordinals), int4s(list(counted.values())), _addresses(ordinals))
    return callers, places, (int4s(places), int4s(later), *_keys(batch))


def _ordinals(batch: list[Any]) -> dict[Caller, int]:
    """The batch's callers, each once, counted from 1."""
    ordinals: dict[Caller, int] = {}
    for operation in batch:
        if operation.caller not in ordinals:
            ordinals[operation.caller] = len(ordinals) + 1
    return ordinals


def _identities(callers: Iterable[Caller]) -> tuple[bytes, bytes, bytes]:
    """Tenants, API keys, digests."""
    return (
        int8s([caller.tenant_id for caller in callers]),
        int8s([caller.api_key_id for caller in callers]),
        byteas([caller.digest for caller in callers]),
    )


def _addresses(callers: Iterable[Caller]) -> bytes:
    """None at all, as of callers whose API keys have no allow-list, stands for a null of each."""
    addresses = [caller.address for caller in callers]
    return texts(addresses) if any(addresses) else _NO_TEXTS


def _keys(batch: list[Any]) -> tuple[bytes, bytes]:
    """Spaces and keys."""
    return int2s([operation.space for operation in batch]), texts([operation.key for operation in batch])


def _scope_bit(kind: type[Operation]) -> bytes:
    return struct.pack("!h", SCOPE_BITS[kind.scope])


def _number(field: bytes | None) -> int:
    """A non-negative integer field."""
    return int.from_bytes(field or b"", "big")


def _int8(field: bytes) -> int:
    return int.from_bytes(field, "big", signed=True)


def _time(field: bytes) -> int:
    return int.from_bytes(field, "big") + POSTGRES_EPOCH_MICROSECONDS
