"""The OpenAPI description of the cache: what `requests.py` takes and what the views answer.

Request schemas are the very structs that parse requests; those of answers stand here, and a test holds every answer
against them.
"""

from typing import Annotated, Any

import msgspec
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema

from cacheservice.entries import requests
from cacheservice.entries.collection import MOST_COUNTED, SPACES

Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="RFC 3339, UTC.")]

USD = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+\.[0-9]{2,10}$", description="USD.")]


class StoredEntry(msgspec.Struct):
    """What a PUT or PATCH answers."""

    key: requests.KeyText
    created_at: Time
    expires_at: Time
    size_bytes: Annotated[int, msgspec.Meta(ge=0, description="Bytes of the value as sent.")]


class CacheHit(msgspec.Struct):
    """A live entry."""

    key: requests.KeyText
    value: Annotated[Any, msgspec.Meta(description="As it was sent; base 64 for another content type than JSON.")]
    created_at: Time
    expires_at: Time
    hit: Annotated[bool, msgspec.Meta(extra_json_schema={"const": True})]
    content_type: str | msgspec.UnsetType = msgspec.UNSET


class CacheMiss(msgspec.Struct):
    """No live entry; not an error."""

    key: requests.KeyText
    hit: Annotated[bool, msgspec.Meta(extra_json_schema={"const": False})]
    lease: Annotated[
        str | None, msgspec.Meta(description="With `lease`: to fill the entry with; null: it is held.")
    ] | (msgspec.UnsetType) = msgspec.UNSET


class Deleted(msgspec.Struct):
    """Whether a live entry was deleted."""

    key: requests.KeyText
    deleted: bool


class ListedEntry(msgspec.Struct):
    """A live entry; with `include=stats` also what its hits count to, within a minute."""

    key: requests.KeyText
    created_at: Time
    expires_at: Time
    size_bytes: Annotated[int, msgspec.Meta(ge=0)]
    tags: list[str]
    hits: int | msgspec.UnsetType = msgspec.UNSET
    last_hit_at: Time | msgspec.UnsetType | None = msgspec.UNSET
    saved_usd: USD | msgspec.UnsetType = msgspec.UNSET


_TOTAL = f"Live matches, counted for the first page, up to {MOST_COUNTED}."


class Page(msgspec.Struct):
    """A page of live entries, in order of their keys."""

    keys: list[ListedEntry]
    total: Annotated[int, msgspec.Meta(ge=0, description=_TOTAL)]
    storage_used_bytes: Annotated[int, msgspec.Meta(ge=0, description="The tenant's live storage.")]
    next_cursor: str | None


class DeletedEntries(msgspec.Struct):
    deleted: Annotated[int, msgspec.Meta(ge=0)]


class BatchResult(msgspec.Struct):
    """What the operation would have answered alone."""

    status: Annotated[int, msgspec.Meta(ge=200, le=599)]
    body: dict[str, Any]


class BatchAnswer(msgspec.Struct):
    results: list[BatchResult]


class ErrorDetail(msgspec.Struct):
    code: str
    message: str
    request_id: str


class Error(msgspec.Struct):
    """Every error has this shape."""

    error: ErrorDetail


class BatchRequest(msgspec.Struct, forbid_unknown_fields=True):
    """Operations, run as if sent one after the other."""

    operations: Annotated[
        list[requests.GetOperation | requests.PutOperation | requests.DeleteOperation],
        msgspec.Meta(min_length=1, max_length=requests.MAX_OPERATIONS),
    ]


COMPONENTS = (
    requests.PutBody,
    requests.PatchBody,
    BatchRequest,
    StoredEntry,
    CacheHit,
    CacheMiss,
    Deleted,
    Page,
    DeletedEntries,
    BatchAnswer,
    Error,
)

_NO_CONTROL = r"^[^\x00-\x1f\x7f-\x9f]*$"
_ETAG = OpenApiParameter("ETag", str, OpenApiParameter.HEADER, response=[200, 201], description="The version.")
_CHARGED = OpenApiParameter(
    "X-Credits-Charged",
    {"type": "string", "pattern": r"^\d+\.\d\d$"},
    OpenApiParameter.HEADER,
    response=[200, 304],
    description="On a hit: what it cost.",
)
_CHARGED_IN_ALL = OpenApiParameter(
    "X-Credits-Charged",
    {"type": "string", "pattern": r"^\d+\.\d\d$"},
    OpenApiParameter.HEADER,
    response=[200],
    description="What the hits among the operations cost.",
)
_KEY = OpenApiParameter(
    "key",
    {"type": "string", "minLength": 1, "maxLength": requests.MAX_KEY_BYTES, "pattern": _NO_CONTROL},
    OpenApiParameter.PATH,
    description="1 to 512 bytes of UTF-8 once percent-decoded; slashes allowed, control characters not.",
)
_ETAG_PATTERN = {"type": "string", "pattern": r'^(\*|"[0-9a-f]{16}")$'}
_IF_MATCH = OpenApiParameter(
    "If-Match",
    _ETAG_PATTERN,
    OpenApiParameter.HEADER,
    description="Only if the entry has this ETag (`*`: any); else 412.",
)
_CREATE_ONLY = OpenApiParameter(
    "If-None-Match",
    {"type": "string", "enum": ["*"]},
    OpenApiParameter.HEADER,
    description="`*`: create only; else 412. Not together with If-Match.",
)
_TAG = OpenApiParameter(
    "tag",
    {
        "type": "array",
        "items": {"type": "string", "minLength": 1, "maxLength": requests.MAX_TAG_BYTES, "pattern": _NO_CONTROL},
        "maxItems": requests.MAX_TAGS,
    },
    OpenApiParameter.QUERY,
    explode=True,
    description="May repeat: all must match.",
)
_PREFIX = OpenApiParameter(
    "prefix",
    {"type": "string", "maxLength": requests.MAX_KEY_BYTES, "pattern": _NO_CONTROL},
    OpenApiParameter.QUERY,
    description="What the keys begin with.",
)
_SPACE = OpenApiParameter(
    "space",
    {"type": "string", "enum": list(SPACES), "default": "tenant"},
    OpenApiParameter.QUERY,
    description="`gateway`: the answers that the gateway keeps. Their keys are hashes, so `prefix` is refused.",
)
_ANSWER_KEY = OpenApiParameter(
    "key",
    {"type": "string", "minLength": 64, "maxLength": 64, "pattern": "^[0-9a-f]{64}$"},
    OpenApiParameter.QUERY,
    description="Only with `space=gateway`: that answer. `X-Cache-Key` tells it, where the request named none itself.",
)


def _lease(description: str) -> OpenApiParameter:
    token = {"type": "string", "pattern": "^[0-7][0-9a-f]{14}[13579bdf]$"}
    return OpenApiParameter("X-Cache-Lease", token, OpenApiParameter.HEADER, description=description)


_BOOLEAN = {"type": "string", "enum": ["true", "false"]}
_VALUE_EXAMPLE = {
    "value": {"role": "assistant", "content": "Hello!"},
    "ttl": 86400,
    "tags": ["greetings"],
    "cost": "0.04",
}


def ref(component: type) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{component.__name__}"}


def answers(success: dict[int, tuple[Any, str]], *errors: int) -> dict[int | tuple[int, str], OpenApiResponse]:
    """Responses by status: those of success, and the errors that this operation can give besides the general ones."""
    described: dict[int | tuple[int, str], OpenApiResponse] = {
        (status, "application/json"): OpenApiResponse(schema, text) for status, (schema, text) in success.items()
    }
    for status in sorted({400, 401, 403, 429, 500, 503, *errors}):
        described[status, "application/json"] = OpenApiResponse(ref(Error), ERRORS[status])
    return described


def conflict(text: str) -> dict[tuple[int, str], OpenApiResponse]:
    """The response where what is asked for does not go with what is there."""
    return {(409, "application/json"): OpenApiResponse(ref(Error), f"`conflict`: {text}; nothing was changed.")}


ID = OpenApiParameter("id", {"type": "string", "pattern": "^[0-9A-Za-z]{11}$"}, OpenApiParameter.PATH)
ERRORS = {
    400: "`invalid_request`: the message names the field, the limit and the fix.",
    401: "`invalid_api_key`: missing, malformed, unknown, expired or revoked.",
    402: "`insufficient_credits` or `storage_quota_exceeded`: nothing was given, written or charged.",
    403: "`forbidden`: the API key lacks the scope.",
    404: "`not_found`",
    409: "`lease_lost`: the lease has expired, was used or was voided; nothing was written.",
    412: "`precondition_failed`: If-Match or If-None-Match is not met; nothing was changed.",
    413: "`value_too_large`",
    415: "`unsupported_media_type`: the message names the header to add.",
    429: "`rate_limit_exceeded`: try again after Retry-After seconds.",
    500: "`internal_error`",
    503: "`unavailable`: try again after Retry-After seconds.",
}
_STORED = ref(StoredEntry)

_RAW = {"description": "With `raw=true`: the bare value, with its own content type."}
_HIT_OR_MISS = {"anyOf": [ref(CacheHit), ref(CacheMiss), _RAW]}

get_item = extend_schema(
    operation_id="get_entry",
    summary="Get a value",
    description="A miss is no error: `200` with `hit: false`. A hit costs 0.01 credit, a miss nothing.",
    parameters=[
        _KEY,
        OpenApiParameter("raw", _BOOLEAN, OpenApiParameter.QUERY, description="The bare value; a miss is then 404."),
        OpenApiParameter(
            "lease",
            {"type": "integer", "minimum": 1, "maximum": requests.MAX_LEASE_SECONDS},
            OpenApiParameter.QUERY,
            description="On a miss, one caller gets a lease for so many seconds and shall fill the entry.",
        ),
        OpenApiParameter(
            "wait",
            {"type": "integer", "minimum": 0, "maximum": requests.MAX_WAIT_SECONDS},
            OpenApiParameter.QUERY,
            description="With `lease`: how many seconds to wait while another caller fills the entry.",
        ),
        OpenApiParameter(
            "If-None-Match", str, OpenApiParameter.HEADER, description="An ETag: `304` when it is current."
        ),
        _ETAG,
        _CHARGED,
    ],
    responses={
        **answers({200: (_HIT_OR_MISS, "A hit or a miss; with `raw=true` the value.")}, 402, 404),
        (200, "*/*"): OpenApiResponse(OpenApiTypes.BINARY, "With `raw=true`: the value, with its content type."),
        304: OpenApiResponse(None, "The ETag in If-None-Match is current."),
    },
)
put_item = extend_schema(
    operation_id="put_entry",
    summary="Store a value",
    description=(
        "JSON stores `value`, byte for byte as sent. Any other Content-Type stores the body itself with its type; "
        "`ttl`, `tag` (repeatable) and `cost` then come as query parameters. Writing is free."
    ),
    parameters=[_KEY, _IF_MATCH, _CREATE_ONLY, _lease("Fill the entry with this lease."), _ETAG],
    request={
        "application/json": ref(requests.PutBody),
        "application/octet-stream": {"type": "string", "format": "binary"},
    },
    responses=answers({200: (_STORED, "Replaced."), 201: (_STORED, "New.")}, 402, 409, 412, 413, 415),
    examples=[OpenApiExample("A chat message", _VALUE_EXAMPLE, request_only=True, media_type="application/json")],
)
patch_item = extend_schema(
    operation_id="patch_entry",
    summary="Renew or retag without sending the value",
    description="Send `ttl`, `tags` or both; what is left out stays, and so do the value and its ETag.",
    parameters=[_KEY, _IF_MATCH, _ETAG],
    request={"application/json": ref(requests.PatchBody)},
    responses=answers({200: (_STORED, "Renewed; the ETag stays.")}, 404, 412, 413, 415),
)
delete_item = extend_schema(
    operation_id="delete_entry",
    summary="Delete a value",
    description="Deleting what is not there is no error: `deleted` is then false.",
    parameters=[_KEY, _IF_MATCH, _lease("Give this lease back; nothing is deleted.")],
    responses=answers({200: (ref(Deleted), "Whether a live entry was there.")}, 412),
)
list_entries = extend_schema(
    operation_id="list_entries",
    summary="List entries",
    description="Live entries in order of their keys. Follow `next_cursor` until it is null.",
    parameters=[
        _SPACE,
        _TAG,
        _PREFIX,
        OpenApiParameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": requests.MAX_LIMIT, "default": requests.DEFAULT_LIMIT},
            OpenApiParameter.QUERY,
        ),
        OpenApiParameter("cursor", str, OpenApiParameter.QUERY, description="`next_cursor` of the page before."),
        OpenApiParameter(
            "include",
            {"type": "string", "enum": ["stats"]},
            OpenApiParameter.QUERY,
            description="`stats`: each entry's hits, last hit and what they saved.",
        ),
    ],
    responses=answers({200: (ref(Page), "A page.")}),
)
delete_entries = extend_schema(
    operation_id="delete_entries",
    summary="Delete entries, or the gateway's answers, by tag or prefix, or all",
    description="Deletes what stood there when the request came. Without a filter nothing is deleted: 400.",
    parameters=[
        _SPACE,
        _TAG,
        _PREFIX,
        _ANSWER_KEY,
        OpenApiParameter(
            "all", _BOOLEAN, OpenApiParameter.QUERY, description="`true`, without a filter: all of the space."
        ),
    ],
    responses=answers({200: (ref(DeletedEntries), "How many live entries were deleted.")}),
)
run_batch = extend_schema(
    operation_id="run_batch",
    summary="Run up to 256 operations",
    description="As if sent one after the other, each with its own status; one failing does not undo the others.",
    parameters=[_CHARGED_IN_ALL],
    request={"application/json": ref(BatchRequest)},
    responses=answers({200: (ref(BatchAnswer), "A result for each operation, in order.")}, 413, 415),
)
