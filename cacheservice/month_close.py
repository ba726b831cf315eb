"""Closing months: every tenant that used something in a month that is over gets its invoice, once.

Safe to run twice at once, to stop and to kill: each invoice is a transaction of its own, and what has one is not due.
"""

import time
from collections.abc import Iterator, Mapping
from datetime import date

import structlog

from billing import invoices, months
from cacheservice.entries import purge, rollup

log = structlog.get_logger(__name__)

FOLD_SECONDS = 60  # for receipts that another run has in hand
PAUSE_SECONDS = 0.1


def close_months(until: date | None = None, *, tenant_id: int | None = None, seconds: float = 600.0) -> int:
    """Issue the invoices of all months up to `until`, the latest that is over by default, each tenant's in their order.

    Of all tenants, or of one. Returns how many that were, within about `seconds`; the next run goes on. Raises
    ValueError for a month that is not over. A tenant whose month cannot be closed holds up no other: raises an
    ExceptionGroup when all others are done.
    """
    deadline = time.monotonic() + seconds
    latest = invoices.last_over()
    until = until or latest
    if until > latest:
        raise ValueError(
            f"month: {months.wire(until)} cannot be closed yet; the latest that can is {months.wire(latest)}."
        )
    rollup.rollup()  # so that it is known who used something; what is left, each tenant's own close has folded
    issued, failed = 0, dict[int, Exception]()
    for each, month in _due(until, tenant_id, failed):
        if time.monotonic() > deadline:
            break
        try:
            issued += _close(each, month)
        except Exception as error:
            log.exception("month_not_closed", tenant_id=each, month=months.wire(month))
            failed[each] = error
    if failed:
        raise ExceptionGroup(f"{len(failed)} tenants' months could not be closed", list(failed.values()))
    return issued


def _due(until: date, tenant_id: int | None, failed: Mapping[int, Exception]) -> Iterator[tuple[int, date]]:
    """Each tenant with its first open month, then with its next one, until none is left but for those that failed."""
    while due := [each for each in invoices.due(until, tenant_id) if each[0] not in failed]:
        yield from due


def _close(tenant_id: int, month: date) -> bool:
    """Book what expired, fold what is booked, and issue the invoice, if it is due still."""
    purge.book_expired(tenant_id)
    _fold(month, tenant_id)
    return invoices.close(tenant_id, month) is not None


def _fold(until: date, tenant_id: int) -> None:
    """Have the receipts of the months up to `until` in the rollups. Raises TimeoutError when that does not get done."""
    deadline = time.monotonic() + FOLD_SECONDS
    while left := invoices.not_folded(until, tenant_id):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{left} receipts are in no rollup after {FOLD_SECONDS} s; run 'manage.py rollup'")
        if not rollup.rollup():
            time.sleep(PAUSE_SECONDS)
