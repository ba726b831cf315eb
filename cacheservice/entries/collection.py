"""Many entries: pages of a list, and bulk deletes.

A page's cursor carries where it ended and what was counted for the first page, so that later pages count nothing
again. It holds nothing secret and grants nothing: the tenant always comes from the API key.
"""

import base64
import binascii
import hashlib
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from billing.sql import STORAGE_USED
from cacheservice.entries import requests, sql
from cacheservice.entries.models import Space
from cacheservice.entries.side import SidePool
from cacheservice.errors import InvalidRequest

# What one transaction of a bulk delete takes, so that none is long.
DELETE_ENTRIES, DELETE_BYTES = 1000, 32 * 1024 * 1024
FILTERS = ("tag", "prefix")


class Selection(NamedTuple):
    """Which of the tenant's own entries are meant."""

    prefix: str = ""
    tags: tuple[str, ...] = ()

    @classmethod
    def parse(cls, parameters: dict[str, list[str]]) -> "Selection":
        prefix = parameters.get("prefix", [""])[0]
        return cls(
            requests.check_prefix(prefix) if prefix else "", tuple(requests.check_tags(parameters.get("tag", [])))
        )

    def parameters(self, tenant_id: int) -> dict[str, Any]:
        return {
            "tenant_id": tenant_id,
            "space": Space.TENANT,
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


async def page(
    side: SidePool, tenant_id: int, selection: Selection, limit: int, cursor: Cursor | None
) -> dict[str, Any]:
    """A page of live entries in order of their keys, as the contract's object."""
    parameters = selection.parameters(tenant_id)
    if cursor is None:
        ((total,),) = await side.rows(sql.COUNT, parameters)
        ((storage_used,),) = await side.rows(STORAGE_USED, {"tenant_id": tenant_id})
        cursor = Cursor("", total, storage_used, selection.digest())
    rows = await side.rows(sql.PAGE, {**parameters, "after": cursor.after or None, "limit": limit})
    shown = rows[:limit]
    more = Cursor(shown[-1][0], cursor.total, cursor.storage_used, cursor.selection) if len(rows) > limit else None
    return {
        "keys": [
            {
                "key": key,
                "created_at": wire(created_at),
                "expires_at": wire(expires_at),
                "size_bytes": size,
                "tags": tags,
            }
            for key, created_at, expires_at, size, tags in shown
        ],
        "total": cursor.total,
        "storage_used_bytes": cursor.storage_used,
        "next_cursor": more.encode() if more else None,
    }


async def delete(side: SidePool, tenant_id: int, selection: Selection) -> int:
    """Delete what is selected and stood at the start, in short transactions; how many live entries that were."""
    parameters = selection.parameters(tenant_id)
    limits = {"limit": DELETE_ENTRIES, "bytes": DELETE_BYTES}
    deleted, after, started = 0, "", None
    while doomed := await side.rows(sql.DOOMED, {**parameters, **limits, "after": after, "started": started}):
        after, started = doomed[-1]
        keys = {"keys": [key for key, _ in doomed], "started": started}
        rows = await side.rows(sql.DELETE_KEYS, {**parameters, **keys}, lock_tenant=tenant_id)
        deleted += sum(live for (live,) in rows)
    return deleted


def wire(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


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
