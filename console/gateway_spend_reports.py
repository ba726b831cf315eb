"""What the gateway's page says of a tenant's spend: sums of days, today's budgets, and the prompts that cost most.

An amount that nobody knows is shown as unknown, never as 0: where some requests of a sum have no price, the sum is of
the others, and how many have none stands beside it.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final, NamedTuple

from accounts import tokens
from cacheservice.http import Answer
from console import charts, gateway_spend_sql, reports
from console.charts import Chart, Series
from console.gateway_spend_forms import Question
from console.templatetags.console import usd
from gateway import retention, spend, spend_answers, spend_requests
from gateway.budget_settings import MOST_BUDGETS
from gateway.budgets import resets_at

MOST_PARTS: Final = 50  # in their table; the CSV has all
TOP: Final = 10  # prompts
FULL: Final = 100  # per cent of a budget
SHORT: Final = 10  # hexadecimal digits of a fingerprint
_LEAST: Final = Decimal("0.0001")  # USD that is shown as a number


class Sums(NamedTuple):
    """Of requests. Amounts are in USD, of those where they are known."""

    requests: int = 0
    hits: int = 0
    cost_unknown: int = 0  # requests
    saved_unknown: int = 0  # hits
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    saved: Decimal = Decimal(0)

    @property
    def hit_ratio(self) -> Fraction | None:
        return Fraction(self.hits, self.requests) if self.requests else None

    @property
    def unpriced(self) -> int:
        """Requests whose cost or saving is not known."""
        return self.cost_unknown + self.saved_unknown

    @property
    def known_cost(self) -> Decimal | None:
        """None: of none of those that cost something."""
        return None if self.cost_unknown and not self.cost else self.cost

    @property
    def known_saved(self) -> Decimal | None:
        return None if self.saved_unknown and not self.saved else self.saved

    @property
    def shown_cost(self) -> str:
        return money(self.known_cost)

    @property
    def shown_saved(self) -> str:
        return money(self.known_saved)


class Part(NamedTuple):
    """A model, user, API key or provider."""

    name: str  # empty where requests named none
    key: str  # the API key's id in URLs, if it is one that is still there
    sums: Sums


class Figures(NamedTuple):
    question: Question
    total: Sums
    chart: Chart
    parts: list[Part]  # those that cost most
    more_parts: int  # how many there are beside them


class Today(NamedTuple):
    """A budget in the running UTC day."""

    code: str  # its id in URLs
    api_key: str | None  # its name; None: all of them
    model: str  # "": all of them
    limit: Decimal
    used: Decimal  # with the worst cases of calls under way
    alert_percent: int
    resets_at: datetime

    @property
    def percent(self) -> int:
        """Rounded down, so that 100 means that nothing is left."""
        return int(self.used * 100 / self.limit) if self.limit else FULL

    @property
    def level(self) -> str:
        return "bad" if self.percent >= FULL else "warn" if self.percent >= self.alert_percent else ""

    @property
    def shown_used(self) -> str:
        return money(self.used)


class Prompt(NamedTuple):
    """Requests with one fingerprint."""

    fingerprint: str
    text: str | None  # None: no policy kept it, or it is not for this reader
    model: str
    provider: str
    requests: int
    hits: int
    cost: str
    saved: str

    @property
    def short(self) -> str:
        return self.fingerprint[:SHORT]


class Prompts(NamedTuple):
    requests: int  # that were looked at
    complete: bool  # whether these are all of the range; else the latest
    cut: bool  # whether the range begins before what is still there
    duplicates: int
    with_fingerprint: int
    duplicate_rate: Fraction | None
    top: list[Prompt]


def money(amount: Decimal | None) -> str:
    """As `usd`, but what is not known says so, and what is too small to show is not 0."""
    if amount is None:
        return "unknown"
    return f"< ${_LEAST}" if 0 < amount < _LEAST else usd(amount)


def read(tenant_id: int, question: Question) -> Figures:
    """In one query."""
    start, end, by = question
    parameters = {"tenant_id": tenant_id, "from": start, "to": end, "by": by, "limit": MOST_PARTS}
    days: dict[date, Sums] = {}
    parts, count = [], 0
    for day, part, *sums, name, of_parts in reports.statistics(gateway_spend_sql.FIGURES, parameters):
        if day is None:
            parts.append(_part(by, part, name, Sums(*sums)))
            count = of_parts
        else:
            days[day] = Sums(*sums)
    return Figures(question, _total(days.values()), _chart(question, days), parts, count - len(parts))


def ever_used(tenant_id: int) -> bool:
    return bool(reports.rows(gateway_spend_sql.USED, {"tenant_id": tenant_id})[0][0])


def budgets(tenant_id: int, day: date) -> list[Today]:
    """The oldest first, in one query."""
    rows = reports.rows(gateway_spend_sql.BUDGETS, {"tenant_id": tenant_id, "day": day, "limit": MOST_BUDGETS})
    return [
        Today(
            tokens.encode_id(id),
            None if api_key_id is None else _named(api_key_id, name),
            model,
            limit,
            used,
            alert_percent,
            resets_at(day),
        )
        for id, api_key_id, name, model, limit, alert_percent, used in rows
    ]


def prompts(tenant_id: int, question: Question, *, texts: bool) -> Prompts:
    """Of the events of the range that are still there; `texts` only where the reader may open values."""
    kept_since = datetime.now(UTC).date() - retention.KEPT
    found = spend.read_prompts(reports.statistics, tenant_id, question.start, question.end, TOP)
    return Prompts(
        found.requests,
        found.complete,
        question.start < kept_since,
        found.duplicates,
        found.with_fingerprint,
        found.duplicate_rate,
        [
            Prompt(
                each.fingerprint.hex(),
                each.text if texts else None,
                each.model,
                each.provider,
                each.requests,
                each.hits,
                money(each.cost),
                money(_saved(each)),
            )
            for each in found.top
        ],
    )


def csv(tenant_id: int, question: Question) -> Answer:
    """The API's document, by day and the split. Raises InvalidRequest for too many rows."""
    by = ("day", question.by)
    report = spend.read(reports.statistics, tenant_id, question.start, question.end, by)
    asked = spend_requests.Question(question.start, question.end, by, as_csv=True)
    return spend_answers.spend(asked, report)


def _saved(prompt: spend.Prompt) -> Decimal | None:
    """Without a hit nothing was saved, which is known."""
    return prompt.saved if prompt.hits else Decimal(0)


def _part(by: str, text: str, name: str | None, sums: Sums) -> Part:
    if by != "key":
        return Part(text, "", sums)
    return Part(_named(int(text), name), "" if name is None else tokens.encode_id(int(text)), sums)


def _named(api_key_id: int, name: str | None) -> str:
    return f"{tokens.encode_id(api_key_id)} (removed)" if name is None else name


def _total(days: Iterable[Sums]) -> Sums:
    columns = list(zip(*days, strict=True))
    return Sums._make(map(sum, columns)) if columns else Sums()


def _chart(question: Question, found: dict[date, Sums]) -> Chart:
    """Saved on top of spent: together what it would have cost."""
    days = [question.start + timedelta(days=number) for number in range((question.end - question.start).days)]
    sums = [found.get(day, Sums()) for day in days]
    starts = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in days]
    known: dict[str, Any] = {"shown": money, "unit": "$"}
    return charts.over_time(
        "spend",
        "Spent and saved",
        starts,
        "day",
        Series("Spent", [each.known_cost for each in sums], **known),
        Series("Saved", [each.known_saved for each in sums], **known, colour=2),
    )
