"""API keys as the console shows them: their state, and what they were hit for over the last days."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from django.db.models import QuerySet, Sum
from django.db.models.functions import TruncDay
from django.utils import timezone

from accounts import tokens
from accounts.models import APIKey, Tenant
from billing import usage
from billing.models import Receipt, UsageRollup
from console import sparklines

DAYS = 7  # of use, the running UTC day among them
EXPIRES_SOON = timedelta(days=7)


class State(NamedTuple):
    """Whether an API key holds."""

    label: str
    badge: str  # the class of its badge: good, warn, bad, accent
    until: datetime | None = None  # when that changes by itself
    until_label: str = ""


@dataclass(frozen=True)
class Line:
    """An API key in the list."""

    key: APIKey
    state: State
    hits: Sequence[int]  # of each of the last days, today's last
    first_day: datetime

    @property
    def code(self) -> str:
        """Its id in URLs and in the API."""
        return tokens.encode_id(self.key.id)

    @property
    def prefix(self) -> str:
        """How its tokens begin."""
        return f"{tokens.PREFIX}{self.code}_"

    @property
    def total(self) -> int:
        return sum(self.hits)

    @property
    def sparkline(self) -> str:
        return sparklines.path(self.hits)

    @property
    def sparkline_text(self) -> str:
        last = self.first_day + timedelta(days=len(self.hits) - 1)
        counts = ", ".join(f"{each:,}" for each in self.hits)
        return f"Hits a day from {self.first_day:%-d %B} to {last:%-d %B}: {counts}"

    @property
    def ended(self) -> bool:
        """Nothing can be done with it any more."""
        return self.state.label in ("Revoked", "Expired")


def keys_of(tenant: Tenant) -> QuerySet[APIKey]:
    """Newest first. What the console keeps for itself is nobody's to see or to change."""
    return APIKey.objects.filter(tenant=tenant, internal=False).order_by("-created_at", "-id")


def lines(tenant: Tenant, keys: Iterable[APIKey]) -> list[Line]:
    """Of some of the tenant's keys, with one statement for the use of all."""
    now, shown = timezone.now(), list(keys)
    first_day = _first_day(now)
    hits = hits_by_day(tenant, [key.id for key in shown], first_day)
    return [Line(key, state_of(key, now), hits[key.id], first_day) for key in shown]


def state_of(key: APIKey, now: datetime) -> State:
    """The one that matters most, where several are true."""
    if key.revoked_at is not None:
        return State("Revoked", "bad")
    if key.expires_at is not None and key.expires_at <= now:
        return State("Expired", "bad")
    if key.previous_expires_at is not None and key.previous_expires_at > now:
        return State("Rotating", "accent", key.previous_expires_at, "former token:")
    if key.expires_at is not None and key.expires_at <= now + EXPIRES_SOON:
        return State("Expires soon", "warn", key.expires_at, "in")
    return State("Active", "good")


def hits_by_day(tenant: Tenant, key_ids: Sequence[int], first_day: datetime) -> dict[int, list[int]]:
    """Each key's hits on DAYS days from the UTC midnight `first_day` on.

    `usage.read` would read all of the tenant's keys, and their storage since ever. This is one statement too, so that a
    receipt that is being folded just now counts once.
    """
    rolled_up = UsageRollup.objects.filter(
        tenant_id=tenant.id, period=UsageRollup.Period.DAY, api_key_id__in=key_ids, start__gte=first_day
    ).values_list("api_key_id", "start", "hits")
    waiting = (
        Receipt.objects.filter(tenant_id=tenant.id, folded=False, api_key_id__in=key_ids, at__gte=first_day)
        .annotate(day=TruncDay("at", tzinfo=UTC))
        .values("api_key_id", "day")
        .annotate(counted=Sum("hits"))
        .values_list("api_key_id", "day", "counted")
    )
    hits = {key_id: [0] * DAYS for key_id in key_ids}
    for key_id, day, count in rolled_up.union(waiting, all=True):
        n = (day - first_day).days
        if n < DAYS:  # midnight may have passed since `first_day` was looked up
            hits[key_id][n] += count
    return hits


def _first_day(now: datetime) -> datetime:
    return usage.shifted(usage.start_of(now.astimezone(UTC), "day"), "day", 1 - DAYS)
