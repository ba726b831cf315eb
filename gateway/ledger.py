"""The ledger of what goes upstream: reservations in budgets before a call, spend events after it.

    reserve ─▶ what waits ─▶ one transaction: lock the budgets' days, decide each, write used and events ─▶ the calls
    settle, record ─▶ buffer ─▶ one statement per 1,000 events or 0.25 s: events, budgets given back, days summed up

Reservations are exact over all processes: a call goes upstream only once its worst case is committed to the days of all
its budgets. Whoever dies with calls under way leaves them counted at their worst, and `tasks.abandon` books them so.

What is recorded and not yet written is lost with its process: at most 0.25 s of events, or what has come in since the
database went away, up to MOST_BUFFERED. None of it is money that a budget counts.
"""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import structlog

from accounts import tokens
from billing.units import usd
from cacheservice import metrics
from cacheservice.entries.side import SidePool, Transaction
from cacheservice.errors import APIError, Unavailable
from gateway import sql
from gateway.budgets import NO_MODEL, Budget, matching, resets_at
from gateway.events import Booking, Call, Event, Reservation, document, new_id, settlement, storable
from gateway.models import SpendState

__all__ = ["BudgetExceeded", "Call", "Event", "Ledger", "PriceUnknown", "Reservation", "new_id"]

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 0.25
BATCH = 1000  # events in a statement: encoding them holds the loop up for 1 ms, and writing one takes 15 µs
MOST_BUFFERED = 100_000  # recorded events: some 60 MB
MOST_RESERVED_AT_ONCE = 256  # reservations in a transaction
MOST_WAITING = 4096  # reservations
AGAIN_SECONDS = 1.0  # after the database could not be reached
CLOSE_SECONDS = 5.0
KNOWN_DAYS = 10_000

Place = tuple[int, int, date]  # a budget's day: tenant, budget, day


class BudgetExceeded(APIError):
    """A budget has no room for the call's worst case: it did not go upstream."""

    status, code = 402, "budget_exceeded"

    def __init__(self, budget: Budget, used: Decimal, worst: Decimal, day: date) -> None:
        self.budget_id, self.resets_at = budget.id, resets_at(day)
        whose = "" if budget.api_key_id is None else " of this API key"
        what = f" for the model {budget.model}" if budget.model else ""
        super().__init__(
            f"Budget {tokens.encode_id(budget.id)}{whose}{what}: ${usd(used)} of ${usd(budget.usd_per_day)} is used or "
            f"reserved for this UTC day, and this call may cost up to ${usd(worst)}. It resets at "
            f"{self.resets_at:%Y-%m-%dT%H:%M:%SZ}: ask for fewer tokens, or have the budget raised."
        )
        seconds = max(1, int((self.resets_at - datetime.now(UTC)).total_seconds()))
        self.headers = ((b"retry-after", b"%d" % seconds),)


class PriceUnknown(APIError):
    """A budget binds the call, and nobody knows what it may cost: it did not go upstream."""

    status, code = 402, "price_unknown"

    def __init__(self, budget: Budget, provider: str, model: str) -> None:
        self.budget_id = budget.id
        what = f"of the model '{model}'" if model else "of calls that name no model"
        path = f"/api/v1/prices/{provider}/{quote(model or NO_MODEL, safe='/:@')}"
        super().__init__(
            f"Budget {tokens.encode_id(budget.id)} limits what this call may cost, and that is not known: set the "
            f"price {what} (PUT {path}), or say how many tokens it may answer at most. What refers to a conversation "
            "or a file that the provider keeps is bounded only by a context window that the public price list knows."
        )


class _Waiting(NamedTuple):
    """A call that waits for its reservation."""

    call: Call
    budgets: tuple[Budget, ...]
    worst: Decimal
    granted: "asyncio.Future[Reservation]"


class Ledger:
    """A process's reservations, and its spend events on their way to PostgreSQL. Bound to the running loop."""

    def __init__(self, conninfo: str) -> None:
        self._pool = SidePool(conninfo, "ledger")
        self._waiting: deque[_Waiting] = deque()
        self._asked = asyncio.Event()
        self._reserving = asyncio.Lock()  # held while a batch is
        self._settlements: deque[Booking] = deque()  # as many as there are reservations
        self._events: deque[Event] = deque()
        self._lost = 0
        self._full = asyncio.Event()
        self._known_days: set[Place] = set()  # those that have a row
        self._closing = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._pool.open()
        self._tasks = [asyncio.create_task(self._reserve_always()), asyncio.create_task(self._flush_always())]

    async def close(self) -> None:
        """Writes what is buffered, in bounded time."""
        self._closing = True
        with suppress(TimeoutError):  # a reservation that was committed meanwhile must be given back
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._reserving.acquire()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiting in self._waiting:
            _refuse(waiting, _unchecked())
        with suppress(TimeoutError, APIError):
            async with asyncio.timeout(CLOSE_SECONDS):
                while self._settlements or self._events:
                    await self._flush()
        self._lost += len(self._events)
        if self._lost or self._settlements:
            log.error("spend_events_lost", recorded=self._lost, settlements=len(self._settlements))
            metrics.EVENTS_LOST.add(self._lost + len(self._settlements))
        await self._pool.close()

    def measure(self) -> None:
        metrics.EVENTS_WAITING.set(len(self._settlements) + len(self._events))
        self._pool.measure()

    async def reserve(self, call: Call, budgets: Sequence[Budget], worst: Decimal | None) -> Reservation:
        """Room for the worst case in each of the `budgets` that match the call, before it goes upstream. Where none
        does, this costs nothing, and settling the reservation records its event.

        Raises BudgetExceeded, PriceUnknown (one matches, and `worst` is None), and Unavailable where the database
        cannot be asked: then nothing is reserved. If the task is cancelled, nothing is reserved either.
        """
        bound = matching(budgets, call.api_key_id, call.model)
        if not bound:
            return Reservation(call.tenant_id, new_id(), datetime.now(UTC), None, ())
        if worst is None:
            raise PriceUnknown(bound[0], call.provider, call.model)
        if self._closing or len(self._waiting) >= MOST_WAITING:
            raise _unchecked()
        waiting = _Waiting(call, bound, worst, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self._asked.set()
        try:
            return await waiting.granted
        except asyncio.CancelledError:
            if not waiting.granted.cancelled() and waiting.granted.exception() is None:
                self._release(call, waiting.granted.result())  # it came just when nobody waited for it any more
            raise

    def settle(self, reservation: Reservation, event: Event) -> None:
        """The call has ended as `event` says (its id and time are the reservation's). Never waits, never raises.

        SETTLED with what it cost (0: the upstream took nothing), or UNKNOWN, as is SETTLED without a cost: then the
        worst case counts as spent. A second settlement of one reservation does nothing.
        """
        if reservation.worst is None:
            self.record(msgspec.structs.replace(event, id=reservation.id, at=reservation.at))
        else:
            booking = settlement(reservation, event)
            self._settlements.append(booking)
            if len(self._settlements) >= BATCH:
                self._full.set()

    def record(self, event: Event) -> None:
        """Book a request that reserved nothing, SETTLED or UNKNOWN. Never waits, never raises."""
        if len(self._events) >= MOST_BUFFERED:
            self._lost += 1
            return
        self._events.append(event)
        if len(self._events) >= BATCH:
            self._full.set()

    # Reservations

    async def _reserve_always(self) -> None:
        while True:
            await self._asked.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_RESERVED_AT_ONCE))]
            if not self._waiting:
                self._asked.clear()
            # Who was cancelled while it waited never asked.
            batch = [waiting for waiting in batch if not waiting.granted.done()]
            if batch:
                try:
                    async with self._reserving:
                        await self._reserve(batch)
                except Exception:  # a defect, which must not leave callers hanging
                    log.exception("reserve_failed")
                finally:
                    for waiting in batch:
                        _refuse(waiting, _unchecked())

    async def _reserve(self, batch: list[_Waiting]) -> None:
        now = datetime.now(UTC)
        granted: list[tuple[_Waiting, Reservation]] = []
        try:
            async with self._pool.transaction() as transaction:
                used = await self._lock(transaction, batch, now.date())
                refused = _decide(batch, used, now, granted)
                if granted:
                    await transaction.rows(sql.RESERVE, _reserved(granted, used))
        except APIError as error:
            # Whether it was committed may be unknown: what was is given back, and what was not has nothing to settle.
            for waiting, reservation in granted:
                self._release(waiting.call, reservation)
            self._known_days.clear()
            log.warning("budgets_not_checked", calls=len(batch), reason=error.message)
            return
        for waiting, refusal in refused:
            _refuse(waiting, refusal)
        for waiting, reservation in granted:
            if waiting.granted.done():  # cancelled meanwhile
                self._release(waiting.call, reservation)
            else:
                waiting.granted.set_result(reservation)

    async def _lock(self, transaction: Transaction, batch: list[_Waiting], day: date) -> dict[Place, Decimal]:
        """What the days of the batch's budgets have used. Nobody else changes that until the transaction ends."""
        budgets = {(budget.tenant_id, budget.id, day): budget for waiting in batch for budget in waiting.budgets}
        new = [(place, budget) for place, budget in budgets.items() if place not in self._known_days]
        if new:
            parameters = _places([place for place, _ in new])
            parameters["api_key_ids"] = [budget.api_key_id for _, budget in new]
            parameters["models"] = [budget.model for _, budget in new]
            await transaction.rows(sql.BEGIN_DAYS, parameters)
        rows = await transaction.rows(sql.LOCK_DAYS, _places(list(budgets)))
        used = {(tenant_id, budget_id, day): amount for tenant_id, budget_id, day, amount in rows}
        if len(used) < len(budgets):  # a row that was known is gone, with its budget or its tenant
            self._known_days.clear()
            raise Unavailable("A budget has just been changed: try again.")
        if len(self._known_days) + len(new) > KNOWN_DAYS:
            self._known_days.clear()
        self._known_days.update(place for place, _ in new)
        return used

    def _release(self, call: Call, reservation: Reservation) -> None:
        """It never went upstream."""
        event = Event(
            call.tenant_id,
            reservation.id,
            reservation.at,
            call.provider,
            call.model,
            call.user,
            call.api_key_id,
            call.cache,
            SpendState.SETTLED,
            0,
            call.request_id,
            Decimal(0),
            fingerprint=call.fingerprint,
        )
        self.settle(reservation, event)

    # Events

    async def _flush_always(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._full.wait()
            self._full.clear()
            try:
                await self._flush()
            except APIError:
                await asyncio.sleep(AGAIN_SECONDS)
            if self._lost:
                log.error("spend_events_lost", recorded=self._lost)
                metrics.EVENTS_LOST.add(self._lost)
                self._lost = 0
            if len(self._settlements) + len(self._events) >= BATCH:
                self._full.set()

    async def _flush(self) -> None:
        """Write the oldest events. Raises Unavailable: then they are still there."""
        settlements = list(islice(self._settlements, BATCH))
        events = list(islice(self._events, BATCH - len(settlements)))
        if settlements or events:
            await self._book(settlements + [Booking(event, None) for event in events])
            for _ in settlements:
                self._settlements.popleft()
            for _ in events:
                self._events.popleft()
            _count([*(booking.event for booking in settlements), *events])

    async def _book(self, bookings: list[Booking]) -> None:
        """Where one of them cannot be written, the others are."""
        try:
            async with self._pool.transaction() as transaction:
                await transaction.rows(sql.BOOK, document(bookings))
        except Unavailable:
            raise
        except Exception:  # what is in the events
            if len(bookings) == 1:
                log.exception("spend_event_not_booked", tenant_id=bookings[0].event.tenant_id)
                self._lost += 1
                return
            middle = len(bookings) // 2
            await self._book(bookings[:middle])
            await self._book(bookings[middle:])


def _decide(
    batch: list[_Waiting],
    used: dict[Place, Decimal],
    now: datetime,
    granted: list[tuple[_Waiting, Reservation]],
) -> list[tuple[_Waiting, BudgetExceeded]]:
    """First come, first served: adds to `used` and `granted`; the others are refused."""
    day = now.date()
    refused = []
    for waiting in batch:
        places = [(budget, (budget.tenant_id, budget.id, day)) for budget in waiting.budgets]
        full = next((b for b, place in places if used[place] + waiting.worst > b.usd_per_day), None)
        if full is not None:
            taken = used[full.tenant_id, full.id, day]
            refused.append((waiting, BudgetExceeded(full, taken, waiting.worst, day)))
            continue
        for _, place in places:
            used[place] += waiting.worst
        budget_ids = tuple(budget.id for budget in waiting.budgets)
        granted.append((waiting, Reservation(waiting.call.tenant_id, new_id(), now, waiting.worst, budget_ids)))
    return refused


def _count(events: Sequence[Event]) -> None:
    """All at once: what a sum of decimals takes is not much more for a thousand than for one."""
    costs = [event.cost for event in events if event.cost is not None]
    metrics.UNPRICED.add(len(events) - len(costs))
    metrics.spend.add(sum(costs, Decimal(0)))
    metrics.saved.add(sum((event.saved for event in events if event.saved), Decimal(0)))


def _refuse(waiting: _Waiting, error: APIError) -> None:
    if not waiting.granted.done():
        waiting.granted.set_exception(error)


def _unchecked() -> Unavailable:
    return Unavailable("The budget cannot be checked now: try again shortly.")


def _places(places: Sequence[Place]) -> dict[str, list[Any]]:
    tenant_ids, ids, days = (list(column) for column in zip(*places, strict=True))
    return {"tenant_ids": tenant_ids, "ids": ids, "days": days}


def _reserved(granted: Sequence[tuple[_Waiting, Reservation]], used: Mapping[Place, Decimal]) -> dict[str, list[Any]]:
    """The parameters of sql.RESERVE."""
    calls = [waiting.call for waiting, _ in granted]
    return {
        **_places(list(used)),
        "used": list(used.values()),
        "call_tenant_ids": [call.tenant_id for call in calls],
        "call_ids": [reservation.id for _, reservation in granted],
        "ats": [reservation.at for _, reservation in granted],
        "providers": [storable(call.provider) for call in calls],
        "models": [storable(call.model) for call in calls],
        "users": [storable(call.user) for call in calls],
        "api_key_ids": [call.api_key_id for call in calls],
        "caches": [int(call.cache) for call in calls],
        "worsts": [waiting.worst for waiting, _ in granted],
        "fingerprints": [call.fingerprint for call in calls],
        "request_ids": [storable(call.request_id) for call in calls],
    }
