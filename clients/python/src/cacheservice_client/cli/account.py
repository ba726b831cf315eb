"""The commands for the account: stats, usage."""

import json
from enum import Enum
from typing import Annotated, Any

import typer

from cacheservice_client.cli import exits, output
from cacheservice_client.cli.service import Service

USAGE = "/api/v1/usage"


class Period(str, Enum):
    hour = "hour"
    day = "day"
    month = "month"


class By(str, Enum):
    api_key = "api_key"
    tag = "tag"


From = Annotated[str | None, typer.Option("--from", metavar="TIME", help="2026-11-20 or 2026-11-20T10:00:00Z, in UTC.")]
To = Annotated[str | None, typer.Option("--to", metavar="TIME", help="The same; not included.")]


def stats(
    start: From = None,
    end: To = None,
    as_json: Annotated[bool, typer.Option("--json", help="The service's two answers as one object.")] = False,
) -> None:
    """What the cache does for you: hits, hit ratio, US dollars saved, storage. Of the last 30 days, if not told."""
    service = Service()
    usage = service.json(USAGE, [("from", start), ("to", end)])
    account = service.json("/api/v1/account")
    if as_json:
        output.line(json.dumps({"usage": usage, "account": account}, ensure_ascii=False))
        return
    total, storage, credits = usage["total"], account["storage"], account["credits"]
    rows = [
        ("Tenant", f"{account['tenant']['name']}, plan {account['plan']['code']}"),
        ("Period", f"{_day(usage['from'])} to {_day(usage['to'])}"),
        ("Hit ratio", _percent(total["hit_ratio"])),
        ("Hits", f"{total['hits']:,}"),
        ("Misses", f"{total['misses']:,}"),
        ("Writes", f"{total['writes']:,}"),
        ("Saved", f"{total['saved_usd']} USD"),
        ("Charged", f"{total['credits']} credits"),
        ("Balance", f"{credits['balance']} credits"),
        ("Storage", _storage(storage)),
    ]
    width = max(len(name) for name, _ in rows)
    output.line("\n".join(f"{name.ljust(width)}  {output.shown(text)}" for name, text in rows))


def usage(
    by: Annotated[By | None, typer.Option("--by", help="A row for each API key or tag.")] = None,
    group_by: Annotated[Period | None, typer.Option("--group-by", help="The periods; day if not given.")] = None,
    start: From = None,
    end: To = None,
    as_json: Annotated[bool, typer.Option("--json", help="The service's answer as it came.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="The service's CSV as it came.")] = False,
) -> None:
    """What was used, by hour, day or month."""
    if as_json and as_csv:
        raise exits.Failure("give --json or --csv, not both")
    query = [
        ("by", by and by.value),
        ("group_by", group_by and group_by.value),
        ("from", start),
        ("to", end),
        ("format", "csv" if as_csv else None),
    ]
    answer = Service().fetch(USAGE, query)
    if as_json or as_csv:
        output.write(answer if answer.endswith(b"\n") else answer + b"\n")
        return
    report = json.loads(answer)
    names = ["start", *([by.value] if by else []), *_FIGURES]
    rows = report["usage"] + ([{**report["total"], "start": "total"}] if "total" in report else [])
    columns = [name for name in names if any(name in row for row in rows)]
    cells = [[_cell(name, row.get(name, "")) for name in columns] for row in rows]
    right = [index for index, name in enumerate(columns) if name in _FIGURES]
    output.table([name.upper().replace("_", " ") for name in columns], cells, right)


_FIGURES = ("hits", "misses", "hit_ratio", "writes", "deletes", "credits", "gb_months", "saved_usd")


def _cell(name: str, content: Any) -> str:
    if content is None:
        return "-"
    if name == "start":
        return _day(str(content))
    if name == "api_key" and content:
        return str(content["name"] or content["id"])
    if name == "hit_ratio":
        return _percent(content)
    return f"{content:,}" if isinstance(content, int) else str(content)


def _percent(ratio: str | None) -> str:
    return "-" if ratio is None else f"{float(ratio):.1%}"


def _day(time: str) -> str:
    """A time without what is midnight in it."""
    return time.removesuffix("T00:00:00Z")


def _storage(storage: dict[str, Any]) -> str:
    quota = storage["quota_bytes"]
    limit = "no quota" if quota is None else f"of {output.size(quota)}"
    return f"{output.size(storage['used_bytes'])}, {limit}; {output.size(storage['free_bytes'])} are free"
