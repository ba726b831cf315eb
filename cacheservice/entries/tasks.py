"""Celery's shells over what commands call too. Each may run twice or die midway without harm."""

from celery import shared_task

from accounts.keys import rotate_worn_data_keys
from cacheservice.entries import reconciliation
from cacheservice.entries import rollup as rollups
from cacheservice.entries.crypto import MAX_USES
from cacheservice.entries.purge import purge as purge_expired
from cacheservice.entries.reseal import reseal_all
from cacheservice.month_close import close_months


@shared_task
def purge() -> None:
    purge_expired()


@shared_task
def reseal() -> None:
    rotate_worn_data_keys(MAX_USES)
    reseal_all(seconds=40)  # it shares the worker with the purge


@shared_task
def rollup() -> None:
    rollups.rollup(seconds=40)  # as above
    rollups.drop_tombstones()


@shared_task
def drop_old() -> None:
    rollups.drop_old()


@shared_task
def reconcile() -> None:
    reconciliation.reconcile()


@shared_task
def close_month() -> None:
    close_months()
