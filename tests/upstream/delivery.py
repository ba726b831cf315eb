"""Answers put on the wire as well, or as badly, as the directions say."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web

from tests.upstream.directions import NONE, Directions
from tests.upstream.wire import Answer, Stream, Whole, unique

BLOCK = 65_536
BAD_EVENT = b'data: {"id": nothing}\n\n'
FOREVER = 10**6


class Cut(Exception):
    """The connection was closed on purpose, in the middle of things."""


async def deliver(
    request: web.BaseRequest, answer: Answer, directions: Directions, between: Callable[[int], Awaitable[None]]
) -> web.StreamResponse:
    """Sends the answer. `between` is awaited before each event, with the number of those sent. Raises Cut."""
    if isinstance(answer, Stream):
        return await _deliver_stream(request, answer, directions, between)
    body = answer.body
    if directions.badjson:
        body = body[: len(body) // 2] + b", nothing}"
    if directions.gzip:
        body = gzip.compress(body, mtime=0)
    if not _is_special(directions):
        return web.Response(body=body, status=answer.status, headers=_headers(answer.content_type, directions))
    response = web.StreamResponse(status=answer.status, headers=_headers(answer.content_type, directions))
    if size := directions.huge or directions.huge_event:
        response.enable_chunked_encoding()
        return await _pour(request, response, b'{"id": "huge", "text": "', b"a" * BLOCK, b'"}', size)
    response.content_length = len(body) // 2 if directions.unfinished else len(body)
    await response.prepare(request)
    if directions.drip:
        for index in range(len(body)):
            await response.write(body[index : index + 1])
            await asyncio.sleep(directions.drip)
    else:
        await response.write(body[: len(body) // 2])
        await _end_early(request, directions)
    await response.write_eof()
    return response


def _is_special(asked: Directions) -> bool:
    return bool(asked.drip or asked.stall or asked.truncated or asked.unfinished or asked.huge or asked.huge_event)


async def _deliver_stream(
    request: web.BaseRequest, answer: Stream, directions: Directions, between: Callable[[int], Awaitable[None]]
) -> web.StreamResponse:
    response = web.StreamResponse(headers=_headers("text/event-stream; charset=utf-8", directions))
    response.enable_chunked_encoding()
    if directions.huge:
        event = answer.events[min(1, len(answer.events) - 1)]
        return await _pour(request, response, answer.events[0], event * (BLOCK // len(event)), b"", directions.huge)
    if directions.huge_event:
        return await _pour(request, response, b'data: {"text": "', b"a" * BLOCK, b'"}\n\n', directions.huge_event)
    await response.prepare(request)
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16) if directions.gzip else None
    async for event in _events(answer, directions, between):
        await response.write(packer.compress(event) + packer.flush(zlib.Z_SYNC_FLUSH) if packer else event)
    if directions.stall or directions.truncated:
        await _end_early(request, directions)
    if packer:
        await response.write(packer.flush())
    await response.write_eof()
    return response


async def _events(
    answer: Stream, directions: Directions, between: Callable[[int], Awaitable[None]]
) -> AsyncIterator[bytes]:
    events = answer.events
    if directions.stall:
        events = events[: directions.stall]
    elif directions.truncated or directions.unfinished:
        events = events[: len(events) // 2]
        if directions.truncated:
            events = [*events, answer.events[-1][: len(answer.events[-1]) // 2]]
    elif directions.error_in_stream:
        events = [*events[:2], answer.error]
    elif directions.badjson:
        events = [events[0], BAD_EVENT, *events[1:]]
    for sent, event in enumerate(events):
        await between(sent)
        if directions.drip:
            await asyncio.sleep(directions.drip)
        yield event


async def _pour(
    request: web.BaseRequest, response: web.StreamResponse, start: bytes, block: bytes, end: bytes, size: int
) -> web.StreamResponse:
    await response.prepare(request)
    await response.write(start)
    for _ in range(size // len(block) + 1):
        await response.write(block)
    await response.write(end)
    await response.write_eof()
    return response


async def _end_early(request: web.BaseRequest, directions: Directions) -> None:
    if directions.stall:
        await asyncio.sleep(FOREVER)
    if directions.truncated:
        close(request)
        raise Cut


def close(request: web.BaseRequest) -> None:
    """Closes the connection once what was written is sent."""
    if request.transport is not None:
        request.transport.close()


def _headers(content_type: str, directions: Directions) -> dict[str, str]:
    """What providers send along: a request id, and a cookie that no cache may keep."""
    request_id = unique("req_")
    headers = {
        "Content-Type": content_type,
        "x-request-id": request_id,  # OpenAI's
        "request-id": request_id,  # Anthropic's
        "openai-processing-ms": "7",
        "x-ratelimit-remaining-requests": "9999",
        "Set-Cookie": "__cf_bm=of-this-client; path=/; HttpOnly",
    }
    if directions.gzip:
        headers["Content-Encoding"] = "gzip"
    return headers


def told(answer: Whole, headers: dict[str, str] | None = None) -> web.Response:
    """An answer of the server itself: errors, redirects."""
    return web.Response(
        body=answer.body,
        status=answer.status,
        headers={**_headers(answer.content_type, NONE), **(headers or {})},
    )
