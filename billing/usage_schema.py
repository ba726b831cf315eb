"""The OpenAPI description of usage and the account."""

from typing import Annotated, Literal

import msgspec
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from billing import usage_requests
from cacheservice.entries.schema import USD, ListedEntry, Time, answers, ref

Credits = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+\.[0-9]{2}$")]
Ratio = Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]{4}$")]
Bytes = Annotated[int, msgspec.Meta(ge=0)]
GroupBy = Literal["hour", "day", "month"]


class APIKeyName(msgspec.Struct):
    id: str
    name: Annotated[str | None, msgspec.Meta(description="Null: there is no such API key any more.")]


class UsageTotal(msgspec.Struct):
    """What was used. A refund in a later hour than its hit can bring hits and credits below zero."""

    hits: int
    misses: int
    writes: Annotated[int, msgspec.Meta(ge=0, description="Values stored.")]
    duplicates: Annotated[int, msgspec.Meta(ge=0, description="Of the writes, those over a live entry.")]
    deletes: Annotated[int, msgspec.Meta(ge=0, description="Live entries deleted.")]
    credits: Annotated[Credits, msgspec.Meta(description="Charged.")]
    byte_seconds: Annotated[str, msgspec.Meta(pattern=r"^[0-9]+\.[0-9]{6}$", description="Bytes over time; exact.")]
    gb_months: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[0-9]+\.[0-9]{9}$", description="The same in 10^9 bytes and the UTC month's real length."
        ),
    ]
    saved_usd: Annotated[USD, msgspec.Meta(description="The cost of the entries that were hit.")]
    hit_ratio: Annotated[Ratio | None, msgspec.Meta(description="Hits of hits and misses.")]
    duplicate_rate: Annotated[Ratio | None, msgspec.Meta(description="Duplicates of writes.")]


class UsageRow(UsageTotal, kw_only=True):
    """What was used in a period."""

    start: Time
    api_key: Annotated[APIKeyName | msgspec.UnsetType, msgspec.Meta(description="With `by=api_key`.")] = msgspec.UNSET


class Usage(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """Usage by period, and with `by=api_key` by API key."""

    from_: Time
    to: Time
    group_by: GroupBy
    by: Literal["api_key"] | None
    as_of: Annotated[Time, msgspec.Meta(description="Until when storage is counted.")]
    usage: list[UsageRow]
    total: UsageTotal


class TagUsageRow(msgspec.Struct):
    """Hits of entries with the tag. A hit counts for each tag of its entry."""

    start: Time
    tag: str
    hits: int
    saved_usd: USD


class TagUsage(msgspec.Struct, kw_only=True, rename={"from_": "from"}):
    """Usage by period and tag."""

    from_: Time
    to: Time
    group_by: GroupBy
    by: Literal["tag"]
    usage: list[TagUsageRow]


class TopEntries(msgspec.Struct):
    """The live entries of most hits or savings, with their stats."""

    by: Literal["hits", "saved_usd"]
    entries: list[ListedEntry]


class TenantName(msgspec.Struct):
    id: str
    name: str


class PlanTerms(msgspec.Struct):
    code: str
    prepaid: Annotated[bool, msgspec.Meta(description="Hits are refused when the balance cannot pay for them.")]
    monthly_grant_credits: Credits


class CreditBalance(msgspec.Struct):
    balance: Annotated[Credits, msgspec.Meta(description="Below zero: owed.")]
    charged_this_month: Annotated[Credits, msgspec.Meta(description="In the running UTC month.")]


class TenantStorage(msgspec.Struct):
    """Live storage of all API keys together."""

    used_bytes: Bytes
    free_bytes: Annotated[Bytes, msgspec.Meta(description="What an invoice takes off the month.")]
    quota_bytes: Annotated[Bytes | None, msgspec.Meta(description="Null: none.")]


class APIKeyStorage(msgspec.Struct):
    """Live storage of entries that the API key wrote."""

    used_bytes: Bytes
    quota_bytes: Annotated[Bytes | None, msgspec.Meta(description="Null: none.")]


class CreditLimit(msgspec.Struct):
    used_this_month: Credits
    per_month: Credits


class Limits(msgspec.Struct):
    """The limits of the API key that asks: its own, else the tenant's, else the plan's. Null: none."""

    requests_per_minute: int | None
    storage: APIKeyStorage
    credits: CreditLimit | None


class TTLs(msgspec.Struct):
    """The tenant's, for what is written or renewed from now on."""

    default_seconds: Annotated[int, msgspec.Meta(ge=1, description="Of a PUT without a ttl.")]
    max_seconds: Annotated[int, msgspec.Meta(ge=1)]


class TodaysPrices(msgspec.Struct):
    cache_hit_credits: Credits
    credit_usd: USD
    storage_usd_per_gb_month: USD


class Account(msgspec.Struct):
    """The account as of now."""

    tenant: TenantName
    api_key: APIKeyName
    plan: PlanTerms
    credits: CreditBalance
    storage: TenantStorage
    limits: Limits
    ttl: TTLs
    prices: TodaysPrices


COMPONENTS = (Usage, TagUsage, TopEntries, Account)

_TIME = {"type": "string", "pattern": f"^{usage_requests.TIME}$"}
_SPANS = usage_requests.SPANS.items()

get_usage = extend_schema(
    operation_id="get_usage",
    summary="What the tenant used",
    description="By UTC hour, day or month, exact to the moment. JSON, or CSV with `Accept: text/csv`.",
    parameters=[
        OpenApiParameter(
            "from",
            _TIME,
            OpenApiParameter.QUERY,
            description="A UTC time or day that starts an hour, day or month, as `group_by` says. By default "
            + ", ".join(f"{span.default} {group_by}s" for group_by, span in _SPANS)
            + " before `to`; at most "
            + ", ".join(f"{span.longest} by {group_by}" for group_by, span in _SPANS)
            + ".",
        ),
        OpenApiParameter(
            "to",
            _TIME,
            OpenApiParameter.QUERY,
            description="As `from`; not included. By default the running period's end.",
        ),
        OpenApiParameter("group_by", {"type": "string", "enum": ["hour", "day", "month"], "default": "day"}),
        OpenApiParameter(
            "by",
            {"type": "string", "enum": list(usage_requests.BY)},
            OpenApiParameter.QUERY,
            description="Rows by API key, or by tag (not by hour; counted within a minute).",
        ),
        OpenApiParameter(
            "format",
            {"type": "string", "enum": list(usage_requests.FORMATS)},
            OpenApiParameter.QUERY,
            description="For links, which set no Accept.",
        ),
    ],
    responses={
        **answers({200: ({"anyOf": [ref(Usage), ref(TagUsage)]}, "The report.")}),
        (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "The same rows, with a header line."),
    },
)
get_top_entries = extend_schema(
    operation_id="get_top_entries",
    summary="The entries that are hit most",
    description="Live entries by their hits, or by the USD that their hits saved; counted within a minute.",
    parameters=[
        OpenApiParameter("by", {"type": "string", "enum": ["hits", "saved_usd"], "default": "hits"}),
        OpenApiParameter("limit", {"type": "integer", "minimum": 1, "maximum": 100, "default": 10}),
    ],
    responses=answers({200: (ref(TopEntries), "The entries, the first one most.")}),
)
get_account = extend_schema(
    operation_id="get_account",
    summary="Plan, credits, storage, limits and prices",
    responses=answers({200: (ref(Account), "The account as of now.")}),
)
