"""The tenant's entries: a list to search, sort and page through.

One of them: `entry_page.py`, `entry_changes.py`; many: `entry_purge.py`.
"""

from typing import Any, NamedTuple
from urllib.parse import urlencode

from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path

from accounts.models import APIKey, Tenant
from accounts.policy import Permission
from billing import account
from cacheservice.entries import browsing, store
from cacheservice.entries.browsing import MOST_SORTED, Listed
from cacheservice.entries.collection import Selection
from cacheservice.errors import InvalidRequest
from console import entry_changes, entry_page, entry_purge, reports
from console.access import MemberRequest, page
from console.entry_forms import ORDERS, Search

ON_A_PAGE = 50
TAGS_SHOWN = 3


class Line(NamedTuple):
    """A row of the table."""

    entry: Listed
    query: str  # that names the key in URLs
    writer: str | None  # the name of the API key
    tags: list[str]  # the first few
    more_tags: list[str]


@page(Permission.LIST_ENTRIES)
def index(request: MemberRequest) -> HttpResponse:
    try:
        search = Search.parse(request.GET)
        found = async_to_sync(browsing.page)(
            store.current(), request.tenant.id, search.selection, search.order, ON_A_PAGE, search.cursor
        )
    except InvalidRequest as error:
        content = {"refused": error.message, "search": Search(Selection(), "key", None), "orders": ORDERS}
        return render(request, "console/entries.html", content, status=error.status)
    return render(request, "console/entries.html", _content(request.tenant, search, found))


def _content(tenant: Tenant, search: Search, found: browsing.Page) -> dict[str, Any]:
    names = writers(tenant, {entry.api_key_id for entry in found.entries})
    return {
        "search": search,
        "orders": ORDERS,
        "filtered": search.selection != Selection(),
        "without_tag": [
            (tag, _query(search, tags=[t for t in search.selection.tags if t != tag])) for tag in search.selection.tags
        ],
        "lines": [_line(entry, names) for entry in found.entries],
        "found": found,
        "last_number": found.first_number + len(found.entries) - 1,
        "most_sorted": MOST_SORTED,
        "other_order": found.order != search.order,
        "order_name": ORDERS[search.order].lower(),
        "before": _query(search, cursor=found.before) if found.before else None,
        "behind": _query(search, cursor=found.behind) if found.behind else None,
        "purge_query": _query(search, order=False),
        "stored": account.storage_used(reports.rows, tenant.id),
        "url": settings.PUBLIC_URL,
    }


def writers(tenant: Tenant, ids: set[int]) -> dict[int, str]:
    """The names of the tenant's API keys by their ids."""
    return dict(APIKey.objects.filter(tenant=tenant, id__in=ids).values_list("id", "name"))


def _line(entry: Listed, names: dict[int, str]) -> Line:
    tags, more = entry.tags[:TAGS_SHOWN], entry.tags[TAGS_SHOWN:]
    return Line(entry, urlencode({"key": entry.key}), names.get(entry.api_key_id), tags, more)


def _query(search: Search, *, tags: list[str] | None = None, cursor: str | None = None, order: bool = True) -> str:
    """The URL's query of this list, elsewhere in it."""
    fields: list[tuple[str, str]] = [("tag", tag) for tag in (search.selection.tags if tags is None else tags)]
    if search.selection.prefix:
        fields.insert(0, ("prefix", search.selection.prefix))
    if order and search.order != "key":
        fields.append(("sort", search.order))
    if cursor:
        fields.append(("cursor", cursor))
    return urlencode(fields)


urls = [path("entries", index, name="entries"), *entry_page.urls, *entry_changes.urls, *entry_purge.urls]
