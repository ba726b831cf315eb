"""What the cache's methods give back."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypedDict


@dataclass(frozen=True, slots=True)
class Hit:
    """A live entry. It is true, whatever its value: a cached None is no miss.

    `value` is what the JSON stands for, or bytes when the entry has a `content_type` of its own. `age` is in seconds.
    Within a batch, `etag` and `age` are not told and are None.
    """

    key: str
    value: Any
    content_type: str | None
    created_at: datetime
    expires_at: datetime
    etag: str | None
    age: int | None

    def __bool__(self) -> Literal[True]:
        return True


@dataclass(frozen=True, slots=True)
class Miss:
    """No live entry. It is false. `lease`: the token of the lease that was asked for, None when it was not given."""

    lease: str | None = None

    def __bool__(self) -> Literal[False]:
        return False


@dataclass(frozen=True, slots=True)
class Stored:
    """An entry as a write left it. Within a batch, `etag` is None."""

    key: str
    created_at: datetime
    expires_at: datetime
    size_bytes: int
    etag: str | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of a list. `hits`, `last_hit_at` and `saved_usd` come when stats are asked for."""

    key: str
    created_at: datetime
    expires_at: datetime
    size_bytes: int
    tags: tuple[str, ...]
    hits: int | None = None
    last_hit_at: datetime | None = None
    saved_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Page:
    entries: tuple[Entry, ...]
    next_cursor: str | None


class APIKeyName(TypedDict):
    id: str
    name: str | None


class UsageFigures(TypedDict, total=False):
    """Decimals come as strings. Which keys there are depends on what the report is by."""

    hits: int
    misses: int
    writes: int
    duplicates: int
    deletes: int
    credits: str
    byte_seconds: str
    gb_months: str
    saved_usd: str
    hit_ratio: str | None
    duplicate_rate: str | None


class UsageRow(UsageFigures, total=False):
    start: str
    api_key: APIKeyName
    tag: str


Usage = TypedDict(
    "Usage",
    {
        "from": str,
        "to": str,
        "group_by": str,
        "by": str | None,
        "as_of": str,
        "usage": list[UsageRow],
        "total": UsageFigures,
    },
    total=False,
)
