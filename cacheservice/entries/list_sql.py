"""The statements of lists: pages of a tenant's live entries in several orders, in both directions, without offsets.

A page begins behind a row: behind what the order goes by, and the entry's version where that is not unique.
"""

from functools import cache
from typing import Final, NamedTuple

from cacheservice.entries.sql import SELECTED

# A row of a list before its statistics.
_COLUMNS: Final = "e.key, e.created_at, e.expires_at, e.size, e.tags, e.api_key_id, e.version"
_LIVE: Final = "e.expires_at > statement_timestamp()"

# The statistics of the entry `e`. A refund may be folded before the hit that it takes back.
_WITH_STATS: Final = """
left join lateral (
  select greatest(s.hits, 0) as hits, s.last_hit_at, greatest(s.saved, 0) as saved from entry_stats s
  where s.tenant_id = %(tenant_id)s and s.version = e.version limit 1
) s on true"""
_STATS: Final = "coalesce(s.hits, 0), s.last_hit_at, coalesce(s.saved, 0)"


class Order(NamedTuple):
    """What a list goes by: an expression of the entry `e` or its statistics `s`, its type, which end is first."""

    by: str
    type: str
    descending: bool = False
    counted: bool = False  # of the statistics


ORDERS: Final = {
    "key": Order("e.key", "text"),
    "expiry": Order("e.expires_at", "timestamptz"),
    "newest": Order("e.created_at", "timestamptz", descending=True),
    "size": Order("e.size", "int4", descending=True),
    "hits": Order("s.hits", "int8", descending=True, counted=True),
    "saved": Order("s.saved", "numeric", descending=True, counted=True),
}


@cache
def page(name: str, *, backwards: bool = False, gathered: bool = False, stats: bool = False) -> str:
    """A page of the selected entries behind %(place)s and %(version)s, null for the first page: one more than
    %(limit)s, to tell whether there is a next one. A page `backwards` comes in reverse.

    `gathered`: all that is selected is found first, by whichever index finds it, and sorted then. Otherwise the order's
    own index is walked until the page is full, which takes long where few of its entries are selected. Walked by what
    is counted, a list has all of the tenant's entries that were hit, or saved something, whatever is selected.

    With `stats`, three columns more: hits, as far as they are folded, when the last one was, and the USD they saved.
    """
    order = ORDERS[name]
    build = _gathered if gathered else _walked_by_stats if order.counted else _walked
    columns, joined = (f"{_COLUMNS}, {_STATS}", _WITH_STATS) if stats else (_COLUMNS, "")
    sort = _sort("e.place", "e.version", order, backwards)
    return f"select {columns} from ({build(order, backwards)}) e {joined} order by {sort}"


def _walked(order: Order, backwards: bool) -> str:
    return f"""
select {_COLUMNS}, {order.by} as place from entry e
where {SELECTED} and {_LIVE} and {_behind(order.by, "e.version", order, backwards)}
order by {_sort(order.by, "e.version", order, backwards)} limit %(limit)s::int + 1"""


def _walked_by_stats(order: Order, backwards: bool) -> str:
    """Versions are looked up one after the other in the order of an index, until there are enough that live."""
    sort = _sort(order.by, "s.version", order, backwards)
    return f"""
select {_COLUMNS}, {order.by} as place
from (
  select s.* from entry_stats s
  where s.tenant_id = %(tenant_id)s and {order.by} > 0 and {_behind(order.by, "s.version", order, backwards)}
  order by {sort} offset 0
) s
cross join lateral (
  select * from entry e
  where e.tenant_id = %(tenant_id)s and e.version = s.version and e.space = %(space)s and {_LIVE} limit 1
) e
order by {sort} limit %(limit)s::int + 1"""


def _gathered(order: Order, backwards: bool) -> str:
    by, joined = (f"coalesce({order.by}, 0)", _WITH_STATS) if order.counted else (order.by, "")
    return f"""
select * from (select {_COLUMNS}, {by} as place from entry e {joined} where {SELECTED} and {_LIVE} offset 0) e
where {_behind("e.place", "e.version", order, backwards)}
order by {_sort("e.place", "e.version", order, backwards)} limit %(limit)s::int + 1"""


def _sort(by: str, version: str, order: Order, backwards: bool) -> str:
    """Keys need no version behind them: the index has none."""
    first = f"{by} {'desc' if order.descending is not backwards else 'asc'}"
    return first if order.by == "e.key" else f"{first}, {version} {'desc' if backwards else 'asc'}"


def _behind(by: str, version: str, order: Order, backwards: bool) -> str:
    """The first comparison is one that an index can begin at."""
    beyond, later = "<" if order.descending is not backwards else ">", "<" if backwards else ">"
    place = f"%(place)s::{order.type}"
    if order.by == "e.key":
        return f"({place} is null or {by} {beyond} {place})"
    return (
        f"({place} is null or ({by} {beyond}= {place} and "
        f"({by} {beyond} {place} or {version} {later} %(version)s::bigint)))"
    )


# How many live entries are selected, counted no further than one beyond %(most)s.
COUNT_UP_TO: Final = (
    f"select count(*) from (select from entry e where {SELECTED} and {_LIVE} limit %(most)s::int + 1) e"
)

# All of one live entry but its value.
ENTRY: Final = f"""
select e.version, e.size, e.created_at, e.expires_at, e.content_type, e.tags, e.cost, e.api_key_id,
       {_STATS}
from entry e {_WITH_STATS}
where e.tenant_id = %(tenant_id)s and e.space = %(space)s and e.key = %(key)s and {_LIVE}
"""
