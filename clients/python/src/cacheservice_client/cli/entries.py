"""The commands for entries: get, put, rm, ls, purge."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cacheservice_client.cli import durations, exits, given, output
from cacheservice_client.cli.service import BULK_TIMEOUT, Service, filters, operations
from cacheservice_client.operations import moment
from cacheservice_client.values import Encoded

PAGE = 1000
TABLE_LIMIT = 100

Key = Annotated[str, typer.Argument(metavar="KEY", help="The entry's key.", show_default=False)]
TagFilter = Annotated[
    list[str] | None, typer.Option("--tag", help="Entries with this tag; repeat it for those with all of them.")
]
PrefixFilter = Annotated[str | None, typer.Option("--prefix", help="Entries whose keys begin with this.")]


def get(
    key: Key, raw: Annotated[bool, typer.Option("--raw", help="The value's bytes and nothing else.")] = False
) -> None:
    """Print an entry's value. A miss prints nothing and exits with 1.

    JSON is printed as it was stored, and a line break; values of other types as they are.
    """
    response = Service().value(key)
    if response is None:
        raise typer.Exit(exits.MISS)
    content_type = response.headers.get("content-type", "")
    if raw or not given.is_json(content_type):
        if not raw and sys.stdout.isatty() and not content_type.startswith("text/"):
            raise exits.Failure(f"{output.size(len(response.body))} of {content_type}: not for a terminal; see --raw")
        output.write(response.body)
    else:
        output.write(response.body + b"\n")


def put(
    key: Key,
    value: Annotated[
        str | None, typer.Argument(metavar="[VALUE|-]", help="The value, or - for stdin.", show_default=False)
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Take the value from this file.")] = None,
    ttl: Annotated[
        str | None, typer.Option(help="How long it lives: seconds, or 90s, 15m, 12h, 1d, 2w. A week if not given.")
    ] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="A tag; may be repeated.")] = None,
    cost: Annotated[str | None, typer.Option(help="What making the value cost, in US dollars, such as 0.04.")] = None,
    content_type: Annotated[
        str | None, typer.Option("--type", help="Store the bytes as they are, with this content type.")
    ] = None,
) -> None:
    """Store a value.

    It is stored as JSON, byte for byte, when it is JSON; other text as a JSON string; bytes that are not UTF-8 with the
    content type that the file's name suggests. --type decides instead. A value that begins with a hyphen: put -- KEY -5
    """
    name = str(file) if file else None
    encoded = given.encoded(_content(value, file), content_type, name)
    stored = Service().perform(operations.put_encoded(key, encoded, ttl=_seconds(ttl), tags=tag or (), cost=cost))
    if stored is not None:
        kind = _kind(encoded)
        output.note(f"Stored {key}: {output.size(stored.size_bytes)} of {kind} until {output.time(stored.expires_at)}")


def _kind(encoded: Encoded) -> str:
    return encoded.content_type or ("text, as a JSON string" if encoded.body[:1] == b'"' else "JSON")


def _content(value: str | None, file: Path | None) -> bytes:
    if (value is None) == (file is None):
        raise exits.Failure("give one of VALUE, - for stdin, and --file")
    if file is not None:
        try:
            return file.read_bytes()
        except OSError as error:
            raise exits.Failure(f"cannot read {file}: {error.strerror}") from None
    if value == "-":
        return sys.stdin.buffer.read()
    assert value is not None  # noqa: S101
    return value.encode("utf-8", "surrogateescape")  # what was no UTF-8 on the command line


def _seconds(ttl: str | None) -> int | None:
    try:
        return None if ttl is None else durations.seconds(ttl)
    except ValueError as error:
        raise exits.Failure(f"--ttl {ttl}: {error}") from None


def rm(keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="The keys.", show_default=False)]) -> None:
    """Delete entries. Exits with 1 when one of them was not there."""
    service = Service()
    missing = False
    for key in keys:
        if not service.perform(operations.delete(key)):
            missing = True
            output.note(f"cachectl: no such entry: {key}")
    if missing:
        raise typer.Exit(exits.MISS)


def ls(
    prefix: PrefixFilter = None,
    tag: TagFilter = None,
    stats: Annotated[bool, typer.Option("--stats", help="With hits, the last hit and US dollars saved.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help="At most so many; 0: all. A table has 100 if not told.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON Lines: one entry on each.")] = False,
) -> None:
    """List live entries in the order of their keys."""
    if limit is None:
        limit = 0 if as_json else TABLE_LIMIT
    left_out = 0
    for page, more in _pages(Service(), tag or [], prefix, stats, limit):
        left_out = more
        if as_json:
            output.write(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in page))
        elif page:
            output.table(_header(stats), [_row(row, stats) for row in page], right=(1, 3) if stats else (1,))
    if limit and left_out > 0:
        output.note(f"{left_out:,} more: --limit 0 shows all")


def _pages(
    service: Service, tags: list[str], prefix: str | None, stats: bool, limit: int
) -> Iterator[tuple[list[Any], int]]:
    """The entries of each page, and how many come after it; `limit` 0 is no limit."""
    left, seen, cursor = limit, 0, None
    while True:
        query = [
            *filters(tags, prefix),
            ("limit", min(left, PAGE) if limit else PAGE),
            ("include", "stats" if stats else None),
            ("cursor", cursor),
        ]
        page = service.json("/api/v1/cache", query)
        seen += len(page["keys"])
        yield page["keys"], page["total"] - seen
        left = limit - seen
        cursor = page["next_cursor"]
        if cursor is None or (limit and left <= 0):
            return


def _header(stats: bool) -> list[str]:
    return ["KEY", "SIZE", "EXPIRES", *(["HITS", "LAST HIT", "SAVED USD"] if stats else []), "TAGS"]


def _row(row: dict[str, Any], stats: bool) -> list[str]:
    more = []
    if stats:
        last = row["last_hit_at"]
        more = [str(row["hits"]), output.time(moment(last)) if last else "-", row["saved_usd"] or "-"]
    expires_at = output.time(moment(row["expires_at"]))
    return [row["key"], output.size(row["size_bytes"]), expires_at, *more, ", ".join(row["tags"])]


def purge(
    tag: TagFilter = None,
    prefix: PrefixFilter = None,
    everything: Annotated[bool, typer.Option("--all", help="All entries of the tenant.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete all entries with a tag, a prefix, or both. Says how many they are and asks."""
    tags = tag or []
    if "" in tags or prefix == "":
        raise exits.Failure("an empty --tag or --prefix: is a variable not set? --all deletes everything")
    if everything == bool(tags or prefix):
        raise exits.Failure("give --tag, --prefix or both, or --all alone")
    service = Service(timeout=BULK_TIMEOUT)
    if not yes:
        _confirm(service, tags, prefix)
    deleted = service.perform(operations.clear(tags, prefix, everything))
    output.note(f"{deleted:,} deleted")


def _confirm(service: Service, tags: list[str], prefix: str | None) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise exits.Failure("nobody is there to ask: --yes deletes without asking")
    conditions = [*(f"with the tag {tag}" for tag in tags), *([f"that begin with {prefix}"] if prefix else [])]
    which = " and ".join(conditions) or "of the tenant, which is ALL of them,"
    count = service.count(tags, prefix)
    question = output.shown(f"Delete {count:,} {'entry' if count == 1 else 'entries'} {which} at {service.url}?")
    if not typer.confirm(question, err=True):
        raise exits.Failure("nothing deleted", exits.INTERRUPTED)
