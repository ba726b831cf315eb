"""Celery's shells over what commands call too. Each may run twice or die midway without harm."""

from celery import shared_task

from cacheservice import tenant_deletion
from console import alert_delivery, alert_evaluation, sessions


@shared_task
def alerts() -> None:
    alert_evaluation.evaluate()
    alert_delivery.deliver(seconds=20)  # it shares the worker with the purge


@shared_task
def drop_old() -> None:
    alert_delivery.drop_old()
    alert_evaluation.drop_old()
    sessions.drop_expired()


@shared_task
def delete_due_tenants() -> None:
    tenant_deletion.delete_due()
