"""What a tenant spent and saved through the gateway: by day, provider, model, user, API key and what the cache did.

The sums outlive the events; which prompts cost most only the events tell, which stay for 90 days.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final, NamedTuple

from billing.rows import Rows
from cacheservice.errors import InvalidRequest
from gateway import spend_sql
from gateway.models import CacheStatus

BY: Final = ("day", "provider", "model", "user", "key", "cache")
MOST_ROWS: Final = 10_000
MOST_EVENTS: Final = 100_000  # that a report on prompts looks at: the latest of its range


class Spent(NamedTuple):
    """Sums over requests. Those of `BY` that were not asked for are None."""

    day: date | None
    provider: str | None
    model: str | None
    user: str | None
    api_key_id: int | None
    api_key_name: str | None  # None too where the API key is gone
    cache: CacheStatus | None
    requests: int
    hits: int  # of them: answered without an upstream call of their own
    unpriced: int  # of them: those whose cost or saving is not known, which is in none of the sums
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: Decimal  # in USD, like `saved`
    saved: Decimal

    @property
    def hit_ratio(self) -> Fraction | None:
        """Hits of requests."""
        return Fraction(self.hits, self.requests) if self.requests else None


class Prompt(NamedTuple):
    """Requests with one fingerprint. The provider and model are the last one's."""

    fingerprint: bytes
    provider: str
    model: str
    text: str | None  # its beginning, where a policy keeps prompts
    requests: int
    hits: int
    cost: Decimal | None  # None: of none of them known; like `saved`
    saved: Decimal | None
    last_at: datetime


class Prompts(NamedTuple):
    """The prompts that cost most, and how many requests repeat one."""

    requests: int  # that were looked at
    complete: bool  # whether these are all of the range; else the latest
    duplicates: int  # of them: those whose fingerprint had occurred before
    with_fingerprint: int
    top: list[Prompt]

    @property
    def duplicate_rate(self) -> Fraction | None:
        """Duplicates of the requests with a fingerprint."""
        return Fraction(self.duplicates, self.with_fingerprint) if self.with_fingerprint else None


def read(rows: Rows, tenant_id: int, start: date, end: date, by: Collection[str] = ()) -> list[Spent]:
    """The sums of the UTC days from `start` up to, not including, `end`, by each of `by`: by day, then what cost most.

    Raises InvalidRequest for more than MOST_ROWS.
    """
    parameters = {"tenant_id": tenant_id, "from": start, "to": end, "limit": MOST_ROWS + 1}
    found = rows(spend_sql.SPEND, parameters | {f"by_{name}": name in by for name in BY})
    if len(found) > MOST_ROWS:
        raise InvalidRequest(f"by: that is more than {MOST_ROWS} rows; ask for fewer days, or by less.")
    return [_spent(*row) for row in found]


def total(spent: Iterable[Spent]) -> Spent:
    """All of them together."""
    spent = list(spent)
    return Spent(
        day=None,
        provider=None,
        model=None,
        user=None,
        api_key_id=None,
        api_key_name=None,
        cache=None,
        requests=sum(each.requests for each in spent),
        hits=sum(each.hits for each in spent),
        unpriced=sum(each.unpriced for each in spent),
        input_tokens=sum(each.input_tokens for each in spent),
        cached_tokens=sum(each.cached_tokens for each in spent),
        output_tokens=sum(each.output_tokens for each in spent),
        reasoning_tokens=sum(each.reasoning_tokens for each in spent),
        cost=sum((each.cost for each in spent), Decimal(0)),
        saved=sum((each.saved for each in spent), Decimal(0)),
    )


def read_prompts(rows: Rows, tenant_id: int, start: date, end: date, limit: int) -> Prompts:
    """Of the events of the UTC days from `start` up to, not including, `end`."""
    parameters = {
        "tenant_id": tenant_id,
        "from": datetime(start.year, start.month, start.day, tzinfo=UTC),
        "to": datetime(end.year, end.month, end.day, tzinfo=UTC),
        "events": MOST_EVENTS,
        "limit": limit,
    }
    found = rows(spend_sql.PROMPTS, parameters)
    [(requests, with_fingerprint, different)] = {row[:3] for row in found}
    top = [Prompt(*row[3:]) for row in found if row[3] is not None]
    return Prompts(requests, requests < MOST_EVENTS, with_fingerprint - different, with_fingerprint, top)


def _spent(*row: object) -> Spent:
    spent = Spent(*row)  # type: ignore[arg-type]  # as the statement has them
    return spent if spent.cache is None else spent._replace(cache=CacheStatus(spent.cache))
