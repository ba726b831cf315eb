"""Celery's shells over what keeps the gateway's tables. Each may run twice or die midway without harm."""

from celery import shared_task

from gateway import retention


@shared_task
def abandon() -> None:
    retention.abandon()


@shared_task
def drop_old() -> None:
    retention.drop_old()
