"""Usage and accounts as clients get them, in JSON and CSV. `usage_schema.py` describes the JSON.

Rounding happens here only, half to even: GB-months have nine decimals, ratios four. Byte-seconds and money are exact.
"""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import msgspec

from accounts import tokens
from billing import csvs
from billing.account import Account, Prices
from billing.units import credits, usd
from billing.usage import Counts, Range, Report, TagUsed, Used, gb_months, total
from billing.usage_requests import Question
from cacheservice.entries.collection import wire
from cacheservice.http import JSON, Answer, Header


def usage(question: Question, report: Report) -> Answer:
    rows = [
        {"start": wire(used.start), **_api_key(used), **_figures(used.counts, gb_months([used]))}
        for used in report.rows
    ]
    sums = _figures(total(report.rows), gb_months(report.rows))
    if question.as_csv:
        api_key = ("api_key_id", "api_key_name") if question.by else ()
        return csvs.answer(_file_name(question.range), ("start", *api_key, *sums), map(_fields, rows))
    return answer({**_question(question), "as_of": wire(report.as_of), "usage": rows, "total": sums}, csvs.VARY)


def tag_usage(question: Question, report: Iterable[TagUsed]) -> Answer:
    columns = ("start", "tag", "hits", "saved_usd")
    rows = [(wire(used.start), used.tag, used.hits, usd(used.saved)) for used in report]
    if question.as_csv:
        safe = ((start, csvs.plain(tag), *rest) for start, tag, *rest in rows)
        return csvs.answer(_file_name(question.range), columns, safe)
    usage = [dict(zip(columns, row, strict=True)) for row in rows]
    return answer({**_question(question), "usage": usage}, csvs.VARY)


def account(found: Account, prices: Prices, *, used_bytes: int, api_key_used_bytes: int) -> Answer:
    return answer(
        {
            "tenant": {"id": tokens.encode_id(found.tenant_id), "name": found.tenant_name},
            "api_key": {"id": tokens.encode_id(found.api_key_id), "name": found.api_key_name},
            "plan": {
                "code": found.plan,
                "prepaid": found.prepaid,
                "monthly_grant_credits": credits(found.monthly_grant),
            },
            "credits": {"balance": credits(found.balance), "charged_this_month": credits(found.charged)},
            "storage": {
                "used_bytes": used_bytes,
                "free_bytes": found.free_storage,
                "quota_bytes": found.storage_quota,
            },
            "limits": {
                "requests_per_minute": found.requests_per_minute,
                "storage": {"used_bytes": api_key_used_bytes, "quota_bytes": found.api_key_storage_quota},
                "credits": None
                if found.credit_limit is None
                else {"used_this_month": credits(found.credit_limit_used), "per_month": credits(found.credit_limit)},
            },
            "ttl": {"default_seconds": found.default_ttl, "max_seconds": found.max_ttl},
            "prices": {
                "cache_hit_credits": credits(prices.cache_hit),
                "credit_usd": usd(prices.credit),
                "storage_usd_per_gb_month": usd(prices.storage),
            },
        }
    )


def answer(content: Any, *headers: Header) -> Answer:
    return Answer(200, (JSON, *headers), msgspec.json.encode(content))


def _question(question: Question) -> dict[str, str | None]:
    start, end, group_by = question.range
    return {"from": wire(start), "to": wire(end), "group_by": group_by, "by": question.by}


def _api_key(used: Used) -> dict[str, dict[str, str | None]]:
    api_key = used.api_key
    return {} if api_key is None else {"api_key": {"id": tokens.encode_id(api_key.id), "name": api_key.name}}


def _figures(counts: Counts, gb_months: Fraction) -> dict[str, Any]:
    return {
        "hits": counts.hits,
        "misses": counts.misses,
        "writes": counts.writes,
        "duplicates": counts.duplicates,
        "deletes": counts.deletes,
        "credits": credits(counts.units),
        "byte_seconds": _decimal(counts.byte_microseconds, 6),
        "gb_months": _decimal(round(gb_months * 10**9), 9),
        "saved_usd": usd(counts.saved),
        "hit_ratio": _ratio(counts.hit_ratio),
        "duplicate_rate": _ratio(counts.duplicate_rate),
    }


def _ratio(share: Fraction | None) -> str | None:
    """With four decimals."""
    return None if share is None else _decimal(round(share * 10**4), 4)


def _decimal(number: int, places: int) -> str:
    """number / 10^places, with all of its decimals."""
    whole, decimals = divmod(abs(number), 10**places)
    return f"{'-' * (number < 0)}{whole}.{decimals:0{places}}"


def _fields(row: dict[str, Any]) -> list[object]:
    """A row of the JSON as a line of the CSV."""
    fields: list[object] = []
    for value in row.values():
        fields += [value["id"], csvs.plain(value["name"] or "")] if isinstance(value, dict) else [value]
    return fields


def _file_name(asked: Range) -> str:
    return f"usage-{asked.start:%Y%m%dT%H}-{asked.end:%Y%m%dT%H}-by-{asked.group_by}.csv"
