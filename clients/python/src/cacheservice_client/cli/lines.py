"""The lines of an export and an import: one entry as a JSON object on each.

`{"key", "value" | "value_base64" + "content_type", "ttl" | "expires_at", "tags", "cost"}`. A JSON value stands in its
line byte for byte. One that has line breaks in it, which a line cannot, goes in base64 with the type application/json.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from cacheservice_client.cli import given, jsontext
from cacheservice_client.operations import moment, more_fields
from cacheservice_client.values import BYTES, JSON, Encoded

NAMES = frozenset({"key", "value", "value_base64", "content_type", "ttl", "expires_at", "tags", "cost"})


@dataclass(frozen=True, slots=True)
class Line:
    """An entry to store. `ttl` is None when the line says nothing of it: the service then has its default."""

    number: int
    key: str
    value: Encoded
    ttl: int | None
    tags: list[str]
    cost: str | None

    @property
    def expired(self) -> bool:
        return self.ttl is not None and self.ttl < 1

    def operation(self) -> bytes:
        """The put that a batch takes; of JSON values only."""
        fields = more_fields(self.ttl, self.tags, self.cost)
        return b'{"op":"put","key":%s,"value":%s%s}' % (json.dumps(self.key).encode(), self.value.body, fields)


def parse(line: bytes, number: int) -> Line:
    """Raises ValueError, which says what is wrong with the line."""
    texts = jsontext.members(_text(line))
    if unknown := texts.keys() - NAMES:
        raise ValueError(f"{min(unknown)} is no field of an entry")
    fields = {name: json.loads(text) for name, text in texts.items() if name != "value"}
    if not isinstance(fields.get("key"), str):
        raise ValueError("key: give a string")
    return Line(number, fields["key"], _value(texts, fields), _ttl(fields), _tags(fields), _string(fields, "cost"))


def render(key: str, value: Encoded, expires_at: str, tags: list[str]) -> bytes:
    """The line of an entry, with its line break."""
    body, content_type = value.body, value.content_type
    if content_type is None and (b"\n" in body or b"\r" in body):
        content_type = JSON
    if content_type is None:
        given_value = b'"value":' + body
    else:
        given_value = b'"value_base64":"%s","content_type":%s' % (base64.b64encode(body), _json(content_type))
    more = b',"tags":' + _json(tags) if tags else b""
    return b'{"key":%s,%s,"expires_at":%s%s}\n' % (_json(key), given_value, _json(expires_at), more)


def _text(line: bytes) -> str:
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def _value(texts: Mapping[str, str], fields: Mapping[str, Any]) -> Encoded:
    if ("value" in texts) == ("value_base64" in texts):
        raise ValueError("give one of value and value_base64")
    content_type = _string(fields, "content_type")
    if "value" in texts:
        if content_type is not None and not given.is_json(content_type):
            raise ValueError("content_type: it goes with value_base64")
        return Encoded(texts["value"].encode(), None)
    try:
        body = base64.b64decode(fields["value_base64"], validate=True)
    except (ValueError, TypeError):
        raise ValueError("value_base64: it is not base64") from None
    if content_type is None or not given.is_json(content_type):
        return Encoded(body, content_type or BYTES)
    jsontext.check(_text(body))
    return Encoded(body, None)


def _ttl(fields: Mapping[str, Any]) -> int | None:
    ttl, expires_at = fields.get("ttl"), _string(fields, "expires_at")
    if expires_at is not None:
        if ttl is not None:
            raise ValueError("give ttl or expires_at, not both")
        try:
            return int((_utc(moment(expires_at)) - datetime.now(timezone.utc)).total_seconds())
        except ValueError:
            raise ValueError("expires_at: give a time such as 2026-11-20T10:00:00Z") from None
    if ttl is not None and (not isinstance(ttl, int) or isinstance(ttl, bool) or ttl < 1):
        raise ValueError("ttl: give seconds, a whole number of 1 or more")
    return ttl


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def _tags(fields: Mapping[str, Any]) -> list[str]:
    tags = fields.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError("tags: give a list of strings")
    return tags


def _string(fields: Mapping[str, Any], name: str) -> str | None:
    content = fields.get(name)
    if content is not None and not isinstance(content, str):
        raise ValueError(f"{name}: give a string")
    return content


def _json(content: str | list[str]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
