"""A webhook's URL, as it is shown to who may not set it."""

from django import template

from console.models import Delivery

register = template.Library()


@register.filter
def without_query(url: str) -> str:
    """The query may hold a token of the receiver's; the audit log leaves it out too."""
    return url.partition("?")[0]


@register.filter
def recipient(delivery: Delivery) -> str:
    """Where a message went."""
    return without_query(delivery.address) if delivery.channel == Delivery.Channel.WEBHOOK else delivery.address
