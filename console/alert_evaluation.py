"""Opening and closing alerts. Each is told when it opens, once more if it becomes a problem, and when it closes."""

from datetime import timedelta
from typing import Final, NamedTuple

from django.db import transaction
from django.utils import timezone

from billing.rows import django_rows
from console import alert_conditions, alert_messages, alert_sql
from console.alert_conditions import Condition, Place
from console.models import Alert

KEPT_DAYS: Final = 90


class Evaluated(NamedTuple):
    """How many alerts were opened and closed, and how many stand."""

    opened: int = 0
    closed: int = 0
    standing: int = 0


@transaction.atomic
def evaluate() -> Evaluated:
    """Compare what stands in the database with the alerts that are open. Nothing is done while another one runs."""
    if django_rows(alert_sql.ONLY_ONE, {}) != [(True,)]:
        return Evaluated()
    django_rows(alert_sql.FORGET_UNOPENABLE, {})
    conditions = {condition.place: condition for condition in alert_conditions.find()}
    standing = {_place(alert): alert for alert in Alert.objects.filter(closed_at=None)}
    for place in standing.keys() & conditions.keys():
        _refresh(standing[place], conditions[place])
    new = [condition for place, condition in conditions.items() if condition.over and place not in standing]
    over = [alert for place, alert in standing.items() if place not in conditions]
    for condition in new:
        _open(condition)
    for alert in over:
        _close(alert)
    return Evaluated(len(new), len(over), len(standing) + len(new) - len(over))


def drop_old() -> int:
    """Closed alerts are kept for KEPT_DAYS; how many were dropped."""
    count, _ = Alert.objects.filter(closed_at__lt=timezone.now() - timedelta(days=KEPT_DAYS)).delete()
    return count


def _place(alert: Alert) -> Place:
    return alert.tenant_id, alert.kind, alert.subject


def _open(condition: Condition) -> None:
    tenant_id, kind, subject = condition.place
    alert = Alert.objects.create(
        tenant_id=tenant_id,
        kind=kind,
        subject=subject,
        level=condition.level,
        title=condition.title,
        text=condition.text,
    )
    alert_messages.opened(alert)


def _refresh(alert: Alert, condition: Condition) -> None:
    """Its figures as of now. A problem that became less stays one until it is over, so as not to tell it twice."""
    worse = condition.level == Alert.Level.BAD and alert.level != Alert.Level.BAD
    if not worse and (alert.title, alert.text) == (condition.title, condition.text):
        return
    alert.title, alert.text = condition.title, condition.text
    if worse:
        alert.level = condition.level
        alert_messages.opened(alert)
    alert.save(update_fields=["title", "text", "level"])


def _close(alert: Alert) -> None:
    alert.closed_at = timezone.now()
    alert.save(update_fields=["closed_at"])
    alert_messages.closed(alert)
