"""Celery's shells over what commands call too. Each may run twice or die midway without harm."""

from celery import shared_task

from accounts.keys import rotate_worn_data_keys
from cacheservice.entries.crypto import MAX_USES
from cacheservice.entries.purge import purge as purge_expired
from cacheservice.entries.reseal import reseal_all


@shared_task
def purge() -> None:
    purge_expired()


@shared_task
def reseal() -> None:
    rotate_worn_data_keys(MAX_USES)
    reseal_all(seconds=40)  # it shares the worker with the purge
