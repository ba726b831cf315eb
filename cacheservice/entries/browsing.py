"""Looking through a tenant's entries, as the console does: in several orders, forwards and backwards.

An order other than by keys wants few entries, which are sorted as they are found, or an index of its own, which only
serves where nothing is filtered: in an index of, say, expiries, the entries of a rare tag may all stand at the end.
What can be neither sorted nor walked within a moment is listed by keys, and the page says so.
"""

from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from django.core import signing

from cacheservice.entries import list_sql, requests
from cacheservice.entries.collection import Database, Selection
from cacheservice.entries.models import Space
from cacheservice.errors import InvalidRequest

MOST_SORTED = 5_000  # entries; found, counted and sorted in a few tens of milliseconds
# By keys, those of a tag are found by the tag up to so many, for they may all stand at the end of the keys: a million
# before them take half a second to pass over. Those of more are closer together.
MOST_GATHERED = 50_000
WALKED = ("key", "expiry", "hits")  # the orders with an index: docs/decisions/013


class Listed(NamedTuple):
    """A row of a list."""

    key: str
    created_at: datetime
    expires_at: datetime
    size: int  # bytes
    tags: list[str]
    api_key_id: int  # who wrote it
    version: int
    hits: int  # as far as they are folded
    last_hit_at: datetime | None
    saved: Decimal  # USD


class Cursor(NamedTuple):
    """A row that a page begins behind, or ends before. Signed, for what it holds goes into the statement; it grants
    nothing: the tenant comes from who asks."""

    place: str | int
    version: int
    number: int  # that the first row behind it has, or had the row that it ends before
    backwards: bool
    listing: str  # what the list was of, and its order

    def encode(self) -> str:
        return signing.dumps(self, salt="entries")

    @classmethod
    def decode(cls, text: str, listing: str) -> "Cursor":
        """Raises InvalidRequest for one that nobody made, or for another list."""
        try:
            cursor = cls(*signing.loads(text, salt="entries"))
        except signing.BadSignature:
            raise InvalidRequest("cursor: it is no cursor of this list; begin at the first page.") from None
        if cursor.listing != listing:
            raise InvalidRequest("cursor: it belongs to another list; begin at the first page.")
        return cursor


class Page(NamedTuple):
    """`matching`: how many live entries are selected, None for more than MOST_SORTED. `order`: which it was."""

    entries: list[Listed]
    order: str
    matching: int | None
    first_number: int
    before: str | None  # cursors of the pages beside it
    behind: str | None


async def page(
    database: Database, tenant_id: int, selection: Selection, order: str, limit: int, cursor: str | None
) -> Page:
    """A page of live entries in the order, or by keys where that cannot be had. Raises InvalidRequest."""
    matching = await count_up_to(database, tenant_id, selection, MOST_SORTED)
    if matching is None and (order not in WALKED or selection != Selection()):
        order = "key"
    listing = f"{selection.digest()} {order}"
    at = Cursor.decode(cursor, listing) if cursor else None
    backwards = at is not None and at.backwards
    gathered = matching is not None and order != "key"  # keys have their index in any case
    if order == "key" and selection.tags:
        gathered = matching is not None or await count_up_to(database, tenant_id, selection, MOST_GATHERED) is not None
    statement = list_sql.page(order, backwards=backwards, gathered=gathered, stats=True)
    begin = {"place": at.place if at else None, "version": at.version if at else None, "limit": limit}
    found = await database.rows(statement, {**selection.parameters(tenant_id), **begin})
    entries, more = [Listed(*row) for row in found[:limit]], len(found) > limit
    if at is None or not backwards:
        return _page(entries, order, matching, at.number if at else 1, listing, before=at is not None, behind=more)
    if not more:  # the first page; entries may have come before it since
        return await page(database, tenant_id, selection, order, limit, None)
    entries.reverse()
    return _page(entries, order, matching, at.number - limit, listing, before=True, behind=True)


def _page(
    entries: list[Listed], order: str, matching: int | None, number: int, listing: str, *, before: bool, behind: bool
) -> Page:
    def cursor(entry: Listed, number: int, backwards: bool) -> str:
        return Cursor(_place(order, entry), entry.version, number, backwards, listing).encode()

    return Page(
        entries,
        order,
        matching,
        number,
        cursor(entries[0], number, True) if entries and before else None,
        cursor(entries[-1], number + len(entries), False) if entries and behind else None,
    )


async def count_up_to(database: Database, tenant_id: int, selection: Selection, most: int) -> int | None:
    """How many live entries are selected; None where it is more than `most`."""
    [(count,)] = await database.rows(list_sql.COUNT_UP_TO, {**selection.parameters(tenant_id), "most": most})
    return count if count <= most else None


class Viewed(NamedTuple):
    """All of a live entry but its value."""

    version: int
    size: int  # bytes
    created_at: datetime
    expires_at: datetime
    content_type: str | None  # None is JSON
    tags: list[str]
    cost: Decimal | None  # USD that producing the value took
    api_key_id: int  # who wrote it
    hits: int  # as far as they are folded
    last_hit_at: datetime | None
    saved: Decimal  # USD

    @property
    def etag(self) -> str:
        return requests.etag(self.version)


async def view(database: Database, tenant_id: int, key: str) -> Viewed | None:
    """The tenant's live entry, without its value. Looking at it is no hit."""
    rows = await database.rows(list_sql.ENTRY, {"tenant_id": tenant_id, "space": Space.TENANT, "key": key})
    return Viewed(*rows[0]) if rows else None


def _place(order: str, entry: Listed) -> str | int:
    places: dict[str, str | int] = {
        "key": entry.key,
        "expiry": entry.expires_at.isoformat(),
        "newest": entry.created_at.isoformat(),
        "size": entry.size,
        "hits": entry.hits,
    }
    return places[order]
