"""The server: who may ask, what is recorded, and how requests and tests control it."""

import asyncio
import base64
import hmac
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import web

from tests.upstream import chat, media, messages, responses
from tests.upstream.delivery import Cut, close, deliver, told
from tests.upstream.directions import Directions, directions
from tests.upstream.wire import Answer, BadRequest, Whole, anthropic_error, encoded, openai_error

Json = dict[str, Any]
JSON_APIS: dict[str, Callable[[Json, Directions], Answer]] = {
    "/v1/chat/completions": chat.chat,
    "/v1/completions": chat.completions,
    "/v1/responses": responses.responses,
    "/v1/embeddings": media.embeddings,
    "/v1/images/generations": media.images,
    "/v1/echo": media.echo,
    "/v1/messages": messages.messages,
    "/v1/messages/count_tokens": messages.count_tokens,
}
TRANSCRIPTIONS = "/v1/audio/transcriptions"
DIRECTIONS_HEADER = "X-Upstream-Directions"


class Upstream:
    """Its state: what it was asked, and what tests told it to do."""

    def __init__(self, credential: str, *, record: bool) -> None:
        self._credential, self._record = credential.encode(), record
        self._go_on = asyncio.Event()
        self._controls = {
            "/readyz": lambda _: {},
            "/_calls": self._tell_calls,
            "/_reset": self._reset,
            "/_hold": self._hold,
            "/_release": self._release,
            "/_direct": self._direct,
        }
        self._forget()

    def _forget(self) -> None:
        self._calls: list[Json] = []
        self._count = 0
        self._failed: Counter[bytes] = Counter()
        self._standing = ""
        self._hold_after = 0
        self._go_on.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        if control := self._controls.get(request.path):
            return told(Whole(encoded(control(body))))
        self._count += 1
        call: Json = {}
        if self._record:
            call = _described(request, body)
            self._calls.append(call)
        try:
            response = await self._answer(request, body)
        except (asyncio.CancelledError, ConnectionError):
            call["disconnected"] = True
            raise
        except Cut:
            call["status"] = 0
            return web.Response()
        call["status"] = response.status
        return response

    async def _answer(self, request: web.BaseRequest, raw: bytes) -> web.StreamResponse:
        is_anthropic = request.path.startswith("/v1/messages") or "anthropic-version" in request.headers
        error = anthropic_error if is_anthropic else openai_error
        try:
            self._admit(request, is_anthropic)
            body = _decoded(request, raw)
            header = request.headers.get(DIRECTIONS_HEADER, "")
            try:
                asked = directions(body.get("model"), raw, header, self._standing)
            except ValueError as unknown:
                raise BadRequest(str(unknown)) from None
            if not self._hold_after:
                await self._go_on.wait()
            if (trouble := await self._trouble(request, raw, asked, error)) is not None:
                return trouble
            if asked.error_in_stream and body.get("stream") is not True:
                raise BadRequest("The server had an error.", 200)
            answer = _answer(request, raw, body, asked)
        except BadRequest as refused:
            return told(error(refused.status, str(refused)))
        return await deliver(request, answer, asked, self._between)

    def _admit(self, request: web.BaseRequest, is_anthropic: bool) -> None:
        """Raises BadRequest."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if is_anthropic:
            given = request.headers.get("x-api-key", given)
        if not hmac.compare_digest(given.encode(), self._credential):
            raise BadRequest("invalid x-api-key" if is_anthropic else "Incorrect API key provided.", 401)
        if is_anthropic and "anthropic-version" not in request.headers:
            raise BadRequest("anthropic-version: header is required")

    async def _between(self, sent: int) -> None:
        if self._hold_after and sent == self._hold_after:
            await self._go_on.wait()

    async def _trouble(
        self, request: web.BaseRequest, raw: bytes, asked: Directions, error: Callable[[int, str], Whole]
    ) -> web.Response | None:
        """The answer of directions that leave the API out of it."""
        if asked.slow:
            await asyncio.sleep(asked.slow)
        if asked.hang:
            await asyncio.Event().wait()
        status, drop = asked.status, asked.drop
        if self._failed[raw] < asked.flaky:
            self._failed[raw] += 1
            status, drop = (0, True) if asked.flaky_with == "drop" else (int(asked.flaky_with), False)
        if drop:
            close(request)
            raise Cut
        if status:
            wait = {"Retry-After": f"{asked.retry_after:g}"} if status in (429, 503, 529) else None
            return told(error(status, f"The upstream was told to answer {status}."), wait)
        if asked.redirect:
            return told(Whole(b"", 307), {"Location": asked.redirect})
        if asked.wrongtype:
            return told(Whole(b"<!doctype html><title>Welcome</title>", 200, "text/html; charset=utf-8"))
        return None

    def _tell_calls(self, _: bytes) -> Json:
        return {"count": self._count, "calls": self._calls}

    def _reset(self, _: bytes) -> Json:
        self._forget()
        return {}

    def _hold(self, body: bytes) -> Json:
        self._hold_after = msgspec.json.decode(body, type=int) if body else 0
        self._go_on.clear()
        return {}

    def _release(self, _: bytes) -> Json:
        self._go_on.set()
        return {}

    def _direct(self, body: bytes) -> Json:
        self._standing = body.decode()
        return {}


def _decoded(request: web.BaseRequest, raw: bytes) -> Json:
    """The JSON body of a call to a JSON API; empty for the others. Raises BadRequest."""
    if request.method != "POST" or request.path not in JSON_APIS:
        return {}
    try:
        body: Json = msgspec.json.decode(raw, type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("We could not parse the JSON body of your request.") from None
    if request.path != "/v1/echo" and not isinstance(body.get("model"), str):
        raise BadRequest("you must provide a model parameter")
    return body


def _answer(request: web.BaseRequest, raw: bytes, body: Json, asked: Directions) -> Answer:
    """Raises BadRequest."""
    path = request.path
    if request.method == "POST" and path in JSON_APIS:
        return JSON_APIS[path](body, asked)
    if request.method == "POST" and path == TRANSCRIPTIONS:
        return media.transcription(request.headers.get("Content-Type", ""), raw)
    if request.method == "GET" and (path == "/v1/models" or path.startswith("/v1/models/")):
        return media.models(path[len("/v1/models/") :])
    raise BadRequest(f"Invalid URL ({request.method} {path})", 404)


def _described(request: web.BaseRequest, body: bytes) -> Json:
    return {
        "method": request.method,
        "path": request.path,
        "query": request.query_string,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers],
        "body": base64.b64encode(body).decode(),
        "status": None,
        "disconnected": False,
    }
