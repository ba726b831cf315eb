"""Each operation of the HTTP API: the request that asks for it, and what its answer means."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import Any, Generic, TypeVar, cast
from urllib.parse import quote, urlencode

from cacheservice_client import errors
from cacheservice_client.messages import Headers, Request, Response
from cacheservice_client.results import Entry, Hit, Miss, Page, Stored, Usage
from cacheservice_client.values import Dumps, Encoded, Loads, encode, of_json

T = TypeVar("T")

Cost = str | Decimal | int
Tags = str | Sequence[str]
Time = str | date  # a datetime is a date

_CACHE = "/api/v1/cache"
_JSON: Headers = (("content-type", "application/json"),)
_LEASE = "x-cache-lease"


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """`parse` is given any answer and raises CacheError for one that is an error. `otherwise` makes what stands in for
    the result when the cache is out and on_error="miss"; None: the error is raised even then.
    """

    request: Request
    parse: Callable[[Response], T]
    otherwise: Callable[[], T] | None = None


class Operations:
    """`loads` and `dumps` turn JSON into values and back."""

    def __init__(self, loads: Loads, dumps: Dumps) -> None:
        self._loads = loads
        self._dumps = dumps

    # One entry.

    def get(self, key: str, lease: int | None = None, wait: int | None = None) -> Operation[Hit | Miss]:
        if wait is not None and lease is None:
            raise ValueError("wait: it waits for the fill of a lease; give lease too")
        query = _query(lease=lease, wait=wait or None)
        return Operation(Request("GET", item(key) + query, wait=wait or 0), self._hit_or_miss, Miss)

    def put(
        self,
        key: str,
        value: Any,
        *,
        ttl: int | None = None,
        tags: Tags = (),
        cost: Cost | None = None,
        content_type: str | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
        lease: str | None = None,
    ) -> Operation[Stored | None]:
        return self.put_encoded(
            key,
            self.encode(value, content_type),
            ttl=ttl,
            tags=tags,
            cost=cost,
            if_match=if_match,
            if_absent=if_absent,
            lease=lease,
        )

    def encode(self, value: Any, content_type: str | None = None) -> Encoded:
        return encode(value, content_type, self._dumps)

    def decode(self, encoded: Encoded) -> Any:
        return encoded.decode(self._loads)

    def put_encoded(
        self,
        key: str,
        encoded: Encoded,
        *,
        ttl: int | None = None,
        tags: Tags = (),
        cost: Cost | None = None,
        if_match: str | None = None,
        if_absent: bool = False,
        lease: str | None = None,
    ) -> Operation[Stored | None]:
        conditions = _headers(("if-match", if_match), ("if-none-match", "*" if if_absent else None), (_LEASE, lease))
        if encoded.content_type is None:
            target, headers = item(key), _JSON
            body = b'{"value":%s%s}' % (encoded.body, more_fields(ttl, tags, cost))
        else:
            target = item(key) + _query(ttl=ttl, tag=listed(tags), cost=_cost(cost))
            headers, body = _headers(("content-type", encoded.content_type)), encoded.body
        # Done twice, a conditional write would find the first time's and fail. So would one whose lease is then used.
        repeatable = if_match is None and not if_absent and lease is None
        return Operation(Request("PUT", target, body, headers + conditions, repeatable), self._stored, _nothing)

    def touch(
        self, key: str, ttl: int | None = None, tags: Tags | None = None, if_match: str | None = None
    ) -> Operation[Stored | None]:
        fields = {"ttl": ttl, "tags": None if tags is None else listed(tags)}
        body = json.dumps({name: field for name, field in fields.items() if field is not None}).encode()
        headers = _JSON + _headers(("if-match", if_match))
        return Operation(Request("PATCH", item(key), body, headers), self._touched, _nothing)

    def delete(self, key: str, if_match: str | None = None) -> Operation[bool]:
        headers = _headers(("if-match", if_match))
        request = Request("DELETE", item(key), headers=headers, repeatable=if_match is None)
        return Operation(request, self._deleted, lambda: False)

    def release(self, key: str, lease: str) -> Operation[bool]:
        return Operation(Request("DELETE", item(key), headers=_headers((_LEASE, lease))), self._deleted, lambda: False)

    # Many entries.

    def page(
        self,
        tag: Tags = (),
        prefix: str | None = None,
        limit: int = 1000,
        stats: bool = False,
        cursor: str | None = None,
    ) -> Operation[Page]:
        include = "stats" if stats else None
        query = _query(tag=listed(tag), prefix=prefix, limit=limit, include=include, cursor=cursor)
        return Operation(Request("GET", _CACHE + query), self._page)

    def clear(self, tag: Tags = (), prefix: str | None = None, all: bool = False) -> Operation[int]:
        tags = listed(tag)
        if all == bool(tags or prefix):  # so that an empty variable, which was to hold a tag, never clears all
            raise ValueError("clear: give tag, prefix or both, or all=True alone")
        query = "?all=true" if all else _query(tag=tags, prefix=prefix)
        return Operation(Request("DELETE", _CACHE + query), lambda response: int(self._content(response)["deleted"]))

    # The account.

    def usage(
        self, start: Time | None = None, end: Time | None = None, group_by: str | None = None, by: str | None = None
    ) -> Operation[Usage]:
        query = _query(**{"from": _time(start), "to": _time(end), "group_by": group_by, "by": by})
        return Operation(Request("GET", "/api/v1/usage" + query), lambda response: cast(Usage, self._report(response)))

    # What answers mean.

    def _content(self, response: Response) -> Any:
        """The JSON of a good answer, its values by the caller's own `loads`."""
        check(response)
        return self._loads(response.body)

    def _report(self, response: Response) -> Any:
        """The JSON of a good answer that has no value of the caller's in it."""
        check(response)
        return json.loads(response.body)

    def _hit_or_miss(self, response: Response) -> Hit | Miss:
        content = self._content(response)
        if not content["hit"]:
            return Miss(content.get("lease"))
        age = response.headers.get("age")
        return hit(content, response.headers.get("etag"), None if age is None else int(age))

    def _stored(self, response: Response) -> Stored:
        return stored(self._report(response), response.headers.get("etag"))

    def _touched(self, response: Response) -> Stored | None:
        if response.status == 404 and response.headers.get("x-cache") == "MISS":
            return None
        return self._stored(response)

    def _deleted(self, response: Response) -> bool:
        return bool(self._report(response)["deleted"])

    def _page(self, response: Response) -> Page:
        content = self._report(response)
        return Page(tuple(map(_entry, content["keys"])), content["next_cursor"])


def hit(content: Mapping[str, Any], etag: str | None = None, age: int | None = None) -> Hit:
    content_type = content.get("content_type")
    return Hit(
        content["key"],
        of_json(content["value"], content_type),
        content_type,
        moment(content["created_at"]),
        moment(content["expires_at"]),
        etag,
        age,
    )


def stored(content: Mapping[str, Any], etag: str | None = None) -> Stored:
    times = moment(content["created_at"]), moment(content["expires_at"])
    return Stored(content["key"], *times, content["size_bytes"], etag)


def check(response: Response) -> None:
    if not 200 <= response.status < 300:
        raise errors.of_response(response)


def item(key: str) -> str:
    """The path of a key. Its dots are escaped where they would be taken for the dots of a relative path."""
    return f"{_CACHE}/{'%2E' * len(key) if key in ('.', '..') else quote(key, safe='')}"


def more_fields(ttl: int | None, tags: Tags, cost: Cost | None) -> bytes:
    """The rest of a PUT's JSON, behind its value."""
    fields = {"ttl": ttl, "tags": listed(tags) or None, "cost": _cost(cost)}
    return b"".join(
        b',"%s":%s' % (name.encode(), json.dumps(field).encode()) for name, field in fields.items() if field is not None
    )


def listed(tags: Tags) -> list[str]:
    """Tags, of which a single one may come as it is."""
    return [tags] if isinstance(tags, str) else list(tags)


def moment(text: str) -> datetime:
    """A time of the service's, which are RFC 3339 in UTC."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _entry(row: Mapping[str, Any]) -> Entry:
    last_hit_at, saved_usd = row.get("last_hit_at"), row.get("saved_usd")
    return Entry(
        row["key"],
        moment(row["created_at"]),
        moment(row["expires_at"]),
        row["size_bytes"],
        tuple(row["tags"]),
        row.get("hits"),
        None if last_hit_at is None else moment(last_hit_at),
        None if saved_usd is None else Decimal(saved_usd),
    )


def _nothing() -> None:
    return None


def _query(**parameters: int | str | Iterable[str] | None) -> str:
    """The query of those that are not None; a list repeats its name."""
    text = urlencode({name: value for name, value in parameters.items() if value is not None}, doseq=True)
    return f"?{text}" if text else ""


def _headers(*pairs: tuple[str, str | None]) -> Headers:
    for name, value in pairs:
        if value is not None and not (value.isascii() and value.isprintable()):
            raise ValueError(f"{name}: a header takes printable ASCII only")
    return tuple((name, value) for name, value in pairs if value is not None)


def _cost(cost: Cost | None) -> str | None:
    """US dollars in decimal digits. A float is refused: money is never binary."""
    if cost is None or isinstance(cost, str):
        return cost
    if isinstance(cost, float):
        raise TypeError('cost: give US dollars as a string such as "0.04", a Decimal or an int, not a float')
    return format(cost, "f") if isinstance(cost, Decimal) else str(cost)


def _time(time: Time | None) -> str | None:
    if isinstance(time, datetime):
        if time.tzinfo is None:
            raise ValueError("usage: give times with a time zone")
        return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return time.isoformat() if isinstance(time, date) else time
