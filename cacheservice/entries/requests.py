"""What clients may send, checked once for the lane, Django REST framework and batches.

Every function raises InvalidRequest naming the field, the limit and what to send instead. The structs are also the
OpenAPI document's schemas.
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, NamedTuple, TypeVar
from urllib.parse import parse_qsl, unquote_to_bytes

import msgspec

from cacheservice.entries import nesting
from cacheservice.errors import InvalidRequest, PreconditionFailed, UnsupportedMediaType, ValueTooLarge

MAX_KEY_BYTES = 512
MAX_TTL_SECONDS = 31_536_000  # a tenant may have a lower one, and another default
DEFAULT_TTL_SECONDS = 604_800
MAX_TAGS, MAX_TAG_BYTES = 32, 128
MAX_OPERATIONS = 256
MAX_LEASE_SECONDS, MAX_WAIT_SECONDS = 300, 60
MAX_LIMIT, DEFAULT_LIMIT = 1000, 100
MAX_CONTENT_TYPE_BYTES = 255

TTL = Annotated[
    int,
    msgspec.Meta(
        ge=1,
        le=MAX_TTL_SECONDS,
        description="Seconds until the entry expires; at most the tenant's maximum. Left out of a new value: the "
        f"tenant's default, {DEFAULT_TTL_SECONDS} unless it has set another.",
    ),
]
TagText = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=MAX_TAG_BYTES,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
        description="1 to 128 bytes of UTF-8 without control characters.",
    ),
]
Tags = Annotated[list[TagText], msgspec.Meta(max_length=MAX_TAGS)]
Cost = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9]{1,9}(\.[0-9]{1,9})?$",
        description="USD that producing the value cost, as a decimal string; a hit counts it as saved.",
    ),
]
KeyText = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=MAX_KEY_BYTES,
        pattern=r"^[^\x00-\x1f\x7f-\x9f]*$",
        description="1 to 512 bytes of UTF-8 without control characters.",
    ),
]

_FIXES = {
    "value": "send any JSON value",
    "ttl": f"send whole seconds from 1 to {MAX_TTL_SECONDS}, or leave it out for the default",
    "tags": f"send a list of at most {MAX_TAGS} strings, each 1 to {MAX_TAG_BYTES} bytes without control characters",
    "cost": 'send US dollars as a decimal string with at most 9 decimals, such as "0.04"',
    "key": f"send a string of 1 to {MAX_KEY_BYTES} bytes without control characters",
    "operations": f"send a list of 1 to {MAX_OPERATIONS} operations",
}


class PutBody(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON body of a PUT."""

    value: msgspec.Raw
    ttl: TTL | msgspec.UnsetType = msgspec.UNSET
    tags: Tags = []
    cost: Cost | None = None


class PatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON body of a PATCH: what to renew or retag."""

    ttl: TTL | msgspec.UnsetType = msgspec.UNSET
    tags: Tags | msgspec.UnsetType = msgspec.UNSET


class GetOperation(msgspec.Struct, forbid_unknown_fields=True, tag_field="op", tag="get"):
    """A GET within a batch."""

    key: KeyText


class PutOperation(msgspec.Struct, forbid_unknown_fields=True, tag_field="op", tag="put"):
    """A PUT within a batch."""

    key: KeyText
    value: msgspec.Raw
    ttl: TTL | msgspec.UnsetType = msgspec.UNSET
    tags: Tags = []
    cost: Cost | None = None


class DeleteOperation(msgspec.Struct, forbid_unknown_fields=True, tag_field="op", tag="delete"):
    """A DELETE within a batch."""

    key: KeyText


class BatchBody(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON body of a batch. Each operation is checked by itself: one that is wrong gets its own 400."""

    operations: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=MAX_OPERATIONS)]


BatchOperation = GetOperation | PutOperation | DeleteOperation


class NewEntry(NamedTuple):
    """What a PUT stores, whichever way it came."""

    value: bytes
    content_type: str | None  # None: JSON
    ttl: int | None  # None: the tenant's default
    tags: list[str]
    cost: str | None


class Condition(NamedTuple):
    """What must hold of the entry for a write to happen: `sql._MET` decides."""

    kind: int = 0  # 0 nothing, 1 absent, 2 this version, 3 present
    version: int = 0

    @property
    def needs_entry(self) -> bool:
        return self.kind in (2, 3)

    def failed(self) -> PreconditionFailed:
        if self.kind == 1:
            return PreconditionFailed("If-None-Match: a live entry is there already; nothing was changed.")
        return PreconditionFailed(
            "If-Match: the entry is absent or has another ETag; nothing was changed. Read it again for its ETag."
        )


NO_CONDITION = Condition()
_VERSION = re.compile(r'"([0-9a-f]{16})"')
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
_COST = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_TOO_DEEP = f"value: it is nested too deeply; at most {nesting.MAX_NESTING} levels are taken."
_LEASE = re.compile(rb"[0-9a-f]{16}")
_ANSWER_KEY = re.compile(r"[0-9a-f]{64}")
_INTEGER = re.compile(r"[0-9]{1,12}", re.ASCII)
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+([ \t]*;[\t -~]*)?")

Body = TypeVar("Body")

_put = msgspec.json.Decoder(PutBody)
_patch = msgspec.json.Decoder(PatchBody)
_batch = msgspec.json.Decoder(BatchBody)
_operation = msgspec.json.Decoder(BatchOperation)


def parse_key(escaped: bytes) -> str:
    """A key from the path behind `/api/v1/cache/`, percent-decoded once."""
    try:
        return check_key((unquote_to_bytes(escaped) if b"%" in escaped else escaped).decode())
    except UnicodeDecodeError:
        raise InvalidRequest("key: it is not UTF-8; percent-encode the key's UTF-8 bytes.") from None


def check_key(key: str) -> str:
    _check_text("key", key, MAX_KEY_BYTES)
    return key


def parse_put(content_type: bytes | None, query: bytes, body: bytes, max_value_bytes: int) -> NewEntry:
    """A PUT's body by its Content-Type: JSON holds the value in an envelope, any other type is the value itself.

    Raises UnsupportedMediaType for none and for a form's, and ValueTooLarge.
    """
    media_type = _media_type(content_type)
    if media_type is None:
        if query:
            raise InvalidRequest("query: with a JSON body, 'ttl', 'tags' and 'cost' go into the body, not the query.")
        fields = decode(_put, body)
        entry = _new_entry(fields)
    else:
        parameters = parse_query(query, ("ttl", "tag", "cost"), repeatable=("tag",))
        entry = NewEntry(
            body,
            media_type,
            _ttl(parameters["ttl"][0]) if "ttl" in parameters else None,
            check_tags(parameters.get("tag", [])),
            _cost(parameters["cost"][0]) if "cost" in parameters else None,
        )
    check_size(entry.value, max_value_bytes)
    return entry


def parse_patch(content_type: bytes | None, body: bytes) -> PatchBody:
    require_json(content_type)
    patch = decode(_patch, body)
    if patch.ttl is msgspec.UNSET and patch.tags is msgspec.UNSET:
        raise InvalidRequest("body: it changes nothing; send 'ttl', 'tags' or both.")
    if patch.tags is not msgspec.UNSET:
        patch.tags = check_tags(patch.tags)
    return patch


def parse_batch(content_type: bytes | None, body: bytes, max_bytes: int) -> list[msgspec.Raw]:
    """The operations of a batch, yet to be checked one by one with `parse_operation`."""
    require_json(content_type)
    if len(body) > max_bytes:
        raise ValueTooLarge(f"body: the batch has {len(body)} bytes; at most {max_bytes} are taken. Send two.")
    return decode(_batch, body).operations


def parse_operation(operation: msgspec.Raw) -> BatchOperation:
    parsed: BatchOperation = decode(_operation, bytes(operation))
    check_key(parsed.key)
    return parsed


def put_operation_entry(operation: PutOperation, max_value_bytes: int) -> NewEntry:
    entry = _new_entry(operation)
    check_size(entry.value, max_value_bytes)
    return entry


def parse_conditions(if_match: str | None, if_none_match: str | None) -> Condition:
    """The condition of a write from its If-Match and If-None-Match headers."""
    if if_match is not None and if_none_match is not None:
        raise InvalidRequest("If-Match and If-None-Match: send one of them, not both.")
    if if_none_match is not None:
        if if_none_match.strip() != "*":
            raise InvalidRequest("If-None-Match: a write takes only '*', which means: create only.")
        return Condition(1)
    if if_match is not None:
        if if_match.strip() == "*":
            return Condition(3)
        match = _VERSION.fullmatch(if_match.strip())
        if match is None:
            raise InvalidRequest('If-Match: send one ETag as it came, quotes too, such as "0123456789abcdef", or *.')
        return Condition(2, _signed(int(match[1], 16)))
    return NO_CONDITION


def matches(if_none_match: str, version: int) -> bool:
    """Whether a reader's If-None-Match names this version (weak comparison, RFC 9110, 13.1.2)."""
    return if_none_match.strip() == "*" or etag(version) in if_none_match


def etag(version: int) -> str:
    return f'"{version & 0xFFFFFFFFFFFFFFFF:016x}"'


def parse_query(query: bytes, allowed: tuple[str, ...], repeatable: tuple[str, ...] = ()) -> dict[str, list[str]]:
    """The query's parameters. Unknown and repeated ones are errors: a misspelt filter must not delete too much."""
    if not query:
        return {}
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise InvalidRequest("query: it is not percent-encoded UTF-8, or has more than 100 parameters.") from None
    parameters: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in allowed:
            known = ", ".join(allowed) or "none"
            raise InvalidRequest(f"query: unknown parameter '{shown(name)}'; this request takes: {known}.")
        if name in parameters and name not in repeatable:
            raise InvalidRequest(f"query: '{name}' is given more than once; send it once.")
        parameters.setdefault(name, []).append(value)
    return parameters


def parse_flag(parameters: Mapping[str, list[str]], name: str) -> bool:
    value = parameters.get(name, ["false"])[0]
    if value not in ("true", "false"):
        raise InvalidRequest(f"{name}: send 'true' or 'false', not '{shown(value)}'.")
    return value == "true"


def parse_limit(parameters: Mapping[str, list[str]], most: int = MAX_LIMIT, default: int = DEFAULT_LIMIT) -> int:
    text = parameters.get("limit", [str(default)])[0]
    if not _INTEGER.fullmatch(text) or not 1 <= int(text) <= most:
        raise InvalidRequest(f"limit: send an integer from 1 to {most}, not '{shown(text)}'.")
    return int(text)


def parse_choice(parameters: Mapping[str, list[str]], name: str, choices: Collection[str]) -> str | None:
    """One of the choices; None when the parameter is not given."""
    if name not in parameters:
        return None
    [value] = parameters[name]
    if value not in choices:
        known = " or ".join(f"'{choice}'" for choice in choices)
        raise InvalidRequest(f"{name}: send {known}, or leave it out, not '{shown(value)}'.")
    return value


def parse_lease(parameters: Mapping[str, list[str]]) -> tuple[int, int]:
    """For how many seconds a lease is asked for (0: not), and how long to wait for whoever holds it."""
    if "wait" in parameters and "lease" not in parameters:
        raise InvalidRequest("wait: it is for requests with 'lease'; add 'lease', or leave 'wait' out.")
    return _seconds(parameters, "lease", 1, MAX_LEASE_SECONDS), _seconds(parameters, "wait", 0, MAX_WAIT_SECONDS)


def _seconds(parameters: Mapping[str, list[str]], name: str, least: int, most: int) -> int:
    if name not in parameters:
        return 0
    [text] = parameters[name]
    if not _INTEGER.fullmatch(text) or not least <= int(text) <= most:
        raise InvalidRequest(f"{name}: send whole seconds from {least} to {most}, not '{shown(text)}'.")
    return int(text)


def lease_text(token: int) -> str:
    return f"{token:016x}"


def parse_lease_token(headers: Mapping[bytes, bytes]) -> int:
    """The lease that a PUT fills or a DELETE gives back; 0 when it has none."""
    text = headers.get(b"x-cache-lease")
    if text is None:
        return 0
    if not _LEASE.fullmatch(text) or not 0 < int(text, 16) < 1 << 63:
        raise InvalidRequest("X-Cache-Lease: send the text of 'lease' as it came with the miss.")
    return int(text, 16)


def check_tags(tags: list[str]) -> list[str]:
    if len(tags) > MAX_TAGS:
        raise InvalidRequest(f"tags: {len(tags)} are too many; {_FIXES['tags']}.")
    for tag in tags:
        _check_text("tags", tag, MAX_TAG_BYTES)
    return list(dict.fromkeys(tags))


def check_prefix(prefix: str) -> str:
    _check_text("prefix", prefix, MAX_KEY_BYTES)
    return prefix


def check_answer_key(key: str) -> str:
    """The key of an answer that the gateway keeps: a SHA-256."""
    if not _ANSWER_KEY.fullmatch(key):
        raise InvalidRequest(
            "key: send 64 hexadecimal digits in lower case: the answer's X-Cache-Key or, where the request gave a "
            "name there, the key that the list with 'space=gateway' shows."
        )
    return key


def check_size(value: bytes, max_value_bytes: int) -> None:
    if len(value) > max_value_bytes:
        raise ValueTooLarge(f"value: it has {len(value)} bytes; at most {max_value_bytes} are stored.")


def require_json(content_type: bytes | None) -> None:
    if _media_type(content_type) is not None:
        raise UnsupportedMediaType("Content-Type: this request takes JSON; add 'Content-Type: application/json'.")


def _media_type(content_type: bytes | None) -> str | None:
    """None for JSON, else the content type as sent, to store and give back."""
    text = (content_type or b"").decode("latin-1").strip()
    if text == "application/json":
        return None
    essence = text.partition(";")[0].strip().lower()
    if essence == "application/json":
        return None
    if essence in ("", "application/x-www-form-urlencoded"):
        raise UnsupportedMediaType(
            "Content-Type: add the header 'Content-Type: application/json' (curl -d sends a form's type by itself), "
            "or the type of the raw body that you send."
        )
    if not _MEDIA_TYPE.fullmatch(text) or len(text) > MAX_CONTENT_TYPE_BYTES:
        raise UnsupportedMediaType("Content-Type: it is not a media type such as 'image/png'; correct the header.")
    return text


def _new_entry(fields: PutBody | PutOperation) -> NewEntry:
    value = bytes(fields.value)
    if nesting.too_deep(value):
        raise InvalidRequest(_TOO_DEEP)
    ttl = None if fields.ttl is msgspec.UNSET else fields.ttl
    return NewEntry(value, None, ttl, check_tags(fields.tags), fields.cost)


def decode(decoder: msgspec.json.Decoder[Body], body: bytes, fixes: Mapping[str, str] = _FIXES) -> Body:
    """The body as its struct. `fixes`: what to send instead, by field."""
    if not body.isascii():
        try:
            body.decode()  # msgspec.Raw lets invalid UTF-8 pass
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"body: byte {error.start} is not UTF-8; send JSON in UTF-8.") from None
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidRequest(_explain(str(error), fixes)) from None
    except msgspec.DecodeError as error:
        reason = "an escape is a lone surrogate, or it was cut short" if "truncated" in str(error) else str(error)
        raise InvalidRequest(f"body: it is not valid JSON ({reason}); correct it.") from None
    except RecursionError:
        raise InvalidRequest(_TOO_DEEP) from None


def _explain(error: str, fixes: Mapping[str, str]) -> str:
    """msgspec's message with the field first and the fix last."""
    reason, _, path = error.partition(" - at `$")
    reason = reason.replace("Expected", "expected").replace("Object", "the object").rstrip(".")
    field = path.rstrip("`").lstrip(".")
    name = field.partition("[")[0]
    if not name and (quoted := re.search(r"field `(.+)`$", reason)):
        name = quoted[1] if quoted[1] in fixes else ""
        field = shown(quoted[1])
    fix = f"; {fixes[name]}" if name in fixes else "; correct it"
    return f"{field or 'body'}: {shown(reason)}{fix}."


def _ttl(text: str) -> int:
    if not _INTEGER.fullmatch(text) or not 1 <= int(text) <= MAX_TTL_SECONDS:
        raise InvalidRequest(f"ttl: '{shown(text)}' is not allowed; {_FIXES['ttl']}.")
    return int(text)


def _cost(text: str) -> str:
    if not _COST.fullmatch(text):
        raise InvalidRequest(f"cost: '{shown(text)}' is not allowed; {_FIXES['cost']}.")
    return text


def _check_text(field: str, text: str, most: int) -> None:
    size = len(text.encode())
    if not 1 <= size <= most:
        raise InvalidRequest(f"{field}: it has {size} bytes of UTF-8; 1 to {most} are allowed.")
    if control := _CONTROL.search(text):
        raise InvalidRequest(f"{field}: it has the control character U+{ord(control[0]):04X}; leave it out.")


def _signed(number: int) -> int:
    """An unsigned 64-bit number as PostgreSQL's bigint."""
    return number - (1 << 64) if number >= 1 << 63 else number


def shown(text: str) -> str:
    """What a client sent, short enough to repeat in a message."""
    return text if len(text) <= 80 else text[:77] + "…"
