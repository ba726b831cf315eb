"""The service as the commands call it: by the library's own requests and retries, its answers as they came."""

import json
from collections.abc import Iterable
from typing import Any, TypeVar
from urllib.parse import urlencode

from cacheservice_client import values
from cacheservice_client.cli import exits
from cacheservice_client.cli.credentials import Credentials, current
from cacheservice_client.engine import Engine
from cacheservice_client.messages import Headers, Request, Response
from cacheservice_client.operations import Operation, Operations, check, item
from cacheservice_client.settings import Settings
from cacheservice_client.transport import AsyncTransport, BlockingTransport, Transport, run

T = TypeVar("T")

TIMEOUT = 30.0  # seconds that a call may take, its retries included
BULK_TIMEOUT = 120.0
RETRIES = 2

Query = Iterable[tuple[str, str | int | None]]

operations = Operations(values.loads, values.dumps)


def engine(credentials: Credentials, transport: type[Transport], timeout: float) -> Engine:
    try:
        settings = Settings(credentials.url, credentials.api_key, timeout, RETRIES, "raise", values.loads, values.dumps)
        return Engine(settings, transport(settings))
    except ValueError as error:  # never with the key in it
        raise exits.Failure(str(error)) from None


class Service:
    """For one call after the other. All methods raise CacheError."""

    def __init__(self, credentials: Credentials | None = None, timeout: float = TIMEOUT) -> None:
        self.url = (credentials := credentials or current()).url
        self._engine = engine(credentials, BlockingTransport, timeout)

    def perform(self, operation: Operation[T]) -> T:
        return run(self._engine.perform(operation))

    def fetch(self, path: str, query: Query = ()) -> bytes:
        """The body of a good answer to a GET."""
        return self.perform(_fetch(path, query)).body

    def json(self, path: str, query: Query = ()) -> Any:
        return self.perform(_json(path, query))

    def value(self, key: str) -> Response | None:
        return self.perform(_value(key))

    def count(self, tags: Iterable[str], prefix: str | None) -> int:
        return int(self.json("/api/v1/cache", [*filters(tags, prefix), ("limit", 1)])["total"])


class AsyncService:
    """For many calls at once."""

    def __init__(self, credentials: Credentials | None = None, timeout: float = BULK_TIMEOUT) -> None:
        self._engine = engine(credentials or current(), AsyncTransport, timeout)

    async def close(self) -> None:
        await self._engine.transport.close()

    async def perform(self, operation: Operation[T]) -> T:
        return await self._engine.perform(operation)

    async def json(self, path: str, query: Query = ()) -> Any:
        return await self.perform(_json(path, query))

    async def value(self, key: str) -> Response | None:
        return await self.perform(_value(key))

    async def batch(self, parts: Iterable[bytes]) -> Response:
        """`parts` are operations, none of which deletes: they may be sent twice."""
        headers: Headers = (("content-type", values.JSON),)
        body = b'{"operations":[%s]}' % b",".join(parts)
        return await self.perform(Operation(Request("POST", "/api/v1/batch", body, headers), _good))


def filters(tags: Iterable[str], prefix: str | None) -> list[tuple[str, str | int | None]]:
    return [*(("tag", tag) for tag in tags), ("prefix", prefix)]


def _fetch(path: str, query: Query) -> Operation[Response]:
    text = urlencode([(name, value) for name, value in query if value is not None])
    return Operation(Request("GET", f"{path}?{text}" if text else path), _good)


def _json(path: str, query: Query) -> Operation[Any]:
    return Operation(_fetch(path, query).request, lambda response: json.loads(_good(response).body))


def _value(key: str) -> Operation[Response | None]:
    """The bare value with its content type; None for a miss."""

    def parse(response: Response) -> Response | None:
        if response.status == 404 and response.headers.get("x-cache") == "MISS":
            return None
        return _good(response)

    return Operation(Request("GET", item(key) + "?raw=true"), parse)


def _good(response: Response) -> Response:
    check(response)
    return response
