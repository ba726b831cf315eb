"""Storage over time, as an exact integer of byte-microseconds."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def byte_microseconds(standing: int, delta: int, moment: Decimal | int, start: datetime, end: datetime) -> int:
    """The integral of the bytes over [start, end): what stood at its start times its length, and of each event within
    it the bytes times what is left: Δ · (end − t), summed up as Σ Δ · end − Σ Δ · t.

    `delta` is Σ Δ in bytes, `moment` Σ Δ · t in byte-microseconds since 1970. A period that is yet to begin has none.
    """
    length = max(0, (end - start) // MICROSECOND)
    return standing * length + delta * ((end - EPOCH) // MICROSECOND) - int(moment)
