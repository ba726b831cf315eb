"""What tenants should be told of now, in words."""

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

from accounts import tokens
from billing.rows import django_rows
from cacheservice.entries.models import Space
from console import alert_sql
from console.models import DEFAULT_LOW_BALANCE, DEFAULT_STORAGE_PERCENT, Alert
from console.templatetags.console import credits, size, usd
from gateway.budgets import resets_at

KEEP: Final = Decimal("0.95")  # of a threshold: below it an alert is over
MOST_WHOSE: Final = 150  # characters of a title

Place = tuple[int, str, str]  # tenant, kind, subject: at most one open alert


class Condition(NamedTuple):
    """Something that opens an alert where `over`, and else keeps one that is open."""

    tenant_id: int
    kind: Alert.Kind
    subject: str
    over: bool
    level: Alert.Level
    title: str
    text: str

    @property
    def place(self) -> Place:
        return self.tenant_id, self.kind.value, self.subject


def find() -> Iterator[Condition]:
    """Of all tenants. Five statements, however many tenants there are."""
    yield from (_storage(*row) for row in _rows(alert_sql.STORAGE, storage_percent=DEFAULT_STORAGE_PERCENT))
    yield from (_balance(*row) for row in _rows(alert_sql.BALANCE, low_balance=DEFAULT_LOW_BALANCE))
    yield from (_month(*row) for row in _rows(alert_sql.MONTH))
    yield from (_budget(*row) for row in _rows(alert_sql.BUDGETS))
    yield from (_entry(*row) for row in _rows(alert_sql.UNOPENABLE))


def _storage(tenant_id: int, api_key_id: int, name: str | None, used: int, quota: int, percent: int) -> Condition:
    share = used * 100 // quota
    who = f"API key “{name}”" if api_key_id else "This tenant"
    return Condition(
        tenant_id,
        Alert.Kind.API_KEY_STORAGE if api_key_id else Alert.Kind.STORAGE,
        tokens.encode_id(api_key_id) if api_key_id else "",
        over=used * 100 >= quota * percent,
        level=Alert.Level.BAD if share >= 100 else Alert.Level.WARN,
        title=f"{who} uses {share} % of its storage quota",
        text=f"{size(used)} of {size(quota)} are stored. Above the quota, writes are refused with "
        "storage_quota_exceeded. Delete entries, give them shorter TTLs, or ask for a larger quota.",
    )


def _balance(tenant_id: int, balance: int, threshold: int) -> Condition:
    empty = balance <= 0
    return Condition(
        tenant_id,
        Alert.Kind.LOW_BALANCE,
        "",
        over=balance <= threshold,
        level=Alert.Level.BAD if empty else Alert.Level.WARN,
        title="No credits are left" if empty else f"{credits(balance)} credits are left",
        text=("Hits are refused with insufficient_credits" if empty else "Without credits, hits are refused")
        + f". You wanted to be told at {credits(threshold)} credits. Ask for more under Billing.",
    )


def _month(tenant_id: int, units: int, threshold: int, month: Any) -> Condition:
    return Condition(
        tenant_id,
        Alert.Kind.MONTH_CREDITS,
        f"{month:%Y-%m}",
        over=units >= threshold,
        level=Alert.Level.WARN,
        title=f"{credits(units)} credits were used this month",
        text=f"You wanted to be told at {credits(threshold)} credits a month (UTC). Nothing is refused for it.",
    )


def _budget(
    tenant_id: int,
    budget_id: int,
    api_key_id: int | None,
    name: str | None,
    model: str,
    spent: Decimal,
    limit: Decimal,
    percent: int,
    mean: Decimal,
    day: date,
) -> Condition:
    """A limit is hard, so calls are refused before it is reached: when one as they are today does not fit any more."""
    used_up = limit - spent < mean or spent >= limit
    key = f" of API key “{tokens.encode_id(api_key_id) if name is None else name}”" if api_key_id is not None else ""
    whose = f"{f' for {model}' if model else ''}{key}"
    shown = whose if len(whose) <= MOST_WHOSE else f"{whose[:MOST_WHOSE]}…"
    until = f"until the day is over, at {resets_at(day):%Y-%m-%d %H:%M} UTC. Raise the budget if that is too early."
    return Condition(
        tenant_id,
        Alert.Kind.BUDGET,
        f"{tokens.encode_id(budget_id)} {day}",
        over=spent * 100 >= limit * percent or used_up,
        level=Alert.Level.BAD if used_up else Alert.Level.WARN,
        title=f"Today's budget{shown} is used up"
        if used_up
        else f"{spent * 100 // limit} % of today's budget{shown} is used",
        text=f"{usd(spent)} of {usd(limit)} are spent{whose}. "
        + ("AI calls are refused with budget_exceeded " if used_up else "Without a rest, AI calls are refused ")
        + until,
    )


def _entry(tenant_id: int, version: int, key: str, space: int, at: Any) -> Condition:
    whose = "" if space == Space.TENANT else " that the gateway wrote"
    return Condition(
        tenant_id,
        Alert.Kind.ENTRY,
        str(version),
        over=True,
        level=Alert.Level.BAD,
        title=f"An entry{whose} does not open",
        text=f"Its key is {key}. Its value was changed outside of the service, and is not given out: readers get an "
        f"error, and are not charged. First noticed {at:%Y-%m-%d %H:%M} UTC. Write the entry again, or delete it.",
    )


def _rows(statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return django_rows(statement, {"keep": KEEP, **parameters})
