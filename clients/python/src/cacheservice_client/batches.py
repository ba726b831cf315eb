"""Many operations in few requests."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cacheservice_client import errors
from cacheservice_client.engine import Engine
from cacheservice_client.errors import APIError
from cacheservice_client.messages import Request, Response
from cacheservice_client.operations import Cost, Operation, Tags, check, hit, more_fields, stored
from cacheservice_client.results import Hit, Miss, Stored
from cacheservice_client.values import Dumps, Loads, encode

MOST_OPERATIONS = 256
MOST_BYTES = 8_000_000  # the service takes 10 MiB by default; an operation that is larger goes alone


@dataclass(frozen=True, slots=True)
class Get:
    key: str


@dataclass(frozen=True, slots=True)
class Put:
    """`value` is JSON: bytes go by `put`."""

    key: str
    value: Any
    ttl: int | None = None
    tags: Tags = ()
    cost: Cost | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    key: str


BatchOperation = Get | Put | Delete
BatchResult = Hit | Miss | Stored | bool | APIError | None
BatchResults = list[BatchResult]


async def perform(engine: Engine, operations: Iterable[BatchOperation], loads: Loads, dumps: Dumps) -> BatchResults:
    """The results in the operations' order, of as few requests as it takes, one after the other."""
    results: BatchResults = []
    for group, body in _grouped(operations, dumps):
        done = await engine.perform(_batch(group, body, loads))
        results += done
    return results


def _grouped(operations: Iterable[BatchOperation], dumps: Dumps) -> Iterator[tuple[list[BatchOperation], bytes]]:
    """What goes into each request, with the request's body."""
    group: list[BatchOperation] = []
    parts: list[bytes] = []
    for operation in operations:
        part = _encoded(operation, dumps)
        if len(group) == MOST_OPERATIONS or (group and sum(map(len, parts)) + len(part) > MOST_BYTES):
            yield group, b'{"operations":[%s]}' % b",".join(parts)
            group, parts = [], []
        group.append(operation)
        parts.append(part)
    if group:
        yield group, b'{"operations":[%s]}' % b",".join(parts)


def _batch(group: list[BatchOperation], body: bytes, loads: Loads) -> Operation[BatchResults]:
    def parse(response: Response) -> BatchResults:
        check(response)
        results = loads(response.body)["results"]
        return [_result(operation, **result) for operation, result in zip(group, results, strict=True)]

    # Done twice, a batch that deletes what it has just read or written would say that nothing was there.
    repeatable = not any(isinstance(operation, Delete) for operation in group)
    headers = (("content-type", "application/json"),)
    request = Request("POST", "/api/v1/batch", body, headers, repeatable)
    return Operation(request, parse, lambda: [_otherwise(operation) for operation in group])


def _encoded(operation: BatchOperation, dumps: Dumps) -> bytes:
    key = json.dumps(operation.key).encode()
    if isinstance(operation, Get):
        return b'{"op":"get","key":%s}' % key
    if isinstance(operation, Delete):
        return b'{"op":"delete","key":%s}' % key
    value = encode(operation.value, None, dumps)
    if value.content_type is not None:
        raise TypeError("a batch stores JSON values; store bytes with put")
    fields = more_fields(operation.ttl, operation.tags, operation.cost)
    return b'{"op":"put","key":%s,"value":%s%s}' % (key, value.body, fields)


def _result(operation: BatchOperation, status: int, body: Any) -> BatchResult:
    if status >= 300:
        return errors.of_body(status, body)
    if isinstance(operation, Get):
        return hit(body) if body["hit"] else Miss()
    return stored(body) if isinstance(operation, Put) else bool(body["deleted"])


def _otherwise(operation: BatchOperation) -> BatchResult:
    if isinstance(operation, Get):
        return Miss()
    return None if isinstance(operation, Put) else False
