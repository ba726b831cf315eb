"""Celery's shells over what commands call too. Each may run twice or die midway without harm."""

from celery import shared_task

from billing import credits


@shared_task
def grant_monthly() -> None:
    credits.grant_monthly()
