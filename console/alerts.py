"""A tenant's alerts, as the console shows them. How they come about: `alert_evaluation.py`."""

from django.db.models import Case, When

from console.models import Alert


def open_alerts(tenant_id: int) -> list[Alert]:
    """What the tenant should look at now, the worst first; each with `level` (warn or bad), `title`, `text`, `url`.

    As of the last evaluation, which is at most a minute ago. One query.
    """
    worst_first = Case(When(level=Alert.Level.BAD, then=0), default=1)
    return list(Alert.objects.filter(tenant_id=tenant_id, closed_at=None).order_by(worst_first, "opened_at"))
