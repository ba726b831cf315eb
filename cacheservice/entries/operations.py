"""The gathered operations: what each asks PostgreSQL for, and how its answer reads.

A request class holds one operation; `encode` turns a batch of them into the arrays of its statement in `sql.py`, and
`decode` gives each its outcome. A caller whose API key does not hold gets InvalidAPIKey, one without the scope
Forbidden; both are decided by the statement itself, so that they hold at once in every process.
"""

import hmac
import struct
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from accounts.models import SCOPE_BITS
from accounts.tokens import Token
from cacheservice.entries import sql
from cacheservice.entries.arrays import bools, byteas, int2s, int4s, int8s, texts
from cacheservice.entries.connection import Results, Step
from cacheservice.entries.gather import Request
from cacheservice.entries.requests import Condition
from cacheservice.errors import Forbidden, InvalidAPIKey

INLINE_BYTES = 64 * 1024  # a larger value is fetched apart from the batch, so that it delays nobody else
POSTGRES_EPOCH_MICROSECONDS = 946_684_800_000_000  # 2000-01-01, from which PostgreSQL counts
TAG_SEPARATOR = "\x1f"  # tags hold no control characters


class Caller:
    """Who asks: an API key of a tenant and the digest of the token presented. A process keeps one a digest."""

    __slots__ = ("api_key_id", "digest", "tenant_id")

    def __init__(self, tenant_id: int, api_key_id: int, digest: bytes) -> None:
        self.tenant_id, self.api_key_id, self.digest = tenant_id, api_key_id, digest


class Found(NamedTuple):
    """A live entry. Times are microseconds since 1970."""

    version: int
    data_key_version: int
    size: int
    created_at: int
    expires_at: int
    content_type: str | None
    sealed: bytes | None  # None: not wanted, or larger than INLINE_BYTES


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


class Operation(Request):
    """An operation of a caller on one key."""

    __slots__ = ("caller", "key", "space")
    name: ClassVar[bytes]
    scope: ClassVar[str]

    def __init__(self, caller: Caller, space: int, key: str) -> None:
        super().__init__()
        self.caller, self.space, self.key = caller, space, key

    @classmethod
    def decode(cls, batch: list[Any], results: Results) -> None:
        """Hand each row to its request. A request without a row has a caller that does not hold."""
        result = results[0]
        needed = SCOPE_BITS[cls.scope]
        value = result.get_value
        for row in range(result.ntuples):
            operation = batch[int.from_bytes(value(row, 0) or b"", "big") - 1]
            if int.from_bytes(value(row, 1) or b"", "big") & needed:
                operation.read_row(value, row)
            else:
                operation.fail(Forbidden.missing_scope(cls.scope))
        if result.ntuples < len(batch):
            for operation in batch:
                operation.fail(InvalidAPIKey())  # those that have an outcome keep it

    def read_row(self, value: Any, row: int) -> None:
        raise NotImplementedError


class Read(Operation):
    """Outcome: Found, or None for a miss."""

    __slots__ = ("wanted",)
    name, scope = b"read", "read"
    statements = {b"read": sql.READ}

    def __init__(self, caller: Caller, space: int, key: str, wanted: bool) -> None:
        super().__init__(caller, space, key)
        self.wanted = wanted

    @classmethod
    def encode(cls, batch: list[Any]) -> list[Step]:
        callers, places = _callers(batch)
        wanted = bools([read.wanted for read in batch])
        return [(b"read", (*callers, *places, wanted, _INLINE))]

    def read_row(self, value: Any, row: int) -> None:
        version = value(row, 2)
        if version is None:
            self.answer(None)
            return
        content_type = value(row, 7)
        self.answer(
            Found(
                _int8(version),
                int.from_bytes(value(row, 3), "big"),
                int.from_bytes(value(row, 4), "big"),
                int.from_bytes(value(row, 5), "big") + POSTGRES_EPOCH_MICROSECONDS,
                int.from_bytes(value(row, 6), "big") + POSTGRES_EPOCH_MICROSECONDS,
                content_type if content_type is None else content_type.decode(),
                value(row, 8),
            )
        )


class Change(Operation):
    """A write: it takes the tenant's lock, and meets its condition or fails with PreconditionFailed."""

    __slots__ = ("condition", "writes")
    locks = True

    def __init__(self, caller: Caller, space: int, key: str, condition: Condition) -> None:
        super().__init__(caller, space, key)
        self.condition = condition
        self.writes = (caller.tenant_id, space, key)

    @classmethod
    def encode(cls, batch: list[Any]) -> list[Step]:
        callers, places = _callers(batch)
        conditions = (
            int2s([change.condition.kind for change in batch]),
            int8s([change.condition.version for change in batch]),
        )
        parameters = (*callers, *places, *conditions, *cls.columns(batch), struct.pack("!h", SCOPE_BITS[cls.scope]))
        return [(b"begin", ()), (b"lock", callers[:1]), (cls.name, parameters), (b"commit", ())]

    @classmethod
    def columns(cls, batch: list[Any]) -> Sequence[bytes]:
        """The arrays that only this kind of change has."""
        return ()

    @classmethod
    def decode(cls, batch: list[Any], results: Results) -> None:
        super().decode(batch, results[1:])  # the first is the lock's


class Write(Change):
    """Outcome: Written. Raises DataKeyReplaced."""

    __slots__ = ("content_type", "cost", "data_key_version", "sealed", "size", "tags", "ttl", "version", "weight")
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
        ttl: int,
        tags: list[str],
        cost: str | None,
        version: int,
    ) -> None:
        super().__init__(caller, space, key, condition)
        self.sealed, self.data_key_version, self.version = sealed, data_key_version, version
        self.size, self.content_type, self.ttl, self.cost = size, content_type, ttl, cost
        self.tags = TAG_SEPARATOR.join(tags)
        self.weight = len(sealed)

    @classmethod
    def columns(cls, batch: list[Any]) -> Sequence[bytes]:
        return (
            byteas([write.sealed for write in batch]),
            int4s([write.data_key_version for write in batch]),
            int4s([write.size for write in batch]),
            texts([write.content_type for write in batch]),
            int4s([write.ttl for write in batch]),
            texts([write.tags for write in batch]),
            texts([write.cost for write in batch]),
            int8s([write.version for write in batch]),
        )

    def read_row(self, value: Any, row: int) -> None:
        created_at = value(row, 4)
        if created_at is not None:
            self.answer(Written(value(row, 3) == b"\x01", _time(created_at), _time(value(row, 5))))
        elif value(row, 2) != b"\x01":
            self.fail(DataKeyReplaced())
        else:
            self.fail(self.condition.failed())


class Update(Change):
    """Outcome: Updated, or None where there is no live entry."""

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
        version = value(row, 3)
        if version is not None:
            size = int.from_bytes(value(row, 4), "big")
            self.answer(Updated(_int8(version), size, _time(value(row, 5)), _time(value(row, 6))))
        elif self.condition.kind and (value(row, 2) == b"\x01" or self.condition.needs_entry):
            self.fail(self.condition.failed())
        else:
            self.answer(None)


class Delete(Change):
    """Outcome: whether a live entry was deleted."""

    __slots__ = ()
    name, scope = b"delete", "delete"
    statements = {b"begin": sql.BEGIN, b"lock": sql.LOCK, b"delete": sql.DELETE, b"commit": sql.COMMIT}

    def read_row(self, value: Any, row: int) -> None:
        live, deleted = value(row, 2) == b"\x01", value(row, 3) == b"\x01"
        if self.condition.kind and not deleted:
            self.fail(self.condition.failed())
        else:
            self.answer(live and deleted)


class Authorise(Operation):
    """Whether the caller holds, for work that is not gathered. Outcome: its scopes as bits."""

    __slots__ = ()
    statements = {b"authorise": sql.AUTHORISE}

    def __init__(self, caller: Caller) -> None:
        super().__init__(caller, 0, "")

    @classmethod
    def encode(cls, batch: list[Any]) -> list[Step]:
        callers, places = _callers(batch)
        return [(b"authorise", (*callers, places[0]))]

    @classmethod
    def decode(cls, batch: list[Any], results: Results) -> None:
        value = results[0].get_value
        for row in range(results[0].ntuples):
            batch[_number(value(row, 0)) - 1].answer(_number(value(row, 1)))
        for authorise in batch:
            authorise.fail(InvalidAPIKey())  # those with a row have their outcome


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
                look_up.answer(Caller(_number(value(row, 1)), api_key_id, digest))
            else:
                look_up.fail(InvalidAPIKey())


_INLINE = struct.pack("!i", INLINE_BYTES)


def _callers(batch: list[Any]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    """The batch's callers, each once: tenants, API keys, digests; and its places: caller's ordinal, space, key."""
    ordinals: dict[Caller, int] = {}
    places = [ordinals.setdefault(operation.caller, len(ordinals) + 1) for operation in batch]
    return (
        (
            int8s([caller.tenant_id for caller in ordinals]),
            int8s([caller.api_key_id for caller in ordinals]),
            byteas([caller.digest for caller in ordinals]),
        ),
        (
            int4s(places),
            int2s([operation.space for operation in batch]),
            texts([operation.key for operation in batch]),
        ),
    )


def _number(field: bytes | None) -> int:
    """A non-negative integer field."""
    return int.from_bytes(field or b"", "big")


def _int8(field: bytes) -> int:
    return int.from_bytes(field, "big", signed=True)


def _time(field: bytes) -> int:
    return int.from_bytes(field, "big") + POSTGRES_EPOCH_MICROSECONDS
