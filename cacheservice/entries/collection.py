"""Many entries: pages of a list, and bulk deletes.

A page's cursor carries where it ended and what was counted for the first page, so that later pages count nothing
again. It holds nothing secret and grants nothing: the tenant always comes from the API key.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

import msgspec

from accounts.models import random_id
from billing.rows import Rows
from billing.sql import STORAGE_USED
from billing.units import usd
from cacheservice.entries import list_sql, requests, sql
from cacheservice.entries.models import Space
from cacheservice.entries.operations import Caller
from cacheservice.entries.side import SidePool
from cacheservice.errors import InvalidRequest

# What one transaction of a bulk delete takes, so that none is long.
DELETE_ENTRIES, DELETE_BYTES = 1000, 32 * 1024 * 1024
MOST_COUNTED = 1_000_000  # entries: `total` says no more
FILTERS = ("tag", "prefix")
SPACES = {"tenant": Space.TENANT, "gateway": Space.GATEWAY}
TOP = {"hits": "hits", "saved_usd": "saved"}  # the figures of the contract, and their orders


class Selection(NamedTuple):
    """Which of the tenant's entries are meant: its own, or the answers that the gateway keeps for it."""

    prefix: str = ""
    tags: tuple[str, ...] = ()
    space: Space = Space.TENANT

    @classmethod
    def parse(cls, parameters: dict[str, list[str]]) -> "Selection":
        """From `space`, `tag`, `prefix` and `key`, as far as the request takes them."""
        space = SPACES[requests.parse_choice(parameters, "space", SPACES) or "tenant"]
        prefix = parameters.get("prefix", [""])[0]
        if prefix and space == Space.GATEWAY:
            raise InvalidRequest("prefix: it means nothing in the gateway's space, whose keys are hashes; send 'tag'.")
        if "key" in parameters:
            if space != Space.GATEWAY:
                raise InvalidRequest(
                    "key: add 'space=gateway', or send DELETE /api/v1/cache/{key} for an entry of your own."
                )
            prefix = requests.check_answer_key(parameters["key"][0])  # whole, so it begins no other key
        return cls(
            requests.check_prefix(prefix) if prefix else "",
            tuple(requests.check_tags(parameters.get("tag", []))),
            space,
        )

    @property
    def filters(self) -> bool:
        """Whether not all of the space is meant."""
        return bool(self.prefix or self.tags)

    def parameters(self, tenant_id: int) -> dict[str, Any]:
        return {
            "tenant_id": tenant_id,
            "space": self.space,
            "lower": self.prefix,
            "upper": _after_prefix(self.prefix),
            "tags": list(self.tags) or None,
        }

    def digest(self) -> str:
        """Ties a cursor to the filters that it was made for."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:8]


class Cursor(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Where a page ended."""

    after: str
    total: int
    storage_used: int
    selection: str

    def encode(self) -> str:
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str, selection: Selection) -> "Cursor":
        try:
            cursor = msgspec.json.decode(
                base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True), type=cls
            )
        except (binascii.Error, msgspec.DecodeError, ValueError):
            raise InvalidRequest("cursor: send 'next_cursor' of the page before, unchanged.") from None
        if cursor.selection != selection.digest():
            raise InvalidRequest("cursor: it belongs to other filters; send the filters of the first page with it.")
        requests.check_key(cursor.after)
        return cursor


class TopEntry(NamedTuple):
    """An entry with its stats."""

    key: str
    created_at: datetime
    expires_at: datetime
    size: int  # bytes
    tags: list[str]
    hits: int
    last_hit_at: datetime
    saved: Decimal  # USD


class Database(Protocol):
    """A side pool, or the store."""

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]: ...


async def page(
    database: Database,
    tenant_id: int,
    selection: Selection,
    limit: int,
    cursor: Cursor | None,
    *,
    with_stats: bool = False,
) -> dict[str, Any]:
    """A page of live entries in order of their keys, as the contract's object."""
    parameters = selection.parameters(tenant_id)
    if cursor is None:
        ((total,),) = await database.rows(sql.COUNT, {**parameters, "most": MOST_COUNTED})
        ((storage_used,),) = await database.rows(STORAGE_USED, {"tenant_id": tenant_id, "api_key_id": 0})
        cursor = Cursor("", total, storage_used, selection.digest())
    statement = list_sql.page("key", stats=with_stats)
    rows = await database.rows(statement, {**parameters, "place": cursor.after or None, "limit": limit})
    shown = rows[:limit]
    more = Cursor(shown[-1][0], cursor.total, cursor.storage_used, cursor.selection) if len(rows) > limit else None
    return {
        "keys": [listed(*row[:5], *row[7:]) for row in shown],
        "total": cursor.total,
        "storage_used_bytes": cursor.storage_used,
        "next_cursor": more.encode() if more else None,
    }


def top(rows: Rows, tenant_id: int, by: str, limit: int) -> list[TopEntry]:
    """The live entries of most `hits` or `saved_usd`."""
    parameters = {"tenant_id": tenant_id, "space": Space.TENANT, "limit": limit, "place": None, "version": None}
    found = rows(list_sql.page(TOP[by], stats=True), parameters)
    return [TopEntry(*row[:5], *row[7:]) for row in found[:limit]]


async def delete(side: SidePool, caller: Caller, selection: Selection) -> int:
    """Delete what is selected and stood at the start, in short transactions; how many live entries that were."""
    parameters = selection.parameters(caller.tenant_id)
    await side.rows(sql.VOID_LEASES, parameters, lock_tenant=caller.tenant_id)
    limits = {"limit": DELETE_ENTRIES, "bytes": DELETE_BYTES}
    deleted, after, started = 0, "", None
    while doomed := await side.rows(sql.DOOMED, {**parameters, **limits, "after": after, "started": started}):
        after, started = doomed[-1]
        keys = {"keys": [key for key, _ in doomed], "started": started}
        receipt = {"api_key_id": caller.api_key_id, "first_id": random_id()}
        ((live,),) = await side.rows(sql.DELETE_KEYS, {**parameters, **keys, **receipt}, lock_tenant=caller.tenant_id)
        deleted += live
    return deleted


def wire(moment: datetime) -> str:
    """As the API has times; PostgreSQL's may come in another time zone."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def listed(
    key: str, created_at: datetime, expires_at: datetime, size: int, tags: list[str], *stats: Any
) -> dict[str, Any]:
    """A row of a list; `stats` are none, or hits, last_hit_at and the USD saved."""
    row = {
        "key": key,
        "created_at": wire(created_at),
        "expires_at": wire(expires_at),
        "size_bytes": size,
        "tags": tags,
    }
    if not stats:
        return row
    hits, last_hit_at, saved = stats
    return {**row, "hits": hits, "last_hit_at": wire(last_hit_at) if last_hit_at else None, "saved_usd": usd(saved)}


def _after_prefix(prefix: str) -> str | None:
    """The least text above every text with this prefix, in the order of UTF-8 bytes; None when there is none."""
    while prefix:
        code = ord(prefix[-1]) + 1
        if code == 0xD800:  # surrogates are no characters
            code = 0xE000
        if code <= 0x10FFFF:
            return prefix[:-1] + chr(code)
        prefix = prefix[:-1]
    return None
