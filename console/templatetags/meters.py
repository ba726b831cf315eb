"""How full a limit is, as the bar of `console/meter.html` is coloured."""

from django import template

from console.billing_summary import BAD, WARN

register = template.Library()


@register.filter
def level(used: int, most: int) -> str:
    """Empty, "warn" or "bad", from the same shares on as the tenant's own quota."""
    share = 100 * used // most if most else 100
    return "bad" if share >= BAD else "warn" if share >= WARN else ""
