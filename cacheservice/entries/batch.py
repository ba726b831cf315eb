"""`POST /batch`: operations as if sent one after the other, each with its own status and body."""

import asyncio
from collections.abc import Iterator

import msgspec
from django.conf import settings

from cacheservice.entries import items, requests
from cacheservice.entries.operations import Caller
from cacheservice.entries.requests import NO_CONDITION, BatchOperation, GetOperation, PutOperation
from cacheservice.entries.store import Allowance, Store
from cacheservice.errors import APIError
from cacheservice.http import JSON, Answer, error_answer

Parsed = BatchOperation | APIError


async def answer(store: Store, caller: Caller, operations: list[msgspec.Raw], request_id: str) -> Answer:
    """Run the operations; the values that one batch gives back are bounded like those that it takes."""
    allowance = Allowance(settings.MAX_VALUE_BYTES)
    results: list[Answer] = []
    for group in independent_groups([_parse(operation) for operation in operations]):
        results += await asyncio.gather(*(_result(store, caller, parsed, allowance, request_id) for parsed in group))
    rendered = [b'{"status":%d,"body":%s}' % (result.status, result.body) for result in results]
    charged = sum(result.charge.units for result in results if result.charge is not None)
    headers = (JSON, (b"x-credits-charged", items.credits_of(charged)))
    return Answer(200, headers, b'{"results":[%s]}' % b",".join(rendered))


def independent_groups(operations: list[Parsed]) -> Iterator[list[Parsed]]:
    """Consecutive operations that may run together: none of a group touches a key that another of it writes."""
    group: list[Parsed] = []
    read: set[str] = set()
    written: set[str] = set()
    for operation in operations:
        if not isinstance(operation, APIError):
            reads = isinstance(operation, GetOperation)
            if operation.key in written or (not reads and operation.key in read):
                yield group
                group, read, written = [], set(), set()
            (read if reads else written).add(operation.key)
        group.append(operation)
    if group:
        yield group


def _parse(operation: msgspec.Raw) -> Parsed:
    try:
        return requests.parse_operation(operation)
    except APIError as error:
        return error


async def _result(store: Store, caller: Caller, parsed: Parsed, allowance: Allowance, request_id: str) -> Answer:
    asked = False  # whether a statement has counted it against the rate limit
    try:
        if isinstance(parsed, APIError):
            raise parsed
        entry = (
            requests.put_operation_entry(parsed, settings.MAX_VALUE_BYTES) if isinstance(parsed, PutOperation) else None
        )
        asked = True
        if isinstance(parsed, GetOperation):
            hit = await store.get(caller, parsed.key, allowance=allowance)
            return items.miss_answer(parsed.key) if hit is None else items.hit_answer(parsed.key, hit)
        if entry is None:
            return await items.delete_answer(store, caller, parsed.key, NO_CONDITION)
        return await items.put_answer(store, caller, parsed.key, entry, NO_CONDITION)
    except APIError as error:
        return error_answer(error if asked else await _counted(store, caller, error), request_id)


async def _counted(store: Store, caller: Caller, error: APIError) -> APIError:
    """What no statement has seen counts against the rate limit too; the error, or that the limit is reached."""
    try:
        await store.authorise(caller, None)
    except APIError as refusal:
        return refusal
    return error
