"""Entries into lines: the list page by page, their values by batches over several connections, in the keys' order."""

import asyncio
import base64
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from cacheservice_client import errors
from cacheservice_client.batches import MOST_BYTES, MOST_OPERATIONS
from cacheservice_client.cli import given, jsontext, lines
from cacheservice_client.cli.patience import Patience, passing, tell
from cacheservice_client.cli.service import AsyncService, filters
from cacheservice_client.errors import APIError, RateLimitExceeded
from cacheservice_client.values import Encoded

PAGE = 1000

Row = dict[str, Any]  # of the list


@dataclass
class Report:
    written: int = 0
    gone: int = 0  # entries that were listed, and gone when their value was asked for
    skipped: int = 0  # written by an earlier run


class Exporter:
    """Asks for up to `connections` chunks at once, and writes them in order."""

    def __init__(
        self,
        service: AsyncService,
        connections: int,
        report: Report,
        write: Callable[[bytes], None],
        progress: Callable[[int, int | None], None],
    ) -> None:
        self._service = service
        self._connections = connections
        self._report = report
        self._write = write
        self._progress = progress
        self._under_way: deque[asyncio.Task[list[bytes]]] = deque()
        self._total: int | None = None

    async def run(self, tags: list[str], prefix: str | None, after: str | None) -> None:
        """`after`: the key behind which to begin. Raises CacheError; what was written then is whole lines, in order."""
        try:
            async for rows in self._chunks(tags, prefix, after):
                self._under_way.append(asyncio.create_task(self._lines(rows)))
                if len(self._under_way) >= self._connections:
                    await self._write_next()
            while self._under_way:
                await self._write_next()
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _write_next(self) -> None:
        texts = await self._under_way.popleft()
        self._write(b"".join(texts))
        self._report.written += len(texts)
        self._progress(self._report.skipped + self._report.written + self._report.gone, self._total)

    async def _chunks(self, tags: list[str], prefix: str | None, after: str | None) -> AsyncIterator[list[Row]]:
        chunk: list[Row] = []
        size = 0
        async for row in self._rows(tags, prefix, after):
            if chunk and (len(chunk) == MOST_OPERATIONS or size + row["size_bytes"] > MOST_BYTES):
                yield chunk
                chunk, size = [], 0
            chunk.append(row)
            size += row["size_bytes"]
        if chunk:
            yield chunk

    async def _rows(self, tags: list[str], prefix: str | None, after: str | None) -> AsyncIterator[Row]:
        last = None if after is None else after.encode()
        cursor = None
        while True:
            page = await self._service.json(
                "/api/v1/cache", [*filters(tags, prefix), ("limit", PAGE), ("cursor", cursor)]
            )
            self._total = page["total"]
            for row in page["keys"]:
                if last is None or row["key"].encode() > last:
                    yield row
                else:
                    self._report.skipped += 1
            cursor = page["next_cursor"]
            if cursor is None:
                return

    async def _lines(self, rows: list[Row]) -> list[bytes]:
        values = await self._values(rows)
        self._report.gone += sum(value is None for value in values)
        return [
            lines.render(row["key"], value, row["expires_at"], row["tags"])
            for row, value in zip(rows, values, strict=True)
            if value is not None
        ]

    async def _values(self, rows: list[Row]) -> list[Encoded | None]:
        """The rows' values; None for those that are gone."""
        found: dict[str, Encoded | None] = {}
        patience = Patience()
        asked = [row["key"] for row in rows]
        while asked:
            resets_in: str | None = None
            why: APIError | None = None
            known = len(found)
            try:
                response = await self._service.batch(map(_get, asked))
            except RateLimitExceeded as limit:
                why = limit
            else:
                resets_in = response.headers.get("ratelimit-reset")
                results = jsontext.items(jsontext.members(response.body.decode())["results"])
                for key, result in zip(asked, results, strict=True):
                    error = await self._take(key, result, found)
                    why = error or why
            if why is not None:
                seconds = patience.pause(why, len(found) > known, resets_in)
                tell(why, seconds)
                await asyncio.sleep(seconds)
            asked = [key for key in asked if key not in found]
        return [found[row["key"]] for row in rows]

    async def _take(self, key: str, result: str, found: dict[str, Encoded | None]) -> APIError | None:
        """Put a batch's answer to the key where it belongs; or tell why to ask again. Raises APIError."""
        parts = jsontext.members(result)
        status = int(parts["status"])
        if status == 413:  # too much for one batch
            found[key] = await self._alone(key)
        elif status >= 300:
            error = errors.of_body(status, json.loads(parts["body"]))
            if not passing(status):
                raise error
            return error
        else:
            found[key] = _value(jsontext.members(parts["body"]))
        return None

    async def _alone(self, key: str) -> Encoded | None:
        response = await self._service.value(key)
        if response is None:
            return None
        content_type = response.headers.get("content-type", "")
        return Encoded(response.body, None if given.is_json(content_type) else content_type)


def _get(key: str) -> bytes:
    return b'{"op":"get","key":%s}' % json.dumps(key).encode()


def _value(body: dict[str, str]) -> Encoded | None:
    if body["hit"] != "true":
        return None
    if "content_type" not in body:
        return Encoded(body["value"].encode(), None)
    return Encoded(base64.b64decode(json.loads(body["value"])), json.loads(body["content_type"]))
