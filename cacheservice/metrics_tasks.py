"""What tasks did, in a table: so that any server tells of them, wherever the worker runs.

A task that is run by hand, or by a command, is not counted; but what the reconciliation finds is noted whoever asks.
"""

import time
from typing import Any, Final

import structlog
from celery.signals import task_postrun, task_prerun
from django.db import DatabaseError, connections

from billing.rows import django_rows

log = structlog.get_logger(__name__)

RECONCILIATION: Final = "cacheservice.entries.tasks.reconcile"

NOTE_RUN: Final = """
insert into task_run as t (name, runs, failures, ended_at, succeeded_at, seconds)
values (%(name)s, 1, %(failed)s::int, now(), case when not %(failed)s then now() end, %(seconds)s)
on conflict (name) do update set
  runs = t.runs + 1, failures = t.failures + excluded.failures, ended_at = excluded.ended_at,
  succeeded_at = coalesce(excluded.succeeded_at, t.succeeded_at), seconds = excluded.seconds
"""

NOTE_FOUND: Final = """
insert into task_run as t (name, runs, failures, seconds, found) values (%(name)s, 0, 0, 0, %(found)s)
on conflict (name) do update set found = excluded.found
"""

_began: dict[str, float] = {}


def listen() -> None:
    """In a worker: note each task that it runs."""
    task_prerun.connect(_begin, weak=False)
    task_postrun.connect(_end, weak=False)


def note_found(name: str, found: int) -> None:
    """How much is wrong, by the run that has just ended. Raises DatabaseError."""
    django_rows(NOTE_FOUND, {"name": name, "found": found})


def _begin(task_id: str, **_: Any) -> None:
    _began[task_id] = time.monotonic()


def _end(task_id: str, task: Any, state: str | None = None, **_: Any) -> None:
    """Never raises: what the task did is done."""
    seconds = time.monotonic() - _began.pop(task_id, time.monotonic())
    try:
        django_rows(NOTE_RUN, {"name": task.name, "failed": state != "SUCCESS", "seconds": seconds})
    except DatabaseError as error:
        log.warning("task_not_noted", task=task.name, reason=type(error).__name__)
    finally:
        connections.close_all()
