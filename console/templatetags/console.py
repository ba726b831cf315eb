"""Tags and filters of the console's templates: icons, and how amounts, sizes and times are written."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from urllib.parse import urlencode

from django import template
from django.templatetags.static import static
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

_SIZES = ("B", "KB", "MB", "GB", "TB")


@register.simple_tag
def icon(name: str) -> SafeString:
    """One of `console/icons.svg`, beside a text that says the same."""
    return format_html(
        '<svg class="icon" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        static("console/icons.svg"),
        name,
    )


@register.filter
def size(count: int | None) -> str:
    """Bytes in decimal units, as the prices are: 1 MB is 1,000,000 bytes."""
    if count is None:
        return "–"
    amount, unit = Decimal(count), 0
    while abs(amount) >= 1000 and unit < len(_SIZES) - 1:
        amount, unit = amount / 1000, unit + 1
    return f"{amount:,.0f} {_SIZES[unit]}" if unit == 0 or amount >= 100 else f"{amount:,.1f} {_SIZES[unit]}"


@register.filter
def credits(units: int | None) -> str:
    """Units of 0.01 credit as credits."""
    return "–" if units is None else f"{Decimal(units) / 100:,.2f}"


@register.filter
def number(value: Any) -> str:
    """With thousands separated."""
    return "–" if value is None else f"{value:,}"


@register.filter
def usd(amount: Decimal | None) -> str:
    """Dollars with cents; with four places where there is less than a cent to show."""
    if amount is None:
        return "–"
    amount = Decimal(amount)
    return f"${amount:,.4f}" if 0 < abs(amount) < Decimal("0.01") else f"${amount:,.2f}"


@register.filter
def percent(share: Decimal | Fraction | float | None) -> str:
    """A share of 1."""
    return "–" if share is None else f"{float(share) * 100:.1f} %"


@register.filter
def utc(at: datetime | None) -> str | SafeString:
    """The moment in UTC, to the minute; to the second on hover."""
    if at is None:
        return "–"
    at = at.astimezone(UTC)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        at.strftime("%Y-%m-%d %H:%M:%S UTC"),
        at.strftime("%Y-%m-%d %H:%M"),
    )


@register.filter
def ago(at: datetime | None) -> str | SafeString:
    """How long ago, in one unit."""
    if at is None:
        return "never"
    return format_html('<time datetime="{}" title="{}">{} ago</time>', *_moment(at), span(timezone.now() - at))


@register.filter
def age(at: datetime) -> SafeString:
    """How old something is, in one unit."""
    return format_html('<time datetime="{}" title="{}">{}</time>', *_moment(at), span(timezone.now() - at))


@register.filter
def tag_query(tag: str) -> str:
    """The query of a URL that lists the entries with this tag."""
    return urlencode({"tag": tag})


@register.filter
def left(at: datetime | None) -> str | SafeString:
    """How long until then, in one unit."""
    if at is None:
        return "–"
    remaining = at - timezone.now()
    text = "over" if remaining <= timedelta(0) else span(remaining)
    return format_html('<time datetime="{}" title="{}">{}</time>', *_moment(at), text)


@register.filter
def span(length: timedelta | int) -> str:
    """A length of time, or a number of seconds, in its largest whole unit."""
    seconds = int(length.total_seconds()) if isinstance(length, timedelta) else int(length)
    for unit, unit_seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * unit_seconds or (seconds >= unit_seconds and seconds % unit_seconds == 0):
            return f"{seconds // unit_seconds} {unit}"
    return f"{max(0, seconds)} s"


def _moment(at: datetime) -> tuple[str, str]:
    at = at.astimezone(UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%SZ"), at.strftime("%Y-%m-%d %H:%M:%S UTC")
