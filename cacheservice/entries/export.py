"""A tenant's entries as the lines of an export: one after the other, whatever their number."""

import base64
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import structlog
from django.db import connection

from accounts.models import Tenant
from cacheservice.entries import crypto, sql
from cacheservice.entries.collection import wire
from cacheservice.entries.models import Space
from cacheservice.entries.reseal import ciphers_of

log = structlog.get_logger(__name__)

PAGE = 16  # values may have 10 MiB each

Render = Callable[["Found"], dict[str, Any]]


class Found(NamedTuple):
    """A row of `sql.EXPORT`; without values `sealed` is None."""

    key: str
    sealed: memoryview | None
    data_key_version: int
    size: int
    content_type: str | None
    tags: list[str]
    cost: Decimal | None
    version: int
    created_at: datetime
    expires_at: datetime


class Entries:
    """`for line in Entries(…)`: of those that live, in the order of their keys. `unopenable` counts those that are left
    out because their value does not open. Needs a transaction: its rows come through a cursor of the server's."""

    def __init__(self, tenant: Tenant, space: Space, *, values: bool) -> None:
        self.unopenable = 0
        self._tenant, self._space, self._values = tenant, space, values
        self._ciphers = ciphers_of(tenant) if values else {}

    def __iter__(self) -> Iterator[bytes]:
        parameters = {"tenant_id": self._tenant.id, "space": self._space, "values": self._values}
        with connection.chunked_cursor() as cursor:
            cursor.execute(sql.EXPORT, parameters)
            while rows := cursor.fetchmany(PAGE):
                for row in rows:
                    found = Found(*row)
                    try:
                        yield self._with_value(found) if self._values else _without_value(found)
                    except crypto.CannotOpen as error:
                        self.unopenable += 1
                        details = {"tenant_id": self._tenant.id, "version": found.version, "reason": str(error)}
                        log.critical("entry_does_not_open", **details)

    def _with_value(self, found: Found) -> bytes:
        """As `cachectl import` takes it: a JSON value stands there byte for byte, unless it has line breaks."""
        assert found.sealed is not None  # noqa: S101  it was asked for
        identity = crypto.Identity(
            self._tenant.id, self._space, found.key, found.data_key_version, found.version, found.content_type
        )
        value = crypto.open_sealed(self._ciphers[found.data_key_version], identity, bytes(found.sealed), found.size)
        fields: dict[str, Any] = {"key": found.key}
        if found.content_type is None and not {0x0A, 0x0D} & set(value):
            fields["value"] = msgspec.Raw(value)
        else:
            fields["value_base64"] = base64.b64encode(value).decode()
            fields["content_type"] = found.content_type or "application/json"
        fields |= {"expires_at": wire(found.expires_at), "tags": found.tags}
        if found.cost is not None:
            fields["cost"] = f"{found.cost.normalize():f}"
        return msgspec.json.encode(fields)


def _without_value(found: Found) -> bytes:
    return msgspec.json.encode(
        {
            "key": found.key,
            "size_bytes": found.size,
            "content_type": found.content_type or "application/json",
            "tags": found.tags,
            "cost": None if found.cost is None else f"{found.cost.normalize():f}",
            "created_at": wire(found.created_at),
            "expires_at": wire(found.expires_at),
        }
    )
