"""Putting right what was charged for a hit that nobody got.

A refund is a receipt of its own with negative counts; its id makes it happen once, however often it is tried. Two
cases: a value that was charged and then not given (it does not open, it is too large for the answer) is refunded before
the error is answered. A round trip whose connection was lost at commit is in doubt: its receipts are looked up by their
ids when the database is back. Inserting a receipt of no counts under such an id decides it for ever: either the id was
free, then the lost round trip can no longer commit, or it was not, then it was charged and is refunded.

What cannot be booked now is tried again until it can; a process that is killed meanwhile leaves the charge standing.
"""

import asyncio
from collections import deque
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

import structlog

from accounts.models import random_id
from billing import sql
from cacheservice.entries.side import SidePool
from cacheservice.errors import APIError

log = structlog.get_logger(__name__)

EPOCH: Final = date(2000, 1, 1)  # from which PostgreSQL counts days
MOST_OPEN = 100_000
PAUSE_SECONDS = 1.0


class Named(NamedTuple):
    """What names a receipt."""

    tenant_id: int
    day: int  # since 2000-01-01: the one that its process sent with the id
    receipt_id: int

    def parameters(self) -> dict[str, Any]:
        return {**self._asdict(), "day": EPOCH + timedelta(self.day)}


class Charge(NamedTuple):
    """What a hit was charged, and by which receipt."""

    receipt: Named
    units: int
    cost: str | None  # USD that the hit counts as saved
    version: int


class _Refund(NamedTuple):
    """A receipt's hit to refund, under an id chosen once."""

    id: int
    charge: Charge


class Refunds:
    """Books refunds, one after the other."""

    def __init__(self, side: SidePool) -> None:
        self._side = side
        self._open: deque[_Refund | Named] = deque()
        self._some = asyncio.Event()

    def start(self) -> None:
        self._task = asyncio.create_task(self._work_off())

    async def close(self) -> None:
        """Try once more to book what is open, and log what has to stay."""
        self._task.cancel()
        try:
            while self._open:
                await self._book(self._open[0])
                self._open.popleft()
        except APIError as error:
            log.error("refunds_not_booked", count=len(self._open), reason=error.message)

    async def give_back(self, charge: Charge) -> None:
        """Book the refund of one hit now, or later if the database is away."""
        refund = _Refund(random_id(), charge)
        try:
            await self._book(refund)
        except APIError as error:
            log.warning("refund_postponed", reason=error.message)
            self._add(refund)

    def look_up(self, doubts: set[Named]) -> None:
        """Receipts that may have been committed: refund those that were."""
        for doubt in doubts:
            self._add(doubt)

    def _add(self, one: _Refund | Named) -> None:
        if len(self._open) >= MOST_OPEN:
            receipt = one.charge.receipt if isinstance(one, _Refund) else one
            log.error("refund_given_up", tenant_id=receipt.tenant_id)
            return
        self._open.append(one)
        self._some.set()

    async def _work_off(self) -> None:
        while True:
            await self._some.wait()
            while self._open:
                try:
                    await self._book(self._open[0])
                except APIError as error:
                    log.warning("refund_postponed", reason=error.message, count=len(self._open))
                    self._open.rotate(-1)  # one that fails for good must not hold up the others
                    await asyncio.sleep(PAUSE_SECONDS)
                else:
                    self._open.popleft()
            self._some.clear()

    async def _book(self, one: _Refund | Named) -> None:
        if isinstance(one, _Refund):
            charge = one.charge
            await self._side.rows(
                sql.REFUND_HIT,
                {
                    **charge.receipt.parameters(),
                    "id": one.id,
                    "units": charge.units,
                    "saved": charge.cost or "0",
                    "version": charge.version,
                },
            )
            return
        if not await self._side.rows(sql.CANCEL, one.parameters()):
            await self._side.rows(sql.REFUND_RECEIPT, one.parameters())
            log.info("receipt_refunded", tenant_id=one.tenant_id, receipt_id=one.receipt_id)
