"""What the tests of usage share: events, written as the server writes them, and what they come to, added up naively."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from accounts.models import random_id
from billing.models import Receipt, TagUsage, UsageRollup
from billing.usage import Counts

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
COUNTED = ("hits", "misses", "writes", "duplicates", "deletes", "units", "saved")


@dataclass(frozen=True)
class Event:
    """What happened at a moment for an API key."""

    at: datetime
    api_key_id: int
    delta: int = 0  # bytes
    hits: int = 0
    misses: int = 0
    writes: int = 0
    duplicates: int = 0
    deletes: int = 0
    units: int = 0
    saved: Decimal = Decimal(0)

    @property
    def moment(self) -> int:
        return self.delta * microseconds(self.at)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[arg-type, misc]  # year, month, day and so on


def microseconds(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def period_start(moment: datetime, period: str) -> datetime:
    """By the text of the time: not the code under test."""
    text = moment.strftime({"hour": "%Y-%m-%dT%H:00:00", "day": "%Y-%m-%d", "month": "%Y-%m-01"}[period])
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def write_receipts(tenant_id: int, events: Iterable[Event], *, folded: bool = False) -> None:
    """A receipt for each API key and hour, at the time of its last event."""
    groups: dict[tuple[int, datetime], list[Event]] = defaultdict(list)
    for event in events:
        groups[event.api_key_id, period_start(event.at, "hour")].append(event)
    Receipt.objects.bulk_create(
        Receipt(
            tenant_id=tenant_id,
            id=random_id(),
            api_key_id=api_key_id,
            at=max(event.at for event in group),
            folded=folded,
            **_sums(group),
        )
        for (api_key_id, _), group in groups.items()
    )


def write_rollups(tenant_id: int, events: Iterable[Event]) -> None:
    """As folded: an hour, a day and a month for each API key; the folded receipts are still there."""
    events = list(events)
    write_receipts(tenant_id, events, folded=True)
    groups: dict[tuple[str, int, datetime], list[Event]] = defaultdict(list)
    for event in events:
        for period in ("hour", "day", "month"):
            groups[period, event.api_key_id, period_start(event.at, period)].append(event)
    UsageRollup.objects.bulk_create(
        UsageRollup(
            tenant_id=tenant_id,
            period=UsageRollup.Period[period.upper()],
            api_key_id=api_key_id,
            start=start,
            **_sums(group),
        )
        for (period, api_key_id, start), group in groups.items()
    )


def write_tags(tenant_id: int, *rows: tuple[str, str, int, str]) -> None:
    """Of each: day, tag, hits, saved USD."""
    TagUsage.objects.bulk_create(
        TagUsage(tenant_id=tenant_id, day=day, tag=tag, hits=hits, saved=Decimal(saved))
        for day, tag, hits, saved in rows
    )


def expected(events: Sequence[Event], start: datetime, end: datetime) -> Counts:
    """What the events come to in [start, end): storage step by step, as the bytes change."""
    within = [event for event in events if start <= event.at < end]
    level = sum(event.delta for event in events if event.at < start)
    integral, since = 0, start
    for event in sorted(within, key=lambda event: event.at):
        integral += level * ((event.at - since) // MICROSECOND)
        level, since = level + event.delta, event.at
    integral += level * ((end - since) // MICROSECOND)
    counted = [sum((getattr(event, name) for event in within), 0) for name in COUNTED]
    return Counts._make((*counted, integral))


def _sums(group: Sequence[Event]) -> dict[str, int | Decimal]:
    sums = {name: sum(getattr(event, name) for event in group) for name in COUNTED}
    return {
        **sums,
        "storage_delta": sum(event.delta for event in group),
        "storage_moment": sum(event.moment for event in group),
    }
