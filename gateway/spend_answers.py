"""Spend as clients get it, in JSON and CSV. Money is exact; ratios have four decimals, rounded half to even."""

from fractions import Fraction
from typing import Any

import msgspec

from accounts import tokens
from billing import csvs
from billing.units import usd
from cacheservice.entries.collection import wire
from cacheservice.http import JSON, Answer
from gateway.spend import Prompt, Prompts, Spent, total
from gateway.spend_requests import Question

_FIGURES = ("requests", "hits", "unpriced", "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


def spend(question: Question, report: list[Spent]) -> Answer:
    if question.as_csv:
        return _csv(question, report)
    content = {
        "from": str(question.start),
        "to": str(question.end),
        "by": list(question.by),
        "spend": [{**_group(question, each), **_figures(each)} for each in report],
        "total": _figures(total(report)),
    }
    return Answer(200, (JSON, csvs.VARY), msgspec.json.encode(content))


def prompts(start: Any, end: Any, found: Prompts) -> Answer:
    content = {
        "from": str(start),
        "to": str(end),
        "requests": found.requests,
        "complete": found.complete,
        "duplicates": found.duplicates,
        "duplicate_rate": ratio(found.duplicate_rate),
        "prompts": [_prompt(each) for each in found.top],
    }
    return Answer(200, (JSON,), msgspec.json.encode(content))


def ratio(share: Fraction | None) -> str | None:
    if share is None:
        return None
    whole, decimals = divmod(round(share * 10**4), 10**4)
    return f"{whole}.{decimals:04}"


def _prompt(prompt: Prompt) -> dict[str, Any]:
    return {
        "fingerprint": prompt.fingerprint.hex(),
        "provider": prompt.provider,
        "model": prompt.model,
        "prompt": prompt.text,
        "requests": prompt.requests,
        "hits": prompt.hits,
        "cost_usd": None if prompt.cost is None else usd(prompt.cost),
        "saved_usd": None if prompt.saved is None else usd(prompt.saved),
        "last_at": wire(prompt.last_at),
    }


def _group(question: Question, spent: Spent) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in question.by:
        if name == "key":
            shown["api_key"] = {"id": tokens.encode_id(spent.api_key_id or 0), "name": spent.api_key_name}
        elif name == "day":
            shown["day"] = str(spent.day)
        elif name == "cache":
            shown["cache"] = "" if spent.cache is None else spent.cache.name
        else:
            shown[name] = getattr(spent, name)
    return shown


def _figures(spent: Spent) -> dict[str, Any]:
    return {
        **{name: getattr(spent, name) for name in _FIGURES},
        "hit_ratio": ratio(spent.hit_ratio),
        "cost_usd": usd(spent.cost),
        "saved_usd": usd(spent.saved),
    }


def _csv(question: Question, report: list[Spent]) -> Answer:
    of_key = ("api_key_id", "api_key_name")
    names = [column for name in question.by for column in (of_key if name == "key" else (name,))]
    lines = []
    for spent in report:
        line: list[object] = []
        for value in _group(question, spent).values():
            line += [value["id"], csvs.plain(value["name"] or "")] if isinstance(value, dict) else [csvs.plain(value)]
        lines.append([*line, *_figures(spent).values()])
    file_name = f"spend-{question.start:%Y%m%d}-{question.end:%Y%m%d}-by-{'-'.join(question.by)}.csv"
    return csvs.answer(file_name, (*names, *_figures(total([]))), lines)
