"""Spend events as values, and as the columns that the ledger's statement takes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from accounts.models import random_id
from gateway.arrays import bools, byteas, int2s, int8s, texts
from gateway.models import CacheStatus, SpendState

MOST_USD = Decimal("999999999.999999999")  # of the columns; above it a figure is not believed
MOST_TOKENS = 1 << 50
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Event(NamedTuple):
    """A spend event: one request to the gateway."""

    tenant_id: int
    id: int  # new_id(); of a reserved call, its reservation's
    at: datetime  # UTC; of a reserved call, its reservation's
    provider: str
    model: str
    user: str
    api_key_id: int
    cache: CacheStatus
    state: SpendState
    status: int  # of the HTTP answer; 0: none
    request_id: str
    cost: Decimal | None  # None: not known
    saved: Decimal | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    fingerprint: bytes = b""
    prompt: str | None = None


class Call(NamedTuple):
    """What is known of a call before it goes upstream: its event will have this."""

    tenant_id: int
    provider: str
    model: str
    user: str
    api_key_id: int
    cache: CacheStatus  # MISS, BYPASS or REFRESH
    request_id: str
    fingerprint: bytes = b""


class Reservation(NamedTuple):
    """A call's place in its budgets: to be settled once, whatever becomes of the call."""

    tenant_id: int
    id: int  # of the spend event
    at: datetime  # its day is the one that it counts in
    worst: Decimal | None  # None: no budget binds the call, and nothing is reserved
    budget_ids: tuple[int, ...]


class Booking(NamedTuple):
    """An event to be written; with the reservation that it settles, where it has one."""

    event: Event
    reservation: Reservation | None


new_id = random_id


def settlement(reservation: Reservation, event: Event) -> Booking:
    """The event as it settles the reservation: its worst case counts as spent where nobody knows the cost."""
    cost, state = event.cost, event.state
    if state is not SpendState.SETTLED or cost is None:
        cost, state = reservation.worst, SpendState.UNKNOWN
    event = event._replace(
        tenant_id=reservation.tenant_id, id=reservation.id, at=reservation.at, cost=cost, state=state
    )
    return Booking(event, reservation)


def columns(bookings: Sequence[Booking]) -> Mapping[str, Any]:
    """The parameters of sql.BOOK. Of several with one id the first counts."""
    bookings = list({(booking.event.tenant_id, booking.event.id): booking for booking in reversed(bookings)}.values())
    (
        tenant_ids,
        ids,
        ats,
        providers,
        models,
        users,
        api_key_ids,
        caches,
        states,
        statuses,
        request_ids,
        costs,
        saveds,
        input_tokens,
        cached_tokens,
        output_tokens,
        reasoning_tokens,
        fingerprints,
        prompts,
    ) = (list(column) for column in zip(*(booking.event for booking in bookings), strict=True))
    places = [
        (reservation.tenant_id, reservation.id, budget_id, reservation.at.date(), reservation.worst)
        for _, reservation in bookings
        if reservation is not None
        for budget_id in reservation.budget_ids
    ]
    return {
        "tenant_ids": int8s(tenant_ids),
        "ids": int8s(ids),
        "ats": int8s([(at - EPOCH) // MICROSECOND for at in ats]),
        "providers": texts([storable(text) for text in providers]),
        "models": texts([storable(text) for text in models]),
        "users": texts([storable(text) for text in users]),
        "api_key_ids": int8s(api_key_ids),
        "caches": int2s(caches),
        "states": int2s(states),
        "statuses": int2s(statuses),
        "request_ids": texts([storable(text) for text in request_ids]),
        "costs": texts([_usd(amount) for amount in costs]),
        "saveds": texts([_usd(amount) for amount in saveds]),
        "input_tokens": int8s([_count(count) for count in input_tokens]),
        "cached_tokens": int8s([_count(count) for count in cached_tokens]),
        "output_tokens": int8s([_count(count) for count in output_tokens]),
        "reasoning_tokens": int8s([_count(count) for count in reasoning_tokens]),
        "fingerprints": byteas(fingerprints),
        "prompts": texts([None if text is None else storable(text) for text in prompts]),
        "reserved": bools([reservation is not None for _, reservation in bookings]),
        "reserved_tenant_ids": [place[0] for place in places],
        "reserved_ids": [place[1] for place in places],
        "budget_ids": [place[2] for place in places],
        "days": [place[3] for place in places],
        "worsts": [place[4] for place in places],
    }


def storable(text: str) -> str:
    """As PostgreSQL can hold it: no NUL, no half of a surrogate pair."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode(errors="replace").decode()


def _usd(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount if -MOST_USD <= amount <= MOST_USD else MOST_USD)


def _count(count: int) -> int:
    """An upstream may say anything."""
    return count if 0 <= count <= MOST_TOKENS else max(0, min(count, MOST_TOKENS))
