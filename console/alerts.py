"""A tenant's alerts, as the console shows them. How they come about: `alert_evaluation.py`."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlencode

from django.db.models import Case, When
from django.urls import reverse

from accounts import tokens
from accounts.policy import Permission
from cacheservice.entries.models import Entry, Space
from console.models import Alert

# What a member's role must allow for them to be led to what an alert of the kind is about, and told its particulars.
NEEDED: Final[dict[str, Permission]] = {
    Alert.Kind.STORAGE: Permission.LIST_ENTRIES,
    Alert.Kind.API_KEY_STORAGE: Permission.SEE_API_KEYS,
    Alert.Kind.LOW_BALANCE: Permission.SEE_BILLING,
    Alert.Kind.MONTH_CREDITS: Permission.SEE_USAGE,
    Alert.Kind.BUDGET: Permission.SEE_GATEWAY,
    Alert.Kind.ENTRY: Permission.LIST_ENTRIES,
}
# The kinds whose text holds what the permission guards, with what others read. The figures of the other kinds stand on
# the overview and under usage, which everybody sees.
WITHOUT: Final[dict[str, str]] = {
    Alert.Kind.ENTRY: "Its value was changed outside of the service, and is not given out. "
    "Whoever may list entries sees here which one it is.",
}


class Shown(NamedTuple):
    """An alert as one member sees it; without `url` there is no page for them to look at."""

    level: str  # warn or bad
    title: str
    text: str
    url: str


def open_alerts(tenant_id: int) -> list[Alert]:
    """What stands now, the worst first, as of the last evaluation, which is at most a minute ago. One query."""
    worst_first = Case(When(level=Alert.Level.BAD, then=0), default=1)
    return list(Alert.objects.filter(tenant_id=tenant_id, closed_at=None).order_by(worst_first, "opened_at"))


def shown(tenant_id: int, may: Callable[[Permission], bool]) -> list[Shown]:
    """The same for a member. One query more where there are entries to lead to."""
    alerts = open_alerts(tenant_id)
    led = [alert for alert in alerts if may(NEEDED[alert.kind])]
    urls = {alert.id: alert.url for alert in led} | _entry_urls(tenant_id, led)
    return [
        Shown(
            alert.level,
            alert.title,
            alert.text if alert.id in urls else WITHOUT.get(alert.kind, alert.text),
            urls.get(alert.id, ""),
        )
        for alert in alerts
    ]


def _entry_urls(tenant_id: int, alerts: Sequence[Alert]) -> dict[int, str]:
    """Of the alerts about an entry the entry's own page. Those of the gateway's entries have none."""
    versions = {int(alert.subject): alert.id for alert in alerts if alert.kind == Alert.Kind.ENTRY}
    if not versions:
        return {}
    page = reverse("console:entries-open", kwargs={"tenant": tokens.encode_id(tenant_id)})
    found = Entry.objects.filter(tenant_id=tenant_id, space=Space.TENANT, version__in=versions)
    keys = dict(found.values_list("version", "key"))
    return {
        alert_id: f"{page}?{urlencode({'key': keys[version]})}" if version in keys else ""
        for version, alert_id in versions.items()
    }
