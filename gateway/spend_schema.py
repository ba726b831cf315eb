"""The OpenAPI description of spend."""

from itertools import permutations
from typing import Annotated, Literal

import msgspec
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from billing.usage_schema import APIKeyName, Ratio
from cacheservice.entries.schema import USD, Time, answers, ref
from gateway.spend import BY, MOST_EVENTS
from gateway.spend_requests import DAY, DEFAULT_DAYS, DEFAULT_TOP, FORMATS, MOST_DAYS, MOST_TOP

Day = Annotated[str, msgspec.Meta(pattern=f"^{DAY}$", description="In UTC.")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Unset = msgspec.UnsetType


class SpendTotal(msgspec.Struct, kw_only=True):
    """Sums over requests to the gateway."""

    requests: Count
    hits: Annotated[Count, msgspec.Meta(description="Of them: `HIT` and `COALESCED`.")]
    unpriced: Annotated[
        Count, msgspec.Meta(description="Of them: those whose cost or saving nobody knows. It is in none of the sums.")
    ]
    input_tokens: Count
    cached_tokens: Annotated[Count, msgspec.Meta(description="Of the input: from the provider's own cache.")]
    output_tokens: Count
    reasoning_tokens: Annotated[Count, msgspec.Meta(description="Of the output.")]
    hit_ratio: Annotated[Ratio | None, msgspec.Meta(description="Hits of requests.")]
    cost_usd: USD
    saved_usd: USD


class SpendRow(SpendTotal, kw_only=True):
    """With what `by` asks for."""

    day: Day | Unset = msgspec.UNSET
    provider: str | Unset = msgspec.UNSET
    model: str | Unset = msgspec.UNSET
    user: Annotated[str | Unset, msgspec.Meta(description="Of `X-Cache-User`, or the body's `user`.")] = msgspec.UNSET
    api_key: APIKeyName | Unset = msgspec.UNSET
    cache: Literal["HIT", "MISS", "BYPASS", "COALESCED", "REFRESH"] | Unset = msgspec.UNSET


class Spend(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """By day, then what cost most."""

    from_: Day
    to: Day
    by: list[Literal["day", "provider", "model", "user", "key", "cache"]]
    spend: list[SpendRow]
    total: SpendTotal


class SpendPrompt(msgspec.Struct, kw_only=True):
    """Requests with one fingerprint."""

    fingerprint: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    provider: str
    model: str
    prompt: Annotated[str | None, msgspec.Meta(description="Its beginning, where the provider's policy keeps prompts.")]
    requests: Count
    hits: Count
    cost_usd: USD | None
    saved_usd: USD | None
    last_at: Time


class SpendPrompts(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """The prompts that cost most."""

    from_: Day
    to: Day
    requests: Annotated[Count, msgspec.Meta(description="That were looked at.")]
    complete: Annotated[
        bool, msgspec.Meta(description=f"Whether these are all of the range; else the latest {MOST_EVENTS}.")
    ]
    duplicates: Annotated[Count, msgspec.Meta(description="Of them: those whose fingerprint had occurred before.")]
    duplicate_rate: Annotated[Ratio | None, msgspec.Meta(description="Duplicates of the requests with a fingerprint.")]
    prompts: list[SpendPrompt]


COMPONENTS = (Spend, SpendPrompts)

_DAY = {"type": "string", "pattern": f"^{DAY}$"}
_RANGE = [
    OpenApiParameter(
        "from",
        _DAY,
        OpenApiParameter.QUERY,
        description=f"A UTC day. By default {DEFAULT_DAYS} days before `to`; at most {MOST_DAYS} days.",
    ),
    OpenApiParameter(
        "to", _DAY, OpenApiParameter.QUERY, description="As `from`; not included. By default today is the last one."
    ),
]

get_spend = extend_schema(
    operation_id="get_spend",
    summary="What the tenant spent and saved through the gateway",
    description=f"By one or two of {', '.join(BY)}. JSON, or CSV with `Accept: text/csv`.",
    parameters=[
        *_RANGE,
        OpenApiParameter(
            "by",
            {"type": "string", "enum": [*BY, *map(",".join, permutations(BY, 2))], "default": "day"},
            OpenApiParameter.QUERY,
            description="One, or two with a comma between them.",
        ),
        OpenApiParameter(
            "format",
            {"type": "string", "enum": list(FORMATS)},
            OpenApiParameter.QUERY,
            description="For links, which set no Accept.",
        ),
    ],
    responses={
        **answers({200: (ref(Spend), "The report.")}),
        (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "The same rows, with a header line."),
    },
)
get_prompts = extend_schema(
    operation_id="get_spend_prompts",
    summary="The prompts that cost most",
    description="By their fingerprints, and how many requests repeat one. Events are kept for 90 days.",
    parameters=[
        *_RANGE,
        OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": MOST_TOP, "default": DEFAULT_TOP}),
    ],
    responses=answers({200: (ref(SpendPrompts), "The prompts, the first one cost most.")}),
)
